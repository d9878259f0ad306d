"""viewfs wire: views in an OCI configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cotune.cli.context import Cli
from viewfs.cli.options import MountedAt, command, point_of, static_files
from viewfs.service import DEFAULT_MOUNT, run_directory


def register(app: typer.Typer) -> None:
    """Add the verb to the application."""

    @app.command()
    @command
    def wire(
        cli: Cli,
        mount: MountedAt = Path(DEFAULT_MOUNT),
        cgroup: Annotated[
            str, typer.Option("--cgroup", metavar="PATH", help="The container's cgroup, if the configuration has none.")
        ] = "",
        timens: Annotated[
            bool, typer.Option("--timens", help="Add a time namespace that starts now: uptime and ps are then right.")
        ] = False,
        static: Annotated[
            bool, typer.Option("--static", help="Plain files for cpuinfo and the CPU lists; for one start of it.")
        ] = False,
    ) -> int:
        """Read an OCI config.json on standard input and print it with the views mounted.

        With --static the files that change only with configuration do not need the service to be read. They are made
        now, and removed with the container's group (or after a minute without one): for runtimes that wire each start.
        --timens needs a runtime that knows timeOffsets (runc 1.2); the clock starts when this command runs.

        Examples:

            viewfs wire < config.json > config.new && mv config.new config.json
        """
        import json
        import sys

        from cotune.errors import UsageError
        from viewfs.wire import wire as wired

        try:
            config = json.load(sys.stdin)
        except ValueError as error:
            raise UsageError(f"standard input is no JSON: {error}", "viewfs wire < config.json") from None
        point = point_of(mount)
        kept = static_files(point, run_directory(cli.options.state_dir)) if static else None
        text = json.dumps(wired(config, point, cgroup, timens, static=kept), indent=2)
        cli.print([[("", text)]])
        return 0
