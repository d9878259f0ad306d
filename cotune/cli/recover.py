"""cotune recover: finish or undo what a crash cut off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from cotune.cli.context import Cli, Line, command
from cotune.cli.options import parse_wait
from cotune.recover import Recovered


def register(app: typer.Typer) -> None:
    """Add the verb to the application."""

    @app.command()
    @command
    def recover(
        cli: Cli,
        wait: Annotated[
            str | None, typer.Option("--wait", metavar="DURATION", help="Wait for the lock, e.g. 30s.")
        ] = None,
    ) -> int:
        """End every transaction that was cut off: all old, or committed when everything reads new already.

        apply and rollback do this first by themselves. Also tries again what a rollback had to leave.

        Example:

            cotune recover
        """
        from cotune.recover import recover as run
        from cotune.session import timestamp

        with cli.session() as session, session.state.locked(parse_wait(wait)):
            session.journal.clean()
            done = run(session.host, session.journal, timestamp)
        record = {
            "recovered": [
                {"transaction": one.transaction.id, "outcome": one.outcome, "restored": one.restored, "left": one.left}
                for one in done
            ],
            "errors": [text for one in done for text in one.left],
        }
        cli.emit("recover", record, lambda: _lines(done))
        return 5 if any(one.left for one in done) else 0


def _lines(done: list[Recovered]) -> Iterator[Line]:
    if not done:
        yield [("bold", "nothing to recover")]
    for one in done:
        yield [("bold", f"transaction {one.transaction.id} ({one.transaction.profile}): {one.outcome}")]
        for text in one.left:
            yield [("yellow", f"  ! left: {text}")]
