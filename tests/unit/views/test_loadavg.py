"""The load sampler: the kernel's arithmetic, and a schedule that neither drifts nor stands still."""

from __future__ import annotations

import math
import os
import random
import threading
from pathlib import Path

import pytest

from viewfs.loadavg import (
    EXP,
    FIXED_1,
    STEP,
    Averages,
    Sampler,
    advance,
    calc_load,
    fixed_power,
    group_directory,
    shown,
)
from viewfs.tasks import Counts, TaskCounter
from viewfs.types import Container, Policy


class Clock:
    """Time that moves by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Fake:
    """Counts by directory; counting takes ``cost`` seconds of the clock."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.active: dict[str, int] = {}
        self.cost: dict[str, float] = {}
        self.calls: list[tuple[str, float]] = []
        self.closed = 0

    def open(self, directory: str) -> FakeTally:
        return FakeTally(self, directory)

    def count(self, directory: str) -> Counts:
        self.calls.append((directory, self.clock.now))
        self.clock.now += self.cost.get(directory, 0.0)
        if not os.path.isdir(directory):
            raise FileNotFoundError(directory)
        active = self.active.get(directory, 0)
        return Counts(active, active, active + 3, 77)

    def inner_pid(self, thread: int) -> int:
        return thread - 70

    def close(self) -> None:
        self.calls.clear()


class FakeTally:
    def __init__(self, source: Fake, directory: str) -> None:
        self.source, self.directory = source, directory

    def count(self) -> Counts:
        return self.source.count(self.directory)

    def close(self) -> None:
        self.source.closed += 1


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def fake(clock: Clock) -> Fake:
    return Fake(clock)


@pytest.fixture
def sampler(clock: Clock, fake: Fake) -> Sampler:
    return Sampler(fake, clock, keep=60.0)


def make(directory: Path) -> Container:
    directory.mkdir(exist_ok=True)
    return Container(directory.name, {"cpu": str(directory)}, 1, 0, 0, Policy())


def run(sampler: Sampler, clock: Clock, seconds: float, tick: float = 1.0) -> None:
    end = clock.now + seconds
    while clock.now < end:
        clock.now = min(end, clock.now + tick)
        sampler.run_due()


def reference(steps: int, active: int) -> Averages:
    """calc_load of kernel/sched/loadavg.c, spelled as there."""
    loads = [0, 0, 0]
    for _ in range(steps):
        for i, exp in enumerate((1884, 2014, 2037)):
            new = loads[i] * exp + (active * 2048) * (2048 - exp)
            if active * 2048 >= loads[i]:
                new += 2048 - 1
            loads[i] = new // 2048
    return loads[0], loads[1], loads[2]


def test_constants_are_the_kernels() -> None:
    for exp, minutes in zip(EXP, (1, 5, 15), strict=True):
        assert exp == round(FIXED_1 / math.exp(5 / (minutes * 60)))


@pytest.mark.parametrize("active", [0, 1, 3, 200])
def test_steps_follow_the_reference(active: int) -> None:
    loads: Averages = (0, 0, 0)
    for step in range(1, 400):
        loads = advance(loads, active, 1)
        assert loads == reference(step, active)


def test_a_steady_load_is_reached_and_left() -> None:
    loads: Averages = (0, 0, 0)
    for _ in range(2000):
        loads = advance(loads, 3, 1)
    assert loads == (3 * FIXED_1,) * 3
    for _ in range(4000):
        loads = advance(loads, 0, 1)
    assert [shown(load) for load in loads] == [0.0, 0.0, 0.0]


def test_the_first_minute_of_one_busy_thread() -> None:
    # what any Linux host prints: 0.08 after the first sample, 1 - 1/e after a minute
    assert shown(calc_load(0, EXP[0], FIXED_1)) == 0.08
    assert [shown(load) for load in reference(12, 1)] == [0.63, 0.18, 0.06]


