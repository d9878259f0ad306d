"""Ownership over several transactions: upgrades, releases, takeovers and rollbacks of coupled values."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from cotune.drift import find_drift
from cotune.errors import ApplyFailed, PlanRefused
from cotune.host.facts import Host
from cotune.journal import COMMITTED, Journal, Transaction
from cotune.ledger import Ledger
from cotune.model import Plan
from cotune.planning import Options, make_plan
from cotune.recover import recover
from cotune.rollback import Selection, rollback
from cotune.sim.faults import Fault, FaultyKernel
from cotune.sim.kernel import SimKernel
from cotune.state import given_state
from cotune.undo import UndoResult
from tests.sim.lab import changed, run, snapshot, write_profile


class Lab:
    """A simulated host with one group ``g`` in every hierarchy used, and profiles applied to it by name."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.kernel = folder, SimKernel(name)
        self.cpu = self.kernel.realpath("/sys/fs/cgroup/cpu")
        for hierarchy in ("cpu", "memory"):
            self.kernel.mkdir(f"/sys/fs/cgroup/{hierarchy}/g")
        self.journal = Journal(given_state(folder / "state"))
        self.before = snapshot(self.kernel)

    def host(self) -> Host:
        return Host(self.kernel)

    def apply(self, name: str, body: str, options: Options | None = None) -> Plan:
        """Apply a version of the profile ``name``, and check that doing it again finds nothing to do."""
        profile = write_profile(self.folder, name, body)
        plan = run(self.kernel, self.journal, profile, options).plan
        ledger = Ledger(self.journal.load(), self.host().boot_id)
        assert make_plan(profile, self.host(), ledger, options or Options()).changes == ()
        assert find_drift(self.host(), ledger).drift == []
        return plan

    def rollback(self, selection: Selection | None = None) -> tuple[list[Transaction], UndoResult]:
        return rollback(self.host(), self.journal, selection or Selection(), lambda: "now")

    def read(self, path: str) -> str:
        return self.kernel.read(path).strip()

    def untouched(self) -> bool:
        return changed(self.before, snapshot(self.kernel)) == {}


Make = Callable[[str], Lab]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return lambda kernel: Lab(tmp_path, kernel)


KEEP = "host: {sysctl: {vm.vfs_cache_pressure: 50}}\n"


@pytest.mark.parametrize(
    "body",
    [
        "host: {sysctl: {vm.dirty_bytes: 256MiB, vm.vfs_cache_pressure: 50}}\n",
        "host: {sysctl: {vm.dirty_background_ratio: 3, vm.vfs_cache_pressure: 50}}\n",
        "host: {sysctl: {vm.overcommit_kbytes: 1GiB, vm.vfs_cache_pressure: 50}}\n",
        KEEP + "groups: {g: {match: {cgroup: g}, cpu: {idle: true}}}\n",
        KEEP + "groups: {g: {match: {cgroup: g}, cpu: {quota: 1.0, period: 50ms, burst: 50%}}}\n",
        KEEP + "groups: {g: {match: {cgroup: g}, memory: {limit: 1GiB, memsw: 2GiB}}}\n",
    ],
)
def test_a_dropped_value_goes_back_with_all_it_changed(make: Make, body: str) -> None:
    lab = make("mainline-v1")
    lab.kernel.write("/sys/fs/cgroup/cpu/g/cpu.shares", "2048")
    lab.before = snapshot(lab.kernel)
    lab.apply("a", KEEP)
    middle = snapshot(lab.kernel)
    lab.apply("a", body)
    lab.apply("a", KEEP)
    assert changed(middle, snapshot(lab.kernel)) == {}
    _, result = lab.rollback(Selection(profile="a"))
    assert result.left == []
    assert lab.untouched()


def test_from_ratio_to_bytes_to_ratio_to_nothing(make: Make) -> None:
    lab = make("mainline-v1")
    for value in ("vm.dirty_ratio: 30", "vm.dirty_bytes: 64MiB", "vm.dirty_ratio: 40"):
        lab.apply("a", f"host: {{sysctl: {{{value}, vm.vfs_cache_pressure: 50}}}}\n")
    lab.apply("a", KEEP)
    assert (lab.read("/proc/sys/vm/dirty_ratio"), lab.read("/proc/sys/vm/dirty_bytes")) == ("20", "0")


