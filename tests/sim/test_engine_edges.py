"""Corners of the engine: stops between coupled writes, upgrades that drop a part, values nothing shows."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from cotune.errors import CotuneError, PlanRefused, RollbackIncomplete, Unsupported
from cotune.host.facts import Host
from cotune.journal import Journal
from cotune.planning import Options
from cotune.recover import recover
from cotune.rollback import Selection, rollback
from cotune.sim.faults import Fault, FaultyKernel
from cotune.sim.kernel import SimKernel
from cotune.state import given_state
from cotune.undo import UndoResult
from tests.sim.lab import run, write_profile
from tests.sim.test_refusals import DyingKernel, Stopped

ROOT = "/sys/fs/cgroup"
CONSENT = Options(flags=frozenset(("force", "allow-oom", "allow-irreversible")))


class Lab:
    """A simulated host with a journal."""

    def __init__(self, folder: Path, kernel: str) -> None:
        self.folder, self.kernel = folder, SimKernel(kernel)
        self.journal = Journal(given_state(folder / "state"))

    def apply(self, body: str, name: str = "p", fault: Fault | None = None) -> str | None:
        kernel = FaultyKernel(self.kernel, [fault]) if fault else self.kernel
        return run(kernel, self.journal, write_profile(self.folder, name, body), CONSENT).transaction

    def rollback(self, fault: Fault | None = None, **selection: str) -> UndoResult:
        kernel = FaultyKernel(self.kernel, [fault]) if fault else self.kernel
        return rollback(Host(kernel), self.journal, Selection(**selection), lambda: "now")[1]

    def read(self, path: str) -> str:
        path = path if path.startswith("/") else f"{ROOT}/{path}"
        return self.kernel.read(self.kernel.realpath(path)).strip()

    def scheduler(self) -> str:
        return self.read("/sys/block/nvme0n1/queue/scheduler")


QUEUE = "host: {block: [{match: {mountpoint: /data}, SETS}]}\n"


@pytest.mark.parametrize("number", [1, 2])
def test_a_stop_between_a_scheduler_and_its_tunables_is_undone(tmp_path: Path, number: int) -> None:
    lab = Lab(tmp_path, "mainline-v2")
    before = lab.scheduler()
    body = QUEUE.replace("SETS", "scheduler: kyber, iosched: {write_lat_nsec: 446}")
    with pytest.raises(CotuneError) as failure:
        lab.apply(body, fault=Fault(number, number=errno.EIO))
    assert not isinstance(failure.value, RollbackIncomplete), failure.value
    assert lab.scheduler() == before


def test_two_switches_are_rolled_back_at_once(tmp_path: Path) -> None:
    lab = Lab(tmp_path, "mainline-v2")
    before = lab.scheduler()
    for scheduler in ("mq-deadline", "kyber"):
        lab.apply(QUEUE.replace("SETS", f"scheduler: {scheduler}"))
    assert lab.rollback(profile="p").left == []
    assert lab.scheduler() == before


def test_a_tunable_of_another_scheduler_is_not_planned(tmp_path: Path) -> None:
    lab = Lab(tmp_path, "mainline-v2")
    result = run(
        lab.kernel,
        lab.journal,
        write_profile(tmp_path, "p", QUEUE.replace("SETS", "scheduler: kyber, iosched: {slice_idle: 3}")),
    )
    assert [item.knob for item in result.plan.unsupported] == ["block.iosched.slice_idle"]


def test_a_stop_before_controllers_are_enabled_leaves_nothing(tmp_path: Path) -> None:
    lab = Lab(tmp_path, "mainline-v2")
    for path in ("a", "a/b"):
        lab.kernel.mkdir(f"{ROOT}/{path}")
    with pytest.raises(CotuneError) as failure:
        lab.apply("groups: {b: {match: {cgroup: a/b}, cpu: {weight: 50}}}\n", fault=Fault(1, number=errno.EIO))
    assert not isinstance(failure.value, RollbackIncomplete), failure.value


def test_no_controller_is_enabled_beside_tasks(tmp_path: Path) -> None:
    """The kernel would make the group threaded and its children unusable."""
    lab = Lab(tmp_path, "mainline-v2")
    for path in ("a", "a/b"):
        lab.kernel.mkdir(f"{ROOT}/{path}")
    lab.kernel.spawn(9001, "worker")
    lab.kernel.write(f"{ROOT}/a/cgroup.procs", "9001")
    with pytest.raises(PlanRefused, match="1 task of its own"):
        lab.apply("groups: {b: {match: {cgroup: a/b}, cpu: {weight: 50}}}\n")
    assert lab.read("a/cgroup.type") == "domain"


def test_a_process_wanted_in_two_groups_is_refused_wherever_it_is(tmp_path: Path) -> None:
    lab = Lab(tmp_path, "mainline-v1")
    lab.kernel.spawn(9001, "worker")
    groups = "".join(
        f"  {name}: {{match: {{cgroup: {name}}}, create: true, cpu: {{shares: 9}}, tasks: {{comm: worker}}}}\n"
        for name in ("x", "y")
    )
    lab.kernel.mkdir(f"{ROOT}/cpu/y")
    lab.kernel.write(f"{ROOT}/cpu/y/cgroup.procs", "9001")
    with pytest.raises(PlanRefused, match="is to be in both"):
        lab.apply("groups:\n" + groups)


def test_a_value_that_is_not_set_is_not_taken_over(tmp_path: Path) -> None:
    lab = Lab(tmp_path, "mainline-v1")
    lab.kernel.mkdir(f"{ROOT}/cpu/a")
    lab.apply("groups: {a: {match: {cgroup: a}, cpu: {shares: 512}}}\n")
    lab.kernel.write(f"{ROOT}/cpu/a/cpu.idle", "1")
    for _ in range(2):
        assert lab.apply("groups: {a: {match: {cgroup: a}, cpu: {shares: 600}}}\n", name="q") is None


def test_the_weight_of_a_disk_without_a_cost_model_is_not_available(tmp_path: Path) -> None:
    lab = Lab(tmp_path, "mainline-v2")
    lab.kernel.mkdir(f"{ROOT}/x")
    body = "groups: {x: {match: {cgroup: x}, io: {weight: [{device: {mountpoint: /data}, weight: 50}]}}}\n"
    assert lab.apply(body) is None
    assert lab.apply("host: {block: [{match: {mountpoint: /data}, iocost: {enable: true}}]}\n" + body) is not None
    assert "259:0 50" in lab.read("x/io.weight")


def test_a_gate_that_could_not_be_closed_is_left_and_tried_again(tmp_path: Path) -> None:
    lab = Lab(tmp_path, "anck-4.19")
    gate = "/proc/sys/kernel/sched_group_identity_enabled"
    body = "groups: {g: {match: {cgroup: kubepods}, cpu: {identity: high}}}\n"
    lab.apply(body)
    assert lab.read(gate) == "1"
    undone = lab.rollback(fault=Fault(1, pattern="*identity_enabled", number=errno.EIO))
    assert len(undone.left) == 1
    assert lab.read(gate) == "1"
    recover(Host(lab.kernel), lab.journal, lambda: "now")
    assert lab.read(gate) == "0"


def test_a_gate_stays_open_for_a_value_that_could_not_be_put_back(tmp_path: Path) -> None:
    lab = Lab(tmp_path, "anck-4.19")
    gate = "/proc/sys/kernel/sched_group_identity_enabled"
    lab.apply("groups: {g: {match: {cgroup: kubepods}, cpu: {identity: high}}}\n")
    assert lab.rollback(fault=Fault(1, pattern="*bvt_warp_ns", number=errno.EIO)).left
    assert lab.read(gate) == "1"
    (recovered,) = recover(Host(lab.kernel), lab.journal, lambda: "now")
    assert recovered.left == []
    assert (lab.read(gate), lab.read("cpu/kubepods/cpu.bvt_warp_ns")) == ("0", "0")


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_stop_inside_the_rollback_of_a_pair_is_finished_by_recover(tmp_path: Path, number: int) -> None:
    lab = Lab(tmp_path, "anck-seed")
    lab.apply("groups: {g: {match: {cgroup: kubepods}, memory: {dirty_bytes: 256MiB}}}\n")
    lab.rollback(fault=Fault(number, number=errno.EIO))
    recover(Host(lab.kernel), lab.journal, lambda: "now")
    values = [lab.read(f"memory/kubepods/memory.dirty_{part}") for part in ("ratio", "bytes")]
    assert values == ["0", "0"]


def test_an_upgrade_gives_up_an_original_that_no_longer_fits(tmp_path: Path) -> None:
    lab = Lab(tmp_path, "mainline-v2")
    lab.kernel.mkdir(f"{ROOT}/g")
    lab.kernel.write(f"{ROOT}/g/cpu.max", "50000 100000")
    lab.kernel.write(f"{ROOT}/g/cpu.max.burst", "20000")
    lab.apply("groups: {g: {match: {cgroup: g}, cpu: {quota: 10ms, burst: 5ms}}}\n")
    lab.apply("groups: {g: {match: {cgroup: g}, cpu: {quota: 10ms}}}\n")
    assert (lab.read("g/cpu.max"), lab.read("g/cpu.max.burst")) == ("10000 100000", "5000")
    assert lab.rollback(profile="p").left == []
    assert (lab.read("g/cpu.max"), lab.read("g/cpu.max.burst")) == ("50000 100000", "20000")


def test_an_upgrade_leaves_the_set_of_a_group_with_tasks(tmp_path: Path) -> None:
    lab = Lab(tmp_path, "mainline-v2")
    lab.kernel.mkdir(f"{ROOT}/g")
    lab.apply("groups: {g: {match: {cgroup: g}, cpu: {cpus: '1', weight: 5}}}\n")
    lab.kernel.spawn(9001, "worker")
    lab.kernel.write(f"{ROOT}/g/cgroup.procs", "9001")
    assert lab.apply("groups: {g: {match: {cgroup: g}, cpu: {weight: 5}}}\n")
    assert lab.read("g/cpuset.cpus") == "1"


def test_a_process_on_its_way_to_another_blkio_group_is_refused(tmp_path: Path) -> None:
    """The memory cgroup would be linked to the other group for ever."""
    lab = Lab(tmp_path, "anck-4.19")
    lab.kernel.spawn(9001, "worker")
    lab.kernel.mkdir(f"{ROOT}/memory/a")
    lab.kernel.write(f"{ROOT}/memory/a/cgroup.procs", "9001")
    limit = "io: {max: [{device: {mountpoint: /data}, write_bps: 5MiB}]}"
    body = (
        f"groups:\n  a: {{match: {{cgroup: a}}, create: true, {limit}, memory: {{limit: 1GiB}}}}\n"
        f"  b: {{match: {{cgroup: b}}, create: true, {limit}, tasks: {{comm: worker}}}}\n"
    )
    with pytest.raises(PlanRefused, match="is to go there"):
        lab.apply(body)


def test_recover_does_not_take_what_it_cannot_see_for_done(tmp_path: Path) -> None:
    """The own watermark is hidden by the parent's larger one, before and after."""
    lab = Lab(tmp_path, "anck-4.19")
    for path in ("a", "a/b"):
        lab.kernel.mkdir(f"{ROOT}/memory/{path}")
    lab.kernel.write(f"{ROOT}/memory/a/b/memory.wmark_min_adj", "5")
    lab.apply("groups: {a: {match: {cgroup: a}, memory: {wmark_min_adj: 40}}}\n", name="q")
    body = "groups: {b: {match: {cgroup: a/b}, memory: {wmark_min_adj: 20}}}\n"
    with pytest.raises(Stopped):
        run(DyingKernel(lab.kernel, 0), lab.journal, write_profile(tmp_path, "p", body))
    (recovered,) = recover(Host(lab.kernel), lab.journal, lambda: "now")
    assert recovered.outcome == "rolled back"
    lab.rollback(profile="q")
    assert lab.read("memory/a/b/memory.wmark_min_adj") == "5"


