"""What viewfs shows on cgroup v2, compared with the files of the groups themselves."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.host.lab import put, remove_tree, wait_for
from tests.views.lab import Service
from tests.vm.inside.lab import DISK, GuestLab

MIB = 2**20
TICKS = 100
#: kB that the kernel may count two seconds late: four batches of 64 pages for all, one that makes it look, and what
#: each of the four CPUs still keeps (mm/memcontrol.c memcg_rstat_updated, mem_cgroup_flush_stats)
LATE = (4 + 1 + 4) * 64 * 4
CPU = "sys/devices/system/cpu"
SWAP = "/dev/vda"
#: how often the kernel looks for pages that were dirty for long, in 1/100 s; 0 is never
FLUSHING = Path("/proc/sys/vm/dirty_writeback_centisecs")
READ = 'for file; do cat "$file" || exit; printf "\\0"; done'
#: page cache that is partly mapped and dirty, again at a signal; memory of its own; requests that go past the cache
WORK = """
import mmap, os, signal
disk = os.open("/dev/vdc", os.O_RDWR)
def dirty(*_):
    os.pwrite(disk, bytes(8 << 20), 0)
signal.signal(signal.SIGUSR1, dirty)
dirty()
mapped = mmap.mmap(disk, 4 << 20)
touched = mapped[::4096]
own = bytearray(b"x") * (16 << 20)
direct = os.open("/dev/vdc", os.O_RDWR | os.O_DIRECT)
for number in range(4):
    os.pwrite(direct, mmap.mmap(-1, 1 << 20), (32 + number) << 20)
print("ready", flush=True)
while True:
    signal.pause()
"""


class Contained(NamedTuple):
    """A group, and the first process of a pid namespace in there."""

    lab: GuestLab
    service: Service
    group: str
    pid: int

    @property
    def tree(self) -> str:
        """The group's tree in the mount."""
        return str(self.service.path(f"cgroup/{self.lab.path(self.group)}"))

    def inside(self, *names: str) -> list[str]:
        """Files as a process of the namespace reads them from the mount."""
        return self.run("sh", "-c", READ, "sh", *(str(self.service.path(name)) for name in names)).split("\0")[:-1]

    def run(self, *command: str) -> str:
        """What a command prints that has entered the pid and mount namespace."""
        # and the root, which is not that of the mount namespace in this guest
        enter = ["nsenter", "-t", str(self.pid), "-p", "-m", "-r", "-w", "--", *command]
        return subprocess.run(enter, check=True, capture_output=True, text=True).stdout

    def by_group(self, name: str) -> str:
        """A file of the group's tree, read from outside."""
        return Path(self.tree, name).read_text()

    def pairs(self, name: str, group: str | None = None) -> dict[str, int]:
        """A statistics file of the group or another."""
        text = self.lab.read(self.group if group is None else group, name)
        return {key: int(value) for key, value in map(str.split, text.splitlines())}


def contain(lab: GuestLab, service: Service, group: str, *command: str) -> Contained:
    """Run a command as the first process of a container; returns once it has printed a line."""
    enter = 'echo $$ >"$0" && exec unshare --pid --fork --kill-child --mount -- "$@"'
    process = subprocess.Popen(
        ["sh", "-c", enter, str(lab.file(group, "cgroup.procs")), *command], stdout=subprocess.PIPE
    )
    lab.processes.append(process)
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return Contained(lab, service, group, int(children.read_text().split()[0]))


@pytest.fixture(scope="module")
def groups(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuestLab]:
    """The laboratory of the containers below. What they leave dirty stays dirty, however slow the guest is."""
    with contextlib.closing(GuestLab(tmp_path_factory.mktemp("groups"))) as made:
        made.defer(functools.partial(put, FLUSHING, FLUSHING.read_text().strip()))
        put(FLUSHING, 0)
        yield made