def test_from_shares_to_idle_and_back_in_one_transaction_each(make: Make) -> None:
    lab = make("mainline-v1")
    group = "groups: {{g: {{match: {{cgroup: g}}, cpu: {{{0}}}}}}}\n"
    lab.apply("a", group.format("shares: 100"))
    assert lab.apply("a", group.format("idle: true")).unsupported == ()
    lab.apply("a", group.format("shares: 300"))
    assert lab.read("/sys/fs/cgroup/cpu/g/cpu.shares") == "300"
    lab.apply("a", KEEP)
    assert lab.read("/sys/fs/cgroup/cpu/g/cpu.shares") == "1024"
    _, result = lab.rollback(Selection(profile="a"))
    assert result.left == []
    assert lab.untouched()


def test_every_rollback_step_gives_the_version_before(make: Make) -> None:
    lab = make("mainline-v1")
    states = [snapshot(lab.kernel)]
    for cpu in ("shares: 100, quota: 1.0", "idle: true, quota: 2.0", "shares: 9", "quota: 0.5, burst: 10ms"):
        lab.apply("a", f"groups: {{g: {{match: {{cgroup: g}}, cpu: {{{cpu}}}}}}}\n")
        states.append(snapshot(lab.kernel))
    for state in states[-2::-1]:
        _, result = lab.rollback()
        assert result.left == []
        assert changed(state, snapshot(lab.kernel)) == {}


SHARES = "groups: {{g: {{match: {{cgroup: g}}, cpu: {{shares: {0}}}}}}}\n"


def test_another_profile_in_between_is_never_overwritten(make: Make) -> None:
    lab = make("anck-4.19")
    lab.apply("a", SHARES.format(2048))
    lab.apply("b", SHARES.format(3000))
    lab.apply("a", SHARES.format(4000))
    with pytest.raises(PlanRefused, match="superseded"):
        lab.rollback(Selection(profile="a"))
    assert lab.read(f"{lab.cpu}/g/cpu.shares") == "4000"
    for value in ("3000", "2048", "1024"):
        lab.rollback()
        assert lab.read(f"{lab.cpu}/g/cpu.shares") == value


def test_taking_over_an_equal_value_is_recorded(make: Make) -> None:
    lab = make("anck-4.19")
    lab.apply("a", SHARES.format(2048))
    profile = write_profile(lab.folder, "b", SHARES.format(2048))
    result = run(lab.kernel, lab.journal, profile)
    assert [item.owner for item in result.plan.takes_over] == ["a"]
    assert result.transaction is not None
    assert run(lab.kernel, lab.journal, profile).transaction is None
    with pytest.raises(PlanRefused):
        lab.rollback(Selection(profile="a"))


def test_a_side_effect_takes_over_too(make: Make) -> None:
    lab = make("mainline-v1")
    lab.apply("a", "host: {sysctl: {vm.dirty_ratio: 30}}\n")
    profile = write_profile(lab.folder, "b", "host: {sysctl: {vm.dirty_bytes: 256MiB}}\n")
    with pytest.raises(PlanRefused, match=r"vm\.dirty_ratio belongs to profile a"):
        run(lab.kernel, lab.journal, profile, Options(takeover=False))
    lab.apply("b", "host: {sysctl: {vm.dirty_bytes: 256MiB}}\n")


def test_a_switch_is_closed_after_the_last_that_needs_it(make: Make) -> None:
    lab = make("anck-4.19")
    on = "host: {sched: {group_identity: true}}\ngroups: {g: {match: {cgroup: g}, cpu: {identity: low, shares: 512}}}\n"
    lab.apply("a", on)
    lab.apply("a", "groups: {g: {match: {cgroup: g}, cpu: {shares: 512}}}\n")
    assert lab.read("/proc/sys/kernel/sched_group_identity_enabled") == "0"
    assert lab.read(f"{lab.cpu}/g/cpu.bvt_warp_ns") == "0"


def test_a_switch_that_is_off_refuses_the_plan(make: Make) -> None:
    lab = make("anck-4.19")
    body = "host: {sched: {group_identity: false}}\ngroups: {g: {match: {cgroup: g}, cpu: {identity: low}}}\n"
    with pytest.raises(PlanRefused, match="switched off"):
        lab.apply("a", body)
    assert lab.untouched()


def test_identity_reaches_groups_made_in_the_same_plan(make: Make) -> None:
    lab = make("anck-4.19")
    lab.apply(
        "a",
        "groups:\n  p: {match: {cgroup: off}, create: true, cpu: {identity: low}}\n"
        "  c: {match: {cgroup: off/child}, create: true, cpu: {shares: 2}}\n",
    )
    assert lab.read(f"{lab.cpu}/off/child/cpu.bvt_warp_ns") == "-1"
    assert lab.read(f"{lab.cpu}/off/child/cpu.identity") == "9"


