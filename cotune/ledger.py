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


class Obstacle(NamedTuple):
    """Why ``transaction`` cannot be undone while ``later`` is in force."""

    why: str
    transaction: Transaction
    later: Transaction


class Ledger:
    """Owners by key. Kernel state does not outlive a boot, so only transactions of this boot count.

    A value that changed as a side effect belongs to whoever caused that, until he gives it up with its cause.
    """

    def __init__(self, transactions: Iterable[Transaction], boot_id: str) -> None:
        self.transactions = [t for t in transactions if t.boot_id == boot_id and t.in_force]
        self._stacks: dict[Key, list[Owned]] = {}
        self._originals: dict[tuple[str, Key], Value | None] = {}
        self._touched: dict[Key, list[Transaction]] = {}
        self._known: dict[Key, Value] = {}
        #: directory of a group cotune made → the transaction that did
        self.created: dict[str, str] = {}
        for transaction in self.transactions:
            self.created.update(dict.fromkeys(transaction.created, transaction.id))
            self._known.update({(path, None): value for path, value in transaction.witnessed})
            for entry in transaction.live_entries():
                self._touched.setdefault(entry.target.key, []).append(transaction)
                if entry.new is not None:
                    self._known[entry.target.key] = entry.new
                self._record(transaction, entry)

    def _record(self, transaction: Transaction, entry: Entry) -> None:
        key = entry.target.key
        stack = self._stacks.setdefault(key, [])
        stack[:] = [owned for owned in stack if owned.profile != transaction.profile]
        original = self._originals.setdefault((transaction.profile, key), entry.old)
        if not entry.released:
            stack.append(Owned(transaction.profile, transaction.id, entry, original))
        elif entry.new == original:
            del self._originals[transaction.profile, key]  # back at the start: the next touch begins anew

    def owner(self, key: Key) -> Owned | None:
        """Who holds a value now, or None."""
        stack = self._stacks.get(key)
        return stack[-1] if stack else None

    def held(self) -> dict[Key, Owned]:
        """Every value that is held, by key."""
        return {key: stack[-1] for key, stack in self._stacks.items() if stack}

    def held_by(self, profile: str) -> dict[Key, Owned]:
        """The values one profile holds, side effects included."""
        return {key: owned for key, owned in self.held().items() if owned.profile == profile}

    def known(self) -> dict[Key, Value]:
        """The last value cotune wrote or saw before it was hidden, by key."""
        return self._known

    def obstacles(self, chosen: Iterable[Transaction]) -> list[Obstacle]:
        """What stands in the way of undoing the chosen transactions: later ones, not chosen, that rest on them."""
        selection = list(chosen)
        ids = {transaction.id for transaction in selection}
        found = []
        for transaction in selection:
            for entry in transaction.live_entries():
                what = f"{entry.target.resource} {entry.target.knob}"
                later = (
                    t
                    for t in self._touched.get(entry.target.key, [])
                    if int(t.id) > int(transaction.id) and t.id not in ids
                )
                found += [Obstacle(f"{what} belongs to", transaction, one) for one in later]
            made = [path for path in transaction.created if path not in transaction.not_made]
            for one in self.transactions:
                if int(one.id) > int(transaction.id) and one.id not in ids and (path := _rests_on(one, made)):
                    found.append(Obstacle(f"the cgroup {path} is used by", transaction, one))
        return found


def _rests_on(transaction: Transaction, made: list[str]) -> str:
    """The first of the made cgroups that a transaction uses, or has groups below; empty when it uses none."""
    used = {*transaction.created, *(entry.target.unit for entry in transaction.live_entries())}
    used.update(move.path for move in transaction.moves)
    above: set[str] = set()
    for path in used:
        while path and path not in above:
            above.add(path)
            path = path.rpartition("/")[0]
    return next((path for path in made if path in above), "")
