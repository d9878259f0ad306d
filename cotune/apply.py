"""Apply: journal, write, read back, commit; on any refusal everything that was written is undone."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import NamedTuple

from cotune.controls import CONTROLS
from cotune.controls.base import Value
from cotune.errors import ApplyFailed, CotuneError, NotPermitted, Origin, RollbackIncomplete
from cotune.execute import VANISHED, ReadBack, StepFailed, mismatches, perform, task_is_in
from cotune.host.facts import Host
from cotune.host.support import missing_file
from cotune.journal import COMMITTED, ROLLED_BACK, Journal, Transaction, encode_keys
from cotune.ledger import Ledger
from cotune.model import Key, Plan, Step, Target, UnsupportedKnob
from cotune.planning import Options, fails_when_unsupported, make_plan
from cotune.profile.load import Profile
from cotune.recover import recover_cut_off, recovery_notes
from cotune.undo import UndoResult, undo
from cotune.units import count

_NOT_THERE = (errno.ENOENT, errno.EOPNOTSUPP)
Progress = Callable[[int, int], None]


class Result(NamedTuple):
    """What an apply did: its plan as far as it was carried out. ``transaction`` is None when nothing came of it."""

    plan: Plan
    transaction: str | None
    notes: list[str]


def apply(
    profile: Profile, host: Host, journal: Journal, options: Options, now: Callable[[], str], progress: Progress
) -> Result:
    """Bring the host to what the profile wants. Call with the lock held.

    ``now`` gives the time to record; ``progress`` is told steps done and steps in all. Raises Unsupported,
    PlanRefused and NotPermitted before any write; ApplyFailed or RollbackIncomplete after a refusal by the kernel.
    """
    journal.clean()
    notes = recovery_notes(recover_cut_off(host, journal, now))
    transactions = journal.load()
    ledger = Ledger(transactions, host.boot_id)
    plan = make_plan(profile, host, ledger, options)
    if not plan.changes and not plan.takes_over:
        return Result(plan, None, notes)
    _check_permitted(host, plan)
    transaction = _begin(profile, host, journal, options, _mounts_first(plan), now)
    if any(create.fstype for create in plan.creates):
        plan = _mount(host, journal, transaction, plan, now, lambda: make_plan(profile, host, ledger, options))
    strict = options.strict or fails_when_unsupported(profile)
    run = _Run(host, journal, transaction, plan, now, progress, strict)
    run.carry_out()
    return Result(run.outcome(), transaction.id if run.holds_something() else None, notes + run.notes)


def _check_permitted(host: Host, plan: Plan) -> None:
    """Refuse before the first write what the caller's privileges do not allow."""
    if os.geteuid() == 0 or host.kernel.name.startswith("sim:"):
        return
    created = {create.path for create in plan.creates}
    for step in plan.steps:
        path = step.target.path
        if step.op == "mkdir":
            allowed = host.kernel.writable(path.rpartition("/")[0]) or path.rpartition("/")[0] in created
        elif step.op in ("write", "enable"):
            allowed = step.target.unit in created or host.kernel.writable(path)
        elif step.op == "move":
            allowed = path in created or bool(step.move and host.kernel.writable(f"{path}/{step.move.file}"))
        else:
            allowed = False
        if not allowed:
            raise NotPermitted(f"{path} may not be written by user {os.geteuid()}; nothing was changed", "run as root")


def _begin(
    profile: Profile, host: Host, journal: Journal, options: Options, plan: Plan, now: Callable[[], str]
) -> Transaction:
    transaction = Transaction(
        id=journal.next_id(),
        boot_id=host.boot_id,
        time=now(),
        profile=profile.name,
        version=profile.version,
        label=options.label,
        files=list(profile.files),
        entries=list(plan.entries),
        created=[create.path for create in plan.creates],
        moves=list(plan.moves),
        witnessed=list(plan.witnessed),
    )
    try:
        journal.begin(transaction)
    except OSError as error:
        raise ApplyFailed(
            f"the journal cannot be written: {error}; nothing was changed", "free some space, or pass --state-dir"
        ) from None
    return transaction


