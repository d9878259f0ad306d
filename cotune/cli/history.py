"""cotune history: the transactions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from cotune.cli.context import Cli, Line, command
from cotune.journal import Transaction


def register(app: typer.Typer) -> None:
    """Add the verb to the application."""

    @app.command()
    @command
    def history(cli: Cli) -> int:
        """List all transactions, newest first.

        Example:

            cotune history
        """
        with cli.session() as session:
            boot_id = session.host.boot_id
            transactions = session.journal.load()[::-1]
        cli.emit(
            "history",
            {"transactions": [summary_json(transaction, boot_id) for transaction in transactions]},
            lambda: _lines(transactions, boot_id),
        )
        return 0


def summary_json(transaction: Transaction, boot_id: str) -> dict[str, Any]:
    """What history tells of a transaction."""
    return {
        "transaction": transaction.id,
        "time": transaction.time,
        "profile": transaction.profile,
        "version": transaction.version,
        "label": transaction.label,
        "state": state_word(transaction, boot_id),
        "values": len(transaction.entries),
        "created": len(transaction.created),
        "moved": len(transaction.moves),
    }


def state_word(transaction: Transaction, boot_id: str) -> str:
    """The state for people: a reboot ends what was in force."""
    return "ended by reboot" if transaction.in_force and transaction.boot_id != boot_id else transaction.state


def _lines(transactions: list[Transaction], boot_id: str) -> Iterator[Line]:
    if not transactions:
        yield [("bold", "no transaction yet")]
    for transaction in transactions:
        name = f"{transaction.profile} {transaction.version}".strip()
        label = f"  label {transaction.label}" if transaction.label else ""
        yield [
            ("bold", transaction.id),
            ("", f"  {transaction.time}  {name:<28} "),
            ("dim", f"{len(transaction.entries)} values, {len(transaction.created)} groups  "),
            ("", state_word(transaction, boot_id) + label),
        ]