def test_a_filled_cpuset_follows_its_parent(make: Make) -> None:
    lab = make("anck-4.19")
    child = "  c: {match: {cgroup: p/child}, create: true, cpu: {mems: 0}}\n"
    lab.apply("a", "groups:\n  p: {match: {cgroup: p}, create: true, cpu: {cpus: 0-1}}\n" + child)
    assert lab.read("/sys/fs/cgroup/cpuset/p/child/cpuset.cpus") == "0-1"
    lab.apply("a", "groups:\n  p: {match: {cgroup: p}, create: true, cpu: {cpus: 0}}\n" + child)
    assert lab.read("/sys/fs/cgroup/cpuset/p/child/cpuset.cpus") == "0"
    _, result = lab.rollback(Selection(profile="a"))
    assert result.left == []
    assert lab.untouched()


def test_giving_up_the_cpus_of_a_group_with_tasks(make: Make) -> None:
    lab = make("mainline-v1")
    lab.apply("a", "groups: {z: {match: {cgroup: z}, create: true, cpu: {cpus: 0, shares: 5}}}\n")
    lab.kernel.spawn(4711, "batch", {"cpuset": "/z"})
    lab.apply("a", "groups: {z: {match: {cgroup: z}, create: true, cpu: {shares: 5}}}\n")
    assert lab.read("/sys/fs/cgroup/cpuset/z/cpuset.cpus") == "0"


def test_only_a_child_still_makes_its_parent(make: Make) -> None:
    lab = make("mainline-v1")
    body = "groups:\n  p: {match: {cgroup: off}, create: true, cpu: {cpus: 0, shares: 9}}\n"
    body += "  c: {match: {cgroup: off/child}, create: true, cpu: {cpus: 0, shares: 2}}\n"
    lab.apply("a", body, Options(only=("cgroup:off/child",)))
    assert lab.read("/sys/fs/cgroup/cpu/off/child/cpu.shares") == "2"
    assert lab.read("/sys/fs/cgroup/cpu/off/cpu.shares") == "1024"


def test_a_full_disk_stops_no_undo(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = make("anck-4.19")

    class FullDisk(Journal):
        def append(self, transaction: Transaction, state: str, time: str, **details: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    profile = write_profile(lab.folder, "a", SHARES.format(2048))
    with pytest.raises(ApplyFailed, match="commit could not be recorded"):
        run(lab.kernel, FullDisk(lab.journal.state), profile)
    assert lab.untouched()
    (done,) = recover(lab.host(), lab.journal, lambda: "now")
    assert done.left == []
    assert lab.untouched()


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES])
def test_what_cannot_be_read_is_named_by_rollback(make: Make, number: int) -> None:
    lab = make("anck-4.19")
    lab.apply("a", SHARES.format(2048))
    blind = FaultyKernel(lab.kernel, [Fault(1, on="read", pattern="*/g/cpu.shares", number=number)])
    _, result = rollback(Host(blind), lab.journal, Selection(), lambda: "now")
    assert len(result.left) == 1
    assert "cannot be read" in result.left[0]
    _, again = lab.rollback()
    assert again.left == []
    assert lab.untouched()


def test_a_value_the_kernel_makes_something_else_of_is_undone(make: Make) -> None:
    """min_free_kbytes is taken as it is, so a sysctl vector of which only a part is written stands in."""
    lab = make("mainline-v1")
    with pytest.raises(ApplyFailed, match="it reads"):
        lab.apply("a", "host: {sysctl: {vm.lowmem_reserve_ratio: '128', vm.vfs_cache_pressure: 50}}\n")
    assert lab.untouched()


def test_a_sysctl_that_prints_two_numbers(make: Make) -> None:
    lab = make("anck-4.19")
    lab.apply("a", "host: {sysctl: {kernel.sched_expel_update_interval: 20}}\n")
    lab.rollback()
    assert lab.untouched()


