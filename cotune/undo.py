"""Undo: put the originals of a transaction back, as a plan of its own from what is there now.

Used by rollback, by recover after a crash, and by an apply the kernel refused. Never a reverse replay: leaving
cpu.idle resets the shares, a limit may not shrink, and somebody else may have changed a value meanwhile. A value that
is neither the original nor one of ours is left alone and named.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from cotune.controls import CONTROLS
from cotune.controls.base import Value
from cotune.errors import Origin
from cotune.execute import VANISHED, ReadBack, StepFailed, mismatches, move_task, perform, remove_group, task_is_in
from cotune.host.facts import Host
from cotune.host.resctrl import POINT, in_resctrl
from cotune.host.tasks import processes_in, read_process
from cotune.journal import PARTIAL, ROLLED_BACK, ROLLING_BACK, Journal, Transaction, encode_keys
from cotune.model import Entry, Key, Move, Setting, Step, Target
from cotune.observe import observe
from cotune.plan import GATES, Explain, Outcome, order_undo, plan_instances
from cotune.units import count

_Place = tuple[str, str, str | None]
#: what a switch answers that this kernel does not let be reset
_NO_WAY_BACK = (errno.EPERM, errno.EACCES, errno.EINVAL)
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
    transactions: list[Transaction],
    now: Callable[[], str],
    force: bool = False,
    trusted: dict[Key, set[Value]] | None = None,
) -> UndoResult:
    """Undo transactions, given newest first, as one plan, and record the outcome in each of them.

    ``force`` also overwrites values a third party set; ``trusted`` are further values, by key, that count as ours.
    A journal that cannot be written any more stops nothing: everything needed to undo was on disk before.
    """
    return _Undo(host, journal, transactions, now, force, trusted or {}).run()


def foresee(host: Host, journal: Journal, transactions: list[Transaction], force: bool = False) -> UndoResult:
    """What :func:`undo` would do, as far as it can be known before; writes nothing.

    Processes that were moved are taken to go back where they came from.
    """
    return _Undo(host, journal, transactions, str, force, {}).foresee()


class _Undo:
    def __init__(
        self,
        host: Host,
        journal: Journal,
        transactions: list[Transaction],
        now: Callable[[], str],
        force: bool,
        trusted: dict[Key, set[Value]],
    ) -> None:
        self.host, self.journal, self.transactions, self.now, self.force = host, journal, transactions, now, force
        oldest_first = transactions[::-1]
        self.created = [path for t in oldest_first for path in t.created if path not in t.not_made]
        self.moves = [move for t in oldest_first for move in t.moves]
        self.entries, self.passed = _combine(oldest_first, trusted)
        self.result = UndoResult([], [], [], [])
        self.kept: set[Key] = set()
        self.widened: list[list[Any]] = []
        self.patience = _PATIENCE

    def foresee(self) -> UndoResult:
        entries, outcome = self._plan()
        for directory in reversed(self.created):
            if not _is_there(self.host, directory):
                continue
            own = {pid for move in self.moves for pid in (move.pid, *self._descendants(move))}
            strangers = [] if in_resctrl(directory) else set(processes_in(self.host.kernel, directory)) - own
            if strangers:
                self.result.left.append(f"cgroup {directory} kept: {self._why_kept(directory)}")
            else:
                self.result.removed.append(directory)
        back = {e.target.key for e in outcome.entries if e.ours} - self.kept
        self.result.restored.extend(e for e in _originals(entries) if e.target.key in back)
        return self.result

    def _plan(self) -> tuple[list[Entry], Outcome]:
        """The values to put back and the way there; what cannot be put back is noted in the result."""
        settings, entries = self._settings()
        instances = observe(self.host, settings, known=self._known())
        outcome = plan_instances(instances, self.host.context, Explain())
        for item in (*outcome.unsupported, *outcome.pending):
            self.result.left.append(f"{item.resource} {item.knob}: {item.reason}")
            self.kept.update(
                e.target.key for e in entries if (e.target.resource, e.target.knob) == (item.resource, item.knob)
            )
        return entries, outcome

    def run(self) -> UndoResult:
        entries, outcome = self._plan()
        for entry in outcome.entries:
            self.passed.setdefault(entry.target.key, set()).update(entry.ours)
        values = [[path, row, list(passed)] for (path, row), passed in self.passed.items()]
        for transaction in self.transactions:
            self._record(transaction, ROLLING_BACK, undo=values, not_made=transaction.not_made)
        self._move_back()
        self._remove_groups()
        failed: set[Key] = set()
        blocked: set[str] = set()
        for step in order_undo(outcome):
            if step.target.path in blocked and step.value != GATES[step.target.path]:
                self.kept.add(step.target.key)
                self.result.left.append(
                    f"{step.target.knob} stays as it is: a value that needs it could not be put back"
                )
                continue
            try:
                self._patiently(step)
            except StepFailed as failure:
                self._refused(failure, failed)
                part = CONTROLS[step.target.control].parts.get(step.target.part) if step.target.control else None
                if part and part.gate and step.target.key in self.kept:
                    blocked.add(part.gate.path)
        self._verify(entries, {e.target.key for e in outcome.entries if e.ours}, failed)
        self._finish()
        return self.result

    def _record(self, transaction: Transaction, state: str, **details: Any) -> None:
        try:
            self.journal.append(transaction, state, self.now(), **details)
        except OSError as error:
            note = f"the journal cannot be written ({error.strerror}): cotune recover will look at it again"
            if note not in self.result.notes:
                self.result.notes.append(note)

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
        return {e.target.key: e.new for e in self.entries if e.new is not None}

    def _settings(self) -> tuple[list[Setting], list[Entry]]:
        """The originals to put back, leaving out what somebody else changed and what dies with its group."""
        reader = ReadBack(self.host)
        # also what somebody else made first: nothing of it is ours
        created = {path for transaction in self.transactions for path in transaction.created}
        left_alone: set[_Place] = set()
        candidates: list[tuple[_Place, Entry]] = []
        for entry in self.entries:
            target = entry.target
            if target.unit in created:
                continue
            place = CONTROLS[target.control].place(target.unit, target.row)
            try:
                now = reader.value(target)
            except OSError as error:
                if target.part in CONTROLS[target.control].transient:
                    candidates.append((place, entry))  # its file comes back with what it depends on
                    continue
                if error.errno in VANISHED and not (self._is_there(target) and self._is_enabled(target)):
                    continue  # its cgroup or mount is gone, and the value with it
                self._leave(entry, f"cannot be read ({error.strerror}), so it was not put back")
                continue
            if not self.force and self._is_foreign(reader, entry, now):
                left_alone.add(place)
                original = f"neither the original {_shown(entry.old)} nor what cotune wrote"
                self._leave(entry, f"reads {now}, which is {original}: left alone")
                continue
            candidates.append((place, entry))
        # parts of one control stay together: those beside a foreign one are still to be put back
        self.kept.update(entry.target.key for place, entry in candidates if place in left_alone)
        entries = [entry for place, entry in candidates if place not in left_alone]
        return [s for entry in entries if (s := self._original(entry))], entries

    def _is_there(self, target: Target) -> bool:
        """Whether what a value belongs to still exists; a mount point outlives its mount."""
        scope = CONTROLS[target.control].scope
        return scope != "mount" and self.host.kernel.exists(target.path if scope == "resctrl" else target.unit)

    def _is_enabled(self, target: Target) -> bool:
        """Whether a version 2 group has the controller of a value: without it there is no such value to put back."""
        control = CONTROLS[target.control]
        hierarchy = self.host.layout.controllers.get(control.controller) if control.scope == "cgroup" else None
        if hierarchy is None or hierarchy.version == 1 or target.unit == hierarchy.point:
            return True
        return control.controller in self.host.text(f"{target.unit}/cgroup.controllers").split()

    def _leave(self, entry: Entry, why: str) -> None:
        self.kept.add(entry.target.key)
        self.result.left.append(f"{entry.target.resource} {entry.target.knob}: {why}")

    def _is_foreign(self, reader: ReadBack, entry: Entry, now: Value | None) -> bool:
        passed = self.passed[entry.target.key]
        if None in passed:
            return False  # the kernel chose the value: any may be its
        ours = {entry.old, entry.new, entry.read, *passed}
        return now not in ours and not any(value is not None and reader.agrees(entry.target, value) for value in ours)

    def _original(self, entry: Entry) -> Setting | None:
        value = entry.old
        if value is None:
            value = _substitute(entry)
            what = "what it read before" if entry.read is not None else "the default"
            self.result.notes.append(
                f"{entry.target.resource} {entry.target.knob}: original: unknown"
                + (f"; set to {what}, {value}" if value is not None else "")
            )
        return None if value is None else Setting(entry.target, value, Origin(entry.origin))

    def _move_back(self) -> None:
        for move in reversed(self.moves):
            # children that a moved process has had since belong to it
            family = [move.pid] if task_is_in(self.host, move, move.path) else []
            for pid in [*family, *self._descendants(move)]:
                try:
                    move_task(self.host, pid, move.origin_path, move.file)
                except OSError as error:
                    if error.errno == errno.ESRCH:
                        continue
                    self.result.left.append(
                        f"process {pid} ({move.comm}) stays in {move.path}: {move.origin_path} does not take it "
                        f"({error.strerror})"
                    )

    def _descendants(self, move: Move) -> list[int]:
        """Processes in a group this transaction made that descend from a moved one, itself left out."""
        if move.path not in self.created:
            return []
        found = []
        for pid in processes_in(self.host.kernel, move.path):
            ancestor = read_process(self.host.kernel, pid)
            while ancestor is not None and ancestor.parent > 1:
                ancestor = read_process(self.host.kernel, ancestor.parent)
                if ancestor is not None and (ancestor.pid, ancestor.start) == (move.pid, move.start):
                    found.append(pid)
                    break
        return found

    def _remove_groups(self) -> None:
        for directory in reversed(self.created):
            existed = _is_there(self.host, directory)
            error = remove_group(self.host, directory)
            if error is not None:
                why = error.strerror if in_resctrl(directory) else self._why_kept(directory)
                kind = "resctrl" if in_resctrl(directory) else "cgroup"
                self.result.left.append(f"{kind} {directory} kept: {why}")
                # it lives on, and so do the values in it
                self.kept.update(entry.target.key for entry in self.entries if entry.target.unit == directory)
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
        if target.path in GATES and failure.error.errno in _NO_WAY_BACK:
            self.result.notes.append(f"{target.knob} stays as it is: this kernel does not let it be switched off again")
            return
        if failure.step.value is not None and self._reads(target, failure.step.value):
            return  # some files refuse a write and store it all the same
        self.kept.add(target.key)
        if target.control == "cpuset.v2" and failure.step.value == "" and failure.error.errno == errno.ENOSPC:
            self._widen(target)
            return
        self.result.left.append(f"{target.resource} {target.knob}: {failure.describe()}")

    def _reads(self, target: Target, value: Value) -> bool:
        try:
            return ReadBack(self.host).agrees(target, value)
        except OSError:
            return False

    def _widen(self, target: Target) -> None:
        """A version 2 cpuset that inherited cannot be emptied while it has tasks; its parent's set comes nearest."""
        file = target.path.rpartition("/")[2]
        wide = self.host.text(f"{target.unit.rpartition('/')[0]}/{file}.effective")
        try:
            self.host.kernel.write(target.path, wide)
        except OSError as error:
            wide = f"nothing ({error.strerror})"
        self.widened.append([target.path, target.row, [wide]])
        self.result.left.append(
            f"{target.resource} {target.knob}: was inherited, and the kernel does not empty it while the group has "
            f"tasks (ENOSPC); set to all its parent has, {wide}, instead"
        )

    def _verify(self, entries: list[Entry], written: set[Key], failed: set[Key]) -> None:
        """Read back every original, those that were not ``written`` too: they should have been right already."""
        back = _originals(entries)
        back = [e for e in back if e.target.key in written or e.target.part not in _without_file(e)]
        for entry, read in mismatches(self.host, back, failed | self.kept):
            self._leave(entry, f"reads {_shown(read)}, not {_shown(entry.new)}")
        done = written - self.kept - failed
        self.result.restored.extend(entry for entry in back if entry.target.key in done)

    def _finish(self) -> None:
        state = PARTIAL if self.result.left else ROLLED_BACK
        for transaction in self.transactions:
            self._record(
                transaction,
                state,
                left=self.result.left,
                notes=self.result.notes,
                kept=encode_keys(self.kept),
                undo=self.widened,
            )


