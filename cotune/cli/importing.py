"""cotune import: a profile from a shell script that tunes the kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cotune.cli.context import Cli, command
from cotune.cli.output import check_name, check_output, show_text, show_written, write_output
from cotune.units import count


def register(app: typer.Typer) -> None:
    """Add the verb to the application."""

    @app.command(name="import")
    @command
    def import_(
        cli: Cli,
        script: Annotated[str, typer.Argument(metavar="SCRIPT", help="The shell script; - for standard input.")],
        name: Annotated[
            str | None,
            typer.Option("--name", metavar="NAME", help="Name of the profile; that of the file if left out."),
        ] = None,
        output: Annotated[
            Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to FILE, not standard output.")
        ] = None,
        force: Annotated[bool, typer.Option("--force", help="Overwrite FILE.")] = False,
    ) -> int:
        """Write the profile a shell script amounts to. The script is parsed, never run.

        Understands echo, printf, cat and tee into kernel files, sysctl, mount -o remount, mkdir, cgcreate, cgset and
        systemctl set-property, with variables, arithmetic and for loops over words. A test whether a file exists is
        taken to hold. What it could not read is listed on standard error with its line; then the exit code is 1.

        Examples:

            cotune import tune.sh

            cotune import /etc/rc.local --name rc-local -o rc-local.yaml

            cotune import tune.sh --json
        """
        from cotune import __version__
        from cotune.importing.profile import import_script, profile_name, profile_text
        from cotune.importing.script import read_script
        from cotune.yamltext import bare

        if name is not None:
            check_name(name)
        if output is not None:
            check_output(output, force)
        imported = import_script(read_script(script), name or profile_name(script))
        text = profile_text(imported, "standard input" if script == "-" else script, __version__)
        if output is not None:
            write_output(output, text, force)
        for note in imported.notes:
            cli.note(f"remark: {note}")
        for item in imported.unread:
            cli.note(f"not read: line {item.line}: {item.text}\n    {item.reason}")
        if imported.unread:
            cli.note(f"{count(len(imported.unread), 'part')} of the script not read")
        record = {
            "file": str(output) if output else None,
            "profile": bare(imported.data),
            "not_read": [item._asdict() for item in imported.unread],
            "notes": imported.notes,
            "yaml": text,
        }
        groups = list(imported.data.get("groups", {}))
        cli.emit("import", record, lambda: show_written(output, groups) if output else show_text(text))
        return 1 if imported.unread else 0