@pytest.fixture(scope="module")
def worker(groups: GuestLab, service: Service) -> Contained:
    """A container whose limits are those of the group above, which it shares with another group."""
    groups.make("pod/app")
    groups.make("pod/other")
    groups.write("pod", "memory.max", 200 * MIB)
    groups.write("pod", "cpuset.cpus", "1-3")
    groups.write("pod", "cpu.max", "150000 100000")
    groups.write("pod/app", "cpu.max", "350000 100000")
    fill(groups, "pod/other", 32)
    return contain(groups, service, "pod/app", sys.executable, "-I", "-S", "-c", WORK)


@pytest.fixture(scope="module")
def burner(groups: GuestLab, service: Service) -> Contained:
    """A container that keeps the second of its two CPUs busy."""
    groups.make("burner")
    groups.write("burner", "cpuset.cpus", "2,3")
    return contain(groups, service, "burner", "taskset", "-c", "3", "sh", "-c", "echo ready; while :; do :; done")


def fill(lab: GuestLab, group: str, mib: int) -> None:
    """Leave a file in memory that is charged to a group."""
    file = lab.directory / group.replace("/", "-")
    script = 'echo $$ >"$0" && exec head -c "$1" /dev/zero >"$2"'
    subprocess.run(["sh", "-c", script, str(lab.file(group, "cgroup.procs")), str(mib * MIB), str(file)], check=True)
    lab.defer(file.unlink)


def meminfo(text: str) -> dict[str, int]:
    """The figures of /proc/meminfo in kB."""
    return {line.split(":")[0]: int(line.split()[1]) for line in text.splitlines()}


def test_memory_below_a_parents_limit(worker: Contained) -> None:
    def dirtied() -> bool:
        # what a group dirties first is written back at once: its share of the disk's bandwidth is not known yet
        os.kill(worker.pid, signal.SIGUSR1)
        time.sleep(1)
        return worker.pairs("memory.stat")["file_dirty"] >= 7 * MIB

    wait_for(dirtied, "pages stay dirty", timeout=120)
    for text in (worker.inside("proc/meminfo")[0], worker.by_group("proc/meminfo")):
        shown, own, pod = meminfo(text), worker.pairs("memory.stat"), worker.pairs("memory.stat", "pod")
        room = 200 * 1024 - int(worker.lab.read("pod", "memory.current")) // 1024
        reclaimable = sum(pod[key] for key in ("active_file", "inactive_file", "slab_reclaimable")) // 1024
        wanted = {"MemFree": room, "MemAvailable": room + reclaimable}
        for key, name in {
            "Cached": "file",
            "Mapped": "file_mapped",
            "Dirty": "file_dirty",
            "AnonPages": "anon",
        }.items():
            wanted[key] = own[name] // 1024
        assert shown["MemTotal"] == 200 * 1024
        assert {key: shown[key] for key in wanted} == {key: pytest.approx(kb, abs=LATE) for key, kb in wanted.items()}
        assert shown["Cached"] >= 8 * 1024 > shown["Mapped"] >= 4 * 1024 - LATE
        assert shown["Dirty"] >= 8 * 1024 - LATE
        assert 16 * 1024 <= shown["AnonPages"] < 32 * 1024
        assert room < (200 - 32 - 24) * 1024 + LATE  # the other group's as well


def test_all_files_tell_the_same_cpus(worker: Contained) -> None:
    """1.5 CPUs of a cpuset that is narrower above than asked for below."""
    worker.lab.write("pod/app", "cpuset.cpus", "0-3")
    names = [f"{CPU}/online", f"{CPU}/offline", "proc/cpuinfo", "proc/stat", f"{CPU}/cpu1/online", f"{CPU}/cpu3/online"]
    online, offline, cpuinfo, stat, one, three = worker.inside(*names)
    assert (online, offline, one, three) == ("1-2\n", "0,3\n", "1\n", "0\n")
    assert re.findall(r"(?m)^processor\s*: (\d+)$", cpuinfo) == ["1", "2"]
    assert re.findall(r"(?m)^cpu(\d+) ", stat) == ["1", "2"]
    assert worker.by_group(f"{CPU}/online") == "1-2\n"
    assert worker.service.path(f"pid/{worker.pid}/{CPU}/online").read_text() == "1-2\n"
    assert worker.service.path(f"{CPU}/online").read_text() == "0-3\n"