def _mounts_first(plan: Plan) -> Plan:
    """What can be done of a plan that mounts something: what is in it shows only then, and the rest is planned anew."""
    mounts = tuple(create for create in plan.creates if create.fstype)
    return plan._replace(entries=(), creates=mounts, moves=(), witnessed=()) if mounts else plan


def _mount(
    host: Host,
    journal: Journal,
    transaction: Transaction,
    plan: Plan,
    now: Callable[[], str],
    again: Callable[[], Plan],
) -> Plan:
    """Mount what a plan mounts, plan ``again``, and record all of it in the transaction before anything else is done.

    Raises what planning raises, and ApplyFailed, after unmounting.
    """
    mounts = _mounts_first(plan).creates
    try:
        for step in plan.steps:
            if step.op == "mount":
                perform(host, step)
        planned = again()
        paths = {create.path for create in mounts}
        shown = tuple(change for change in plan.changes if change.action == "create" and change.target.path in paths)
        planned = planned._replace(creates=(*mounts, *planned.creates), changes=(*shown, *planned.changes))
        transaction.created = [create.path for create in planned.creates]
        transaction.entries, transaction.moves = list(planned.entries), list(planned.moves)
        transaction.witnessed = list(planned.witnessed)
        journal.begin(transaction)
    except BaseException as error:
        if isinstance(error, StepFailed):
            transaction.not_made = transaction.created
        outcome = undo(host, journal, [transaction], now)
        if isinstance(error, StepFailed):
            raise _failure(error.describe(), outcome) from None
        if isinstance(error, OSError) or outcome.left:
            raise _failure(str(error), outcome) from error
        raise
    return planned


