"""viewfs status: what is served, and by whom."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

from cotune.cli.context import Cli, Line
from viewfs.cli.options import command

if TYPE_CHECKING:
    from viewfs.service import Record


def register(app: typer.Typer) -> None:
    """Add the verb to the application."""

    @app.command()
    @command
    def status(cli: Cli) -> int:
        """Show the services that run, where they are mounted and what is attached.

        Exit code 0: all is well, 1: a service that should be there died or lost its mount, or there is none.

        Examples:

            viewfs status

            viewfs status --json
        """
        from viewfs.attach import attached
        from viewfs.service import read_records, run_directory
        from viewfs.state import current, open_book

        records = read_records(run_directory(cli.options.state_dir))
        services = [{**record._asdict(), "running": record.running, "mounted": record.mounted} for record in records]
        containers: list[dict[str, Any]] = []
        for entry in open_book(cli.options.state_dir).read():
            target = current(entry.target)
            files = attached(target) if target else ()
            containers.append({"container": str(entry.target), "pid": target.pid if target else 0, "files": files})
        cli.emit(
            "views.status",
            {"services": services, "attached": containers},
            lambda: (*_lines(records), *map(_attached, containers)),
        )
        return 0 if records and all(record.running and record.mounted for record in records) else 1


def _attached(entry: dict[str, Any]) -> Line:
    state = f"{len(entry['files'])} files attached" if entry["pid"] else "does not run"
    return [("bold", entry["container"]), ("", f": {state}")]


def _lines(records: list[Record]) -> Iterator[Line]:
    if not records:
        yield [("bold", "no views are served"), ("", "; see viewfs mount --help")]
    for record in records:
        if not record.running:
            state, style = f"process {record.pid} died; run viewfs mount again", "red"
        elif not record.mounted:
            state, style = f"process {record.pid} runs, but nothing is mounted there", "red"
        else:
            state, style = f"served by process {record.pid}, {record.loop} event loop", "green"
        yield [("bold", record.mount), ("", ": "), (style, state)]
