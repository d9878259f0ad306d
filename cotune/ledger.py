"""The ledger: who owns which value, and what it was before, drawn from the transactions in force."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from cotune.controls.base import Value
from cotune.journal import Transaction
from cotune.model import Entry, Key


class Owned(NamedTuple):
    """A value some profile holds. ``original`` is what it was before that profile first touched it."""

    profile: str
    transaction: str
    entry: Entry
    original: Value | None


class Ledger:
    """Owners by key. Kernel state does not outlive a boot, so only transactions of this boot count."""

    def __init__(self, transactions: Iterable[Transaction], boot_id: str) -> None:
        self.transactions = [t for t in transactions if t.boot_id == boot_id and t.in_force]
        self._stacks: dict[Key, list[Owned]] = {}
        self._last: dict[Key, Transaction] = {}
        self.created: dict[str, str] = {}
        self._known: dict[Key, Value] = {}
        for transaction in self.transactions:
            for path in transaction.created:
                self.created[path] = transaction.id
            self._known.update({(path, None): value for path, value in transaction.witnessed})
            for entry in transaction.live_entries():
                self._last[entry.target.key] = transaction
                if entry.new is not None:
                    self._known[entry.target.key] = entry.new
                if not entry.effect:
                    self._record(transaction, entry)

    def _record(self, transaction: Transaction, entry: Entry) -> None:
        stack = self._stacks.setdefault(entry.target.key, [])
        mine = next((owned for owned in stack if owned.profile == transaction.profile), None)
        if mine:
            stack.remove(mine)
        if not entry.released:
            original = mine.original if mine else entry.old
            stack.append(Owned(transaction.profile, transaction.id, entry, original))

    def owner(self, key: Key) -> Owned | None:
        """Who holds a value now, or None."""
        stack = self._stacks.get(key)
        return stack[-1] if stack else None

    def held(self) -> dict[Key, Owned]:
        """Every value that is held, by key."""
        return {key: stack[-1] for key, stack in self._stacks.items() if stack}

    def held_by(self, profile: str) -> dict[Key, Owned]:
        """The values one profile holds."""
        return {key: owned for key, owned in self.held().items() if owned.profile == profile}

    def known(self) -> dict[Key, Value]:
        """The last value cotune wrote or saw before it was hidden, by key."""
        return self._known

    def superseded(self, transaction: Transaction) -> list[tuple[Entry, Transaction]]:
        """Values of a transaction that a later one in force has set since, with that later transaction."""
        found = []
        for entry in transaction.live_entries():
            last = self._last.get(entry.target.key)
            if last is not None and last.id > transaction.id:
                found.append((entry, last))
        return found