def _is_there(host: Host, directory: str) -> bool:
    """Whether a group exists, or, for resctrl itself, whether it is mounted."""
    if directory == POINT:
        return any(mount.point == directory and mount.fstype == "resctrl" for mount in host.kernel.mounts())
    return host.kernel.exists(directory)


def _combine(
    oldest_first: list[Transaction], trusted: dict[Key, set[Value]]
) -> tuple[list[Entry], dict[Key, set[Value | None]]]:
    """One entry per value that was touched: the oldest original, the newest value; and every value that is ours."""
    combined: dict[Key, Entry] = {}
    held: dict[Key, Entry] = {}
    passed: dict[Key, set[Value | None]] = {}
    for transaction in oldest_first:
        for entry in transaction.live_entries():
            key = entry.target.key
            if key not in combined and _is_of_another_state(entry, transaction, combined):
                continue
            if not entry.ours and key not in combined:
                held.setdefault(key, entry)  # it read so already and was not written; a later one may have
                continue
            first = combined.get(key)
            if first is None:
                first = entry._replace(old=held[key].old, read=held[key].read) if key in held else entry
            combined[key] = first._replace(new=entry.new)
            ours = passed.setdefault(key, set(trusted.get(key, ())))
            ours.update(entry.ours)
            ours.update(transaction.undo_values.get(key, ()))
            ours.update(value for value in (entry.old, entry.read, entry.new) if value is not None)
    return list(combined.values()), passed