MOUNT = "host: {resctrl: {mount: true, classes: {CLASSES}}}\n"


@pytest.mark.parametrize("classes", ["", "default: {l3: 50%}", "x: {l3: 50%}"])
def test_what_is_set_beside_a_mount_is_undone_with_it(tmp_path: Path, classes: str) -> None:
    lab = Lab(tmp_path, "mainline-v2")
    lab.kernel.mkdir(f"{ROOT}/p")
    body = MOUNT.replace("CLASSES", classes) + "groups: {p: {match: {cgroup: p}, pids: {max: 451}}}\n"
    lab.apply(body)
    assert lab.read("p/pids.max") == "451"
    assert lab.apply(body) is None
    assert lab.rollback().left == []
    assert lab.read("p/pids.max") == "max"
    assert not any(mount.fstype == "resctrl" for mount in lab.kernel.mounts())


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_group_that_cannot_be_made_leaves_none_behind(tmp_path: Path, number: int) -> None:
    lab = Lab(tmp_path, "anck-4.19")
    body = (
        "host: {resctrl: {classes: {x: {l3: 50%, monitor: [m1]}}}}\n"
        "groups: {n: {match: {cgroup: n}, create: true, cpu: {shares: 9}, memory: {limit: 1GiB}}}\n"
    )
    with pytest.raises(CotuneError) as failure:
        lab.apply(body, fault=Fault(number, on="mkdir", number=errno.ENOSPC))
    assert not isinstance(failure.value, RollbackIncomplete), failure.value
    left = [path for path in ("cpu/n", "memory/n", "/sys/fs/resctrl/x") if lab.kernel.exists(_path(path))]
    assert left == []


