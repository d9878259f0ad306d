"""What holds for every container: counters never go back, and the files agree about the CPUs."""

from __future__ import annotations

import tempfile
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cotune.units import format_cpulist, parse_cpulist
from tests.unit.views.grove import CPU, cpu_rows, make_sources, meminfo, plant_groups, processors, show
from viewfs.sources import Sources
from viewfs.types import Policy
from viewfs.views import VIEWS, cpu_directories
from viewfs.views.cpus import visible
from viewfs.views.cputime import Clock, advance
from viewfs.views.records import Busy, Cpus, GroupTimes

seconds = st.floats(0, 50, allow_nan=False)
busy = st.builds(Busy, seconds, seconds, seconds)
shown = st.sets(st.integers(0, 3), min_size=1).map(lambda cpus: tuple(sorted(cpus)))
steps = st.lists(
    st.tuples(
        seconds, shown, st.dictionaries(st.integers(0, 3), busy), busy, st.dictionaries(st.integers(0, 3), seconds)
    ),
    min_size=1,
    max_size=12,
)


def plus(one: Busy, other: Busy) -> Busy:
    return Busy(*(a + b for a, b in zip(one, other, strict=True)))


def fields(clock: Clock) -> dict[int, tuple[float, ...]]:
    return {cpu: (*slot.busy, slot.idle) for cpu, slot in {**clock.slots, -1: clock.total}.items()}


@given(steps, st.booleans())
def test_counters_never_go_back_and_fill_the_time(
    history: list[tuple[float, tuple[int, ...], dict[int, Busy], Busy, dict[int, float]]], by_cpu: bool
) -> None:
    """Whatever the group uses and whichever CPUs it sees, also more than fits."""
    clock: Clock | None = None
    times, uptime = GroupTimes(dict.fromkeys(range(4), Busy()) if by_cpu else {}, Busy()), 0.0
    weights = dict.fromkeys(range(4), 0.0)
    for interval, cpus, used, total, host in history:
        uptime += interval
        rows = {cpu: plus(row, used.get(cpu, Busy())) for cpu, row in times.by_cpu.items()}
        times = GroupTimes(rows, plus(times.total, total))
        weights = {cpu: value + host.get(cpu, 0.0) for cpu, value in weights.items()}
        before = clock
        clock = advance(before, uptime, cpus, times, weights)
        now, last = fields(clock), fields(before) if before else {}
        for cpu, row in now.items():
            assert all(a >= b for a, b in zip(row, last.get(cpu, (0.0,) * 4), strict=True))
        for cpu in cpus:
            gone = sum(now[cpu]) - sum(last.get(cpu, (0.0,)))
            assert gone == pytest.approx(interval, abs=1e-6)
        assert now[-1][3] >= 0 and min(clock.waiting) >= 0


@given(seconds, busy, busy)
def test_nothing_is_lost(interval: float, first: Busy, second: Busy) -> None:
    """What does not fit into an interval shows later."""
    clock = advance(None, 200.0, (0, 1), GroupTimes({}, first), {})
    end = plus(first, second)
    clock = advance(clock, 200.0 + interval, (0, 1), GroupTimes({}, end), {})
    clock = advance(clock, 600.0, (0, 1), GroupTimes({}, end), {})
    assert clock.total.busy == pytest.approx(end, abs=1e-6)
    assert clock.total.busy.total + clock.total.idle == pytest.approx(1200.0)


def test_a_group_that_counts_from_0_again_takes_nothing_back() -> None:
    clock = advance(None, 100.0, (0,), GroupTimes({}, Busy(50.0)), {})
    clock = advance(clock, 110.0, (0,), GroupTimes({}, Busy(3.0)), {})
    assert (clock.total.busy.user, clock.total.idle) == (50.0, 60.0)
    clock = advance(clock, 105.0, (0,), GroupTimes({}, Busy(5.0)), {})
    assert clock.at == 110.0


