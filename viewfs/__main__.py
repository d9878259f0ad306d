"""Entry point of ``viewfs``. This release does not contain the container-view service, and the command says so."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cotune import __version__
from cotune.errors import Unsupported

_HELP = """\
Usage: viewfs [--help] [--version]

The container-view service gives each container its own /proc and list of
online CPUs. It is not part of this release: apart from --help and --version
the command does nothing and exits 3 ("unsupported").
"""

_UNSUPPORTED = """\
viewfs: the container-view service is not part of this release. Nothing was
mounted, attached or changed. This release contains the engine only: see
`cotune --help`.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Answer ``--help`` and ``--version``; whatever else is asked for is unsupported."""
    args = list(sys.argv[1:] if argv is None else argv)
    if args[:1] in (["--help"], ["-h"]):
        sys.stdout.write(_HELP)
        return 0
    if args[:1] == ["--version"]:
        sys.stdout.write(f"viewfs {__version__}\n")
        return 0
    sys.stderr.write(_UNSUPPORTED)
    return Unsupported.exit_code


if __name__ == "__main__":
    sys.exit(main())
