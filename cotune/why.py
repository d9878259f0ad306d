"""Why a value is what it is: who holds it, who wrote it last, and what else decides over its effect. Never writes."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import NamedTuple

from cotune.controls import CONTROLS
from cotune.controls.base import Value
from cotune.execute import ReadBack
from cotune.host.facts import Host
from cotune.inventory import Place, place_targets
from cotune.journal import COMMITTED, PARTIAL, ROLLED_BACK, Transaction
from cotune.ledger import Ledger, Owned
from cotune.masks import Mask, Switch, find_effective, find_mask, find_switches
from cotune.model import Entry, Target
from cotune.resolve.host import sysctl_path

#: Last writer of a value that no journal of this boot mentions.
NOBODY_KNOWN = "not cotune: no transaction since boot names it"


class Finding(NamedTuple):
    """All there is to say about one value.

    ``now`` is what its file reads (None: unreadable, with ``error`` the errno's name); ``owned`` who holds it;
    ``time`` and ``version`` of the owning transaction's profile; ``created`` the transaction that made the cgroup;
    ``writer`` the last writer known; ``mask`` an ancestor that decides instead; ``switches`` what has to be set for
    the value to count, and is not; ``effective`` what is in force where the kernel shows that beside the value.
    """

    target: Target
    now: Value | None
    error: str
    owned: Owned | None
    drifted: bool
    version: str
    time: str
    created: str
    writer: str
    mask: Mask | None
    switches: list[Switch]
    effective: str


def find_why(
    host: Host, transactions: list[Transaction], place: Place, wanted: Iterable[Target] | None = None
) -> list[Finding]:
    """Findings for every value cotune holds in a place, or for the targets ``wanted``."""
    ledger = Ledger(transactions, host.boot_id)
    reader = ReadBack(host)
    if wanted is None:
        held = [owned.entry.target for owned in ledger.held().values()]
        targets = [target for target in held if belongs(target, place)]
    else:
        targets = list(wanted)
    targets.sort(key=_rank)
    return [_finding(host, transactions, ledger, reader, target) for target in targets]


_RANKS = {control: rank for rank, control in enumerate(CONTROLS)}


def _rank(target: Target) -> tuple[int, str, str, int]:
    """Where a value stands in a list: by control, file, device, and part where several share a line."""
    parts = list(CONTROLS[target.control].parts)
    device, _, key = (target.row or "").partition(" ")
    return (
        _RANKS[target.control],
        target.path,
        device if key else "",
        parts.index(target.part) if target.part in parts else 0,
    )


def belongs(target: Target, place: Place) -> bool:
    """Whether a value is part of a place."""
    if place.kind == "sysctl" and place.name:
        return target.path == sysctl_path(place.name)
    return target.resource == place.resource


def all_targets(host: Host, transactions: list[Transaction], place: Place) -> list[Target]:
    """Every value a knob can set in a place, and those held there though their file is gone."""
    found = {target.key: target for target in place_targets(host, place)}
    for owned in Ledger(transactions, host.boot_id).held().values():
        if belongs(owned.entry.target, place):
            found[owned.entry.target.key] = owned.entry.target
    return list(found.values())


def _finding(host: Host, transactions: list[Transaction], ledger: Ledger, reader: ReadBack, target: Target) -> Finding:
    owned = ledger.owner(target.key)
    now, error = None, ""
    try:
        now = reader.value(target)
    except OSError as failure:
        error = errno.errorcode.get(failure.errno or 0, "EIO")
    by = next((t for t in ledger.transactions if owned and t.id == owned.transaction), None)
    agrees = owned is not None and not error and _agrees(reader, owned)
    return Finding(
        target=target,
        now=now,
        error=error,
        owned=owned,
        drifted=owned is not None and owned.entry.new is not None and not agrees,
        version=by.version if by else "",
        time=by.time if by else "",
        created=ledger.created.get(target.unit, ""),
        writer=_writer(transactions, host.boot_id, target, now, owned, agrees, by),
        mask=None if error else find_mask(host, reader, target, now, ledger.known().get(target.key)),
        switches=[] if error else find_switches(host, reader, target),
        effective="" if error else find_effective(reader, target),
    )


def _agrees(reader: ReadBack, owned: Owned) -> bool:
    try:
        return owned.entry.new is None or reader.agrees(owned.entry.target, owned.entry.new)
    except OSError:
        return False


def _writer(
    transactions: list[Transaction],
    boot_id: str,
    target: Target,
    now: Value | None,
    owned: Owned | None,
    agrees: bool,
    by: Transaction | None,
) -> str:
    """Who wrote a value last, as far as journals and the value itself tell."""
    since = by.time if by else ""
    if owned is not None and agrees:
        return _own_writer(transactions, boot_id, owned)
    for transaction in reversed([t for t in transactions if t.boot_id == boot_id]):
        entry = next((e for e in transaction.live_entries() if e.target.key == target.key), None)
        if entry is None or (owned is not None and transaction.id <= owned.transaction):
            continue
        if transaction.state == ROLLED_BACK and now is not None and now in (entry.old, entry.read):
            return f"cotune, rolling back transaction {transaction.id} ({transaction.updated})"
        if transaction.state in (COMMITTED, PARTIAL) and now is not None and now == entry.new:
            return f"cotune, transaction {transaction.id}{_aside(entry)}"
        since = since or transaction.updated or transaction.time
    if not since:
        return NOBODY_KNOWN
    back = owned is not None and now is not None and now == owned.original
    return f"not cotune{': it reads its original again' if back else ''} (changed since {since})"


def _aside(entry: Entry) -> str:
    if entry.effect:
        return " (it changed with another value)"
    return " (its profile gave it up)" if entry.released else ""


def _own_writer(transactions: list[Transaction], boot_id: str, owned: Owned) -> str:
    """Which transaction wrote a value that reads as applied; it may have read so before any did."""
    for transaction in reversed([t for t in transactions if t.boot_id == boot_id and t.in_force]):
        for entry in transaction.live_entries():
            if entry.target.key == owned.entry.target.key and entry.ours:
                return f"cotune, transaction {transaction.id}{_aside(entry)}"
    return f"not cotune: it read this already when transaction {owned.transaction} took it"
