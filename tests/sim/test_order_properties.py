"""The order of a plan's writes: where it meets a refusal, no other order of the same writes would have passed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cotune.execute import StepFailed, perform
from cotune.host.facts import Host
from cotune.ledger import Ledger
from cotune.model import Plan, Step
from cotune.planning import Options, make_plan
from cotune.profile.load import Profile, load_profile
from cotune.sim.kernel import SimKernel
from tests.conftest import SUMMARY

pytestmark = pytest.mark.xdist_group("orders")  # the last test looks at what the others have seen
CONSENT = Options(flags=frozenset(("force", "allow-oom")))
GROUPS = ("a", "a/b", "a/b/c", "a/d")
MOST_WRITES = 7
#: What was seen, for the figure at the end of the run.
SEEN = {"passed": 0, "refused": 0, "orders": 0}


class State(NamedTuple):
    """Values of the groups: CPUs, quota in µs (-1: none), memory limit in MiB and usage in MiB."""

    cpus: dict[str, str]
    quota: dict[str, int]
    limit: dict[str, int]
    usage: dict[str, int]


def make_host(kernel: str, state: State) -> Host:
    """A host whose groups are in the given state, which is one its kernel takes from the top down."""
    sim = SimKernel(kernel)
    point = "/sys/fs/cgroup"
    if sim.exists(f"{point}/cgroup.controllers"):
        for group in ("", *GROUPS):
            directory = f"{point}/{group}".rstrip("/")
            if group:
                sim.mkdir(directory)
            sim.write(f"{directory}/cgroup.subtree_control", "+cpu +cpuset +memory")
        for group in GROUPS:
            sim.write(f"{point}/{group}/cpuset.cpus", state.cpus[group])
            sim.write(f"{point}/{group}/cpu.max", f"{state.quota[group] if state.quota[group] > 0 else 'max'} 100000")
            sim.write(f"{point}/{group}/memory.max", f"{state.limit[group]}M")
        return Host(sim)
    for group in GROUPS:
        for controller in ("cpu", "cpuset", "memory"):
            sim.mkdir(f"{point}/{controller}/{group}")
        sim.write(f"{point}/cpuset/{group}/cpuset.cpus", state.cpus[group])
        sim.write(f"{point}/cpuset/{group}/cpuset.mems", "0")
        sim.write(f"{point}/cpu/{group}/cpu.cfs_quota_us", str(state.quota[group]))
        sim.write(f"{point}/memory/{group}/memory.limit_in_bytes", f"{state.limit[group]}M")
        sim.set_usage(f"{point}/memory/{group}", state.usage[group] * 2**20)
    return Host(sim)


@st.composite
def states(draw: st.DrawFn) -> State:
    """A state the kernel accepts: children inside their parents, usage inside every limit."""
    cpus: dict[str, list[int]] = {"": [0, 1]}
    quota: dict[str, int] = {"": 200_000}
    limit: dict[str, int] = {}
    for group in GROUPS:
        parent = group.rpartition("/")[0]
        cpus[group] = sorted(draw(st.sets(st.sampled_from(cpus[parent]), min_size=1)))
        quota[group] = draw(st.integers(1, max(1, quota[parent] // 1000))) * 1000
        limit[group] = draw(st.integers(64, 512))
    usage = {group: draw(st.integers(0, 15)) for group in GROUPS}
    return State({g: ",".join(map(str, cpus[g])) for g in GROUPS}, {g: quota[g] for g in GROUPS}, limit, usage)


@st.composite
def wishes(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    """Up to seven values, wanted without regard to whether the kernel can have them together."""
    places = [(group, knob) for group in GROUPS for knob in ("cpus", "quota", "limit")]
    chosen = draw(st.lists(st.sampled_from(places), min_size=2, max_size=MOST_WRITES, unique=True))
    wanted: dict[str, dict[str, Any]] = {}
    for group, knob in chosen:
        if knob == "cpus":
            wanted.setdefault(group, {}).setdefault("cpu", {})["cpus"] = draw(st.sampled_from(["0", "1", "0-1"]))
        elif knob == "quota":
            value = draw(st.one_of(st.just("max"), st.integers(1, 200).map(lambda ms: f"{ms}ms")))
            wanted.setdefault(group, {}).setdefault("cpu", {})["quota"] = value
        else:
            wanted.setdefault(group, {}).setdefault("memory", {})["limit"] = f"{draw(st.integers(1, 600))}MiB"
    return wanted


def profile(folder: Path, wanted: dict[str, dict[str, Any]]) -> Profile:
    document = {
        "apiVersion": "cotune/v1",
        "kind": "IsolationProfile",
        "metadata": {"name": "wishes"},
        "groups": {path.replace("/", "-"): {"match": {"cgroup": path}, **values} for path, values in wanted.items()},
    }
    file = folder / "wishes.yaml"
    file.write_text(yaml.safe_dump(document))
    return load_profile([str(file)])


def passes(host: Host, steps: Iterable[Step]) -> bool:
    """Whether the kernel takes every step."""
    try:
        for step in steps:
            perform(host, step)
    except StepFailed:
        return False
    return True


def final_writes(plan: Plan) -> list[Step]:
    """One write for each value the plan changes: straight to what it is to be, without the steps in between."""
    last = {step.target.key: step for step in plan.steps if step.op == "write"}
    return list(last.values())


def any_order_passes(kernel: str, state: State, writes: list[Step]) -> bool:
    """Whether some order of the writes is taken.

    What a set of accepted writes leads to does not depend on their order, so sets are searched, not orders.
    """
    reached: dict[frozenset[int], tuple[int, ...]] = {frozenset(): ()}
    frontier = list(reached)
    while frontier:
        following = []
        for done in frontier:
            for index in range(len(writes)):
                grown = done | {index}
                if index in done or grown in reached:
                    continue
                order = (*reached[done], index)
                SEEN["orders"] += 1
                if passes(make_host(kernel, state), [writes[i] for i in order]):
                    reached[grown] = order
                    following.append(grown)
        frontier = following
    return frozenset(range(len(writes))) in reached


def check(kernel: str, state: State, wanted: dict[str, dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        host = make_host(kernel, state)
        plan = make_plan(profile(Path(name), wanted), host, Ledger([], host.boot_id), CONSENT)
    writes = final_writes(plan)
    if len(writes) > MOST_WRITES:
        return
    if passes(host, plan.steps):
        SEEN["passed"] += 1
        return
    SEEN["refused"] += 1
    assert not any_order_passes(kernel, state, writes), [(s.target.path, s.text) for s in plan.steps]


COMMON = settings(phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow])


@settings(COMMON, max_examples=50)
@given(states(), wishes())
def test_no_order_passes_where_ours_is_refused_v1(state: State, wanted: dict[str, dict[str, Any]]) -> None:
    check("mainline-v1", state, wanted)


@settings(COMMON, max_examples=15)
@given(states(), wishes())
def test_no_order_passes_where_ours_is_refused_v2(state: State, wanted: dict[str, dict[str, Any]]) -> None:
    check("mainline-v2", state, wanted)


def test_both_outcomes_were_seen(record_property: Any) -> None:
    """A generator whose plans all pass, or all fail, would prove nothing. Runs after the two above."""
    record_property(
        SUMMARY,
        f"orders of up to {MOST_WRITES} writes: {SEEN['passed']} plans passed; of {SEEN['refused']} refused ones no "
        f"order passes ({SEEN['orders']} partial orders tried)",
    )
    assert SEEN["passed"] > 10
    assert SEEN["refused"] > 3