def test_programs_count_what_is_bound_over_their_files(worker: Contained) -> None:
    names = ("proc/meminfo", f"{CPU}/online")
    binds = [f"mount --bind {worker.service.path(name)} /{name}" for name in names]
    worker.run("sh", "-c", " && ".join(binds))
    assert worker.run("getconf", "_NPROCESSORS_ONLN") == "2\n"
    assert worker.run("free", "-m").splitlines()[1].split()[1] == "200"
    assert Path(f"/{CPU}/online").read_text() == "0-3\n"


def test_limits_above_the_group_of_a_systemd_inside(groups: GuestLab, service: Service) -> None:
    groups.make("system/init.scope")
    groups.write("system", "memory.max", 48 * MIB)
    groups.write("system/init.scope", "memory.max", 32 * MIB)
    system = contain(groups, service, "system/init.scope", "sh", "-c", "echo ready; exec sleep 600")
    assert meminfo(system.inside("proc/meminfo")[0])["MemTotal"] == 48 * 1024


def test_disks_the_container_wrote_to(worker: Contained) -> None:
    (row,) = [
        line.split()[1:] for line in worker.lab.read(worker.group, "io.stat").splitlines() if DISK in line.split()
    ]
    io = {key: int(value) for key, value in (word.split("=") for word in row)}
    assert io["wbytes"] >= 4 * MIB
    for text in (worker.inside("proc/diskstats")[0], worker.by_group("proc/diskstats")):
        (line,) = [line.split() for line in text.splitlines()]
        assert (f"{line[0]}:{line[1]}", line[2]) == (DISK, "vdc")
        assert [int(line[column]) for column in (3, 5, 7, 9)] == [
            io["rios"], io["rbytes"] // 512, io["wios"], io["wbytes"] // 512,
        ]  # fmt: skip
        assert len(line) == len(Path("/proc/diskstats").read_text().splitlines()[0].split())


class Span(NamedTuple):
    """What a figure was just before and just after something was read."""

    low: float
    high: float

    def grown(self, last: Span) -> Span:
        """By how much the figure has grown until ``last``."""
        return Span(last.low - self.high, last.high - self.low)

    def holds(self, value: float) -> bool:
        """Whether a reading in between agrees, but for what ticks and the reuse of readings may hide."""
        return self.low - 0.1 <= value <= self.high + 0.1


class Look(NamedTuple):
    """Times a container shows, in seconds, when that was, and what its group has used.

    ``cpus`` is how long each CPU was busy, ``busy`` all of them, ``whole`` with the time they were idle.
    """

    when: Span
    used: Span
    busy: float
    cpus: list[float]
    whole: float
    uptime: float
    idle: float


def look(container: Contained, inside: bool) -> Look:
    """The container's times now."""

    def now() -> tuple[float, float]:
        return time.monotonic(), container.pairs("cpu.stat")["usage_usec"] / 1e6

    before = now()
    if inside:
        stat, uptime = container.inside("proc/stat", "proc/uptime")
    else:
        stat, uptime = (container.by_group(f"proc/{name}") for name in ("stat", "uptime"))
    when, used = map(Span, before, now())
    rows = [[int(word) / TICKS for word in line.split()[1:]] for line in stat.splitlines() if line.startswith("cpu")]
    busy, *cpus = (sum(row[:3]) for row in rows)
    age, idle = map(float, uptime.split())
    return Look(when, used, busy, cpus, sum(rows[0]), age, idle)


def test_times_grow_as_they_are_used(burner: Contained) -> None:
    looks = [look(burner, inside=True)]
    for number in range(3):
        time.sleep(0.7)
        looks.append(look(burner, inside=number == 1))
    for before, now in itertools.pairwise(looks):
        assert now.busy > before.busy and now.idle > before.idle
    first, last = looks[0], looks[-1]
    elapsed, used = first.when.grown(last.when), first.used.grown(last.used)
    assert first.used.holds(first.busy), first
    assert used.holds(last.busy - first.busy), looks
    assert elapsed.holds(last.uptime - first.uptime), looks
    assert elapsed.holds((last.whole - first.whole) / 2), looks
    assert last.busy - first.busy > (last.uptime - first.uptime) / 4
    idler, busier = (now - before for before, now in zip(first.cpus, last.cpus, strict=True))
    assert busier > idler


