"""cotune sim: simulated hosts for other programs than cotune."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cotune.cli.context import Cli, command
from cotune.errors import UsageError

if TYPE_CHECKING:
    from cotune.sim.mount import Mounted

_HELP = """Simulated hosts, for other programs than cotune.

Example:

    cotune sim mount /mnt/host --kernel anck-4.19
"""


def register(app: typer.Typer) -> None:
    """Add the group of verbs to the application."""
    sim = typer.Typer(no_args_is_help=True)
    app.add_typer(sim, name="sim", help=_HELP)

    @sim.command()
    @command
    def mount(
        cli: Cli,
        directory: Annotated[Path, typer.Argument(metavar="DIR", help="An empty directory.")],
        kernel: Annotated[
            str, typer.Option("--kernel", metavar="KERNEL", help="The simulated host, as for --sim, e.g. anck-4.19.")
        ],
        fault: Annotated[
            list[str] | None,
            typer.Option("--fault", metavar="SPEC", help="Let something go wrong; may be repeated."),
        ] = None,
    ) -> int:
        """Show a simulated host as files at DIR, until SIGTERM, Ctrl-C or an unmount.

        For cotune --root DIR, shells, Ansible and everything else that opens files. The kernel's files are below
        DIR/proc and DIR/sys; everything else in DIR is on disk. Both are kept in the state directory. A fault is
        errno=NAME, vanish=CGROUP, thirdparty=FILE:TEXT or kill=caller, with the operation it strikes at, such as
        write=3 (the third) or write=1+ (each), and path=GLOB.

        Examples:

            cotune sim mount /mnt/host --kernel anck-4.19

            cotune --root /mnt/host diff online-offline

            cotune sim mount /mnt/host --kernel anck-4.19 --fault 'errno=EINVAL,write=1+,path=*/memory.wmark_ratio'

            cotune sim mount /mnt/host --kernel anck-4.19 --fault kill=caller,write=7
        """
        from cotune.sim.mount import serve_host

        if cli.options.root is not None or cli.options.sim is not None:
            raise UsageError("sim mount takes neither --root nor --sim", "name the simulated host with --kernel")
        ended_by = serve_host(directory, kernel, fault or [], cli.options.state_dir, lambda served: _tell(cli, served))
        return 130 if ended_by == signal.SIGINT else 0


def _tell(cli: Cli, served: Mounted) -> None:
    """Say that it is there: one line on standard error, or one JSON object on standard output."""
    import json
    import os

    if cli.options.json:
        record = {"schema": "cotune.sim/v1", "pid": os.getpid(), **served._asdict()}
        cli.print([[("", json.dumps(record, default=str))]])
    else:
        replaced = ", in place of a mount that had died" if served.replaced else ""
        cli.note(f"{served.point} shows {served.kernel}{replaced}; end with ^C")
