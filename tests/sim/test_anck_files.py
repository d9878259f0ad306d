"""ANCK cgroup files and sysctls as read from its source: ranges, errnos, inheritance, read-back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cotune.sim.kernel import SimKernel

Attempt = Callable[..., str]
CPU = "/sys/fs/cgroup/cpu"
MEM = "/sys/fs/cgroup/memory"
SET = "/sys/fs/cgroup/cpuset"
GATE = "/proc/sys/kernel/sched_group_identity_enabled"
UNLIMITED = "9223372036854771712\n"


@pytest.fixture
def gated(anck: SimKernel) -> SimKernel:
    """A host with the group identity gate open and a cgroup ``a``."""
    anck.write(GATE, "1")
    anck.mkdir(f"{CPU}/a")
    return anck


# --- group identity -------------------------------------------------------------------------------------------------


def test_identity_needs_the_gate(anck: SimKernel, attempt: Attempt) -> None:
    anck.mkdir(f"{CPU}/a")
    assert anck.read(GATE) == "0\n"
    for file in ("cpu.bvt_warp_ns", "cpu.identity"):
        assert attempt(anck.write, f"{CPU}/a/{file}", "1") == "EINVAL"
    assert attempt(anck.write, GATE, "2") == "EINVAL"
    anck.write(GATE, "1\n")
    assert attempt(anck.write, f"{CPU}/a/cpu.bvt_warp_ns", "1") == "OK"


@pytest.mark.parametrize(("bvt", "flags"), [(-2, 9), (-1, 9), (0, 0), (1, 18), (2, 22)])
def test_bvt_sets_flags(gated: SimKernel, bvt: int, flags: int) -> None:
    gated.write(f"{CPU}/a/cpu.bvt_warp_ns", str(1 if bvt == 0 else 0))
    gated.write(f"{CPU}/a/cpu.bvt_warp_ns", str(bvt))
    assert gated.read(f"{CPU}/a/cpu.bvt_warp_ns") == f"{bvt}\n"
    assert gated.read(f"{CPU}/a/cpu.identity") == f"{flags}\n"


@pytest.mark.parametrize(
    ("file", "text", "result"),
    [
        ("cpu.bvt_warp_ns", "3", "ERANGE"),
        ("cpu.bvt_warp_ns", "-3", "ERANGE"),
        ("cpu.bvt_warp_ns", "high", "EINVAL"),
        ("cpu.identity", "256", "ERANGE"),
        ("cpu.identity", "-1", "ERANGE"),
        ("cpu.identity", "3", "EINVAL"),
        ("cpu.identity", "0x1f", "EINVAL"),
        ("cpu.identity", "0x16", "OK"),
    ],
)
def test_identity_ranges(gated: SimKernel, attempt: Attempt, file: str, text: str, result: str) -> None:
    assert attempt(gated.write, f"{CPU}/a/{file}", text) == result


def test_identity_is_visible_but_unwritable_at_the_root(gated: SimKernel, attempt: Attempt) -> None:
    for file in ("cpu.bvt_warp_ns", "cpu.identity"):
        assert gated.read(f"{CPU}/{file}") == "0\n"
        assert attempt(gated.write, f"{CPU}/{file}", "1") == "EINVAL"


def test_repeating_bvt_does_not_repair_the_flags(gated: SimKernel) -> None:
    bvt, flags = f"{CPU}/a/cpu.bvt_warp_ns", f"{CPU}/a/cpu.identity"
    gated.write(bvt, "2")
    gated.write(flags, "1")
    assert gated.read(bvt) == "2\n", "an identity write leaves bvt alone"
    gated.write(bvt, "2")
    assert gated.read(flags) == "1\n"
    gated.write(bvt, "0")
    gated.write(bvt, "2")
    assert gated.read(flags) == "22\n"


def test_identity_is_copied_at_mkdir_only(gated: SimKernel) -> None:
    gated.write(f"{CPU}/a/cpu.bvt_warp_ns", "-1")
    gated.mkdir(f"{CPU}/a/b")
    gated.write(f"{CPU}/a/cpu.bvt_warp_ns", "2")
    assert gated.read(f"{CPU}/a/b/cpu.bvt_warp_ns") == "-1\n"
    assert gated.read(f"{CPU}/a/b/cpu.identity") == "9\n"


# --- cpu ------------------------------------------------------------------------------------------------------------


def test_burst_is_not_bound_by_the_quota(gated: SimKernel, mainline: SimKernel, attempt: Attempt) -> None:
    mainline.mkdir(f"{CPU}/a")
    for sim, result in ((gated, "OK"), (mainline, "EINVAL")):
        sim.write(f"{CPU}/a/cpu.cfs_quota_us", "50000")
        assert attempt(sim.write, f"{CPU}/a/cpu.cfs_burst_us", "60000") == result
    assert attempt(gated.write, f"{CPU}/a/cpu.cfs_quota_us", "40000") == "OK", "below its own burst"
    assert attempt(gated.write, f"{CPU}/a/cpu.cfs_burst_us", str(2**44)) == "EINVAL"
    assert attempt(gated.write, f"{CPU}/a/cpu.cfs_burst_us", "-1") == "EINVAL"
    assert attempt(gated.write, f"{CPU}/cpu.cfs_burst_us", "0") == "EINVAL"


def test_files_of_other_kernels_are_missing(anck: SimKernel, mainline: SimKernel, attempt: Attempt) -> None:
    for sim in (anck, mainline):
        for controller in ("cpu", "memory"):
            sim.mkdir(f"/sys/fs/cgroup/{controller}/a")
    for path in (f"{CPU}/a/cpu.idle", f"{CPU}/a/cpu.rt_runtime_us", f"{MEM}/a/memory.dirty_bytes"):
        assert attempt(anck.read, path) == "ENOENT"
        assert attempt(anck.write, path, "1") == "ENOENT"
    for path in (f"{CPU}/a/cpu.identity", f"{MEM}/a/memory.wmark_min_adj", f"{MEM}/a/memory.min", GATE):
        assert not mainline.exists(path)


@pytest.mark.parametrize("file", ["cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us"])
def test_root_bandwidth_is_refused(anck: SimKernel, attempt: Attempt, file: str) -> None:
    assert attempt(anck.write, f"{CPU}/{file}", "100000") == "EINVAL"


def test_existing_descendants_bound_a_parent(anck: SimKernel, attempt: Attempt) -> None:
    pods = f"{CPU}/kubepods/burstable"
    assert attempt(anck.write, f"{pods}/cpu.cfs_quota_us", "300000") == "EINVAL"
    anck.write(f"{pods}/pod-b/c1/cpu.cfs_quota_us", "300000")
    anck.write(f"{pods}/pod-b/cpu.cfs_quota_us", "300000")
    assert attempt(anck.write, f"{pods}/cpu.cfs_quota_us", "300000") == "OK"


# --- memory ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parent", "own", "reads"), [(0, -25, -25), (50, -25, 50), (25, 50, 50), (-10, -25, -10), (-10, 0, 0)]
)
def test_wmark_min_adj_reads_the_effective_value(anck: SimKernel, parent: int, own: int, reads: int) -> None:
    anck.mkdir(f"{MEM}/p")
    anck.mkdir(f"{MEM}/p/c")
    anck.write(f"{MEM}/p/c/memory.wmark_min_adj", str(own))
    anck.write(f"{MEM}/p/memory.wmark_min_adj", str(parent))
    assert anck.read(f"{MEM}/p/c/memory.wmark_min_adj") == f"{reads}\n"


def test_wmark_min_adj_recomputes_the_subtree(anck: SimKernel) -> None:
    for path in ("p", "p/c", "p/c/d"):
        anck.mkdir(f"{MEM}/{path}")
    anck.write(f"{MEM}/p/c/d/memory.wmark_min_adj", "-25")
    anck.write(f"{MEM}/p/memory.wmark_min_adj", "40")
    assert anck.read(f"{MEM}/p/c/d/memory.wmark_min_adj") == "40\n"
    anck.mkdir(f"{MEM}/p/c/d/e")
    anck.write(f"{MEM}/p/memory.wmark_min_adj", "0")
    assert anck.read(f"{MEM}/p/c/d/memory.wmark_min_adj") == "-25\n"
    assert anck.read(f"{MEM}/p/c/d/e/memory.wmark_min_adj") == "-25\n", "the own value was copied at mkdir too"


@pytest.mark.parametrize(
    ("file", "bad", "good"),
    [
        ("wmark_min_adj", ["-26", "51", "x"], ["-25", "50"]),
        ("wmark_ratio", ["-1", "101"], ["0", "100"]),
        ("wmark_scale_factor", ["0", "1001"], ["1", "1000"]),
        ("priority", ["-1", "13"], ["0", "12"]),
        ("use_priority_oom", ["2"], ["0", "1"]),
        ("oom.group", ["2", "-1"], ["1", "0"]),
        ("swappiness", ["101", "-1"], ["0", "100"]),
    ],
)
def test_memory_ranges(anck: SimKernel, attempt: Attempt, file: str, bad: list[str], good: list[str]) -> None:
    path = f"{MEM}/a/memory.{file}"
    anck.mkdir(f"{MEM}/a")
    for text in bad:
        assert attempt(anck.write, path, text) == "EINVAL", text
    for text in good:
        anck.write(path, text)
        assert anck.read(path) == f"{text}\n"


def test_which_memory_files_the_root_has(anck: SimKernel) -> None:
    names = anck.listdir(MEM)
    assert "memory.use_priority_oom" in names
    assert "memory.exstat" in names
    child_only = ("wmark_min_adj", "wmark_ratio", "wmark_high", "priority", "oom.group", "min", "low", "high")
    assert not [name for name in child_only if f"memory.{name}" in names]


def test_what_mkdir_copies(anck: SimKernel) -> None:
    anck.mkdir(f"{MEM}/a")
    written = {"wmark_min_adj": "30", "wmark_ratio": "95", "wmark_scale_factor": "20", "swappiness": "10",
               "priority": "5", "use_priority_oom": "1", "oom.group": "1", "low": "1M"}  # fmt: skip
    for file, text in written.items():
        anck.write(f"{MEM}/a/memory.{file}", text)
    anck.mkdir(f"{MEM}/a/b")
    read = {file: anck.read(f"{MEM}/a/b/memory.{file}").strip() for file in written}
    assert read == {"wmark_min_adj": "30", "wmark_ratio": "95", "wmark_scale_factor": "20", "swappiness": "10",
                    "priority": "0", "use_priority_oom": "0", "oom.group": "0", "low": "0"}  # fmt: skip


def test_watermarks_are_computed(anck: SimKernel, attempt: Attempt) -> None:
    anck.mkdir(f"{MEM}/a")
    high, low = f"{MEM}/a/memory.wmark_high", f"{MEM}/a/memory.wmark_low"
    assert anck.read(high) == anck.read(low) == UNLIMITED
    anck.write(f"{MEM}/a/memory.limit_in_bytes", "1G")
    assert anck.read(high) == UNLIMITED, "a ratio of 0 is off"
    anck.write(f"{MEM}/a/memory.wmark_ratio", "50")
    assert anck.read(high) == f"{2**29}\n"
    assert anck.read(low) == f"{(2**17 - 2**18 * 50 // 10000) * 4096}\n"
    anck.write(f"{MEM}/a/memory.high", "512M")
    assert anck.read(high) == f"{2**28}\n"
    assert attempt(anck.write, high, "1") == "EINVAL"


@pytest.mark.parametrize("file", ["min", "low", "high"])
def test_v2_style_sizes(anck: SimKernel, attempt: Attempt, file: str) -> None:
    path = f"{MEM}/a/memory.{file}"
    anck.mkdir(f"{MEM}/a")
    for text in ("-1", "junk", "1.5G"):
        assert attempt(anck.write, path, text) == "EINVAL"
    anck.write(path, "4097")
    assert anck.read(path) == "4096\n"
    anck.write(path, "max")
    assert anck.read(path) == "max\n"


def test_limit_and_usage(anck: SimKernel, attempt: Attempt) -> None:
    redis = f"{MEM}/system.slice/redis.service"
    assert attempt(anck.write, f"{redis}/memory.limit_in_bytes", "1G") == "EBUSY"
    assert attempt(anck.write, f"{MEM}/system.slice/memory.limit_in_bytes", "2G") == "EBUSY", "usage sums up"
    assert attempt(anck.write, f"{redis}/memory.limit_in_bytes", "2G") == "OK"
    assert attempt(anck.write, f"{MEM}/memory.limit_in_bytes", "2G") == "EINVAL"
    anck.set_usage(redis, 0)
    assert anck.read(f"{redis}/memory.max_usage_in_bytes") == f"{2**31}\n"
    anck.write(f"{redis}/memory.max_usage_in_bytes", "0")
    assert anck.read(f"{redis}/memory.max_usage_in_bytes") == "0\n"


def test_root_swappiness_is_the_sysctl(anck: SimKernel, attempt: Attempt) -> None:
    anck.write(f"{MEM}/memory.swappiness", "-1")
    assert anck.read("/proc/sys/vm/swappiness") == "-1\n"
    anck.write("/proc/sys/vm/swappiness", "33")
    assert anck.read(f"{MEM}/memory.swappiness") == "33\n"
    anck.mkdir(f"{MEM}/a")
    assert anck.read(f"{MEM}/a/memory.swappiness") == "33\n"
    assert attempt(anck.write, f"{MEM}/memory.swappiness", "101") == "EINVAL"
    assert attempt(anck.write, "/proc/sys/vm/swappiness", "200") == "OK"


def test_latency_reports_take_only_zero(anck: SimKernel, attempt: Attempt) -> None:
    for path in (f"{MEM}/memory.direct_reclaim_memcg_latency", f"{CPU}/cpuacct.wait_latency"):
        assert attempt(anck.write, path, "1") == "EINVAL"
        assert attempt(anck.write, path, "0") == "OK"
        assert anck.read(path)


def test_idle_page_buckets(anck: SimKernel, attempt: Attempt) -> None:
    path = f"{MEM}/a/memory.idle_page_stats"
    anck.mkdir(f"{MEM}/a")
    assert attempt(anck.write, path, "1,2,2") == "EINVAL"
    assert attempt(anck.write, path, ",".join(map(str, range(1, 20)))) == "E2BIG"
    anck.write(path, "1,3,9")
    anck.mkdir(f"{MEM}/a/b")
    assert "buckets: 1,3,9" in anck.read(f"{MEM}/a/b/memory.idle_page_stats")


# --- dirty limits ---------------------------------------------------------------------------------------------------

PAIRS = [
    ("/proc/sys/vm/dirty_", "20", "10"),
    (f"{MEM}/a/memory.dirty_", "0", "0"),
]


@pytest.mark.parametrize(("prefix", "ratio", "background"), PAIRS)
def test_dirty_pairs(seed: SimKernel, attempt: Attempt, prefix: str, ratio: str, background: str) -> None:
    seed.mkdir(f"{MEM}/a")

    def values() -> list[str]:
        names = ("bytes", "ratio", "background_bytes", "background_ratio")
        return [seed.read(prefix + name).strip() for name in names]

    assert values() == ["0", ratio, "0", background]
    seed.write(f"{prefix}bytes", "8192")
    assert values() == ["8192", "0", "0", background]
    seed.write(f"{prefix}ratio", "0")
    assert values()[:2] == ["8192", "0"], "an unchanged ratio does not end bytes mode"
    seed.write(f"{prefix}ratio", "30")
    assert values()[:2] == ["0", "30"]
    for name, bad in (("bytes", "0"), ("bytes", "8191"), ("ratio", "101"), ("ratio", "-1"), ("background_bytes", "0")):
        assert attempt(seed.write, prefix + name, bad) == "EINVAL", (name, bad)
    assert values()[:2] == ["0", "30"], "a refused write changes neither half"
    seed.write(f"{prefix}background_bytes", "1")
    assert values()[2:] == ["1", "0"]
    seed.write(f"{prefix}background_ratio", "0")
    assert values()[2:] == ["0", "0"], "the background half is zeroed by every write"
    assert attempt(seed.write, f"{prefix}bytes", "-8192") == "OK"
    assert values()[:2] == ["0", "30"], "a negative unsigned long is skipped with success"


def test_seed_dirty_files_exist_below_the_root_only(seed: SimKernel) -> None:
    assert not seed.exists(f"{MEM}/memory.dirty_bytes")
    assert seed.exists(f"{MEM}/system.slice/memory.dirty_bytes")


def test_seed_dirty_limits_are_not_inherited(seed: SimKernel) -> None:
    seed.mkdir(f"{MEM}/a")
    seed.write(f"{MEM}/a/memory.dirty_bytes", "1048576")
    seed.mkdir(f"{MEM}/a/b")
    assert seed.read(f"{MEM}/a/b/memory.dirty_bytes") == "0\n"


# --- host -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sysctl", "bad", "good"),
    [
        ("vm/swappiness", ["-2", "201", "x"], ["-1", "200"]),
        ("vm/watermark_scale_factor", ["0", "1001"], ["1", "1000"]),
        ("vm/min_free_kbytes", ["-1"], ["100000000"]),
        ("vm/dirty_expire_centisecs", ["-1"], ["0"]),
        ("vm/dirty_writeback_centisecs", ["-1"], ["0"]),
        ("vm/overcommit_memory", ["3"], ["2"]),
        ("vm/drop_caches", ["0", "5"], ["3"]),
        ("kernel/pid_max", ["300", "4194305"], ["301", "4194304"]),
        ("kernel/sched_bvt_place_epsilon", ["x"], ["-5"]),
        ("kernel/sched_cfs_bw_burst_enabled", ["2"], ["0"]),
        ("kernel/sched_cfs_bw_burst_onset_percent", ["101", "-1"], ["100"]),
        ("kernel/rich_container_cpuinfo_sharesbase", ["1"], ["2"]),
    ],
)
def test_sysctl_ranges(anck: SimKernel, attempt: Attempt, sysctl: str, bad: list[str], good: list[str]) -> None:
    path = f"/proc/sys/{sysctl}"
    for text in bad:
        assert attempt(anck.write, path, text) == "EINVAL", text
    for text in good:
        anck.write(path, text)
        assert anck.read(path) == f"{text}\n"


def test_odd_sysctls(anck: SimKernel, mainline: SimKernel, attempt: Attempt) -> None:
    assert anck.read("/proc/sys/kernel/sched_expel_update_interval") == "10\t0\n"
    anck.write("/proc/sys/vm/lowmem_reserve_ratio", "128 64")
    assert anck.read("/proc/sys/vm/lowmem_reserve_ratio") == "128\t64\t32\t0\n"
    assert attempt(mainline.read, "/proc/sys/vm/drop_caches") == "EACCES"
    assert attempt(mainline.write, "/proc/sys/vm/drop_caches", "3") == "OK"
    assert attempt(anck.write, "/proc/sys/kernel/osrelease", "5") == "EACCES"
    assert attempt(mainline.write, "/proc/sys/vm/dirty_writeback_centisecs", "-1") == "OK"


def test_sched_features(anck: SimKernel, attempt: Attempt) -> None:
    path = "/sys/kernel/debug/sched_features"
    assert "ID_RESCUE_EXPELLEE" in anck.read(path).split()
    anck.write(path, "NO_ID_RESCUE_EXPELLEE\n")
    assert "NO_ID_RESCUE_EXPELLEE" in anck.read(path).split()
    assert attempt(anck.write, path, "ID_NOTHING") == "EINVAL"


def test_reaper_and_kidled(anck: SimKernel, attempt: Attempt) -> None:
    reaper = "/sys/kernel/mm/memcg_reaper"
    assert attempt(anck.write, f"{reaper}/scan_interval", "0") == "EINVAL"
    assert attempt(anck.write, f"{reaper}/reap", "2") == "EINVAL"
    assert attempt(anck.write, f"{reaper}/reap", "1") == "OK"
    assert anck.read(f"{reaper}/reap") == "0\n"
    assert attempt(anck.write, "/sys/kernel/mm/kidled/scan_period_in_seconds", "65536") == "EINVAL"


def test_cpusets_are_narrowed_child_first(anck: SimKernel, attempt: Attempt) -> None:
    pods = f"{SET}/kubepods/besteffort"
    assert attempt(anck.write, f"{pods}/cpuset.cpus", "0-3") == "EBUSY"
    for path in ("pod-a/c1", "pod-a", "."):
        assert attempt(anck.write, f"{pods}/{path}/cpuset.cpus", "0-3") == "OK"
    assert attempt(anck.write, f"{pods}/pod-a/cpuset.cpus", "4") == "EBUSY", "its child has 0-3"
    assert attempt(anck.write, f"{pods}/pod-a/c1/cpuset.cpus", "4") == "EACCES"
    assert attempt(anck.write, f"{SET}/cpuset.cpus", "0-3") == "EACCES"
    assert attempt(anck.write, f"{pods}/pod-a/c1/cpuset.cpus", "all") == "EINVAL", "a word of newer kernels"


@pytest.mark.parametrize(
    ("text", "result", "reads"),
    [("ALL", "OK", "0-1"), ("all:1/2", "OK", "0"), ("N-N", "OK", "1"), ("0-1:0/2", "OK", ""), (",0,,", "OK", "0"),
     ("all-1", "EINVAL", ""), ("0-1:3/2", "EINVAL", ""), ("0-1:1/0", "EINVAL", ""), ("0x1", "EINVAL", ""),
     ("2", "ERANGE", ""), ("4294967296", "EOVERFLOW", "")],
)  # fmt: skip
def test_cpu_lists(mainline: SimKernel, attempt: Attempt, text: str, result: str, reads: str) -> None:
    """Each row was tried on a real 6.18 with two CPUs."""
    mainline.mkdir(f"{SET}/a")
    assert attempt(mainline.write, f"{SET}/a/cpuset.cpus", text) == result
    assert mainline.read(f"{SET}/a/cpuset.cpus") == f"{reads}\n"


def test_cpuset_flags_are_cut_to_an_int(mainline: SimKernel) -> None:
    mainline.mkdir(f"{SET}/a")
    for text, reads in (("7", "1"), ("4294967296", "0")):
        mainline.write(f"{SET}/a/cpuset.memory_migrate", text)
        assert mainline.read(f"{SET}/a/cpuset.memory_migrate") == f"{reads}\n"


def test_exclusive_cpusets(mainline: SimKernel, attempt: Attempt) -> None:
    mainline.rmdir(f"{SET}/other")
    for name in ("a", "b"):
        mainline.mkdir(f"{SET}/{name}")
        mainline.write(f"{SET}/{name}/cpuset.cpus", "0" if name == "a" else "1")
    mainline.write(f"{SET}/a/cpuset.cpu_exclusive", "2")
    assert mainline.read(f"{SET}/a/cpuset.cpu_exclusive") == "1\n"
    assert attempt(mainline.write, f"{SET}/b/cpuset.cpus", "0-1") == "EINVAL"
    mainline.mkdir(f"{SET}/a/c")
    mainline.write(f"{SET}/a/c/cpuset.cpus", "0")
    mainline.write(f"{SET}/a/c/cpuset.cpu_exclusive", "1")
    assert attempt(mainline.write, f"{SET}/a/cpuset.cpu_exclusive", "0") == "EBUSY"


def test_iocost(anck: SimKernel, attempt: Attempt) -> None:
    root = "/sys/fs/cgroup/blkio"
    anck.mkdir(f"{root}/a")
    weight = f"{root}/a/blkio.cost.weight"
    assert anck.read(weight) == "default 100\n"
    assert attempt(anck.write, weight, "8:0 200") in ("EOPNOTSUPP", "ENOTSUP")
    assert anck.read(f"{root}/blkio.cost.qos") == ""
    anck.write(f"{root}/blkio.cost.qos", "8:0 enable=1 min=0.5 max=99999999")
    assert anck.read(f"{root}/blkio.cost.qos").startswith("8:0 enable=1 ctrl=user rpct=0.00 rlat=25000 ")
    assert anck.read(f"{root}/blkio.cost.qos").endswith("min=1.00 max=10000.00\n")
    assert attempt(anck.write, f"{root}/blkio.cost.qos", "8:0 min=50 max=40") == "EINVAL"
    assert attempt(anck.write, f"{root}/blkio.cost.qos", "8:1 enable=1") == "ENODEV"
    anck.write(f"{root}/blkio.cost.qos", "8:0 ctrl=auto")
    assert "ctrl=auto" in anck.read(f"{root}/blkio.cost.qos")
    anck.write(weight, "8:0 200")
    anck.write(weight, "default 50")
    assert anck.read(weight) == "default 50\n8:0 200\n"
    assert attempt(anck.write, weight, "0") == "EINVAL"
    anck.write(f"{root}/blkio.cost.model", "8:0 rbps=1000")
    assert anck.read(f"{root}/blkio.cost.model").startswith("8:0 ctrl=user model=linear rbps=1000 rseqiops=")
