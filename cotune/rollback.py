"""Rollback: undo transactions that are in force, newest first."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from cotune.controls.base import Value
from cotune.errors import PlanRefused, UsageError
from cotune.host.facts import Host
from cotune.journal import COMMITTED, PARTIAL, Journal, Transaction
from cotune.ledger import Ledger
from cotune.model import Key
from cotune.undo import UndoResult, undo


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
        chosen = in_force[:1]
    _check_superseded(Ledger(transactions, boot_id), chosen)
    return chosen


def rollback(
    host: Host,
    journal: Journal,
    selection: Selection,
    now: Callable[[], str],
    force: bool = False,
) -> list[tuple[Transaction, UndoResult]]:
    """Undo the selected transactions, newest first, each on its own. Call with the lock held, after recovery."""
    transactions = journal.load()
    chosen = choose(transactions, host.boot_id, selection)
    to_baseline = selection.profile is not None or selection.label is not None
    return [
        (t, undo(host, journal, t, now, force, _restored_since(transactions, t, selection) if to_baseline else None))
        for t in chosen
    ]


def _restored_since(
    transactions: list[Transaction], transaction: Transaction, selection: Selection
) -> dict[Key, set[Value]]:
    """Values that undoing later transactions of the same selection put back.

    On the way to the baseline they are ours: a drift that a later apply mended comes back for a moment.
    """
    values: dict[Key, set[Value]] = {}
    for later in transactions:
        same = later.profile == selection.profile if selection.profile is not None else later.label == selection.label
        if same and later.id > transaction.id and later.boot_id == transaction.boot_id:
            for entry in later.entries:
                known = {value for value in (entry.old, entry.read) if value is not None}
                values.setdefault(entry.target.key, set()).update(known)
    return values


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
    ids = {transaction.id for transaction in chosen}
    for transaction in chosen:
        later = [(entry, by) for entry, by in ledger.superseded(transaction) if by.id not in ids]
        if later:
            entry, by = later[0]
            raise PlanRefused(
                f"transaction {transaction.id} ({transaction.profile}) was superseded: {entry.target.resource} "
                f"{entry.target.knob} belongs to transaction {by.id} ({by.profile}) since",
                f"roll back transaction {by.id} first",
            )