def test_load_is_that_of_its_threads(burner: Contained, worker: Contained) -> None:
    assert int(re.findall(r"(?m)^procs_running (\d+)$", burner.inside("proc/stat")[0])[0]) >= 1
    running, total = map(int, burner.by_group("proc/loadavg").split()[3].split("/"))
    assert (running, total) == (1, 2)  # unshare, which waits, and the loop
    assert worker.by_group("proc/loadavg").split()[3] == "0/2"
    loads = wait_for(
        lambda: [load for load in [burner.inside("proc/loadavg")[0].split()[:3]] if load[0] != "0.00"], "load"
    )
    one, five, fifteen = map(float, loads[0])
    assert 1.0 > one >= five >= fifteen


@pytest.mark.parametrize("kind", ["cpu", "memory", "io"])
def test_pressure_is_the_groups(worker: Contained, kind: str) -> None:
    def totals(text: str) -> list[int]:
        return [int(total) for total in re.findall(r"total=(\d+)", text)]

    before = worker.lab.read(worker.group, f"{kind}.pressure")
    shown = worker.by_group(f"proc/pressure/{kind}")
    after = worker.lab.read(worker.group, f"{kind}.pressure")
    assert re.fullmatch(r"some avg10=\S+ avg60=\S+ avg300=\S+ total=\d+\nfull avg10=.*\n", shown)
    for low, middle, high in zip(totals(before), totals(shown), totals(after), strict=True):
        assert low <= middle <= high


def test_swap_below_a_limit(groups: GuestLab, service: Service) -> None:
    subprocess.run(["mkswap", SWAP], check=True, capture_output=True)
    subprocess.run(["swapon", SWAP], check=True)
    groups.defer(lambda: subprocess.run(["swapoff", SWAP], check=True))
    host = meminfo(Path("/proc/meminfo").read_text())["SwapTotal"]
    groups.make("swapper/inner")
    inner = Contained(groups, service, "swapper/inner", 0)
    assert meminfo(inner.by_group("proc/meminfo"))["SwapTotal"] == host
    groups.write("swapper", "memory.swap.max", 16 * MIB)
    fill(groups, "swapper/inner", 8)
    groups.write("swapper", "memory.reclaim", 4 * MIB)
    time.sleep(0.1)  # for longer than figures are shown again
    used = int(groups.read("swapper/inner", "memory.swap.current")) // 1024
    assert used >= 2 * 1024
    shown = meminfo(inner.by_group("proc/meminfo"))
    assert (shown["SwapTotal"], shown["SwapFree"]) == (16 * 1024, 16 * 1024 - used)
    assert inner.by_group("proc/swaps").splitlines()[1].split()[2:4] == [str(16 * 1024), str(used)]
    groups.write("swapper/inner", "memory.swap.max", 0)
    time.sleep(0.1)
    shown = meminfo(inner.by_group("proc/meminfo"))
    assert (shown["SwapTotal"], shown["SwapFree"]) == (used, 0)


def test_a_group_that_is_gone_is_not_there(groups: GuestLab, service: Service) -> None:
    groups.make("brief")
    groups.write("brief", "memory.max", 64 * MIB)
    brief = Contained(groups, service, "brief", 0)
    with Path(brief.tree, "proc/meminfo").open() as kept:
        assert meminfo(kept.read())["MemTotal"] == 64 * 1024
        remove_tree(groups.group("brief"))
        time.sleep(0.1)
        kept.seek(0)
        with pytest.raises(FileNotFoundError):
            kept.read()
    with pytest.raises(FileNotFoundError):
        brief.by_group("proc/meminfo")
    assert not Path(brief.tree).exists()
    groups.make("brief")
    groups.write("brief", "memory.max", 32 * MIB)
    assert meminfo(brief.by_group("proc/meminfo"))["MemTotal"] == 32 * 1024
