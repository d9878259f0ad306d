"""Rollback: undo transactions that are in force, newest first."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from cotune.errors import PlanRefused, UsageError
from cotune.host.facts import Host
from cotune.journal import COMMITTED, PARTIAL, Journal, Transaction
from cotune.ledger import Ledger
from cotune.undo import UndoResult, foresee, undo


class Selection(NamedTuple):
    """Which transactions to undo: one by number, all of a profile, all of a label, or, all None, the newest."""

    transaction: str | None = None
    profile: str | None = None
    label: str | None = None


def choose(transactions: list[Transaction], boot_id: str, selection: Selection) -> list[Transaction]:
    """The transactions a selection means, newest first. Raises UsageError for an unknown one, PlanRefused for one
    whose values a later transaction has set since."""
    in_force = [t for t in reversed(transactions) if t.state in (COMMITTED, PARTIAL) and t.boot_id == boot_id]
    if selection.profile is not None:
        chosen = [t for t in in_force if t.profile == selection.profile]
    elif selection.label is not None:
        chosen = [t for t in in_force if t.label == selection.label]
    elif selection.transaction is not None:
        chosen = [_find(transactions, in_force, selection.transaction)]
    else:
        # what a rollback had to leave is tried again only when nothing else is in force
        chosen = ([t for t in in_force if t.state == COMMITTED] or in_force)[:1]
    _check_superseded(Ledger(transactions, boot_id), chosen)
    return chosen


def rollback(
    host: Host,
    journal: Journal,
    selection: Selection,
    now: Callable[[], str],
    force: bool = False,
) -> tuple[list[Transaction], UndoResult]:
    """Undo the selected transactions as one plan: straight to what was there before the oldest of them.

    Call with the lock held, after recovery. Returns the transactions, newest first, and what came of it.
    """
    chosen = choose(journal.load(), host.boot_id, selection)
    return chosen, undo(host, journal, chosen, now, force)


def preview(
    host: Host, journal: Journal, selection: Selection, force: bool = False
) -> tuple[list[Transaction], UndoResult]:
    """What :func:`rollback` would do now. Writes nothing; raises what choosing raises."""
    chosen = choose(journal.load(), host.boot_id, selection)
    return chosen, foresee(host, journal, chosen, force)


def _find(transactions: list[Transaction], in_force: list[Transaction], number: str) -> Transaction:
    wanted = number.zfill(6)
    for transaction in in_force:
        if transaction.id == wanted:
            return transaction
    known = next((t for t in transactions if t.id == wanted), None)
    if known is None:
        raise UsageError(f"there is no transaction {number}", "cotune history lists them")
    why = known.state if known.state not in (COMMITTED, PARTIAL) else "of an earlier boot"
    raise UsageError(f"transaction {wanted} is not in force: it is {why}", "cotune history lists them")


def _check_superseded(ledger: Ledger, chosen: list[Transaction]) -> None:
    for why, transaction, later in ledger.obstacles(chosen):
        raise PlanRefused(
            f"transaction {transaction.id} ({transaction.profile}) was superseded: {why} transaction {later.id} "
            f"({later.profile}) since",
            f"roll back transaction {later.id} first",
        )