def test_time_without_cpus_goes_where_the_host_was_busy() -> None:
    """Also while the figures of the host are those of the last look, and never beyond an interval."""
    clock = advance(None, 100.0, (0, 1), GroupTimes({}, Busy()), {0: 7.0, 1: 7.0})
    clock = advance(clock, 200.0, (0, 1), GroupTimes({}, Busy(40.0)), {0: 37.0, 1: 17.0})
    assert [clock.slots[cpu].busy.user for cpu in (0, 1)] == [30.0, 10.0]
    clock = advance(clock, 300.0, (0, 1), GroupTimes({}, Busy(80.0)), {0: 37.0, 1: 17.0})
    assert [clock.slots[cpu].busy.user for cpu in (0, 1)] == [60.0, 20.0]
    clock = advance(clock, 400.0, (0, 1), GroupTimes({}, Busy(240.0)), {0: 67.0, 1: 27.0})
    assert [clock.slots[cpu].busy.user for cpu in (0, 1)] == [160.0, 80.0]


def test_a_cpu_that_leaves_the_view_comes_back_with_its_counters() -> None:
    by_cpu = {0: Busy(10.0), 1: Busy(20.0)}
    clock = advance(None, 100.0, (0, 1), GroupTimes(by_cpu, Busy()), {})
    clock = advance(clock, 200.0, (0,), GroupTimes(by_cpu, Busy()), {})
    assert clock.shown == (0,) and clock.total.idle == 270.0
    clock = advance(clock, 300.0, (0, 1), GroupTimes(by_cpu, Busy()), {})
    assert clock.slots[1].busy.user == 20.0 and clock.slots[1].idle == 180.0


cpu_sets = st.sets(st.integers(0, 7)).map(frozenset)
quotas = st.none() | st.tuples(st.integers(1000, 10**6), st.integers(1000, 10**6))
policies = st.builds(
    Policy, cpu=st.sampled_from(("min", "quota", "cpuset", "host")), topology=st.sampled_from(("host", "view"))
)


