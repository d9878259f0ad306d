"""Simulated resctrl where there is no recording: other machines, processes, saved hosts, later kernels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cotune.sim import resctrl
from cotune.sim.hosts import HOSTS
from cotune.sim.kernel import SimKernel
from cotune.sim.resctrl_spec import MACHINES, Cache, ResctrlSpec, amd, halves, intel
from tests.sim.conftest import Attempt

POINT = "/sys/fs/resctrl"
CASES: list[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parent.parent / "cases" / "resctrl_writes.yaml").read_text()
)
INTEL = intel(halves(8))

Boot = Callable[..., SimKernel]


@pytest.fixture
def boot(monkeypatch: pytest.MonkeyPatch) -> Boot:
    """A mainline host with the resctrl hardware given, mounted with the options given."""

    def start(spec: ResctrlSpec, *options: str, release: str = "6.1.0") -> SimKernel:
        monkeypatch.setitem(MACHINES, "mainline-v2", spec)
        monkeypatch.setitem(HOSTS, "mainline-v2", HOSTS["mainline-v2"]._replace(release=release))
        sim = SimKernel("mainline-v2")
        sim.mount("resctrl", "resctrl", POINT, options)
        return sim

    return start


def _l3(**changes: Any) -> Cache:
    assert INTEL.l3 is not None
    return INTEL.l3._replace(**changes)


def _status(sim: SimKernel) -> str:
    return sim.read(f"{POINT}/info/last_cmd_status")


# --- hosts ----------------------------------------------------------------------------------------------------------


def test_anck_has_it_mounted() -> None:
    sim = SimKernel("anck-4.19")
    (found,) = [mount for mount in sim.mounts() if mount.fstype == "resctrl"]
    assert (found.point, found.source, found.super_options) == (POINT, "resctrl", ("rw",))
    assert sim.read(f"{POINT}/schemata") == "    MB:0=100;1=100\n    L3:0=7ff;1=7ff\n"
    # Files of later kernels.
    assert not sim.exists(f"{POINT}/info/MB/thread_throttle_mode")
    assert not sim.exists("/proc/1/cpu_resctrl_groups")


def test_a_host_without_the_hardware_has_no_directory(attempt: Attempt) -> None:
    sim = SimKernel("mainline-v1")
    assert not sim.exists(POINT)
    assert attempt(sim.mount, "resctrl", "resctrl", POINT, ()) == "ENOENT"
    sim.mkdir("/run/r")
    assert attempt(sim.mount, "resctrl", "resctrl", "/run/r", ()) == "ENODEV"
    assert "resctrl" not in sim.read("/proc/filesystems")


def test_mounting_when_asked(attempt: Attempt) -> None:
    sim = SimKernel("mainline-v2")
    assert sim.listdir(POINT) == []
    assert "cat_l3" in sim.read("/proc/cpuinfo")
    assert "nodev\tresctrl\n" in sim.read("/proc/filesystems")
    assert attempt(sim.unmount, POINT) == "EINVAL"
    assert attempt(sim.mkdir, f"{POINT}/g") == "ENOENT"
    assert attempt(sim.mount, "resctrl", "resctrl", POINT, ("cdp", "bogus")) == "EINVAL"
    sim.mount("resctrl", "resctrl", POINT, ("cdp",))
    assert attempt(sim.mount, "resctrl", "resctrl", POINT, ()) == "EBUSY"
    assert "resctrl /sys/fs/resctrl resctrl rw,relatime,cdp 0 0\n" in sim.read("/proc/mounts")
    assert sim.read(f"{POINT}/info/L3CODE/num_closids") == "8\n"
    sim.unmount(POINT)
    assert sim.listdir(POINT) == []
    assert "/sys/fs/resctrl" not in sim.read("/proc/mounts")


def test_a_saved_host_keeps_groups_tasks_and_mount(tmp_path: Path) -> None:
    sim = SimKernel("mainline-v2")
    sim.mount("resctrl", "resctrl", POINT, ("mba_MBps",))
    sim.mkdir(f"{POINT}/g")
    sim.mkdir(f"{POINT}/g/mon_groups/m")
    sim.write(f"{POINT}/g/schemata", "L3:1=f\nMB:0=700\n")
    sim.write(f"{POINT}/g/cpus_list", "2-3\n")
    sim.spawn(9000, "job", threads=2)
    sim.write(f"{POINT}/g/tasks", "9001\n")
    sim.save(tmp_path / "state")
    again = SimKernel.load("mainline-v2", tmp_path / "state")
    files = ("schemata", "g/schemata", "g/cpus_list", "g/tasks", "g/mon_groups/m/tasks", "info/last_cmd_status")
    assert [again.read(f"{POINT}/{name}") for name in files] == [sim.read(f"{POINT}/{name}") for name in files]
    assert again.read(f"{POINT}/g/tasks") == "9001\n"
    assert again.mounts() == sim.mounts()
    again.unmount(POINT)
    again.save(tmp_path / "state")
    assert SimKernel.load("mainline-v2", tmp_path / "state").listdir(POINT) == []


# --- machines without recordings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['machine']} {case['text']!r}")
def test_schemata_write(case: dict[str, Any], boot: Boot, attempt: Attempt) -> None:
    machines = {
        "amd": (amd(halves(8)), ()),
        "sparse-ids": (intel(halves(8, (0, 16))), ()),
        "two-bits": (INTEL._replace(l3=_l3(min_bits=2)), ()),
        "software": (INTEL, ("mba_MBps",)),
    }
    spec, options = machines[case["machine"]]
    sim = boot(spec, *options)
    sim.mkdir(f"{POINT}/g")
    before = sim.read(f"{POINT}/g/schemata")
    assert attempt(sim.write, f"{POINT}/g/schemata", case["text"]) == case.get("errno", "OK")
    assert _status(sim) == case.get("status", "ok") + "\n"
    shown = "".join(f"{line}\n" for line in case["shows"]) if "shows" in case else before
    assert sim.read(f"{POINT}/g/schemata") == shown


def test_amd_information(boot: Boot, attempt: Attempt) -> None:
    sim = boot(amd(halves(8)), release="6.12.0")
    files = ("MB/min_bandwidth", "MB/bandwidth_gran", "MB/delay_linear", "L3/min_cbm_bits", "L3/sparse_masks")
    assert [sim.read(f"{POINT}/info/{name}") for name in files] == ["0\n", "1\n", "0\n", "0\n", "1\n"]
    assert not sim.exists(f"{POINT}/info/MB/thread_throttle_mode")
    sim.unmount(POINT)
    # The software controller needs linear bandwidth.
    assert attempt(sim.mount, "resctrl", "resctrl", POINT, ("mba_MBps",)) == "EINVAL"


def test_ids_of_caches_may_be_sparse(boot: Boot) -> None:
    sim = boot(intel(halves(8, (0, 16))))
    assert sim.listdir(f"{POINT}/mon_data") == ["mon_L3_00", "mon_L3_16"]
    assert sim.read(f"{POINT}/info/L3/bit_usage") == "0=XXSSSSSSSSS;16=XXSSSSSSSSS\n"


def test_monitoring_only(boot: Boot, attempt: Attempt) -> None:
    sim = boot(ResctrlSpec(monitoring=INTEL.monitoring))
    assert sim.read(f"{POINT}/schemata") == ""
    assert attempt(sim.mkdir, f"{POINT}/g") == "EPERM"
    sim.mkdir(f"{POINT}/mon_groups/m")
    assert sim.listdir(f"{POINT}/mon_groups/m") == ["cpus", "cpus_list", "mon_data", "tasks"]
    assert sim.listdir(f"{POINT}/info") == ["L3_MON", "last_cmd_status"]


def test_allocation_only(boot: Boot, attempt: Attempt) -> None:
    sim = boot(INTEL._replace(monitoring=None))
    assert sim.listdir(POINT) == ["cpus", "cpus_list", "info", "mode", "schemata", "size", "tasks"]
    assert sim.listdir(f"{POINT}/info") == ["L3", "MB", "last_cmd_status"]
    assert resctrl.cpu_flags(INTEL._replace(monitoring=None)) == ["cat_l3", "cdp_l3", "mba", "rdt_a"]
    sim.mkdir(f"{POINT}/g")
    assert attempt(sim.mkdir, f"{POINT}/g/sub") == "EPERM"


def test_no_space_when_exclusive_groups_own_every_bit(boot: Boot, attempt: Attempt) -> None:
    sim = boot(INTEL._replace(l3=_l3(shareable=0)))
    sim.mkdir(f"{POINT}/g")
    sim.write(f"{POINT}/schemata", "L3:0=7;1=7\n")
    sim.write(f"{POINT}/g/schemata", "L3:0=7f8;1=7f8\n")
    for mode in (f"{POINT}/mode", f"{POINT}/g/mode"):
        sim.write(mode, "exclusive\n")
    assert attempt(sim.mkdir, f"{POINT}/late") == "ENOSPC"
    assert _status(sim) == "No space on L3:0\n"
    assert not sim.exists(f"{POINT}/late")


def test_a_removed_groups_rmid_comes_back_after_a_while(boot: Boot, attempt: Attempt) -> None:
    assert INTEL.monitoring is not None
    sim = boot(INTEL._replace(monitoring=INTEL.monitoring._replace(rmids=2)))
    sim.mkdir(f"{POINT}/g")
    assert attempt(sim.mkdir, f"{POINT}/h") == "ENOSPC"
    sim.rmdir(f"{POINT}/g")
    assert attempt(sim.mkdir, f"{POINT}/h") == "EBUSY"
    assert _status(sim) == "Out of RMIDs\nOut of RMIDs\n"
    assert attempt(sim.mkdir, f"{POINT}/h") == "OK"


def test_counters_that_cannot_be_read(boot: Boot) -> None:
    sim = boot(INTEL)
    sim.mkdir(f"{POINT}/g")
    sim.mkdir(f"{POINT}/g/mon_groups/m")
    tree = resctrl.tree(sim._machine)
    tree.set_counters("g", {0: {"llc_occupancy": "Unavailable"}, 1: {"llc_occupancy": "Error"}})
    tree.set_counters("g/mon_groups/m", {1: {"llc_occupancy": 65536}})
    assert sim.read(f"{POINT}/g/mon_data/mon_L3_00/mbm_total_bytes") == "0\n"
    assert sim.read(f"{POINT}/g/mon_data/mon_L3_01/llc_occupancy") == "65536\n"
    sim.rmdir(f"{POINT}/g/mon_groups/m")
    assert sim.read(f"{POINT}/g/mon_data/mon_L3_00/llc_occupancy") == "Unavailable\n"
    assert sim.read(f"{POINT}/g/mon_data/mon_L3_01/llc_occupancy") == "Error\n"


def test_no_pseudo_locking_with_code_and_data_apart(boot: Boot, attempt: Attempt) -> None:
    sim = boot(INTEL, "cdp")
    sim.mkdir(f"{POINT}/g")
    assert attempt(sim.write, f"{POINT}/g/mode", "pseudo-locksetup\n") == "EINVAL"
    assert _status(sim) == "CDP enabled\n"


def test_cpus_of_a_large_machine_are_shown_in_chunks(boot: Boot) -> None:
    sim = boot(intel(halves(40)))
    # Only the host's own eight CPUs are there; the others were never switched on.
    assert sim.read(f"{POINT}/cpus") == "00,000000ff\n"
    sim.mkdir(f"{POINT}/g")
    sim.write(f"{POINT}/g/cpus", "0,00000081\n")
    assert sim.read(f"{POINT}/g/cpus_list") == "0,7\n"


# --- tasks ----------------------------------------------------------------------------------------------------------


def test_children_and_threads_inherit_the_class(boot: Boot) -> None:
    sim = boot(INTEL)
    sim.mkdir(f"{POINT}/g")
    sim.spawn(9000, "shell")
    sim.spawn(9010, "early", ppid=9000)
    sim.write(f"{POINT}/g/tasks", "9000\n")
    sim.spawn(9020, "late", ppid=9000, threads=2)
    sim.spawn(9030, "grandchild", ppid=9020)
    sim.write(f"{POINT}/tasks", "9000\n")
    assert sim.read(f"{POINT}/g/tasks").split() == ["9020", "9021", "9030"]
    assert {"9000", "9010"} <= set(sim.read(f"{POINT}/tasks").split())
    assert not {"9020", "9021", "9030"} & set(sim.read(f"{POINT}/tasks").split())
    sim.kill(9020)
    assert sim.read(f"{POINT}/g/tasks") == "9030\n"
    assert sim.read("/proc/9030/cpu_resctrl_groups") == "res:g\nmon:\n"


def test_an_id_used_again_starts_afresh(boot: Boot) -> None:
    sim = boot(INTEL)
    sim.mkdir(f"{POINT}/g")
    sim.spawn(9000, "first")
    sim.write(f"{POINT}/g/tasks", "9000\n")
    sim.kill(9000)
    assert sim.read(f"{POINT}/g/tasks") == ""
    sim.spawn(9000, "second")
    assert sim.read(f"{POINT}/g/tasks") == ""


def test_many_tasks_in_one_write_since_6_6(boot: Boot, attempt: Attempt) -> None:
    sim = boot(INTEL, release="6.12.0")
    sim.mkdir(f"{POINT}/g")
    for pid in (9000, 9001, 9002):
        sim.spawn(pid, "job")
    assert attempt(sim.write, f"{POINT}/g/tasks", "9000,999999,9001\n") == "ESRCH"
    assert _status(sim) == "No task 999999\nError while processing task 999999\n"
    assert sim.read(f"{POINT}/g/tasks") == "9000\n"
    assert attempt(sim.write, f"{POINT}/g/tasks", "9001, 9002,\n") == "OK"
    assert attempt(sim.write, f"{POINT}/g/tasks", "\n") == "OK"
    assert sim.read(f"{POINT}/g/tasks") == "9000\n9001\n9002\n"
    assert attempt(sim.write, f"{POINT}/g/tasks", "9000 9001\n") == "EINVAL"
    assert _status(sim) == "Task list parsing error pid 9000 9001\n"


# --- hotplug --------------------------------------------------------------------------------------------------------


def test_a_cache_whose_cpus_were_off_comes_back_with_defaults(boot: Boot) -> None:
    sim = boot(INTEL)
    sim.mkdir(f"{POINT}/g")
    sim.write(f"{POINT}/g/schemata", "L3:0=f;1=f\n")
    sim.write(f"{POINT}/g/cpus_list", "3-4\n")
    for state, shown in (("0", "    MB:0=100\n    L3:0=00f\n"), ("1", "    MB:0=100;1=100\n    L3:0=00f;1=7ff\n")):
        for cpu in range(4, 8):
            sim.write(f"/sys/devices/system/cpu/cpu{cpu}/online", state)
        assert sim.read(f"{POINT}/g/schemata") == shown
    assert sim.read(f"{POINT}/g/cpus_list") == "3\n"
    assert sim.read(f"{POINT}/cpus_list") == "0-2,4-7\n"
