"""Undo: put the originals of a transaction back, as a plan of its own from what is there now.

Used by rollback, by recover after a crash, and by an apply the kernel refused. Never a reverse replay: leaving
cpu.idle resets the shares, a limit may not shrink, and somebody else may have changed a value meanwhile. A value that
is neither the original nor one of ours is left alone and named.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import NamedTuple

from cotune.controls.base import Value
from cotune.errors import Origin
from cotune.execute import VANISHED, ReadBack, StepFailed, mismatches, move_task, perform, remove_group, task_is_in
from cotune.host.facts import Host
from cotune.host.tasks import read_process
from cotune.journal import PARTIAL, ROLLED_BACK, ROLLING_BACK, Journal, Transaction
from cotune.model import Entry, Key, Setting, Step
from cotune.observe import observe
from cotune.plan import GATES, Explain, order_undo, plan_instances
from cotune.units import count

_STILL_COUNTED = (errno.EINVAL, errno.EBUSY)
_PATIENCE = 1.0
_PAUSE = 0.02


class UndoResult(NamedTuple):
    """``restored`` entries were put back, ``removed`` groups removed; ``left`` says what was not, and why."""

    restored: list[Entry]
    removed: list[str]
    left: list[str]
    notes: list[str]


def undo(
    host: Host,
    journal: Journal,
    transaction: Transaction,
    now: Callable[[], str],
    force: bool = False,
    trusted: dict[Key, set[Value]] | None = None,
) -> UndoResult:
    """Undo one transaction and record the outcome.

    ``force`` also overwrites values a third party set; ``trusted`` are further values, by key, that count as ours.
    """
    return _Undo(host, journal, transaction, now, force, trusted or {}).run()


class _Undo:
    def __init__(
        self,
        host: Host,
        journal: Journal,
        transaction: Transaction,
        now: Callable[[], str],
        force: bool,
        trusted: dict[Key, set[Value]],
    ) -> None:
        self.host, self.journal, self.transaction, self.now = host, journal, transaction, now
        self.force, self.trusted = force, trusted
        self.result = UndoResult([], [], [], [])
        self.patience = _PATIENCE

    def run(self) -> UndoResult:
        settings, entries = self._settings()
        instances = observe(self.host, settings, known=self._known())
        outcome = plan_instances(instances, self.host.context, Explain())
        self.result.left.extend(f"{item.resource} {item.knob}: {item.reason}" for item in outcome.unsupported)
        values: dict[Key, list[Value | None]] = {}
        for entry in outcome.entries:
            values.setdefault(entry.target.key, []).extend(entry.ours)
        undo_values = [[path, row, list(dict.fromkeys(ours))] for (path, row), ours in values.items() if ours]
        self.journal.append(
            self.transaction, ROLLING_BACK, self.now(), undo=undo_values, not_made=self.transaction.not_made
        )
        self._move_back()
        self._remove_groups()
        failed: set[Key] = set()
        for step in order_undo(outcome):
            try:
                self._patiently(step)
            except StepFailed as failure:
                self._refused(failure, failed)
        self._verify(entries, {e.target.key for e in outcome.entries if e.ours}, failed)
        self._finish()
        return self.result

    def _patiently(self, step: Step) -> None:
        """Carry out a step. The kernel frees removed groups a little later; until then their quota still counts
        against a parent's (EINVAL, kernel/sched/core.c) and their CPUs against its cpuset (EBUSY)."""
        while True:
            try:
                return perform(self.host, step)
            except StepFailed as failure:
                if not self.result.removed or failure.error.errno not in _STILL_COUNTED or self.patience <= 0:
                    raise
            self.patience -= _PAUSE
            time.sleep(_PAUSE)

    def _known(self) -> dict[Key, Value]:
        return {e.target.key: e.new for e in self.transaction.live_entries() if e.new is not None}

    def _settings(self) -> tuple[list[Setting], list[Entry]]:
        """The originals to put back, leaving out what somebody else changed and what dies with its group."""
        reader = ReadBack(self.host)
        created = set(self.transaction.created)
        foreign: set[tuple[str, str, str | None]] = set()
        kept: list[tuple[tuple[str, str, str | None], Entry]] = []
        for entry in self.transaction.live_entries():
            if entry.target.unit in created:
                continue
            place = (entry.target.control, entry.target.unit, entry.target.row)
            try:
                now = reader.value(entry.target)
            except OSError:
                continue  # its cgroup or mount is gone, and the value with it
            if not self.force and self._is_foreign(reader, entry, now):
                foreign.add(place)
                self.result.left.append(
                    f"{entry.target.resource} {entry.target.knob}: reads {now}, which is neither the original "
                    f"{_shown(entry.old)} nor what cotune wrote: left alone"
                )
                continue
            kept.append((place, entry))
        entries = [entry for place, entry in kept if place not in foreign]
        return [s for entry in entries if (s := self._original(entry))], entries

    def _is_foreign(self, reader: ReadBack, entry: Entry, now: Value | None) -> bool:
        passed = [*entry.ours, *self.transaction.undo_values.get(entry.target.key, [])]
        if None in passed:
            return False  # the kernel chose the value: any may be its
        ours = {entry.old, entry.new, entry.read, *passed, *self.trusted.get(entry.target.key, ())}
        return now not in ours and not any(value is not None and reader.agrees(entry.target, value) for value in ours)

    def _original(self, entry: Entry) -> Setting | None:
        value = entry.old
        if value is None:
            self.result.notes.append(
                f"{entry.target.resource} {entry.target.knob}: original: unknown"
                + (f"; set to what it read before, {entry.read}" if entry.read is not None else "")
            )
            value = entry.read
        return None if value is None else Setting(entry.target, value, Origin(entry.origin))

    def _move_back(self) -> None:
        for move in reversed(self.transaction.moves):
            if not task_is_in(self.host, move, move.path):
                continue  # ended, or somebody else moved it on
            try:
                move_task(self.host, move.pid, move.origin_path)
            except OSError as error:
                if error.errno == errno.ESRCH:
                    continue
                self.result.left.append(
                    f"process {move.pid} ({move.comm}) stays in {move.path}: {move.origin_path} does not take it "
                    f"({error.strerror})"
                )

    def _remove_groups(self) -> None:
        for directory in reversed(self.transaction.created):
            if directory in self.transaction.not_made:
                continue
            existed = self.host.kernel.exists(directory)
            error = remove_group(self.host, directory)
            if error is not None:
                self.result.left.append(f"cgroup {directory} kept: {self._why_kept(directory)}")
            elif existed:
                self.result.removed.append(directory)

    def _why_kept(self, directory: str) -> str:
        try:
            pids = self.host.kernel.read(f"{directory}/cgroup.procs").split()
            children = self.host.kernel.subdirs(directory)
        except OSError as error:
            return str(error.strerror)
        names = [f"{pid} ({p.comm})" for pid in pids[:5] if (p := read_process(self.host.kernel, int(pid)))]
        parts = []
        if pids:
            parts.append(f"{count(len(pids), 'foreign task')} in it: {', '.join(names)}")
        if children:
            parts.append(f"child groups {', '.join(children[:5])}")
        return "; ".join(parts) or "the kernel says it is busy"

    def _refused(self, failure: StepFailed, failed: set[Key]) -> None:
        target = failure.step.target
        failed.add(target.key)
        if failure.error.errno in VANISHED and not self.host.kernel.exists(target.unit):
            return
        if target.part in GATES:
            self.result.notes.append(f"{target.knob} stays as it is: this kernel does not let it be switched off again")
            return
        self.result.left.append(f"{target.resource} {target.knob}: {failure.describe()}")

    def _verify(self, entries: list[Entry], written: set[Key], failed: set[Key]) -> None:
        back = [e._replace(new=e.old if e.old is not None else e.read) for e in entries if e.target.key in written]
        for entry, read in mismatches(self.host, back, failed):
            self.result.left.append(
                f"{entry.target.resource} {entry.target.knob}: reads {_shown(read)}, not {_shown(entry.new)}"
            )
        self.result.restored.extend(entry for entry in back if entry.target.key not in failed)

    def _finish(self) -> None:
        state = PARTIAL if self.result.left else ROLLED_BACK
        self.journal.append(self.transaction, state, self.now(), left=self.result.left, notes=self.result.notes)


def _shown(value: Value | None) -> str:
    return "unknown" if value is None else str(value)