@given(cpu_sets.filter(bool), cpu_sets, quotas, policies)
def test_visible_cpus_are_online_and_never_none(
    online: frozenset[int], cpuset: frozenset[int], quota: tuple[int, int] | None, policy: Policy
) -> None:
    cpus = Cpus(tuple(sorted(online)), tuple(range(8)), cpuset, "", quota)
    seen = visible(cpus, policy)
    assert seen and set(seen) <= online and list(seen) == sorted(seen)
    if policy.cpu in ("cpuset", "min") and cpuset & online:
        assert set(seen) <= cpuset
    if policy.cpu in ("quota", "min") and quota:
        assert (len(seen) - 1) * quota[1] < quota[0]


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(cpu_sets, quotas, policies, st.sampled_from((1, 2)))
def test_the_files_agree(cpuset: frozenset[int], quota: tuple[int, int] | None, policy: Policy, version: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        sources = make_sources(Path(folder), groups(version, cpuset, quota), "app", version, policy._asdict())
        online = parse_cpulist(show(sources, f"{CPU}/online"))
        offline = parse_cpulist(show(sources, f"{CPU}/offline"))
        possible = parse_cpulist(show(sources, f"{CPU}/possible"))
        assert processors(show(sources, "proc/cpuinfo")) == sorted(online)
        rows = cpu_rows(show(sources, "proc/stat"))
        assert list(rows)[1:] == [f"cpu{number}" for number in sorted(online)]
        single = [row for name, row in rows.items() if name != "cpu"]
        assert rows["cpu"] == pytest.approx([sum(column) for column in zip(*single, strict=True)], abs=8)
        assert not online & offline and online | offline == possible
        directories = cpu_directories(sources, sources.container)
        assert set(directories) == possible == parse_cpulist(show(sources, f"{CPU}/present"))
        for number in directories:
            assert show(sources, f"{CPU}/cpu{number}/online") == f"{int(number in online)}\n"
        up, idle = map(float, show(sources, "proc/uptime").split())
        assert up == 1000.0 and rows["cpu"][3] == pytest.approx(idle * 100, abs=2)
        sources.close()


def groups(version: int, cpuset: frozenset[int], quota: tuple[int, int] | None) -> dict[str, dict[str, object]]:
    cpus = format_cpulist(cpuset)
    if version == 2:
        limit = f"{quota[0]} {quota[1]}" if quota else "max 100000"
        times = "usage_usec 50000000\nuser_usec 40000000\nsystem_usec 10000000"
        return {"v2/app": {"cpuset.cpus.effective": cpus, "cpu.max": limit, "cpu.stat": times}}
    rows = "".join(f"{cpu} {cpu}000000000 1000000000\n" for cpu in range(8))
    return {
        "cpuset/app": {"cpuset.cpus": cpus},
        "cpu/app": {"cpu.cfs_quota_us": quota[0] if quota else -1, "cpu.cfs_period_us": quota[1] if quota else 100000},
        "cpuacct/app": {"cpuacct.usage_all": "cpu user system\n" + rows},
    }


@given(st.integers(0, 2**40), st.integers(0, 2**40), st.integers(0, 2**40), st.integers(0, 2**40))
@settings(max_examples=25)
def test_memory_is_never_negative_and_adds_up(limit: int, usage: int, swap_max: int, swap: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = {
            "memory.max": limit,
            "memory.current": usage,
            "memory.stat": f"file {usage // 2}\nactive_file {usage // 3}\nanon {usage // 2}\nshmem {usage // 4}",
            "memory.swap.max": swap_max,
            "memory.swap.current": swap,
        }
        sources = make_sources(Path(folder), {"v2/app": files}, "app", 2)
        seen = meminfo(show(sources, "proc/meminfo"))
        assert min(seen.values()) >= 0 and seen["MemTotal"] > 0
        assert max(seen["MemFree"], seen["MemAvailable"]) <= seen["MemTotal"]
        assert seen["SwapFree"] <= seen["SwapTotal"] <= 4194304
        rows = [line.split() for line in show(sources, "proc/swaps").splitlines()[1:]]
        assert rows == (
            [["none", "virtual", str(seen["SwapTotal"]), str(seen["SwapTotal"] - seen["SwapFree"]), "0"]]
            if seen["SwapTotal"]
            else []
        )
        sources.close()


@pytest.fixture(params=(1, 2))
def psutil_there(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sources:
    """The views of a container as files that psutil reads in the place of /proc."""
    files = groups(request.param, frozenset({2, 3}), None)
    name, figures = (
        ("v2/app", {"memory.max": 1073741824, "memory.current": 536870912, "memory.stat": "file 104857600"})
        if request.param == 2
        else (
            "memory/app",
            {
                "memory.limit_in_bytes": 1073741824,
                "memory.usage_in_bytes": 536870912,
                "memory.stat": "total_cache 104857600",
            },
        )
    )
    sources = make_sources(tmp_path / "host", files, "app", request.param)
    plant_groups(tmp_path / "host", {name: figures})
    for path in VIEWS:
        file = tmp_path / "views" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(show(sources, path), encoding="utf-8")
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path / "views/proc"))
    request.addfinalizer(sources.close)
    return sources


@pytest.mark.usefixtures("psutil_there")
def test_psutil_reads_the_views() -> None:
    memory = psutil.virtual_memory()
    assert (memory.total, memory.free) == (2**30, 2**29)
    assert psutil.boot_time() == 1700000000
    per_cpu = psutil.cpu_times(percpu=True)
    assert len(per_cpu) == 2
    assert sum(cpu.user + cpu.system + cpu.idle for cpu in per_cpu) == pytest.approx(2000, abs=0.1)
    assert psutil.cpu_stats().ctx_switches == 654321


def test_loadavg_comes_from_the_sampler(tmp_path: Path) -> None:
    seed = make_sources(tmp_path, groups(2, frozenset(), None), "app", 2)
    sources = Sources(seed.container, seed.host, lambda container: (0.126, 1.0, 2.5, 2, 17, 4711))
    assert show(sources, "proc/loadavg") == "0.13 1.00 2.50 2/17 4711\n"
    assert "procs_running 2\nprocs_blocked 0\n" in show(sources, "proc/stat")
    seed.close()
    sources.close()