def _is_of_another_state(entry: Entry, transaction: Transaction, combined: dict[Key, Entry]) -> bool:
    """Whether a value belongs to a state that was there neither first nor will be again.

    The tunables of a scheduler that an earlier one of these transactions brought have no file after all are undone.
    """
    if entry.target.part not in CONTROLS[entry.target.control].transient:
        return False
    same_unit = [e for e in transaction.live_entries() if e.target.unit == entry.target.unit]
    before = next((e for e in same_unit if e.target.part == "scheduler"), None)
    first = combined.get(before.target.key) if before else None
    return first is not None and before is not None and first.old != before.old


def _without_file(entry: Entry) -> Collection[str]:
    """The parts of a value's control that may have no file now, or none at all."""
    control = CONTROLS[entry.target.control]
    return {*control.transient, *control.hidden}


def _originals(entries: list[Entry]) -> list[Entry]:
    """The entries, wanting what they were before."""
    return [e._replace(new=e.old if e.old is not None else _substitute(e)) for e in entries]


def _substitute(entry: Entry) -> Value | None:
    """What stands for an original that is not known: what was read, or what a value shown nowhere starts with."""
    return entry.read if entry.read is not None else CONTROLS[entry.target.control].hidden.get(entry.target.part)


def _shown(value: Value | None) -> str:
    return "unknown" if value is None else str(value)
