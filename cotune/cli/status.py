"""cotune status: what is applied, and what drifted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from cotune.cli.context import Cli, Line, command
from cotune.drift import Drift, Status
from cotune.journal import Transaction
from cotune.planning import show_value
from cotune.units import count


def register(app: typer.Typer) -> None:
    """Add the verb to the application."""

    @app.command()
    @command
    def status(cli: Cli) -> int:
        """Show which applied values somebody has changed since.

        Exit code 0: everything reads as applied, 1: drift, or a transaction that a crash cut off.

        Examples:

            cotune status

            cotune status --json
        """
        from cotune.drift import find_drift
        from cotune.ledger import Ledger

        with cli.session() as session:
            transactions = session.journal.load()
            ledger = Ledger(transactions, session.host.boot_id)
            found = find_drift(session.host, ledger)
        cut_off = [transaction for transaction in transactions if transaction.cut_off]
        names = sorted({transaction.profile for transaction in ledger.transactions})
        cli.emit("status", _record(found, names, cut_off), lambda: _lines(found, names, cut_off))
        return 1 if found.drift or cut_off else 0


def _record(found: Status, names: list[str], cut_off: list[Transaction]) -> dict[str, Any]:
    return {
        "profiles": names,
        "held": found.held,
        "vanished": found.vanished,
        "drift": [
            {
                "resource": drift.owned.entry.target.resource,
                "knob": drift.owned.entry.target.knob,
                "path": drift.owned.entry.target.path,
                "current": drift.now,
                "desired": drift.owned.entry.new,
                "profile": drift.owned.profile,
                "transaction": drift.owned.transaction,
                "origin": drift.owned.entry.origin,
            }
            for drift in found.drift
        ],
        "interrupted": [transaction.id for transaction in cut_off],
    }


def _lines(found: Status, names: list[str], cut_off: list[Transaction]) -> Iterator[Line]:
    for drift in found.drift:
        yield _drift_line(drift)
    for transaction in cut_off:
        yield [("red", f"transaction {transaction.id} was cut off by a crash"), ("", ": run cotune recover")]
    if not names:
        yield [("bold", "nothing is applied")]
        return
    gone = f", {found.vanished} went with their cgroup" if found.vanished else ""
    text = f"{count(found.held, 'value')} held by {', '.join(names)}{gone}; "
    yield [("bold", text), ("red" if found.drift else "green", f"{len(found.drift)} drifted")]


def _drift_line(drift: Drift) -> Line:
    target = drift.owned.entry.target
    return [
        ("bold", target.resource),
        ("", f" {target.knob}: "),
        ("red", show_value(target, drift.now)),
        ("", f", applied was {show_value(target, drift.owned.entry.new)}"),
        ("dim", f" ({drift.owned.profile}, {drift.owned.entry.origin})"),
    ]
