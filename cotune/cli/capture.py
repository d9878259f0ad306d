"""cotune capture: a profile from the host as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cotune.cli.context import Cli, command
from cotune.cli.output import check_name, check_output, show_text, show_written, write_output


def register(app: typer.Typer) -> None:
    """Add the verb to the application."""

    @app.command()
    @command
    def capture(
        cli: Cli,
        cgroup: Annotated[
            list[str] | None,
            typer.Option("--cgroup", metavar="GLOB", help="Cgroups to capture; the top-level ones if left out."),
        ] = None,
        sysctl: Annotated[
            list[str] | None,
            typer.Option("--sysctl", metavar="NAME", help="Also a sysctl; 'all' for every one cotune knows."),
        ] = None,
        files: Annotated[
            bool, typer.Option("--host", help="Also scheduler features and other host files that are no sysctls.")
        ] = False,
        block: Annotated[
            bool, typer.Option("--block", help="Also the queues of all disks, and their cost model where it is on.")
        ] = False,
        mounts: Annotated[bool, typer.Option("--mounts", help="Also ext4 options that are not the default.")] = False,
        everything: Annotated[
            bool,
            typer.Option(
                "--all", help="All of the host, with the tunables of IO schedulers and journals. Cgroups are separate."
            ),
        ] = False,
        name: Annotated[str, typer.Option("--name", metavar="NAME", help="Name of the profile.")] = "captured",
        output: Annotated[
            Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to FILE, not standard output.")
        ] = None,
        force: Annotated[bool, typer.Option("--force", help="Overwrite FILE.")] = False,
    ) -> int:
        """Write a profile from the host as it is. Reads only.

        Holds what differs from a fresh cgroup, in readable units, with the file each value came from, and the classes
        of resctrl. A diff of it against the same host is empty.

        Examples:

            cotune capture

            cotune capture --cgroup 'kubepods*/**' --sysctl all --block --mounts -o host.yaml

            cotune capture --cgroup '**' --all

            cotune capture --sysctl vm.swappiness --sysctl kernel.pid_max
        """
        from cotune import __version__
        from cotune.capture import Wish, profile_text
        from cotune.capture import capture as run
        from cotune.session import timestamp
        from cotune.yamltext import bare

        check_name(name)
        if output is not None:
            check_output(output, force)
        with cli.session() as session:
            wish = Wish(name, tuple(cgroup or ()), tuple(sysctl or ()), files, block, mounts, everything)
            captured = run(session.host, wish)
            text = profile_text(session.host, captured, timestamp(), __version__)
        if output is not None:
            write_output(output, text, force)
        for line in captured.left_out:
            cli.note(f"left out: {line}")
        record = {
            "file": str(output) if output else None,
            "groups": captured.groups,
            "left_out": captured.left_out,
            "profile": bare(captured.data),
            "yaml": text,
        }
        cli.emit("capture", record, lambda: show_written(output, captured.groups) if output else show_text(text))
        return 0
