"""viewfs hook: for the hooks of an OCI runtime."""

from __future__ import annotations

from pathlib import Path

import typer

from cotune.cli.context import Cli
from viewfs.cli.options import MountedAt, command, point_of, static_files
from viewfs.service import DEFAULT_MOUNT, run_directory


def register(app: typer.Typer) -> None:
    """Add the verb to the application."""

    @app.command()
    @command
    def hook(
        cli: Cli,
        mount: MountedAt = Path(DEFAULT_MOUNT),
    ) -> int:
        """Bind the views into a container that is being made: an OCI createContainer hook.

        The state of the container comes on standard input, from the runtime. Prints nothing; a failure keeps the
        container from starting.

        Examples:

            {"hooks": {"createContainer": [{"path": "/usr/bin/viewfs", "args": ["viewfs", "hook"]}]}}
        """
        import sys

        from viewfs.hook import run_hook

        point = point_of(mount)
        static = static_files(point, run_directory(cli.options.state_dir))
        files = run_hook(sys.stdin.read(), point, static)
        if cli.options.verbose:
            cli.note(f"bound {', '.join(files)}")
        return 0
