"""Rules of cgroup v2 that the recorded transcript does not reach, and the hosts that have it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cotune.sim.kernel import SimKernel

Attempt = Callable[..., str]
ROOT = "/sys/fs/cgroup"
SERVICES = f"{ROOT}/system.slice"
NGINX, BATCH = f"{SERVICES}/nginx.service", f"{SERVICES}/batch.service"
MIB = 2**20


@pytest.fixture
def v2() -> SimKernel:
    return SimKernel("mainline-v2")


@pytest.fixture
def hybrid() -> SimKernel:
    return SimKernel("hybrid")


def group(sim: SimKernel, name: str = "g", **files: str) -> str:
    """A group below the root, with files written: underscores stand for dots."""
    path = f"{ROOT}/{name}"
    sim.mkdir(path)
    for file, text in files.items():
        sim.write(f"{path}/{file.replace('_', '.')}", text)
    return path


# --- the tree -------------------------------------------------------------------------------------------------------


def test_processes_see_the_unified_tree(v2: SimKernel) -> None:
    assert v2.read("/proc/2101/cgroup") == "0::/system.slice/nginx.service\n"
    assert v2.read(f"{NGINX}/cgroup.procs") == "2101\n2102\n2103\n"
    assert v2.read(f"{SERVICES}/cgroup.subtree_control") == "cpu io memory pids\n"
    assert v2.read("/proc/cgroups").splitlines()[4].split("\t")[:2] == ["blkio", "0"]


def test_files_follow_subtree_control(v2: SimKernel) -> None:
    assert not v2.exists(f"{NGINX}/cpuset.cpus")
    v2.write(f"{SERVICES}/cgroup.subtree_control", "+cpuset")
    assert v2.read(f"{NGINX}/cpuset.cpus") == "\n"
    v2.write(f"{NGINX}/cpu.weight", "300")
    v2.write(f"{SERVICES}/cgroup.subtree_control", "-cpu")
    assert "cpu.weight" not in v2.listdir(NGINX)
    assert "nr_periods" not in v2.read(f"{NGINX}/cpu.stat")
    v2.write(f"{SERVICES}/cgroup.subtree_control", "+cpu")
    assert v2.read(f"{NGINX}/cpu.weight") == "100\n"


def test_subtree_control_changes_all_or_nothing(v2: SimKernel, attempt: Attempt) -> None:
    inner = f"{ROOT}/user.slice/user-0.slice"
    assert attempt(v2.write, f"{inner}/cgroup.subtree_control", "-pids +cpu") == "OK"
    assert attempt(v2.write, f"{inner}/cgroup.subtree_control", "+pids +io") == "ENOENT"
    assert v2.read(f"{inner}/cgroup.subtree_control") == "cpu memory\n"
    assert attempt(v2.write, f"{ROOT}/user.slice/cgroup.subtree_control", "+io -memory") == "EBUSY"
    assert v2.read(f"{ROOT}/user.slice/cgroup.subtree_control") == "cpu memory pids\n"


def test_no_processes_in_inner_groups(v2: SimKernel, attempt: Attempt) -> None:
    assert attempt(v2.write, f"{SERVICES}/cgroup.procs", "2101") == "EBUSY"
    assert attempt(v2.write, f"{NGINX}/cgroup.subtree_control", "+memory") == "EBUSY"
    assert attempt(v2.write, f"{ROOT}/cgroup.procs", "2101") == "OK"


def test_threads_stay_in_their_domain(v2: SimKernel, attempt: Attempt) -> None:
    redis = f"{SERVICES}/redis.service"
    v2.mkdir(f"{redis}/io-threads")
    assert attempt(v2.write, f"{redis}/io-threads/cgroup.threads", "2232") == "ENOTSUP"
    v2.write(f"{redis}/io-threads/cgroup.type", "threaded")
    assert v2.read(f"{redis}/cgroup.type") == "domain threaded\n"
    v2.write(f"{redis}/io-threads/cgroup.threads", "2232")
    assert v2.read(f"{redis}/io-threads/cgroup.threads") == "2232\n"
    assert attempt(v2.read, f"{redis}/io-threads/cgroup.procs") == "ENOTSUP"
    assert attempt(v2.write, f"{redis}/cgroup.subtree_control", "+memory") == "ENOTSUP"
    assert attempt(v2.write, f"{redis}/cgroup.subtree_control", "+cpu") == "OK"
    assert v2.read(f"{redis}/io-threads/cpu.weight") == "100\n"
    v2.mkdir(f"{redis}/other")
    assert v2.read(f"{redis}/other/cgroup.type") == "domain invalid\n"
    assert attempt(v2.write, f"{redis}/other/cgroup.procs", "2101") == "ENOTSUP"


def test_freezing_reaches_down(v2: SimKernel) -> None:
    v2.write(f"{SERVICES}/cgroup.freeze", "1")
    assert v2.read(f"{NGINX}/cgroup.freeze") == "0\n"
    assert v2.read(f"{NGINX}/cgroup.events") == "populated 1\nfrozen 1\n"


def test_killing_reaches_down(v2: SimKernel) -> None:
    v2.write(f"{ROOT}/kubepods.slice/cgroup.kill", "1")
    assert not {4101, 4201} & set(v2.pids())
    assert 2101 in v2.pids()
    assert v2.read(f"{ROOT}/kubepods.slice/cgroup.events") == "populated 0\nfrozen 0\n"


# --- memory ---------------------------------------------------------------------------------------------------------


def test_high_reclaims_what_it_can(v2: SimKernel) -> None:
    v2.write(f"{BATCH}/memory.high", "1G")
    assert int(v2.read(f"{BATCH}/memory.current")) == 4096 * MIB
    assert v2.read(f"{BATCH}/cgroup.procs") == "3100\n3150\n"


def test_max_kills_inside_the_write_until_it_fits(v2: SimKernel) -> None:
    v2.write(f"{BATCH}/memory.max", "3G")
    assert int(v2.read(f"{BATCH}/memory.current")) == 2048 * MIB
    assert v2.read(f"{BATCH}/cgroup.procs") == "3150\n"
    assert "oom_kill 1\n" in v2.read(f"{BATCH}/memory.events")
    assert "oom_kill 1\n" in v2.read(f"{SERVICES}/memory.events")
    assert "oom_kill 0\n" in v2.read(f"{SERVICES}/memory.events.local")


def test_an_oom_group_dies_together(v2: SimKernel) -> None:
    v2.write(f"{BATCH}/memory.oom.group", "1")
    v2.write(f"{BATCH}/memory.max", "3G")
    assert v2.read(f"{BATCH}/cgroup.procs") == ""
    assert "oom_kill 2\noom_group_kill 1\n" in v2.read(f"{BATCH}/memory.events")


def test_a_limit_above_kills_the_largest(v2: SimKernel) -> None:
    v2.write(f"{SERVICES}/memory.max", "6G")
    assert v2.read(f"{BATCH}/cgroup.procs") == "3150\n"
    assert v2.read(f"{SERVICES}/redis.service/cgroup.procs") == "2230\n"


def test_reclaim_that_falls_short_has_still_reclaimed(v2: SimKernel, attempt: Attempt) -> None:
    assert attempt(v2.write, f"{NGINX}/memory.reclaim", "100M") == "EAGAIN"
    assert int(v2.read(f"{NGINX}/memory.current")) == 96 * MIB
    v2.set_usage(NGINX, 200 * MIB, reclaimable=150 * MIB)
    assert attempt(v2.write, f"{NGINX}/memory.reclaim", "100M") == "OK"
    assert int(v2.read(f"{NGINX}/memory.current")) == 100 * MIB
    assert v2.read(f"{NGINX}/memory.peak") == f"{200 * MIB}\n"


def test_vanished_usage_leaves_the_ancestors(v2: SimKernel) -> None:
    before = int(v2.read(f"{SERVICES}/memory.current"))
    v2.vanish(NGINX)
    assert int(v2.read(f"{SERVICES}/memory.current")) == before - 160 * MIB


# --- cpu and cpuset -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "outcome", "shown"),
    [("20", "OK", "20.00\n"), ("33.3", "OK", "33.30\n"), ("100", "OK", "max\n"), ("max", "OK", "max\n"),
     ("100.01", "ERANGE", "0.00\n"), ("abc", "EINVAL", "0.00\n"), ("-1", "EINVAL", "0.00\n"),
     ("1.234", "EINVAL", "0.00\n")],
)  # fmt: skip
def test_utilisation_clamps(v2: SimKernel, attempt: Attempt, text: str, outcome: str, shown: str) -> None:
    assert v2.read(f"{NGINX}/cpu.uclamp.max") == "max\n"
    assert attempt(v2.write, f"{NGINX}/cpu.uclamp.min", text) == outcome
    assert v2.read(f"{NGINX}/cpu.uclamp.min") == shown


def test_a_partition_takes_its_cpus_from_the_parent(v2: SimKernel) -> None:
    part = group(v2, cpuset_cpus="6-7", cpuset_cpus_partition="isolated")
    assert v2.read(f"{part}/cpuset.cpus.partition") == "isolated\n"
    assert v2.read(f"{ROOT}/cpuset.cpus.effective") == "0-5\n"
    assert v2.read(f"{ROOT}/cpuset.cpus.isolated") == "6-7\n"
    other = group(v2, "other", cpuset_cpus="5-7")
    assert v2.read(f"{part}/cpuset.cpus.partition") == "isolated invalid (Cpu list in cpuset.cpus not exclusive)\n"
    assert v2.read(f"{ROOT}/cpuset.cpus.effective") == "0-7\n"
    v2.rmdir(other)
    assert v2.read(f"{part}/cpuset.cpus.partition") == "isolated\n"


def test_nested_partitions(v2: SimKernel) -> None:
    outer = group(v2, cpuset_cpus="4-7")
    v2.write(f"{outer}/cgroup.subtree_control", "+cpuset")
    inner = f"{outer}/inner"
    v2.mkdir(inner)
    v2.write(f"{inner}/cpuset.cpus", "7")
    v2.write(f"{inner}/cpuset.cpus.partition", "root")
    assert v2.read(f"{inner}/cpuset.cpus.partition") == "root invalid (Parent is not a partition root)\n"
    v2.write(f"{outer}/cpuset.cpus.partition", "root")
    assert v2.read(f"{inner}/cpuset.cpus.partition") == "root\n"
    assert v2.read(f"{outer}/cpuset.cpus.effective") == "4-6\n"
    v2.write(f"{inner}/cpuset.cpus", "4-7")
    assert v2.read(f"{inner}/cpuset.cpus.partition") == "root\n"
    assert v2.read(f"{ROOT}/cpuset.cpus.effective") == "0-3\n"


def test_exclusive_cpus_are_checked_against_siblings(v2: SimKernel, attempt: Attempt) -> None:
    first, second = group(v2, cpuset_cpus_exclusive="6-7"), group(v2, "second", cpuset_cpus="2")
    assert v2.read(f"{first}/cpuset.cpus.exclusive.effective") == "6-7\n"
    assert attempt(v2.write, f"{second}/cpuset.cpus.exclusive", "5-6") == "EINVAL"
    assert attempt(v2.write, f"{first}/cpuset.cpus.exclusive", "2-7") == "EINVAL"
    assert attempt(v2.write, f"{second}/cpuset.cpus.exclusive", "2-3") == "OK"


def test_an_offline_cpu_leaves_effective_lists_only(v2: SimKernel) -> None:
    path = group(v2, cpuset_cpus="6-7")
    v2.write("/sys/devices/system/cpu/cpu7/online", "0")
    assert v2.read("/sys/devices/system/cpu/online") == "0-6\n"
    assert (v2.read(f"{path}/cpuset.cpus"), v2.read(f"{path}/cpuset.cpus.effective")) == ("6-7\n", "6\n")
    assert not v2.exists("/sys/devices/system/cpu/cpu0/online")


# --- io -------------------------------------------------------------------------------------------------------------


def test_latency_targets(v2: SimKernel, attempt: Attempt) -> None:
    v2.write(f"{NGINX}/io.latency", "259:0 target=5000")
    assert v2.read(f"{NGINX}/io.latency") == "259:0 target=5000\n"
    assert attempt(v2.write, f"{NGINX}/io.latency", "259:0 goal=1") == "EINVAL"
    assert attempt(v2.write, f"{NGINX}/io.latency", "259:0 ") == "EINVAL"
    assert attempt(v2.write, f"{NGINX}/io.latency", "8:1 target=1") == "ENODEV"
    v2.write(f"{NGINX}/io.latency", "259:0 target=0")
    assert v2.read(f"{NGINX}/io.latency") == ""


def test_bfq_weights_go_with_the_scheduler(v2: SimKernel, attempt: Attempt) -> None:
    assert attempt(v2.write, f"{NGINX}/io.bfq.weight", "8:0 300") == "ENOTSUP"
    v2.write("/sys/block/sda/queue/scheduler", "bfq")
    v2.write(f"{NGINX}/io.bfq.weight", "8:0 300")
    v2.write("/sys/block/sda/queue/scheduler", "none")
    assert v2.read(f"{NGINX}/io.bfq.weight") == "default 100\n"


def test_io_weight_needs_iocost_on_the_disk(v2: SimKernel, attempt: Attempt) -> None:
    assert attempt(v2.write, f"{NGINX}/io.weight", "259:0 300") == "ENOTSUP"
    v2.write(f"{ROOT}/io.cost.qos", "259:0 enable=1 min=50 max=150")
    v2.write(f"{NGINX}/io.weight", "259:0 300")
    assert v2.read(f"{NGINX}/io.weight") == "default 100\n259:0 300\n"


def test_hugetlb_limits_are_whole_pages(v2: SimKernel) -> None:
    path = group(v2)
    v2.write(f"{path}/hugetlb.2MB.max", "5M")
    assert v2.read(f"{path}/hugetlb.2MB.max") == f"{4 * MIB}\n"
    v2.write(f"{path}/hugetlb.2MB.max", "max")
    assert v2.read(f"{path}/hugetlb.2MB.max") == "max\n"


# --- pressure, hybrid -----------------------------------------------------------------------------------------------


def test_pressure_triggers_are_checked(v2: SimKernel, attempt: Attempt) -> None:
    assert attempt(v2.write, f"{NGINX}/io.pressure", "some 150000 1000000") == "OK"
    assert attempt(v2.write, f"{NGINX}/io.pressure", "most 150000 1000000") == "EINVAL"
    v2.write(f"{NGINX}/cgroup.pressure", "0")
    assert attempt(v2.read, f"{NGINX}/io.pressure") == "ENOENT"


def test_a_hybrid_host_has_io_on_v2_and_the_rest_on_v1(hybrid: SimKernel) -> None:
    io = f"{ROOT}/unified/system.slice/nginx.service"
    assert hybrid.read(f"{io}/io.weight") == "default 100\n"
    assert not hybrid.exists(f"{io}/memory.max")
    assert hybrid.read(f"{ROOT}/memory/system.slice/nginx.service/memory.usage_in_bytes") == f"{160 * MIB}\n"
    assert hybrid.read("/proc/2101/cgroup").splitlines()[-1] == "0::/system.slice/nginx.service"
    assert not hybrid.exists(f"{ROOT}/blkio")