class _Run:
    """One transaction being carried out."""

    def __init__(
        self,
        host: Host,
        journal: Journal,
        transaction: Transaction,
        plan: Plan,
        now: Callable[[], str],
        progress: Progress,
        strict: bool,
    ) -> None:
        self.host, self.journal, self.transaction, self.plan = host, journal, transaction, plan
        self.now, self.progress, self.strict = now, progress, strict
        self.notes: list[str] = []
        self.refused: list[UnsupportedKnob] = []
        self.skipped: set[Key] = set()
        self.vanished: set[str] = set()
        self.done = 0
        #: groups that are there: what was mounted before this run, and what it makes
        self.made = {create.path for create in plan.creates if create.fstype}

    def _tick(self, files: int) -> None:
        """Progress in steps, and in the files that a long one has been through."""
        self.progress(self.done + files, len(self.plan.steps) + files)

    def carry_out(self) -> None:
        """All steps, the check, and the commit record."""
        try:
            for step in self.plan.steps:
                self._step(step)
                self.done += 1
                self._tick(0)
            self._verify()
            state = COMMITTED if self.holds_something() else ROLLED_BACK
            self.journal.append(
                self.transaction, state, self.now(), notes=self.notes, skipped=encode_keys(self.skipped)
            )
        except StepFailed as failure:
            self._abort(failure.describe(), failure)
        except _Mismatch as wrong:
            self._abort(str(wrong), None, wrong.read)
        except OSError as error:
            self._abort(f"the commit could not be recorded: {error}", None)
        except BaseException as stop:
            outcome = undo(self.host, self.journal, [self.transaction], self.now)
            if outcome.left:
                raise _failure(f"stopped ({type(stop).__name__})", outcome) from stop
            raise

    def outcome(self) -> Plan:
        """The plan with only those changes that were made, and what the kernel did not take among the unsupported."""
        changes = tuple(
            change
            for change in self.plan.changes
            if change.target.key not in self.skipped and change.target.unit not in self.vanished
        )
        return self.plan._replace(changes=changes, unsupported=(*self.plan.unsupported, *self.refused))

    def holds_something(self) -> bool:
        """Whether anything came of the plan: the kernel may have taken none of its values."""
        transaction = self.transaction
        live = any(entry.target.key not in self.skipped for entry in transaction.entries)
        return live or bool(transaction.created or transaction.moves)

    def _step(self, step: Step) -> None:
        if step.target.unit in self.vanished or step.target.key in self.skipped:
            return
        try:
            perform(self.host, step, self._tick)
            if step.op == "mkdir":
                self.made.add(step.target.path)
        except StepFailed as failure:
            if step.op == "mkdir":  # somebody else made it, or nobody did: not ours to remove
                self.transaction.not_made = [path for path in self.transaction.created if path not in self.made]
            if not self._tolerated(step, failure):
                raise

    def _tolerated(self, step: Step, failure: StepFailed) -> bool:
        """A group that vanished meanwhile, and a file that turns out not to work at all, fail nothing."""
        if step.op not in ("write", "enable", "move"):
            return False
        exists = self.host.kernel.exists(step.target.unit)
        if failure.error.errno in VANISHED and not exists and step.target.unit not in self.transaction.created:
            self.vanished.add(step.target.unit)
            self.notes.append(f"{step.target.resource} vanished meanwhile: left out")
            return True
        if failure.error.errno in _NOT_THERE and exists and step.op == "write" and not self.strict:
            entry = next((e for e in self.plan.entries if e.target.key == step.target.key), None)
            self._skip(step.target, failure.symbol, entry.origin if entry else "")
            return True
        return False

    def _skip_absent(self) -> None:
        """A value that needed no write in a new group may have no file there at all: it is not held then."""
        created = set(self.transaction.created)
        reader = ReadBack(self.host)
        for entry in self.plan.entries:
            if entry.target.unit not in created or entry.ours or entry.target.key in self.skipped:
                continue
            try:
                reader.value(entry.target)
            except OSError as error:
                self._skip(entry.target, errno.errorcode.get(error.errno or 0, ""), entry.origin)

    def _skip(self, target: Target, symbol: str, origin: str) -> None:
        self.skipped.add(target.key)
        support = missing_file(self.host, CONTROLS[target.control], target.path.rpartition("/")[2])
        reason = support.reason
        if symbol != "ENOENT":
            cause = CONTROLS[target.control].causes.get(symbol, "")
            reason = f"the kernel does not take it: {symbol} on {target.path}" + (f" ({cause})" if cause else "")
        self.refused.append(UnsupportedKnob(target.resource, target.knob, reason, support.remedy, Origin(origin)))

    def _verify(self) -> None:
        self._skip_absent()
        created = set(self.transaction.created)
        written = [e for e in self.plan.entries if e.ours or e.target.unit in created]
        wrong = mismatches(self.host, written, self.skipped)
        lines = [
            f"{entry.target.path}: {entry.new} was written and accepted, but it reads {read}" for entry, read in wrong
        ]
        for move in self.plan.moves:
            if move.path not in self.vanished and task_is_in(self.host, move, move.path) is False:
                lines.append(f"process {move.pid} ({move.comm}) did not stay in {move.path}")
        if lines:
            read = {entry.target.key: {value} for entry, value in wrong if value is not None}
            raise _Mismatch("; ".join(lines), read)

    def _abort(self, why: str, failure: StepFailed | None, read: dict[Key, set[Value]] | None = None) -> None:
        """Undo, and say what happened; ``read`` is what the kernel made of values. Always raises."""
        outcome = undo(self.host, self.journal, [self.transaction], self.now, trusted=read)
        error = _failure(why, outcome)
        forbidden = failure is not None and failure.error.errno in (errno.EPERM, errno.EACCES)
        if forbidden and not outcome.left and os.geteuid() != 0:
            error = NotPermitted(error.message, "run as root")
        raise error from None


class _Mismatch(Exception):
    """Values that do not read back as they were written; ``read`` is what they read, by key."""

    def __init__(self, message: str, read: dict[Key, set[Value]]) -> None:
        super().__init__(message)
        self.read = read


def _failure(why: str, outcome: UndoResult) -> CotuneError:
    undone = f"{count(len(outcome.restored), 'value')} restored, {count(len(outcome.removed), 'group')} removed"
    if outcome.left:
        return RollbackIncomplete(
            f"{why}. Rolling back left something behind ({undone}):\n" + "\n".join(outcome.left),
            "see cotune history; cotune recover tries again",
            tuple(outcome.left),
        )
    return ApplyFailed(f"{why}. Everything written before it was undone ({undone})", "mend the cause and apply again")
