"""Orders of writes the kernel insists on, in trees where a wrong order is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.host.lab import Lab

pytestmark = pytest.mark.root

LEVELS = ("a", "a/b", "a/b/c")
MIB = 2**20


def there_and_back(lab: Lab, *stages: dict[str, dict[str, Any]]) -> None:
    """Apply the stages one after the other, each (group → cpu, memory …) as its own profile; then roll all back.

    Each stage must be accepted by the kernel, read back as asked for, and be undone exactly.
    """
    snapshots = [lab.snapshot()]
    for number, stage in enumerate(stages):
        groups = {
            group.replace("/", "-"): {"match": {"cgroup": lab.path(group)}, **sections}
            for group, sections in stage.items()
        }
        profile = lab.profile(f"stage{number}", groups=groups)
        result = lab.run("apply", "--json", profile).expect(0).json
        assert result["unsupported"] == []
        assert wrong(result["changes"]) == []
        snapshots.append(lab.snapshot())
    for number in reversed(range(len(stages))):
        lab.run("rollback").expect(0)
        assert lab.snapshot() == snapshots[number], f"after the rollback of stage {number}"


def wrong(changes: list[dict[str, Any]]) -> list[str]:
    """Files that do not read what a change wanted of them."""
    return [change["path"] for change in changes if Path(change["path"]).read_text().strip() != str(change["desired"])]


def tree(lab: Lab) -> None:
    for group in LEVELS:
        lab.make(group)


def quotas(*cpus: float, **more: Any) -> dict[str, dict[str, Any]]:
    """One quota per level of the tree, outermost first."""
    return {group: {"cpu": {"quota": quota, **more}} for group, quota in zip(LEVELS, cpus, strict=True)}


def test_quota_up_and_down_in_a_tree(lab: Lab) -> None:
    """The kernel refuses a child above its nearest limited ancestor, at every single write."""
    tree(lab)
    there_and_back(lab, quotas(0.5, 0.5, 0.5), quotas(2, 2, 2), quotas(0.2, 0.2, 0.2), quotas(0.3, 0.25, 0.1))


def test_quota_in_both_directions_in_one_apply(lab: Lab) -> None:
    """One branch is raised while its sibling is lowered, and the levels of one branch go opposite ways."""
    tree(lab)
    lab.make("a/d/e")
    first = quotas(0.8, 0.7, 0.1) | {"a/d": {"cpu": {"quota": 0.2}}, "a/d/e": {"cpu": {"quota": 0.2}}}
    second = quotas(0.9, 0.3, 0.3) | {"a/d": {"cpu": {"quota": 0.9}}, "a/d/e": {"cpu": {"quota": 0.05}}}
    third = quotas(0.3, 0.3, 0.2) | {"a/d": {"cpu": {"quota": 0.1}}, "a/d/e": {"cpu": {"quota": 0.1}}}
    there_and_back(lab, first, second, third)


def test_quota_to_and_from_unlimited(lab: Lab) -> None:
    tree(lab)
    limited, middle = quotas(0.4, 0.4, 0.4), {"a": 0.4, "a/b": "max", "a/b/c": 0.4}
    free = {group: {"cpu": {"quota": "max"}} for group in LEVELS}
    there_and_back(
        lab, limited, {group: {"cpu": {"quota": value}} for group, value in middle.items()}, limited, free, limited
    )


@pytest.mark.parametrize("levels", [LEVELS, LEVELS[::2], LEVELS[1:2], LEVELS[:1], LEVELS[2:]])
def test_period_at_an_equal_share_in_a_tight_tree(lab: Lab, levels: tuple[str, ...]) -> None:
    """Between the two writes the share must not leave what parent and child allow, which are exactly the same."""
    tree(lab)
    tight = {group: {"cpu": {"quota": "50ms", "period": "100ms"}} for group in LEVELS}
    shorter = {group: {"cpu": {"quota": "25ms", "period": "50ms"}} for group in levels}
    longer = {group: {"cpu": {"quota": "100ms", "period": "200ms"}} for group in levels}
    there_and_back(lab, tight, shorter, longer)


def test_period_with_another_share(lab: Lab) -> None:
    tree(lab)
    there_and_back(
        lab,
        quotas(0.5, 0.5, 0.5, period="100ms"),
        quotas(0.25, 0.25, 0.25, period="200ms"),
        quotas(0.75, 0.75, 0.75, period="50ms"),
        quotas(0.5, 0.4, 0.3, period="1s"),
    )


@pytest.mark.parametrize("period", ["20ms", "100ms", "400ms"])
def test_burst_up_and_down(lab: Lab, period: str) -> None:
    """Burst may never be above a finite quota, while quota, period and burst all move."""
    lab.make("a")

    def stage(**cpu: Any) -> dict[str, dict[str, Any]]:
        return {"a": {"cpu": cpu}}

    there_and_back(
        lab,
        stage(quota="10ms", burst="10ms"),
        stage(quota="200ms", burst="200ms", period=period),
        stage(quota="5ms", burst="2ms", period="100ms"),
        stage(quota="50ms", burst="100%", period=period),
        stage(quota="60ms", burst="0"),
        stage(quota="max"),
    )


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two CPUs")
def test_cpuset_in_both_directions(lab: Lab) -> None:
    """A v1 cpuset lies inside its parent and around its children; 0 → 1 passes through 0-1 at every level."""
    tree(lab)

    def cpus(*lists: str) -> dict[str, dict[str, Any]]:
        return {group: {"cpu": {"cpus": value}} for group, value in zip(LEVELS, lists, strict=True)}

    there_and_back(
        lab,
        cpus("0", "0", "0"),
        cpus("1", "1", "1"),
        cpus("0-1", "0-1", "0"),
        cpus("0-1", "1", "1"),
        cpus("0", "0", "0"),
        cpus("0-1", "0-1", "0-1"),
    )


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two CPUs")
def test_cpuset_with_tasks_inside(lab: Lab) -> None:
    """A set with tasks in it may not be emptied on the way."""
    tree(lab)
    process = lab.spawn(group="a/b/c")
    stages = ({group: {"cpu": {"cpus": cpu}} for group in LEVELS} for cpu in ("0", "1"))
    there_and_back(lab, *stages)
    assert lab.groups_of(process.pid)["cpuset"] == lab.path("a/b/c")


def test_memory_limit_and_memsw_up_and_down(lab: Lab) -> None:
    """memsw is never below the limit, at every single write."""
    lab.make("a")

    def stage(limit: object, memsw: object) -> dict[str, dict[str, Any]]:
        return {"a": {"memory": {"limit": limit, "memsw": memsw}}}

    there_and_back(
        lab,
        stage("64MiB", "64MiB"),
        stage("128MiB", "128MiB"),
        stage("16MiB", "256MiB"),
        stage("200MiB", "200MiB"),
        stage("max", "max"),
        stage("32MiB", "32MiB"),
        {"a": {"memory": {"limit": "8MiB"}}},
        {"a": {"memory": {"memsw": "16MiB"}}},
    )


def test_idle_on_and_off_keeps_the_shares(lab: Lab) -> None:
    """The kernel hides the shares of an idle group and resets them to 1024 when it leaves."""
    lab.make("a")
    lab.write("a", "cpu.shares", 300)
    before = lab.snapshot()
    on = lab.profile("on", groups={"a": {"match": {"cgroup": lab.path("a")}, "cpu": {"idle": True}}})
    lab.run("apply", on).expect(0)
    assert (lab.read("a", "cpu.idle"), lab.read("a", "cpu.shares")) == ("1", "3")
    lab.run("diff", on).expect(0)
    lab.run("rollback").expect(0)
    assert lab.snapshot() == before

    lab.write("a", "cpu.idle", 1)
    off = {"match": {"cgroup": lab.path("a")}, "cpu": {"idle": False, "shares": 77}}
    idle = lab.snapshot()
    lab.run("apply", lab.profile("off", groups={"a": off})).expect(0)
    assert (lab.read("a", "cpu.idle"), lab.read("a", "cpu.shares")) == ("0", "77")
    lab.run("rollback").expect(0)
    assert lab.snapshot() == idle


def test_idle_by_upgrade_keeps_the_shares(lab: Lab) -> None:
    """The same profile switches idle on and off again; the shares from before come back at the end."""
    lab.make("a")
    lab.write("a", "cpu.shares", 300)
    before = lab.snapshot()
    for cpu in ({"idle": True}, {"shares": 512}, {"idle": True}, {"idle": False}):
        profile = lab.profile(groups={"a": {"match": {"cgroup": lab.path("a")}, "cpu": cpu}})
        lab.run("apply", profile).expect(0)
        lab.run("diff", profile).expect(0)
        lab.run("status").expect(0)
    lab.run("rollback", "--profile", f"{lab.name}-test").expect(0)
    assert lab.snapshot() == before


def test_limits_of_created_groups_follow_their_parents(lab: Lab) -> None:
    """A tight parent and children made in the same transaction."""
    lab.make("a")
    lab.write("a", "cpu.cfs_quota_us", 20_000)
    lab.write("a", "cpuset.cpus", 0)
    before = lab.snapshot()
    cpu = {"quota": 0.5, "period": "50ms", "burst": "50%", "cpus": 0}
    groups = {
        "a": {"match": {"cgroup": lab.path("a")}, "cpu": {"quota": 0.5, "period": "100ms"}},
        "b": {"match": {"cgroup": lab.path("a/b")}, "create": True, "cpu": cpu},
        "c": {"match": {"cgroup": lab.path("a/b/c/d")}, "create": True, "cpu": cpu, "memory": {"limit": 64 * MIB}},
    }
    profile = lab.profile(groups=groups)
    lab.run("apply", profile).expect(0)
    lab.run("diff", profile).expect(0)
    lab.run("rollback").expect(0)
    assert lab.snapshot() == before
