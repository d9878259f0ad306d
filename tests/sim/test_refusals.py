"""What happens when the kernel refuses, a third party writes, or the machine stops, at every single write."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from cotune.apply import apply
from cotune.errors import ApplyFailed, RollbackIncomplete
from cotune.host.facts import Host
from cotune.journal import COMMITTED, ROLLED_BACK, Journal
from cotune.ledger import Ledger
from cotune.planning import Options, make_plan
from cotune.profile.load import Profile
from cotune.recover import recover
from cotune.rollback import Selection, rollback
from cotune.sim.faults import Fault, FaultyKernel
from cotune.sim.kernel import SimKernel
from cotune.state import given_state
from tests.conftest import SUMMARY
from tests.sim.lab import changed, run, snapshot, write_profile

BODY = """
host:
  sysctl: {vm.dirty_bytes: 64MiB, vm.swappiness: 20}
  memory: {use_priority_oom: true}
  block: [{match: {mountpoint: /data}, scheduler: mq-deadline, nr_requests: 64, read_ahead_kb: 512}]
  mounts: [{match: {mountpoint: /data}, options: {commit: 30, lazytime: true}}]
groups:
  online:
    match: {cgroup: kubepods/burstable}
    cpu: {identity: high, smt_expeller: true, shares: 8192, quota: 4.0, burst: 50%}
    memory: {limit: 8GiB, memsw: 9GiB, wmark_min_adj: -25, wmark_ratio: 95, priority: 12}
  offline:
    match: {cgroup: batch/jobs}
    create: true
    cpu: {identity: low, shares: 2, cpus: 0-3}
    memory: {limit: 4GiB, wmark_min_adj: 50}
    io: {throttle: [{device: {mountpoint: /data}, write_bps: 100MiB}]}
    pids: {max: 1000}
    tasks: {comm: java}
