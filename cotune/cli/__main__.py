"""Entry point of ``cotune``. Answers ``--version`` before anything heavy is imported."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its documented code."""
    if sys.argv[1:] == ["--version"]:
        from cotune import __version__

        print(f"cotune {__version__}")
        return
    from cotune.cli.app import prepare_process, run

    prepare_process()
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