def _path(path: str) -> str:
    return path if path.startswith("/") else f"{ROOT}/{path}"


def test_a_rollback_that_cannot_tell_the_boot_does_nothing(tmp_path: Path) -> None:
    """Every transaction would look like one of another boot, of which nothing is left to undo."""
    lab = Lab(tmp_path, "mainline-v1")
    lab.apply("host: {sysctl: {vm.swappiness: 10}}\n")
    with pytest.raises(Unsupported, match="boot_id cannot be read"):
        lab.rollback(Fault(1, "read", "*/boot_id", number=errno.EIO))
    assert lab.read("/proc/sys/vm/swappiness") == "10"
    assert lab.rollback().left == []
    assert lab.read("/proc/sys/vm/swappiness") == "60"


@pytest.mark.parametrize("number", range(1, 20))
def test_a_rollback_that_reads_badly_never_claims_too_much(tmp_path: Path, number: int) -> None:
    """Whichever single file cannot be read: what is not put back is named."""
    lab = Lab(tmp_path, "mainline-v2")
    lab.kernel.mkdir(f"{ROOT}/g")
    lab.apply("groups: {g: {match: {cgroup: g}, cpu: {quota: 4}, memory: {high: 6GiB}}}\n")
    undone = lab.rollback(Fault(number, "op", "/sys/*", number=errno.EINVAL))
    originals = lab.read("g/cpu.max") == "max 100000", lab.read("g/memory.high") == "max"
    assert len(undone.left) == originals.count(False), undone.left


def test_a_group_that_rmdir_does_not_find_but_is_there_is_named(tmp_path: Path) -> None:
    lab = Lab(tmp_path, "mainline-v1")
    lab.apply("groups: {g: {match: {cgroup: made}, create: true, cpu: {shares: 5}}}\n")
    [left] = lab.rollback(Fault(1, "rmdir", number=errno.ENODEV)).left
    assert f"cgroup {ROOT}/cpu/made kept" in left