"""


class Lab:
    """A simulated ANCK host with state, and a profile to apply to it."""

    def __init__(self, folder: Path) -> None:
        self.kernel = SimKernel("anck-4.19")
        self.journal = Journal(given_state(folder / "state"))
        self.profile: Profile = write_profile(folder, "p", BODY)
        self.before = snapshot(self.kernel)

    def host(self) -> Host:
        """The host as a new process would see it."""
        return Host(self.kernel)

    def state(self) -> str:
        """State of the only transaction."""
        (transaction,) = self.journal.load()
        return transaction.state


def count_writes(folder: Path) -> tuple[int, dict[str, str]]:
    """Writes, directories made and remounts of an undisturbed apply, and the host after it."""
    lab = Lab(folder)
    kernel = FaultyKernel(lab.kernel, [])
    result = run(kernel, lab.journal, lab.profile)
    assert result.transaction is not None
    assert result.plan.unsupported == ()
    return sum(kernel.counts[name] for name in ("write", "mkdir", "remount")), snapshot(lab.kernel)


def test_the_profile_has_enough_to_break(tmp_path: Path) -> None:
    writes, after = count_writes(tmp_path)
    (tmp_path / "again").mkdir()
    lab = Lab(tmp_path / "again")
    assert writes >= 30
    assert len(changed(lab.before, after)) > 40


@pytest.mark.parametrize("operation", ["write", "mkdir", "remount"])
def test_a_refusal_anywhere_undoes_everything(tmp_path: Path, operation: str) -> None:
    nth = 0
    while True:
        nth += 1
        folder = tmp_path / f"{nth}"
        folder.mkdir()
        lab = Lab(folder)
        kernel = FaultyKernel(lab.kernel, [Fault(nth, on=operation, number=errno.EBUSY)])
        try:
            run(kernel, lab.journal, lab.profile)
        except ApplyFailed as failure:
            assert changed(lab.before, snapshot(lab.kernel)) == {}, f"{operation} {nth}"
            assert lab.state() == ROLLED_BACK
            assert "EBUSY" in failure.message
            continue
        break
    assert nth > {"write": 20, "mkdir": 5, "remount": 1}[operation]


def test_a_kernel_that_refuses_to_be_put_back_is_named(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    path = "*/kubepods/burstable/memory.limit_in_bytes"
    kernel = FaultyKernel(
        lab.kernel,
        [
            Fault(1, pattern="*/batch/jobs/cgroup.procs", number=errno.EIO),
            Fault(2, pattern=path, number=errno.EBUSY, lasting=True),
        ],
    )
    with pytest.raises(RollbackIncomplete) as caught:
        run(kernel, lab.journal, lab.profile)
    assert any("memory.limit" in text and "EBUSY" in text for text in caught.value.left)
    # what could not be put back can be once the kernel gives way
    (done,) = recover(lab.host(), lab.journal, lambda: "now")
    assert done.left == []
    assert changed(lab.before, snapshot(lab.kernel)) == {}


class Stopped(BaseException):
    """The machine stopped: nothing runs any more."""


class DyingKernel(FaultyKernel):
    """Stops for good right after the n-th change it carried out."""

    def __init__(self, inner: SimKernel, last: int) -> None:
        super().__init__(inner, [])
        self.last = last

    def _count(self) -> None:
        self.last -= 1
        if self.last < 0:
            raise Stopped

    def write(self, path: str, text: str) -> None:
        self._count()
        super().write(path, text)

    def mkdir(self, path: str) -> None:
        self._count()
        super().mkdir(path)

    def rmdir(self, path: str) -> None:
        self._count()
        super().rmdir(path)

    def remount(self, point: str, options: Sequence[str]) -> None:
        self._count()
        super().remount(point, options)


class BlindKernel(DyingKernel):
    """Stops at the first reading after everything is written: the verification never finishes."""

    def read(self, path: str) -> str:
        if self.last <= 0:
            raise Stopped
        return super().read(path)


def test_a_stop_after_any_change_ends_all_old_or_all_new(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Between the last write and the commit record everything reads new already: then recover commits."""
    (tmp_path / "count").mkdir()
    total, after = count_writes(tmp_path / "count")
    ends = {"old": 0, "new": 0}
    for last in range(total + 1):
        folder = tmp_path / f"{last}"
        folder.mkdir()
        lab = Lab(folder)
        stopped = False
        try:
            kernel = DyingKernel(lab.kernel, last) if last < total else BlindKernel(lab.kernel, total)
            run(kernel, lab.journal, lab.profile)
        except Stopped:
            stopped = True
        assert stopped
        recover(lab.host(), lab.journal, lambda: "now")
        now = snapshot(lab.kernel)
        if changed(lab.before, now) == {}:
            ends["old"] += 1
            assert lab.state() == ROLLED_BACK
        else:
            assert changed(after, now) == {}, f"stopped after {last} changes"
            ends["new"] += 1
            assert lab.state() == COMMITTED
    assert ends["old"] >= total
    assert ends["new"] >= 1
    text = f"simulated kernel stopped after each of {total} changes: {ends['old']} all old, {ends['new']} all new"
    record_property(SUMMARY, text)


def test_a_stop_while_undoing_is_undone_later(tmp_path: Path) -> None:
    (tmp_path / "count").mkdir()
    lab = Lab(tmp_path / "count")
    run(lab.kernel, lab.journal, lab.profile)
    counter = FaultyKernel(lab.kernel, [])
    rollback(Host(counter), lab.journal, Selection(), lambda: "now")
    total = sum(counter.counts[name] for name in ("write", "rmdir", "remount"))
    assert total > 20
    for last in range(total):
        folder = tmp_path / f"{last}"
        folder.mkdir()
        lab = Lab(folder)
        run(lab.kernel, lab.journal, lab.profile)
        with pytest.raises(Stopped):
            rollback(Host(DyingKernel(lab.kernel, last)), lab.journal, Selection(), lambda: "now")
        (done,) = recover(lab.host(), lab.journal, lambda: "now")
        assert done.left == [], f"stopped after {last} changes"
        assert changed(lab.before, snapshot(lab.kernel)) == {}, f"stopped after {last} changes"


