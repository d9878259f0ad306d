"""What a plan refuses, or says, because of what a kernel would do with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cotune.errors import PlanRefused
from cotune.host.facts import Host
from cotune.journal import Journal
from cotune.ledger import Ledger
from cotune.model import Plan
from cotune.planning import Options, make_plan
from cotune.rollback import Selection, rollback
from cotune.sim.kernel import SimKernel
from cotune.state import given_state
from tests.sim.lab import run, write_profile

MEMORY, BLKIO = "/sys/fs/cgroup/memory", "/sys/fs/cgroup/blkio"
IDENTITY = "groups: {g: {match: {cgroup: kubepods}, cpu: {identity: low}}}\n"


class OtherRelease(SimKernel):
    """A simulated kernel that calls itself something else."""

    def __init__(self, release: str) -> None:
        super().__init__("anck-4.19")
        self.release = release

    def read(self, path: str) -> str:
        """The text of a file."""
        return f"{self.release}\n" if path == "/proc/sys/kernel/osrelease" else super().read(path)


class Lab:
    """A simulated host with a journal."""

    def __init__(self, folder: Path, kernel: SimKernel | str) -> None:
        self.folder = folder
        self.kernel = SimKernel(kernel) if isinstance(kernel, str) else kernel
        self.journal = Journal(given_state(folder / "state"))

    def plan(self, body: str, *flags: str) -> Plan:
        host = Host(self.kernel)
        wanted = write_profile(self.folder, "p", body)
        return make_plan(wanted, host, Ledger(self.journal.load(), host.boot_id), Options(flags=frozenset(flags)))

    def refused(self, body: str, message: str, *flags: str) -> None:
        with pytest.raises(PlanRefused, match=message):
            self.plan(body, *flags)


@pytest.mark.parametrize(
    ("release", "refused"),
    [
        ("4.19.91-25.1.al7.x86_64", True),
        ("4.19.91-25.5.al7.x86_64", True),
        ("4.19.91-25.6.al7.x86_64", False),
        ("4.19.91-24.al7.x86_64", False),
        ("4.19.91-26.6.al7.x86_64", False),
        ("5.10.91-25.3.al8.x86_64", False),
    ],
)
def test_builds_that_crash_with_group_identity(tmp_path: Path, release: str, refused: bool) -> None:
    lab = Lab(tmp_path, OtherRelease(release))
    if refused:
        lab.refused(IDENTITY, "cpu.identity must not be used on 4.19.91-25", "force")
    else:
        assert lab.plan(IDENTITY).changes


@pytest.mark.parametrize("kernel", ["anck-5.10", "anck-6.6"])
def test_no_identity_while_core_scheduling_is_on(tmp_path: Path, kernel: str) -> None:
    lab = Lab(tmp_path, kernel)
    lab.kernel.write("/proc/sys/kernel/sched_core", "1")
    lab.refused(IDENTITY, r"while core scheduling is on \(kernel.sched_core is 1\)", "force")
    assert lab.plan("host: {sysctl: {kernel.sched_core: 0}}\n" + IDENTITY).changes
    assert lab.plan(IDENTITY.replace("low", "normal")).steps


def test_a_reserve_of_more_than_a_twentieth_needs_consent(tmp_path: Path) -> None:
    lab = Lab(tmp_path, "anck-4.19")
    body = "host: {sysctl: {vm.min_free_kbytes: SIZE}}\n"
    assert lab.plan(body.replace("SIZE", "5%")).changes
    lab.refused(body.replace("SIZE", "6%"), r"vm.min_free_kbytes .*5%.*")
    assert "allowed all the same" in lab.plan(body.replace("SIZE", "6%"), "force").notes[0]


def test_a_level_without_a_way_back_needs_consent(tmp_path: Path) -> None:
    lab = Lab(tmp_path, "openeuler")
    body = "groups: {g: {match: {cgroup: kubepods}, cpu: {qos_level: -1}}}\n"
    lab.refused(body, "cannot be undone before openEuler 6.6", "force")
    assert lab.plan(body, "allow-irreversible").changes


def test_a_limit_under_the_usage_needs_consent(tmp_path: Path) -> None:
    lab = Lab(tmp_path, "anck-4.19")
    lab.kernel.mkdir(f"{MEMORY}/g")
    lab.kernel.set_usage(f"{MEMORY}/g", 512 * 2**20)
    body = "groups: {g: {match: {cgroup: g}, memory: {limit: 256MiB}}}\n"
    lab.refused(body, r"limit 256MiB is under the 512MiB the group uses now.*EBUSY", "allow-oom")
    assert lab.plan(body, "force").changes


WRITES = "groups: {g: {match: {cgroup: g}, io: {throttle: [{device: {mountpoint: /data}, write_bps: RATE}]}}}\n"


def test_slow_writes_can_stall_with_cgroup_writeback(tmp_path: Path) -> None:
    lab = Lab(tmp_path, "anck-4.19")
    lab.kernel.mkdir(f"{BLKIO}/g")
    lab.refused(WRITES.replace("RATE", "1000KiB"), "write_bps is under 1MiB/s")
    assert lab.plan(WRITES.replace("RATE", "1000KiB"), "force").changes
    assert lab.plan(WRITES.replace("RATE", "1MiB")).changes
    assert lab.plan(WRITES.replace("RATE", "max")).changes == ()


def test_without_cgroup_writeback_slow_writes_are_only_noted(tmp_path: Path) -> None:
    lab = Lab(tmp_path, "mainline-v1")
    lab.kernel.mkdir(f"{BLKIO}/g")
    plan = lab.plan(WRITES.replace("RATE", "1000KiB").replace("/data", "/"))
    assert plan.changes
    assert "only direct writes are limited" in plan.notes[0]


def test_a_memory_group_linked_to_another_blkio_group(tmp_path: Path) -> None:
    lab = Lab(tmp_path, "anck-5.10")
    for directory in (f"{MEMORY}/g", f"{BLKIO}/g", f"{BLKIO}/other"):
        lab.kernel.mkdir(directory)
    lab.kernel.spawn(9001, "worker")
    lab.kernel.write(f"{MEMORY}/g/cgroup.procs", "9001")
    assert lab.plan(WRITES.replace("RATE", "5MiB")).changes, "a task in the root blkio group links nothing"
    lab.kernel.write(f"{BLKIO}/other/cgroup.procs", "9001")
    lab.refused(WRITES.replace("RATE", "5MiB"), rf"linked to the blkio cgroup {BLKIO}/other \(process 9001", "force")
    lab.kernel.write(f"{BLKIO}/g/cgroup.procs", "9001")
    assert lab.plan(WRITES.replace("RATE", "5MiB")).changes


def test_a_memory_group_that_processes_leave_is_named(tmp_path: Path) -> None:
    body = "groups: {g: {match: {cgroup: g}, create: true, tasks: {comm: worker}, memory: {limit: 1GiB}, pids: {max: 9}"
    body += ", io: {throttle: [{device: {mountpoint: /data}, write_bps: 5MiB}]}}}\n"
    lab = Lab(tmp_path, "anck-5.10")
    for directory in (f"{MEMORY}/old", f"{BLKIO}/old"):
        lab.kernel.mkdir(directory)
    lab.kernel.spawn(9001, "worker", {"memory": "/old", "blkio": "/old"})
    (note,) = [note for note in lab.plan(body).notes if "links the memory cgroup they leave" in note]
    assert note.startswith("cgroup:old: processes leave")
    run(lab.kernel, lab.journal, write_profile(tmp_path, "p", body))
    links = lab.kernel.read("/sys/kernel/debug/bdi/bdi_wb_link")
    assert "/g /g\n" in links and "/old /\n" in links, "as the note says"
    fresh = Lab(tmp_path, "anck-5.10")
    fresh.kernel.spawn(9001, "worker")
    assert not [note for note in fresh.plan(body).notes if "links the memory cgroup" in note]


def test_siblings_tied_for_the_lowest_priority_are_named(tmp_path: Path) -> None:
    lab = Lab(tmp_path, "anck-4.19")
    for name in ("p", "p/a", "p/b", "p/c"):
        lab.kernel.mkdir(f"{MEMORY}/{name}")
    lab.kernel.write(f"{MEMORY}/p/c/memory.priority", "3")
    body = "groups: {a: {match: {cgroup: p/a}, memory: {priority: VALUE}}}\n"
    [note] = lab.plan(body.replace("VALUE", "0")).notes
    assert note.startswith("OOM priority below cgroup:p: b stand at 0 as well")
    assert lab.plan(body.replace("VALUE", "2")).notes == (), "b alone is killed first"


def test_a_masked_watermark_is_written_and_its_original_called_unknown(tmp_path: Path) -> None:
    """The file reads the larger value above; what the group itself had cannot be seen."""
    lab = Lab(tmp_path, "anck-4.19")
    for name in ("p", "p/a"):
        lab.kernel.mkdir(f"{MEMORY}/{name}")
    lab.kernel.write(f"{MEMORY}/p/memory.wmark_min_adj", "50")
    wanted = write_profile(tmp_path, "p", "groups: {a: {match: {cgroup: p/a}, memory: {wmark_min_adj: 25}}}\n")
    [change] = lab.plan("groups: {a: {match: {cgroup: p/a}, memory: {wmark_min_adj: 25}}}\n").changes
    assert (change.current, change.desired) == (50, 25)
    assert run(lab.kernel, lab.journal, wanted).transaction
    assert lab.kernel.read(f"{MEMORY}/p/a/memory.wmark_min_adj") == "50\n", "still the effective value"
    assert run(lab.kernel, lab.journal, wanted).transaction is None, "written, and known since"
    _, undone = rollback(Host(lab.kernel), lab.journal, Selection(), lambda: "now")
    assert undone.left == []
    assert undone.notes == ["cgroup:p/a memory.wmark_min_adj: original: unknown; set to what it read before, 50"]
