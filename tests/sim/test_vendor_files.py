"""Files of vendor kernels: which hosts have them, their first value, ranges, errnos and read-back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cotune.sim.kernel import KERNELS, SimKernel

Attempt = Callable[..., str]
CASES: list[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parent.parent / "cases" / "vendor_files.yaml").read_text(encoding="utf-8")
)
VENDORS = [kernel for kernel in KERNELS if kernel.startswith(("anck", "tencentos", "openeuler"))]
GROUPS = ("a", "a/b")


def is_unified(sim: SimKernel) -> bool:
    return sim.exists("/sys/fs/cgroup/cgroup.controllers")


def with_groups(host: str) -> SimKernel:
    """A host with the groups ``a`` and ``a/b`` wherever there are controllers."""
    sim = SimKernel(host)
    if is_unified(sim):
        for group in GROUPS:
            sim.mkdir(f"/sys/fs/cgroup/{group}")
            sim.write(f"/sys/fs/cgroup/{group}/cgroup.subtree_control", "+cpu +memory +io +cpuset")
        return sim
    for controller in ("cpu", "cpuset", "memory", "blkio"):
        for group in GROUPS:
            sim.mkdir(f"/sys/fs/cgroup/{controller}/{group}")
    return sim


def path_of(sim: SimKernel, file: str) -> str:
    if file.startswith("/"):
        return file
    controller, _, inside = file.partition(":")
    top = "/sys/fs/cgroup" if is_unified(sim) else f"/sys/fs/cgroup/{controller}"
    return f"{top}/{inside.lstrip('/')}"


@pytest.mark.parametrize(
    ("host", "case"),
    [pytest.param(host, case, id=f"{host}:{case['file']}") for case in CASES for host in case["hosts"]],
)
def test_file(host: str, case: dict[str, Any], attempt: Attempt) -> None:
    sim = with_groups(host)
    path = path_of(sim, case["file"])
    assert sim.read(path).rstrip("\n") == case["first"]
    for text, result, reads in case["steps"]:
        assert attempt(sim.write, path, text) in (result, {"EOPNOTSUPP": "ENOTSUP"}.get(result)), f"writing {text!r}"
        if reads is not None:
            assert sim.read(path).rstrip("\n") == reads, f"after writing {text!r}"


@pytest.mark.parametrize(("host", "file"), [(host, case["file"]) for case in CASES for host in case.get("absent", ())])
def test_absent(host: str, file: str) -> None:
    sim = with_groups(host)
    assert not sim.exists(path_of(sim, file))


@pytest.mark.parametrize("host", VENDORS)
def test_every_vendor_host_has_what_a_rehearsal_needs(host: str) -> None:
    sim = SimKernel(host)
    top = "/sys/fs/cgroup" if is_unified(sim) else "/sys/fs/cgroup/memory"
    assert sim.exists(f"{top}/system.slice/redis.service")
    assert any("kubepods" in name for name in sim.subdirs(top))
    assert "/dev/sda1 / ext4 defaults 0 1\n" in sim.read("/etc/fstab")
    assert sim.read("/proc/sys/kernel/osrelease").strip() in sim.read("/proc/version")


# --- inheritance and subtrees ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["anck-5.10", "anck-6.6", "anck-6.6-v2"])
def test_background_reaping_is_a_mask(host: str) -> None:
    sim = with_groups(host)
    everywhere = "/sys/kernel/mm/memcg_reaper/reap_background"
    group, child = (path_of(sim, f"memory:{name}/memory.reap_background") for name in GROUPS)
    sim.write(group, "1")
    assert sim.read(child) == "1\n", "a write covers the subtree"
    assert sim.read(everywhere) == "2\n"
    sim.write(everywhere, "1")
    assert sim.read(everywhere) == "3\n"
    sim.write(group, "0")
    sim.write(everywhere, "0")
    assert sim.read(everywhere) == "2\n", "only the root's file takes the second bit away"
    sim.write(path_of(sim, "memory:/memory.reap_background"), "0")
    assert sim.read(everywhere) == "0\n"


@pytest.mark.parametrize("host", ["anck-5.10", "anck-6.6-v2"])
def test_page_cache_limits_nest_and_are_copied(host: str, attempt: Attempt) -> None:
    sim = with_groups(host)
    size, below = (path_of(sim, f"memory:{name}/memory.pagecache_limit.size") for name in GROUPS)
    sim.write(size, "8M")
    assert attempt(sim.write, below, "16M") == "OK", "the parent's limit is not on yet"
    sim.write(path_of(sim, "memory:a/memory.pagecache_limit.enable"), "1")
    assert attempt(sim.write, below, "16M") == "EINVAL"
    sim.mkdir(path_of(sim, "memory:a/c"))
    assert sim.read(path_of(sim, "memory:a/c/memory.pagecache_limit.size")) == "8388608\n"
    limit = "memory.max" if is_unified(sim) else "memory.limit_in_bytes"
    sim.write(path_of(sim, f"memory:a/c/{limit}"), "1M")
    assert attempt(sim.write, path_of(sim, "memory:a/c/memory.pagecache_limit.size"), "2M") == "EINVAL"


@pytest.mark.parametrize("host", ["anck-5.10", "anck-6.6", "anck-6.6-v2"])
def test_watermarks_follow_limits_and_parents(host: str) -> None:
    sim = with_groups(host)
    limit = "memory.max" if is_unified(sim) else "memory.limit_in_bytes"
    sim.write(path_of(sim, "memory:a/memory.wmark_ratio"), "50")
    sim.write(path_of(sim, f"memory:a/{limit}"), "1G")
    assert sim.read(path_of(sim, "memory:a/memory.wmark_high")) == f"{2**29}\n"
    assert int(sim.read(path_of(sim, "memory:a/memory.wmark_low"))) < 2**29
    sim.write(path_of(sim, "memory:a/memory.wmark_min_adj"), "25")
    sim.write(path_of(sim, "memory:a/b/memory.wmark_min_adj"), "-25")
    assert sim.read(path_of(sim, "memory:a/b/memory.wmark_min_adj")) == "25\n"


@pytest.mark.parametrize("host", ["openeuler", "openeuler-6.6"])
def test_openeuler_levels_walk_the_subtree(host: str, attempt: Attempt) -> None:
    sim = with_groups(host)
    sim.write("/sys/fs/cgroup/cpu/a/cpu.qos_level", "-1")
    assert sim.read("/sys/fs/cgroup/cpu/a/b/cpu.qos_level") == "-1\n"
    sim.mkdir("/sys/fs/cgroup/cpu/a/new")
    assert sim.read("/sys/fs/cgroup/cpu/a/new/cpu.qos_level") == "-1\n"
    memory = "/sys/fs/cgroup/memory/a/memory.qos_level"
    assert attempt(sim.write, memory, "-1") == "EINVAL"
    sim.write("/proc/sys/vm/memcg_qos_enable", "1")
    sim.write(memory, "-1")
    assert sim.read("/sys/fs/cgroup/memory/a/b/memory.qos_level") == "-1\n"
    sim.write(memory, "0")


def test_openeuler_preferred_cpus_lie_within_the_group(attempt: Attempt) -> None:
    sim = with_groups("openeuler")
    preferred = "/sys/fs/cgroup/cpuset/a/cpuset.preferred_cpus"
    sim.write("/sys/fs/cgroup/cpuset/a/cpuset.cpus", "0-7")
    assert attempt(sim.write, preferred, "8") == "EINVAL"
    sim.write(preferred, "0-3")
    assert sim.read(preferred) == "0-3\n"


@pytest.mark.parametrize("host", ["openeuler", "openeuler-6.6"])
def test_openeuler_names_a_blkio_group_by_inode(host: str, attempt: Attempt) -> None:
    sim = with_groups(host)
    path = "/sys/fs/cgroup/memory/a/memory.wb_blkio_ino"
    assert sim.read(path) == "wb_blkio_path:\nwb_blkio_ino:0\n"
    assert attempt(sim.write, path, "1") == "EINVAL"
    sim.write(path, "101")
    assert sim.read(path) == "wb_blkio_path:/\nwb_blkio_ino:101\n"


def test_tencentos_offline_is_of_one_group_alone() -> None:
    sim = with_groups("tencentos-4.14")
    sim.write("/sys/fs/cgroup/cpu/a/cpu.offline", "1")
    sim.mkdir("/sys/fs/cgroup/cpu/a/new")
    below = ("/sys/fs/cgroup/cpu/a/b", "/sys/fs/cgroup/cpu/a/new")
    assert [sim.read(f"{group}/cpu.offline") for group in below] == ["0\n", "0\n"]


def test_tencentos_page_cache_sysctls_depend_on_each_other(attempt: Attempt) -> None:
    sim = SimKernel("tencentos")
    ratio, reclaim, later = (f"/proc/sys/vm/pagecache_limit_{name}" for name in ("ratio", "reclaim_ratio", "async"))
    assert attempt(sim.write, reclaim, "40") == "EINVAL"
    assert sim.read(reclaim) == "40\n", "refused and kept all the same"
    assert attempt(sim.write, later, "1") == "EINVAL"
    assert sim.read(later) == "1\n"
    sim.write(ratio, "30")
    assert sim.read(reclaim) == "32\n"
    assert attempt(sim.write, reclaim, "31") == "EINVAL"
    assert sim.read(reclaim) == "32\n"
    assert attempt(sim.write, ratio, "101") == "EINVAL"
    sim.write(ratio, "99")
    assert sim.read(reclaim) == "100\n"
    sim.write(ratio, "0")
    assert sim.read(reclaim) == "0\n"


def test_tencentos_has_a_file_that_takes_writes_with_its_gate_only() -> None:
    sim = with_groups("tencentos")
    sim.write("/proc/sys/vm/wujing_enable", "1")
    sim.write("/sys/fs/cgroup/memory/a/memory.high", "1G")
    assert sim.read("/sys/fs/cgroup/memory/a/memory.high") == "1073741824\n"


def test_tencentos_ratio_wants_a_memory_limit(attempt: Attempt) -> None:
    sim = with_groups("tencentos")
    ratio = "/sys/fs/cgroup/memory/a/memory.pagecache.max_ratio"
    assert attempt(sim.write, ratio, "50") == "EPERM"
    sim.write("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1G")
    sim.write(ratio, "50")
    assert sim.read(ratio) == "50\n"


def test_tencentos_diskstats_is_a_switch_that_reads_as_a_table() -> None:
    sim = with_groups("tencentos")
    path = "/sys/fs/cgroup/blkio/a/blkio.diskstats"
    assert sim.read(path) == ""
    sim.write(path, "7")
    assert "sda" in sim.read(path)
    sim.write(path, "0")
    assert sim.read(path) == ""


def test_rue_priorities_belong_to_hierarchies_with_controllers() -> None:
    sim = SimKernel("tencentos-rue")
    for hierarchy in ("cpu", "memory", "blkio", "pids"):
        assert sim.read(f"/sys/fs/cgroup/{hierarchy}/system.slice/cgroup.priority") == "0\n"
        assert not sim.exists(f"/sys/fs/cgroup/{hierarchy}/cgroup.priority")
    assert not sim.exists("/sys/fs/cgroup/systemd/system.slice/cgroup.priority")


def test_rue_binds_a_memory_group_to_a_blkio_group(attempt: Attempt) -> None:
    sim = with_groups("tencentos-rue")
    path = "/sys/fs/cgroup/memory/a/memcg.bind_blkio"
    assert sim.read(path) == "\n"
    assert attempt(sim.write, path, "/sys/fs/cgroup/blkio/none") == "EINVAL"
    sim.write(path, "/sys/fs/cgroup/blkio/a\n")
    assert sim.read(path) == "/sys/fs/cgroup/blkio/a\n"


# --- scheduler features ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("anck-4.19", "/sys/kernel/debug/sched_features"),
        ("anck-5.10", "/sys/kernel/debug/sched_features"),
        ("anck-6.6", "/sys/kernel/debug/sched/features"),
        ("anck-6.6-v2", "/sys/kernel/debug/sched/features"),
    ],
)
def test_sched_features(host: str, path: str, attempt: Attempt) -> None:
    sim = SimKernel(host)
    assert {"ID_RESCUE_EXPELLEE", "NO_ID_LOOSE_EXPEL", "NO_ID_LAST_HIGHCLASS_STAY"} <= set(sim.read(path).split())
    sim.write(path, "NO_ID_RESCUE_EXPELLEE\n")
    sim.write(path, "ID_LOOSE_EXPEL")
    assert {"NO_ID_RESCUE_EXPELLEE", "ID_LOOSE_EXPEL"} <= set(sim.read(path).split())
    assert attempt(sim.write, path, "ID_NONSENSE") == "EINVAL"
    assert ("NO_ID_ABSOLUTE_EXPEL" in sim.read(path).split()) == host.startswith("anck-6.6")


def test_other_vendors_have_no_identity_features() -> None:
    assert "ID_IDLE_AVG" not in SimKernel("openeuler").read("/sys/kernel/debug/sched_features").split()


def test_identity_on_v2_has_the_gate_too(attempt: Attempt) -> None:
    sim = with_groups("anck-6.6-v2")
    path = "/sys/fs/cgroup/a/cpu.bvt_warp_ns"
    assert attempt(sim.write, path, "-1") == "EINVAL"
    sim.write("/proc/sys/kernel/sched_group_identity_enabled", "1")
    sim.write(path, "-1")
    assert sim.read(path) == "-1\n"
    assert attempt(sim.write, path, "3") == "ERANGE"
    assert not sim.exists("/sys/fs/cgroup/cpu.bvt_warp_ns")


# --- cgroup writeback on v1 -----------------------------------------------------------------------------------------

LINKS = "/sys/kernel/debug/bdi/bdi_wb_link"


@pytest.mark.parametrize("host", ["anck-4.19", "anck-5.10"])
def test_a_memory_group_is_linked_once(host: str, tmp_path: Path) -> None:
    sim = with_groups(host)
    blkio, memory = "/sys/fs/cgroup/blkio", "/sys/fs/cgroup/memory"
    sim.mkdir(f"{blkio}/other")
    sim.spawn(9000, "stress")
    sim.write(f"{memory}/a/cgroup.procs", "9000")
    assert "/a " not in sim.read(LINKS), "a task in the root blkio group links nothing"
    sim.write(f"{blkio}/a/cgroup.procs", "9000")
    assert "/a /a\n" in sim.read(LINKS)
    sim.write(f"{blkio}/other/cgroup.procs", "9000")
    assert "/a /\n" in sim.read(LINKS), "linked to the root from now on"
    sim.write(f"{blkio}/a/cgroup.procs", "9000")
    assert "/a /\n" in sim.read(LINKS)
    sim.save(tmp_path / "state")
    assert SimKernel.load(host, tmp_path / "state").read(LINKS) == sim.read(LINKS)


def test_a_link_ends_with_its_blkio_group() -> None:
    sim = with_groups("anck-5.10")
    sim.spawn(9000, "stress", {"memory": "/a", "blkio": "/a/b"})
    assert "/a /a/b\n" in sim.read(LINKS)
    sim.write("/sys/fs/cgroup/blkio/cgroup.procs", "9000")
    sim.rmdir("/sys/fs/cgroup/blkio/a/b")
    assert "/a " not in sim.read(LINKS)
    sim.write("/sys/fs/cgroup/blkio/a/cgroup.procs", "9000")
    assert "/a /a\n" in sim.read(LINKS)


def test_without_the_boot_word_there_are_no_links() -> None:
    for host in ("anck-6.6-v2", "tencentos", "mainline-v1"):
        assert not SimKernel(host).exists(LINKS)
