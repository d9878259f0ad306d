"""viewfs attach: views for containers that already run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cotune.cli.context import Cli, Line
from viewfs.cli.options import MountedAt, command, point_of, static_files
from viewfs.service import DEFAULT_MOUNT, run_directory

if TYPE_CHECKING:
    from viewfs.attach import Attached
    from viewfs.targets import Target


def register(app: typer.Typer) -> None:
    """Add the verb to the application."""

    @app.command()
    @command
    def attach(
        cli: Cli,
        containers: Annotated[
            list[str], typer.Argument(metavar="CONTAINER…", help="A pid, a container's id, or docker:NAME, runc:ID, ….")
        ],
        mount: MountedAt = Path(DEFAULT_MOUNT),
        only: Annotated[
            list[str] | None, typer.Option("--only", metavar="FILE", help="Attach this file only, e.g. /proc/meminfo.")
        ] = None,
    ) -> int:
        """Bind the views over the /proc and /sys files of running containers.

        What was attached before is replaced. A service that starts again attaches the same containers again.

        Examples:

            viewfs attach docker:web

            viewfs attach 4711 --only /proc/meminfo --only /proc/cpuinfo
        """
        from viewfs.attach import FILES, attach
        from viewfs.state import Record, open_book
        from viewfs.targets import find_target

        files = tuple(only or FILES)
        book = open_book(cli.options.state_dir)
        point = point_of(mount)
        static = static_files(point, run_directory(cli.options.state_dir))
        done: list[tuple[Target, Attached]] = []
        for target in [find_target(word) for word in containers]:
            done.append((target, attach(target, point, files, static)))
            book.put(Record(target, point, files))
        record = [{**target._asdict(), **result._asdict()} for target, result in done]
        cli.emit("views.attach", {"attached": record}, lambda: _lines(done))
        return 0


def _lines(done: list[tuple[Target, Attached]]) -> Iterator[Line]:
    for target, result in done:
        yield [("bold", str(target)), ("", f": {len(result.files)} files")]
        for path, reason in result.skipped.items():
            yield [("dim", f"  {path}: {reason}")]