@pytest.mark.parametrize("steps", [2, 3, 7, 12, 100, 100_000])
def test_several_steps_at_once_are_close_to_one_by_one(steps: int) -> None:
    at_once, one_by_one = advance((0, 0, 0), 4, steps), reference(min(steps, 3000), 4)
    for left, right in zip(at_once, one_by_one, strict=True):
        # the kernel's powers round once per bit of the exponent
        assert abs(left - right) <= 4 * FIXED_1 * 0.01
    assert fixed_power(EXP[0], 11, 1) == EXP[0]
    assert fixed_power(EXP[0], 11, 0) == FIXED_1


def test_hundredths_are_cut_as_the_kernel_does() -> None:
    for load in random.Random(1).sample(range(50 * FIXED_1), 2000):
        rounded = load + FIXED_1 // 200
        assert f"{shown(load):.2f}" == f"{rounded >> 11}.{((rounded & 2047) * 100) >> 11:02d}"


def test_first_read_has_a_value(sampler: Sampler, clock: Clock, fake: Fake, tmp_path: Path) -> None:
    container = make(tmp_path / "a")
    fake.active[str(tmp_path / "a")] = 2
    assert sampler.get(container) == (*map(shown, reference(1, 2)), 2, 5, 7)
    assert fake.calls == [(str(tmp_path / "a"), 1000.0)]


def test_an_old_container_starts_near_its_count(sampler: Sampler, fake: Fake, tmp_path: Path) -> None:
    fake.active[str(tmp_path / "a")] = 4
    container = make(tmp_path / "a")._replace(init_pid=1, starttime=-100 * 3600 * os.sysconf("SC_CLK_TCK"))
    assert sampler.get(container)[:3] == (4.0, 4.0, 4.0)


