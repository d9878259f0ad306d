"""Orders of writes that a version 2 kernel insists on, and values it couples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.vm.inside.lab import GuestLab

LEVELS = ("a", "a/b", "a/b/c")
Stage = dict[str, dict[str, Any]]


def there_and_back(lab: GuestLab, *stages: Stage) -> None:
    """Apply the stages (group → cpu, memory …) one after the other, each as its own profile; then roll all back."""
    snapshots = [lab.snapshot()]
    for number, stage in enumerate(stages):
        groups = {
            group.replace("/", "-") or "top": {"match": {"cgroup": lab.path(group)}, **sections}
            for group, sections in stage.items()
        }
        profile = lab.profile(f"stage{number}", groups=groups)
        assert lab.run("apply", "--json", profile).expect(0).json["unsupported"] == []
        lab.run("diff", profile).expect(0)
        snapshots.append(lab.snapshot())
    for number in reversed(range(len(stages))):
        lab.run("rollback").expect(0)
        assert lab.snapshot() == snapshots[number], f"after the rollback of stage {number}"


def levels(section: str, *values: dict[str, Any]) -> Stage:
    """One section per level of the tree, outermost first."""
    return {group: {section: value} for group, value in zip(LEVELS, values, strict=True)}


@pytest.mark.parametrize("period", ["20ms", "400ms"])
def test_burst_up_and_down(lab: GuestLab, period: str) -> None:
    """Burst may never be above a finite quota, while quota, period and burst all move."""
    lab.make("a")
    stages = (
        {"quota": "10ms", "burst": "10ms"},
        {"quota": "200ms", "burst": "200ms", "period": period},
        {"quota": "5ms", "burst": "2ms", "period": "100ms"},
        {"quota": "50ms", "burst": "100%", "period": period},
        {"quota": "max"},
    )
    there_and_back(lab, *({"a": {"cpu": stage}} for stage in stages))


def test_quota_in_a_tree(lab: GuestLab) -> None:
    lab.make("a/b/c")
    there_and_back(
        lab,
        levels("cpu", *({"quota": share} for share in (0.5, 0.5, 0.5))),
        levels("cpu", *({"quota": share} for share in (2, 0.2, 0.3))),
        levels("cpu", *({"quota": "max"} for _ in LEVELS)),
    )


def test_cpuset_in_both_directions_with_a_task(lab: GuestLab) -> None:
    lab.make("a/b/c")
    for group in LEVELS:
        lab.write(group, "cpuset.cpus", "0-3")
        lab.write(group, "cpuset.mems", "0-1")
    process = lab.spawn(group="a/b/c")
    there_and_back(
        lab,
        levels("cpu", *({"cpus": cpus} for cpus in ("0-1", "0", "0"))),
        levels("cpu", *({"cpus": cpus, "mems": 1} for cpus in ("2-3", "2-3", "3"))),
    )
    assert lab.group_of(process.pid) == lab.path("a/b/c")


def test_a_cpuset_with_tasks_cannot_be_emptied_again(lab: GuestLab) -> None:
    """ENOSPC (kernel/cgroup/cpuset.c validate_change): what never was set comes back once the tasks are gone."""
    lab.make("a")
    before = lab.snapshot()
    process = lab.spawn(group="a")
    lab.run("apply", lab.profile(groups={"a": {"match": {"cgroup": lab.path("a")}, "cpu": {"cpus": 1}}})).expect(0)
    run = lab.run("rollback").expect(5)
    assert "cpu.cpus" in run.out
    assert "ENOSPC" in run.out
    process.kill()
    process.wait()
    lab.run("rollback").expect(0)
    assert lab.snapshot() == before


def test_memory_in_a_tree(lab: GuestLab) -> None:
    lab.make("a/b/c")

    def stage(*sizes: int) -> Stage:
        return levels(
            "memory",
            *(
                {"min": f"{size}MiB", "low": f"{2 * size}MiB", "high": f"{3 * size}MiB", "limit": f"{4 * size}MiB"}
                for size in sizes
            ),
        )

    there_and_back(lab, stage(32, 16, 8), stage(8, 8, 8), stage(4, 16, 64))


def test_idle_on_and_off_keeps_the_weight(lab: GuestLab) -> None:
    """The kernel hides the weight of an idle group, and resets it to 100 when it leaves."""
    lab.make("a")
    lab.write("a", "cpu.weight", 300)
    there_and_back(lab, {"a": {"cpu": {"idle": True}}})
    assert lab.read("a", "cpu.weight") == "300"
    lab.write("a", "cpu.idle", 1)
    there_and_back(lab, {"a": {"cpu": {"idle": False, "weight": 77}}})
    assert lab.read("a", "cpu.idle") == "1"


def test_partitions(lab: GuestLab) -> None:
    """A partition root takes its CPUs from its parent, which must be one itself; inside, another one, isolated."""
    lab.make("a")
    there_and_back(
        lab,
        {"": {"cpu": {"cpus": "2-3", "partition": "root"}}},
        {"": {"cpu": {"cpus": "2-3", "partition": "root"}}, "a": {"cpu": {"cpus": 3, "partition": "isolated"}}},
        {"": {"cpu": {"cpus": "1-3", "partition": "root"}}},
        {"a": {"cpu": {"partition": "member"}}},
    )
    assert lab.read("", "cpuset.cpus.partition") == "member"


def test_partition_takes_and_gives_back_cpus(lab: GuestLab) -> None:
    lab.make()
    everyone = Path("/sys/fs/cgroup/cpuset.cpus.effective")
    lab.run("apply", lab.profile(groups={"top": partition(lab, "isolated")})).expect(0)
    assert everyone.read_text().strip() == "0-2"
    lab.run("rollback").expect(0)
    assert everyone.read_text().strip() == "0-3"


def partition(lab: GuestLab, kind: str) -> dict[str, Any]:
    """A group with one CPU of its own."""
    return {"match": {"cgroup": lab.path()}, "cpu": {"cpus": 3, "partition": kind}}


def test_created_groups_in_a_tight_tree(lab: GuestLab) -> None:
    """A limited parent and children made in the same transaction."""
    lab.make("a")
    lab.write("a", "cpu.max", "20000 100000")
    lab.write("a", "cpuset.cpus", "0")
    before = lab.snapshot()
    cpu = {"quota": 0.5, "period": "50ms", "burst": "50%", "cpus": 0}
    groups = {
        "a": {"match": {"cgroup": lab.path("a")}, "cpu": {"quota": 0.5, "period": "100ms"}},
        "b": {"match": {"cgroup": lab.path("b/c/d")}, "create": True, "cpu": cpu, "memory": {"limit": "64MiB"}},
    }
    profile = lab.profile(groups=groups)
    lab.run("apply", profile).expect(0)
    lab.run("diff", profile).expect(0)
    lab.run("rollback").expect(0)
    assert lab.snapshot() == before
