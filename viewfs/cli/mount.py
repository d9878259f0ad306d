"""viewfs mount: serve the views."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cotune.cli.context import Cli
from viewfs.cli.options import command
from viewfs.service import DEFAULT_MOUNT


def register(app: typer.Typer) -> None:
    """Add the verb to the application."""

    @app.command()
    @command
    def mount(
        cli: Cli,
        point: Annotated[Path, typer.Argument(metavar="MNT", help="Where to mount; made when missing.")] = Path(
            DEFAULT_MOUNT
        ),
        foreground: Annotated[
            bool, typer.Option("--foreground", help="Stay in the foreground until SIGTERM or an unmount.")
        ] = False,
        loop: Annotated[str, typer.Option("--loop", metavar="KIND", help="Event loop: auto or trio.")] = "auto",
        policies: Annotated[
            Path | None, typer.Option("--policies", metavar="FILE", help="Policies, instead of /etc/cotune/views.yaml.")
        ] = None,
        compat: Annotated[
            str, typer.Option("--compat", metavar="lxcfs", help="Print what lxcfs prints where no policy says else.")
        ] = "",
    ) -> int:
        """Mount the views of all containers at MNT and serve them.

        MNT/proc and MNT/sys show the view of whoever reads, MNT/cgroup/PATH and MNT/pid/PID that of one container.
        Returns once the mount is there, and serves in the background. What a service that died left at MNT is
        unmounted first.

        Examples:

            viewfs mount

            viewfs mount --foreground /run/cotune/views

            viewfs mount --compat lxcfs
        """
        from cotune.errors import UsageError
        from viewfs.service import Options, run_directory, start
        from viewfs.state import open_book

        if compat not in ("", "lxcfs"):
            raise UsageError(f"--compat knows no {compat}", "the only other service it can be like is lxcfs")
        state = cli.options.state_dir
        options = Options(loop, str(policies.absolute()) if policies else "", compat)
        start(point, run_directory(state), open_book(state), options, foreground)
        return 0