def test_averages_follow_without_reads_and_without_drift(
    sampler: Sampler, clock: Clock, fake: Fake, tmp_path: Path
) -> None:
    container = make(tmp_path / "a")
    fake.active[str(tmp_path / "a")] = 3
    sampler.get(container)
    fake.cost[str(tmp_path / "a")] = 0.01
    for _ in range(10):
        # ticks that never fall on a whole step
        run(sampler, clock, 50.0, 0.7)
        sampler.get(container)
    times = [time for _, time in fake.calls]
    assert clock.now == pytest.approx(1500.0, abs=5.0)
    load = sampler.get(container)
    steps = 1 + int((clock.now - 1000.0) // STEP)
    assert load[:3] == tuple(map(shown, reference(steps, 3)))
    late = [(time - 1000.0) % STEP for time in times[1:] if time % 50 > 1]
    assert max(late) < 1.5, late


def test_missed_steps_are_made_up(sampler: Sampler, clock: Clock, fake: Fake, tmp_path: Path) -> None:
    container = make(tmp_path / "a")
    fake.active[str(tmp_path / "a")] = 1
    sampler.get(container)
    clock.now += 58.0
    sampler.run_due()
    assert len(fake.calls) == 2
    assert sampler.get(container).one == pytest.approx(shown(reference(12, 1)[0]), abs=0.011)
    # and the next step is where it would have been
    clock.now = 1059.9
    sampler.run_due()
    assert len(fake.calls) == 2
    clock.now = 1060.1
    sampler.run_due()
    assert len(fake.calls) == 3


def test_only_what_is_read_is_sampled(sampler: Sampler, clock: Clock, fake: Fake, tmp_path: Path) -> None:
    a, b = make(tmp_path / "a"), make(tmp_path / "b")
    sampler.get(a)
    sampler.get(b)
    for _ in range(20):
        run(sampler, clock, 5.0)
        sampler.get(a)
    assert sampler.sampled() == 1
    assert max(time for path, time in fake.calls if path.endswith("b")) <= 1060.0
    run(sampler, clock, 70.0)
    before = len(fake.calls)
    run(sampler, clock, 600.0)
    assert (sampler.sampled(), len(fake.calls), fake.closed) == (0, before, 2)


def test_vanished_and_made_again(sampler: Sampler, clock: Clock, fake: Fake, tmp_path: Path) -> None:
    container = make(tmp_path / "a")
    fake.active[str(tmp_path / "a")] = 8
    sampler.get(container)
    run(sampler, clock, 50.0)
    assert sampler.get(container).one > 4
    (tmp_path / "a").rename(tmp_path / "gone")
    with pytest.raises(FileNotFoundError):
        sampler.get(container)
    fake.active[str(tmp_path / "a")] = 1
    assert sampler.get(make(tmp_path / "a")).one == 0.08
    (tmp_path / "a").rmdir()
    run(sampler, clock, 10.0)
    assert (sampler.sampled(), fake.closed) == (0, 2)


def test_a_slow_container_costs_its_share(sampler: Sampler, clock: Clock, fake: Fake, tmp_path: Path) -> None:
    slow, quick = make(tmp_path / "slow"), make(tmp_path / "quick")
    fake.active[str(tmp_path / "slow")] = fake.active[str(tmp_path / "quick")] = 3
    fake.cost[str(tmp_path / "slow")] = 0.25
    sampler.get(slow)
    sampler.get(quick)
    fake.calls.clear()
    for _ in range(10):
        run(sampler, clock, 30.0, 0.1)
        fake_calls = len(fake.calls)
        # readers are not made to wait for a slow count
        sampler.get(slow)
        assert len(fake.calls) == fake_calls
        sampler.get(quick)
    assert 8 <= sum(path.endswith("slow") for path, _ in fake.calls) <= 12
    assert sum(path.endswith("quick") for path, _ in fake.calls) >= 59
    assert sampler.get(slow).one == sampler.get(quick).one == pytest.approx(3.0, abs=0.03)


def test_many_containers_are_spread(sampler: Sampler, clock: Clock, fake: Fake, tmp_path: Path) -> None:
    for number in range(300):
        container = make(tmp_path / f"c{number}")
        fake.active[str(tmp_path / f"c{number}")] = number % 5
        sampler.get(container)
        clock.now += 1 / 60
        sampler.run_due()
    fake.calls.clear()
    run(sampler, clock, 30.0, 0.05)
    assert len(fake.calls) == 300 * 6
    assert max(sum(time == at for _, time in fake.calls) for at in {time for _, time in fake.calls}) <= 6


def test_the_thread_sleeps_until_somebody_reads(tmp_path: Path) -> None:
    counted = threading.Event()

    class Signalling(Fake):
        def count(self, directory: str) -> Counts:
            result = super().count(directory)
            if threading.current_thread().name == "loadavg":
                counted.set()
            return result

    clock = Clock()
    sampler = Sampler(Signalling(clock), clock)
    sampler.start()
    try:
        sampler.get(make(tmp_path / "a"))
        assert not counted.is_set()
        clock.now += 5.0
        # the next reader wakes it, and it takes what is due
        sampler.get(make(tmp_path / "b"))
        assert counted.wait(10)
    finally:
        sampler.close()


def test_the_hierarchy_where_it_has_a_group(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    both = Container("x", {"cpu": "/proc", "memory": str(tmp_path / "own")}, 1, 0, 0, Policy())
    assert group_directory(both) == str(tmp_path / "own")
    assert group_directory(both._replace(cgroups={"cpu": "/proc"})) == "/proc"


def test_subtree_and_lists_of_both_versions(tmp_path: Path) -> None:
    me, parent = os.getpid(), os.getppid()
    for path, name, text in (("", "cgroup.threads", f"{me}\n0\n"), ("a/b", "cgroup.threads", f"{parent}\n999999999\n")):
        (tmp_path / path).mkdir(parents=True, exist_ok=True)
        (tmp_path / path / name).write_text(text)
    counter = TaskCounter(taskstats=False)
    counts = counter.open(str(tmp_path)).count()
    assert (counts.total, counts.newest) == (3, 999999999)
    assert counts.active >= counts.running >= 1
    assert counter.inner_pid(me) == me
    assert counter.inner_pid(999999999) == 0
    (tmp_path / "v1").mkdir()
    (tmp_path / "v1" / "tasks").write_text(f"{me}\n")
    assert counter.open(str(tmp_path / "v1")).count().total == 1
    (tmp_path / "empty").mkdir()
    for gone in ("empty", "nothing"):
        with pytest.raises(FileNotFoundError):
            counter.open(str(tmp_path / gone)).count()
