"""The load sampler on the running kernel: real groups, real threads, a clock moved by hand."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from viewfs.loadavg import STEP, Averages, Sampler, advance, shown
from viewfs.tasks import Counts, TaskCounter, TaskTally
from viewfs.taskstats import Taskstats
from viewfs.types import Container, Policy

ROOT = Path("/sys/fs/cgroup")
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0 or not os.access(ROOT, os.W_OK), reason="needs root and a cgroup tree"),
]
#: Runs ``busy`` threads of a process that never rest, and ``idle`` ones that sleep.
#: They sleep in poll(2): a sleep in a timer or lock may be of a state of its own that taskstats has no number for.
WORK = """
import select, sys, threading
def rest():
    select.poll().poll(600_000)
for _ in range(int(sys.argv[2])):
    threading.Thread(target=rest, daemon=True).start()
print("ready", flush=True)
if sys.argv[1] == "busy":
    while True:
        pass
rest()
"""


def wait_for(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


class Group:
    """A scratch cgroup of one hierarchy, with processes in it and in groups below it."""

    def __init__(self, hierarchy: Path) -> None:
        self.path = hierarchy / f"cotune-load-{uuid.uuid4().hex[:10]}"
        self.path.mkdir()
        self._below: list[Path] = []
        self._running: list[subprocess.Popen[str]] = []

    @property
    def container(self) -> Container:
        return Container("test", {"cpu": str(self.path)}, 1, 0, 0, Policy())

    def below(self, name: str) -> Path:
        path = self.path / name
        path.mkdir()
        self._below.append(path)
        return path

    def run(self, *command: str, into: Path | None = None) -> subprocess.Popen[str]:
        target = (into or self.path) / "cgroup.procs"
        process = subprocess.Popen(
            ["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', str(target), *command], stdout=subprocess.PIPE, text=True
        )
        self._running.append(process)
        return process

    def work(self, kind: str, threads: int = 0, into: Path | None = None) -> subprocess.Popen[str]:
        process = self.run(sys.executable, "-c", WORK, kind, str(threads), into=into)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    def end(self, process: subprocess.Popen[str]) -> None:
        process.kill()
        process.communicate()
        self._running.remove(process)

    def close(self) -> None:
        for process in list(self._running):
            self.end(process)
        for path in [*reversed(self._below), self.path]:
            end = time.monotonic() + 10
            while path.exists():
                try:
                    path.rmdir()
                except OSError:
                    assert time.monotonic() < end, f"{path} stays busy"
                    time.sleep(0.02)


def hierarchy(version: int) -> Path:
    """A writable hierarchy: of version 1 cpu or pids, of version 2 the unified one."""
    names = ("cpu", "cpu,cpuacct", "pids") if version == 1 else ("unified", ".")
    for name in names:
        path = ROOT / name
        if (path / "cgroup.procs").exists() and (path / "cgroup.threads").exists() == (version == 2):
            return path
        # the root group of version 2 has cgroup.threads; a version 1 root has tasks
    pytest.skip(f"no cgroup version {version} hierarchy")


@pytest.fixture(params=[1, 2])
def group(request: pytest.FixtureRequest) -> Iterator[Group]:
    with contextlib.closing(Group(hierarchy(request.param))) as made:
        yield made


@pytest.fixture
def group1() -> Iterator[Group]:
    with contextlib.closing(Group(hierarchy(1))) as made:
        yield made


@pytest.fixture(params=["taskstats", "states"])
def counter(request: pytest.FixtureRequest) -> Iterator[TaskCounter]:
    with contextlib.closing(TaskCounter(taskstats=request.param == "taskstats")) as made:
        yield made


@pytest.fixture
def tally(group: Group, counter: TaskCounter) -> Iterator[TaskTally]:
    with contextlib.closing(counter.open(str(group.path))) as made:
        yield made


def test_three_busy_loops_converge_as_the_formula_says(group: Group, counter: TaskCounter, tally: TaskTally) -> None:
    nested = group.below("nested")
    for into in (None, nested, nested):
        group.work("busy", into=into)
    group.work("rest", threads=4)
    now = [0.0]
    sampler = Sampler(counter, lambda: now[0])
    wait_for(lambda: tally.count().active == 3, "three active threads")
    expected: Averages = advance((0, 0, 0), 3, 1)
    assert sampler.get(group.container)[:5] == (*map(shown, expected), 3, 8)
    for _ in range(200):
        now[0] += STEP
        sampler.run_due()
        expected = advance(expected, 3, 1)
    assert sampler.get(group.container)[:3] == tuple(map(shown, expected))
    assert sampler.get(group.container).one == 3.0


def test_counts_follow_what_starts_and_ends(group: Group, tally: TaskTally) -> None:
    assert tally.count() == Counts(0, 0, 0, 0)
    busy = group.work("busy", threads=2)
    wait_for(lambda: tally.count()[:3] == (1, 1, 3), "one of three runs")
    group.end(busy)
    wait_for(lambda: tally.count().total == 0, "none left")


def test_taskstats_equals_the_states_of_the_threads(group1: Group) -> None:
    with contextlib.closing(TaskCounter()) as asked, contextlib.closing(TaskCounter(taskstats=False)) as read:
        with contextlib.closing(Taskstats()) as kernel:
            for number in range(3):
                group1.work("busy", into=group1.below(f"b{number}"))
            group1.work("rest", threads=9)
            wait_for(lambda: read.open(str(group1.path)).count().running == 3, "three run")
            fd = os.open(group1.path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                # one group only, not those below it
                wait_for(lambda: kernel.read(fd)[:2] == (10, 0), "ten sleep")
            finally:
                os.close(fd)
        assert asked.open(str(group1.path)).count() == read.open(str(group1.path)).count()


def test_killable_waits_count(group: Group, tally: TaskTally) -> None:
    # the parent of a vfork waits in a killable uninterruptible sleep that taskstats has no number for
    script = "import ctypes, os, time\nlibc = ctypes.CDLL(None)\n"
    script += "print('ready', flush=True)\npid = libc.vfork()\nif pid == 0:\n    libc.sleep(600)\n    libc._exit(0)\n"
    process = group.run(sys.executable, "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    wait_for(lambda: tally.count()[1:3] == (1, 2), "the waiting parent is active")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for child in children:
        os.kill(int(child), 9)


def test_room_for_kept_files_is_kept_to(group: Group) -> None:
    group.work("rest", threads=9)
    before = len(os.listdir("/proc/self/fd"))
    with contextlib.closing(TaskCounter(taskstats=False, room=4)) as counter:
        tally = counter.open(str(group.path))
        for _ in range(3):
            wait_for(lambda: tally.count() == tally.count()._replace(running=0, active=0, total=10), "ten rest")
            assert len(os.listdir("/proc/self/fd")) == before + 4
        tally.close()
    assert len(os.listdir("/proc/self/fd")) == before
    assert counter.room == 4


def test_last_pid_is_the_containers(group: Group, counter: TaskCounter, tally: TaskTally) -> None:
    process = group.run("unshare", "--pid", "--fork", "--kill-child", "sh", "-c", "echo ready; sleep 600")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    wait_for(lambda: tally.count().total == 3, "unshare, sh and sleep")
    with contextlib.closing(Sampler(counter)) as sampler:
        assert sampler.get(group.container).last_pid == 2


def test_the_kernel_refuses_other_directories(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.closing(Taskstats()) as kernel, pytest.raises(OSError, match="taskstats: Invalid argument"):
            kernel.read(fd)
    finally:
        os.close(fd)


def test_a_group_that_goes_is_dropped(group: Group, counter: TaskCounter) -> None:
    now = [0.0]
    sampler = Sampler(counter, lambda: now[0])
    sampler.get(group.container)
    assert sampler.sampled() == 1
    group.close()
    now[0] += STEP
    sampler.run_due()
    assert sampler.sampled() == 0
    with pytest.raises(FileNotFoundError):
        sampler.get(group.container)
