"""Drift: values of profiles in force that no longer read as they were written."""

from __future__ import annotations

from typing import NamedTuple

from cotune.controls.base import Value
from cotune.execute import VANISHED, ReadBack
from cotune.host.facts import Host
from cotune.ledger import Ledger, Owned


class Drift(NamedTuple):
    """One value that somebody changed. ``now`` is None when it cannot be read."""

    owned: Owned
    now: Value | None


class Status(NamedTuple):
    """``held`` values are in force, ``vanished`` ones went with their cgroup or mount."""

    held: int
    vanished: int
    drift: list[Drift]


def find_drift(host: Host, ledger: Ledger) -> Status:
    """Compare every held value with the host. Never writes."""
    reader = ReadBack(host)
    drift: list[Drift] = []
    held = vanished = 0
    for owned in ledger.held().values():
        target, new = owned.entry.target, owned.entry.new
        if new is None:
            continue
        try:
            if not reader.agrees(target, new):
                drift.append(Drift(owned, reader.value(target)))
            held += 1
        except OSError as error:
            if error.errno in VANISHED and not host.kernel.exists(target.unit):
                vanished += 1
            else:
                held += 1
                drift.append(Drift(owned, None))
    return Status(held, vanished, drift)