def test_a_partly_rolled_back_transaction_holds_only_what_was_left(make: Make) -> None:
    lab = make("anck-4.19")
    lab.apply("a", "groups: {g: {match: {cgroup: g}, cpu: {shares: 2048}, memory: {limit: 1GiB}}}\n")
    lab.kernel.write(f"{lab.cpu}/g/cpu.shares", "777")
    _, result = lab.rollback()
    assert len(result.left) == 1
    ledger = Ledger(lab.journal.load(), lab.host().boot_id)
    assert [owned.entry.target.knob for owned in ledger.held().values()] == ["cpu.shares"]
    # what is left does not stand in the way of older transactions
    run(lab.kernel, lab.journal, write_profile(lab.folder, "b", KEEP))
    chosen, _ = lab.rollback()
    assert [transaction.profile for transaction in chosen] == ["b"]
    assert all(transaction.state != COMMITTED for transaction in lab.journal.load())


def test_a_pattern_never_means_the_root_group(make: Make) -> None:
    lab = make("mainline-v1")
    lab.apply("a", "groups: {all: {match: {cgroup: '**'}, cpu: {shares: 512}}}\n")
    assert lab.read("/sys/fs/cgroup/cpu/cpu.shares") == "1024"
    assert lab.read("/sys/fs/cgroup/cpu/g/cpu.shares") == "512"


def test_recover_leaves_a_value_that_another_profile_has_taken(make: Make) -> None:
    lab = make("anck-4.19")
    lab.apply("a", SHARES.format(2048))
    lab.kernel.write(f"{lab.cpu}/g/cpu.shares", "777")
    lab.rollback()
    lab.apply("b", SHARES.format(2048))
    assert recover(lab.host(), lab.journal, lambda: "now") == []
    assert lab.read(f"{lab.cpu}/g/cpu.shares") == "2048"


@pytest.mark.parametrize(
    "body",
    [
        "groups: {o: {match: {cgroup: off}, cpu: {quota: 1.0}}}\n",
        "groups: {o: {match: {cgroup: off/b}, create: true, cpu: {shares: 3}}}\n",
    ],
)
def test_a_group_others_build_on_is_not_taken_away(make: Make, body: str) -> None:
    lab = make("anck-4.19")
    lab.apply("a", "groups: {o: {match: {cgroup: off}, create: true, cpu: {shares: 9}}}\n")
    lab.apply("b", body)
    state = snapshot(lab.kernel)
    with pytest.raises(PlanRefused, match="is used by transaction 000002"):
        lab.rollback(Selection(profile="a"))
    assert changed(state, snapshot(lab.kernel)) == {}
    lab.rollback()
    lab.rollback()
    assert lab.untouched()


def test_values_of_a_group_that_had_to_stay_are_still_held(make: Make) -> None:
    lab = make("anck-4.19")
    group = "groups: {{o: {{match: {{cgroup: off}}, create: true, cpu: {{{0}}}}}}}\n"
    lab.apply("a", group.format("shares: 9, quota: 1.0"))
    lab.kernel.mkdir(f"{lab.cpu}/off/foreign")
    _, result = lab.rollback()
    assert len(result.left) == 1
    assert "child groups foreign" in result.left[0]
    assert len(Ledger(lab.journal.load(), lab.host().boot_id).held()) == 2
    lab.apply("a", group.format("shares: 9"))
    assert lab.read(f"{lab.cpu}/off/cpu.cfs_quota_us") == "-1"
    lab.kernel.rmdir(f"{lab.cpu}/off/foreign")
    lab.rollback()
    lab.rollback()
    assert lab.untouched()


@pytest.mark.parametrize("name", ["mainline-v1", "anck-4.19"])
def test_swappiness_of_the_host_and_of_a_new_group(make: Make, name: str) -> None:
    lab = make(name)
    body = "host: {sysctl: {vm.swappiness: 10}}\n"
    body += "groups: {o: {match: {cgroup: off}, create: true, memory: {swappiness: 60}}}\n"
    lab.apply("a", body)
    assert lab.read("/sys/fs/cgroup/memory/off/memory.swappiness") == "60"
    lab.rollback()
    assert lab.untouched()


def test_parts_beside_a_foreign_one_are_put_back_with_it_later(make: Make) -> None:
    lab = make("mainline-v1")
    lab.apply("a", "groups: {g: {match: {cgroup: g}, cpu: {quota: 50ms, period: 50ms, burst: 10ms}}}\n")
    lab.kernel.write("/sys/fs/cgroup/cpu/g/cpu.cfs_quota_us", "40000")
    _, result = lab.rollback()
    assert len(result.left) == 1
    assert lab.read("/sys/fs/cgroup/cpu/g/cpu.cfs_period_us") == "50000"
    lab.kernel.write("/sys/fs/cgroup/cpu/g/cpu.cfs_quota_us", "50000")
    _, result = lab.rollback()
    assert result.left == []
    assert lab.untouched()
