"""The manual page viewfs(1); ``python -m viewfs.reference`` in a checkout writes it anew, and the tests compare."""

from __future__ import annotations

from pathlib import Path

from cotune.reference import Program, program_man, write

VIEWFS = Program(
    "viewfs",
    "give each container its own /proc files and list of online CPUs",
    (
        ("/etc/cotune/views.yaml", "How containers are shown; viewfs validate checks it."),
        ("/run/cotune/views", "The views, unless mounted elsewhere."),
        ("/run/cotune/static", "Views that change only with configuration."),
        ("/var/lib/cotune/views.json", "What is attached, readable for root only."),
    ),
    ("cotune (1)",),
)


def pages(root: Path) -> dict[Path, str]:
    """Every generated page of a checkout: path → text."""
    from cotune import __version__
    from viewfs.cli.app import build

    return {root / "packaging" / "man" / "viewfs.1": program_man(VIEWFS, build(), __version__)}


if __name__ == "__main__":
    write(pages(Path(__file__).resolve().parents[1]))
