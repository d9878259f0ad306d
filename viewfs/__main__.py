"""Entry point of ``viewfs``. Answers ``--version`` before anything heavy is imported."""

from __future__ import annotations

import io
import sys


def main() -> None:
    """Run the command line and exit with its documented code."""
    if sys.argv[1:] == ["--version"]:
        from cotune import __version__

        print(f"viewfs {__version__}")
        return
    from viewfs.cli.app import run

    # names of cgroups and processes may hold anything; printing them must never fail
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
