"""cotune facts: what is told about a host, and how its family is found out."""

from __future__ import annotations

import os
import re
from pathlib import Path

import psutil
import pytest

from cotune.host.dialect import find_dialect
from cotune.host.facts import Host
from cotune.kernel.port import Kernel
from cotune.kernel.real import RealKernel
from cotune.sim.kernel import KERNELS

from .conftest import Cotune, Make

#: Simulated kernels whose family goes by another name than they do.
FAMILIES = {
    "anck-6.6-v2": "anck-6.6",
    "hybrid": "mainline-hybrid",
    "tencentos-4.14": "tencentos",
    "openeuler-6.6": "openeuler",
}


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_family_is_probed(kernel: str, cotune_on: Make) -> None:
    cotune, family = cotune_on(kernel), FAMILIES.get(kernel, kernel)
    record = cotune.json("facts")
    assert record["dialect"] == family
    assert record["dialect_clues"]
    assert f"family      {family}  (by probing: " in cotune("facts").out


def test_a_simulated_host(anck: Cotune) -> None:
    record = anck.json("facts")
    assert record["cgroup_mode"] == "v1"
    assert record["controllers"]["cpu"] == {"version": 1, "mount": "/sys/fs/cgroup/cpu,cpuacct"}
    assert (record["mem_total"], record["cpus_online"], record["cpu_count"]) == (64 * 2**30, "0-15", 16)
    assert record["nodes"] == {"0": "0-7", "1": "8-15"}
    assert record["boot_words"]["cgwb_v1"] == "cgwb_v1"
    assert record["boot_words"]["psi_v1"] == "psi_v1=1"
    assert record["boot_words"]["swapaccount"] is None
    assert {disk["name"]: disk["scheduler"] for disk in record["block"]} == {"nvme0n1": "none", "sda": "mq-deadline"}
    assert [mount["point"] for mount in record["ext4"]] == ["/", "/data"]
    assert record["knobs"]["cpu.identity"]["state"] == "gated"
    assert record["knobs"]["cpu.shares"]["state"] == "yes"
    assert record["knobs"]["memory.dirty_bytes"]["state"] == "no"


def test_text(anck: Cotune) -> None:
    text = anck("facts").out
    assert "kernel      4.19.91" in text
    assert "memory      64GiB  (pages of 4KiB)" in text
    assert "  cpu      v1  /sys/fs/cgroup/cpu,cpuacct" in text
    assert re.search(r"^knobs not available \(\d+\)\n  cpu\.weight, cpu\.idle, ", text, re.MULTILINE)
    assert max(len(line) for line in text.splitlines()) < 220


def test_controllers_of_version_2_are_available_or_enabled(cotune_on: Make) -> None:
    cotune = cotune_on("mainline-v2")
    assert cotune.json("facts")["controllers"]["io"] == {"version": 2, "mount": "/sys/fs/cgroup", "enabled": True}
    for group in ("system.slice", "kubepods.slice"):
        with cotune.host() as kernel:
            _disable(kernel, f"/sys/fs/cgroup/{group}", "io")
    cotune.write("/sys/fs/cgroup/cgroup.subtree_control", "-io")
    assert cotune.json("facts")["controllers"]["io"]["enabled"] is False
    line = next(line for line in cotune("facts").lines if line.startswith("  io "))
    assert line.endswith("available, not enabled for child groups")
    gap = next(gap for gap in cotune.json("doctor")["gaps"] if "io.throttle.write_bps" in gap["knobs"])
    assert (gap["state"], gap["kind"]) == ("gated", "controller")
    assert gap["remedy"] == "cotune enables it when a profile uses this knob"


def _disable(kernel: Kernel, directory: str, controller: str) -> None:
    """Take a controller from every group below a directory, the deepest first."""
    for name in kernel.subdirs(directory):
        _disable(kernel, f"{directory}/{name}", controller)
    if controller in kernel.read(f"{directory}/cgroup.subtree_control").split():
        kernel.write(f"{directory}/cgroup.subtree_control", f"-{controller}")


def test_resctrl_is_told_where_it_is_mounted(anck: Cotune, cotune_on: Make) -> None:
    mounted = anck.json("facts")["resctrl"]
    assert mounted["mounted"]
    assert mounted["resources"]["L3"]["num_closids"] > 1
    assert "resctrl     mounted" in anck("facts").out
    assert cotune_on("tencentos").json("facts")["resctrl"]["mounted"] is False


def test_the_running_host(real: Cotune) -> None:
    record = real.json("facts")
    assert record["release"] == os.uname().release
    assert record["mem_total"] == psutil.virtual_memory().total
    assert record["page_size"] == os.sysconf("SC_PAGE_SIZE")
    assert record["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert record["cpu_count"] == os.cpu_count()


TREE = {
    "anck-5.10": ["memory/memory.exstat=wmark_reclaim_work_ms 0", "memory/a/memory.wmark_min_adj=0"],
    "anck-4.19": ["memory/memory.exstat=wmark_min_throttled_ms 0", "memory/a/memory.wmark_min_adj=0"],
    "anck-6.6": ["cpu/cpu.priority=0", "memory/memory.exstat=wmark_reclaim_work_ms 0"],
    "tencentos": ["memory/a/memory.pagecache.max_ratio=100"],
    "tencentos-rue": ["cpu/a/cpu.bt_suppress_percent=100", "memory/memory.use_priority_oom=0"],
    "openeuler": ["cpu/a/cpu.qos_level=0", "memory/memory.use_priority_oom=0"],
    "mainline-v1": ["cpu/cpu.shares=1024"],
}


@pytest.mark.parametrize("family", TREE)
def test_families_by_their_files(family: str, tmp_path: Path) -> None:
    """A directory that looks like the cgroup mounts of a kernel, without any release to go by."""
    mounts = []
    for number, controller in enumerate(("cpu", "memory")):
        (tmp_path / "sys/fs/cgroup" / controller / "a").mkdir(parents=True)
        line = f"3{number} 2 0:3{number} / /sys/fs/cgroup/{controller} rw - cgroup cgroup rw,{controller}\n"
        mounts.append(line)
    for entry in TREE[family]:
        name, _, text = entry.partition("=")
        (tmp_path / "sys/fs/cgroup" / name).write_text(f"{text}\n")
    (tmp_path / "proc/1").mkdir(parents=True)
    (tmp_path / "proc/1/mountinfo").write_text("".join(mounts))
    kernel = RealKernel(str(tmp_path))
    try:
        assert find_dialect(Host(kernel)).name == family
    finally:
        kernel.close()
