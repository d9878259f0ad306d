"""Recover: finish or undo what a crash cut off."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from cotune.controls import CONTROLS
from cotune.execute import ReadBack, mismatches, task_is_in
from cotune.host.facts import Host
from cotune.host.resctrl import POINT
from cotune.journal import APPLYING, COMMITTED, PARTIAL, ROLLED_BACK, Journal, Transaction
from cotune.ledger import Ledger
from cotune.model import Entry
from cotune.undo import undo


class Recovered(NamedTuple):
    """One transaction that was cut off: how it ended and what could not be put back."""

    transaction: Transaction
    outcome: str
    left: list[str]
    restored: int


def recover(host: Host, journal: Journal, now: Callable[[], str], retry: bool = True) -> list[Recovered]:
    """Bring every cut-off transaction to an end: all old, or, when everything reads new already, committed.

    ``retry`` also tries again what an earlier rollback had to leave. Call with the lock held.
    """
    found = []
    for transaction in reversed(journal.load()):
        if transaction.cut_off or (retry and _may_retry(host, journal, transaction)):
            found.append(_recover_one(host, journal, transaction, now))
    return found


def _may_retry(host: Host, journal: Journal, transaction: Transaction) -> bool:
    """Whether what a rollback had to leave is still this transaction's to put back."""
    if transaction.state != PARTIAL or transaction.boot_id != host.boot_id:
        return False
    # read anew each time: a later transaction may just have been finished
    return not Ledger(journal.load(), host.boot_id).obstacles([transaction])


def recover_cut_off(host: Host, journal: Journal, now: Callable[[], str]) -> list[Recovered]:
    """What apply and rollback do first: only what a crash cut off, nothing that a rollback had to leave."""
    return recover(host, journal, now, retry=False)


def recovery_notes(recovered: list[Recovered]) -> list[str]:
    """What became of cut-off transactions, for the report of another verb."""
    return [
        text
        for one in recovered
        for text in (f"transaction {one.transaction.id}, cut off by a crash, is now {one.outcome}", *one.left)
    ]


def _recover_one(host: Host, journal: Journal, transaction: Transaction, now: Callable[[], str]) -> Recovered:
    if transaction.boot_id != host.boot_id:
        journal.append(transaction, ROLLED_BACK, now(), notes=["the machine was rebooted: kernel state started anew"])
        return Recovered(transaction, "ended by the reboot", [], 0)
    if transaction.state == APPLYING and _is_complete(host, transaction):
        journal.append(transaction, COMMITTED, now(), notes=["everything read its new value: committed by recover"])
        return Recovered(transaction, "committed", [], 0)
    outcome = undo(host, journal, [transaction], now)
    word = "rolled back, except for what is listed" if outcome.left else "rolled back"
    return Recovered(transaction, word, outcome.left, len(outcome.restored))


def _is_complete(host: Host, transaction: Transaction) -> bool:
    """Whether the host reads as if the transaction had been committed."""
    if transaction.created == [POINT]:
        return False  # cut off between mounting resctrl and planning what is in it
    if not all(host.kernel.exists(path) for path in transaction.created):
        return False
    if any(task_is_in(host, move, move.path) is False for move in transaction.moves):
        return False
    reader = ReadBack(host)
    entries = list(transaction.live_entries())
    return not mismatches(host, entries, set()) and not any(entry.ours and _is_open(reader, entry) for entry in entries)


def _is_open(reader: ReadBack, entry: Entry) -> bool:
    """Whether reading cannot tell the new value from the old one: it is shown nowhere, or an ancestor's hides it."""
    if entry.target.part in CONTROLS[entry.target.control].hidden:
        return True
    try:
        return entry.old not in (None, entry.new) and reader.agrees(entry.target, entry.old)
    except OSError:
        return False
