"""viewfs detach: give containers their own files back."""

from __future__ import annotations

from typing import Annotated

import typer

from cotune.cli.context import Cli
from viewfs.cli.options import command


def register(app: typer.Typer) -> None:
    """Add the verb to the application."""

    @app.command()
    @command
    def detach(
        cli: Cli,
        containers: Annotated[
            list[str] | None, typer.Argument(metavar="CONTAINER…", help="A pid, an id, or docker:NAME, runc:ID, ….")
        ] = None,
        everything: Annotated[bool, typer.Option("--all", help="All containers that were attached.")] = False,
    ) -> int:
        """Take the views of running containers away.

        A program that has a file open keeps that one. Works without a service too.

        Examples:

            viewfs detach docker:web

            viewfs detach --all
        """
        from cotune.errors import UsageError
        from viewfs.attach import detach
        from viewfs.state import current, open_book
        from viewfs.targets import find_target

        if bool(containers) == everything:
            raise UsageError("name containers, or pass --all")
        book = open_book(cli.options.state_dir)
        done = []
        targets = [record.target for record in book.read()] if everything else map(find_target, containers or ())
        for target in targets:
            running = current(target) if everything else target
            book.drop(target)  # before: the service would attach it again
            files = detach(running) if running is not None else ()
            done.append({**target._asdict(), "files": files})
        cli.emit(
            "views.detach",
            {"detached": done},
            lambda: (
                [("bold", f"{e['runtime'] or 'pid'} {e['id'] or e['pid']}"), ("", f": {len(e['files'])} files")]
                for e in done
            ),
        )
        return 0