def test_a_third_partys_value_is_left_alone_and_named(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    run(lab.kernel, lab.journal, lab.profile)
    path = "/sys/fs/cgroup/cpu,cpuacct/kubepods/burstable/cpu.shares"
    lab.kernel.write(path, "777")
    _, result = rollback(lab.host(), lab.journal, Selection(), lambda: "now")
    assert len(result.left) == 1
    assert "cpu.shares" in result.left[0]
    assert "777" in result.left[0]
    assert set(changed(lab.before, snapshot(lab.kernel))) == {path}
    lab.kernel.write(path, lab.before[path])
    _, again = rollback(lab.host(), lab.journal, Selection(), lambda: "now")
    assert again.left == []
    assert changed(lab.before, snapshot(lab.kernel)) == {}


def test_a_vanished_group_fails_nothing(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    kernel = FaultyKernel(lab.kernel, [Fault(1, pattern="*/kubepods/burstable/*", vanish="kubepods/burstable/pod-b")])
    result = run(kernel, lab.journal, lab.profile)
    assert result.transaction is not None
    ledger = Ledger(lab.journal.load(), lab.host().boot_id)
    assert make_plan(lab.profile, lab.host(), ledger, Options()).changes == ()


def test_the_journal_is_on_disk_before_the_first_change(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    seen: list[int] = []

    class Watching(FaultyKernel):
        def write(self, path: str, text: str) -> None:
            seen.append(len(lab.journal.load()))
            super().write(path, text)

    apply(lab.profile, Host(Watching(lab.kernel, [])), lab.journal, Options(), lambda: "now", lambda d, t: None)
    assert seen
    assert set(seen) == {1}


def test_rolling_a_profile_back_goes_behind_a_drift_that_was_mended(tmp_path: Path) -> None:
    """Undoing the mending transaction puts the drift back for a moment; the baseline lies behind it."""
    lab = Lab(tmp_path)
    run(lab.kernel, lab.journal, lab.profile)
    lab.kernel.write("/proc/sys/vm/swappiness", "77")
    assert run(lab.kernel, lab.journal, lab.profile).transaction is not None
    chosen, result = rollback(lab.host(), lab.journal, Selection(profile="p"), lambda: "now")
    assert (len(chosen), result.left) == (2, [])
    assert changed(lab.before, snapshot(lab.kernel)) == {}


def test_only_what_was_done_is_reported_as_done(tmp_path: Path) -> None:
    """A file that turns out not to work, and a group that vanishes: neither is among the changes."""
    lab = Lab(tmp_path)
    batch = "/sys/fs/cgroup/memory/kubepods/burstable"
    faults = [
        Fault(1, pattern="*/memory.wmark_ratio", number=errno.EOPNOTSUPP, lasting=True),
        Fault(1, pattern="*/vm/swappiness", number=errno.EOPNOTSUPP, lasting=True),
    ]
    result = run(FaultyKernel(lab.kernel, faults), lab.journal, lab.profile)
    done = {(change.target.resource, change.target.knob) for change in result.plan.changes}
    refused = {(item.resource, item.knob): item.reason for item in result.plan.unsupported}
    assert set(refused) == {("cgroup:kubepods/burstable", "memory.wmark_ratio"), ("sysctl", "vm.swappiness")}
    assert all("ENOTSUP" in reason for reason in refused.values())
    assert done & set(refused) == set() and ("cgroup:kubepods/burstable", "memory.wmark_min_adj") in done
    lab.kernel.vanish(batch)
    lab.kernel.mkdir(batch)
    vanishing = FaultyKernel(lab.kernel, [Fault(1, pattern=f"{batch}/*", vanish=batch)])
    again = run(vanishing, lab.journal, lab.profile)
    assert [change for change in again.plan.changes if change.target.unit == batch] == []
    assert any("vanished" in note for note in again.notes)
