"""Groups on cgroup v2: controllers enabled on the way, tasks moved and moved back, owners, foreign values."""

from __future__ import annotations

from typing import Any

import pytest

from tests.vm.inside.lab import GuestLab

JOBS = {"cpu": {"weight": 50}, "memory": {"high": "64MiB"}, "pids": {"max": 9}}


def jobs(lab: GuestLab, group: str = "batch/jobs", **more: Any) -> dict[str, Any]:
    """A created group."""
    return {"jobs": {"match": {"cgroup": lab.path(group)}, "create": True, **JOBS, **more}}


def applied(lab: GuestLab, groups: dict[str, Any], *options: str, name: str = "test") -> Any:
    """Apply a profile; returns the JSON."""
    return lab.run("apply", "--json", *options, lab.profile(name, groups=groups)).expect(0).json


@pytest.fixture
def svc(lab: GuestLab) -> GuestLab:
    """A laboratory with the group svc, at values of its own."""
    lab.make("svc")
    lab.write("svc", "cpu.weight", 300)
    lab.write("svc", "cpu.max", "30000 100000")
    lab.write("svc", "pids.max", 50)
    return lab


def svc_with(lab: GuestLab, **sections: Any) -> dict[str, Any]:
    """The group svc of a profile."""
    return {"svc": {"match": {"cgroup": lab.path("svc")}, **sections}}


def test_controllers_are_enabled_on_the_way(lab: GuestLab) -> None:
    """And stay enabled after the rollback: disabling would reset every sibling."""
    lab.make()
    assert lab.read("", "cgroup.subtree_control") == ""
    changes = lab.run("diff", "--json", lab.profile(groups=jobs(lab))).expect(1).json["changes"]
    assert any("subtree_control" in str(change) for change in changes)
    assert lab.read("", "cgroup.subtree_control") == ""
    applied(lab, jobs(lab))
    for group in ("", "batch"):
        assert set(lab.read(group, "cgroup.subtree_control").split()) == {"cpu", "memory", "pids"}
    assert lab.read("batch/jobs", "cpu.weight") == "50"
    lab.run("diff", lab.profile(groups=jobs(lab))).expect(0)
    lab.run("rollback").expect(0)
    assert not lab.group("batch").exists()
    assert set(lab.read("", "cgroup.subtree_control").split()) == {"cpu", "memory", "pids"}


def test_an_existing_group_gets_the_controller_it_lacks(lab: GuestLab) -> None:
    lab.make("svc", controllers=("cpu",))
    lab.write("svc", "cpu.weight", 300)
    assert not lab.file("svc", "pids.max").exists()
    applied(lab, svc_with(lab, cpu={"weight": 400}, pids={"max": 70}))
    assert (lab.read("svc", "cpu.weight"), lab.read("svc", "pids.max")) == ("400", "70")
    lab.run("rollback").expect(0)
    assert (lab.read("svc", "cpu.weight"), lab.read("svc", "pids.max")) == ("300", "max")


def test_tasks_are_moved_and_moved_back(lab: GuestLab) -> None:
    lab.make("origin")
    process, bystander = lab.spawn(group="origin"), lab.spawn(group="origin")
    before = lab.snapshot()
    profile = lab.profile(groups=jobs(lab))
    option = ("--pid", f"jobs={process.pid}")
    changes = lab.run("diff", "--json", *option, profile).expect(1).json["changes"]
    assert [str(process.pid) in change["knob"] for change in changes if change["action"] == "move"] == [True]
    lab.run("apply", *option, profile).expect(0)
    assert lab.group_of(process.pid) == lab.path("batch/jobs")
    assert lab.group_of(bystander.pid) == lab.path("origin")
    assert lab.run("apply", "--json", *option, profile).expect(0).json["transaction"] is None
    lab.run("rollback").expect(0)
    assert lab.group_of(process.pid) == lab.path("origin")
    assert {path for path in before if path.endswith("/")} == {path for path in lab.snapshot() if path.endswith("/")}


def test_a_foreign_task_keeps_a_created_group(lab: GuestLab) -> None:
    lab.make("other")
    before = lab.snapshot()
    applied(lab, jobs(lab))
    process = lab.spawn(group="batch/jobs")
    run = lab.run("rollback").expect(5)
    assert str(process.pid) in run.out
    assert str(lab.group("batch/jobs")) in run.out
    assert lab.group_of(process.pid) == lab.path("batch/jobs")
    process.kill()
    process.wait()
    lab.run("rollback").expect(0)
    assert lab.snapshot() == before


def test_a_group_that_is_gone_before_the_rollback(svc: GuestLab) -> None:
    before = svc.snapshot()
    applied(svc, jobs(svc) | svc_with(svc, cpu={"weight": 700}))
    svc.group("batch/jobs").rmdir()
    svc.run("rollback").expect(0)
    assert svc.snapshot() == before


def test_upgrade_releases_what_it_dropped(svc: GuestLab) -> None:
    before = svc.snapshot()
    applied(svc, svc_with(svc, cpu={"weight": 700, "quota": 0.7}, pids={"max": 70}))
    middle = svc.snapshot()
    changes = applied(svc, svc_with(svc, cpu={"weight": 800}))["changes"]
    assert {change["knob"]: change["action"] for change in changes} == {
        "cpu.weight": "set",
        "cpu.quota": "release",
        "pids.max": "release",
    }
    assert [svc.read("svc", name) for name in ("cpu.weight", "cpu.max", "pids.max")] == ["800", "30000 100000", "50"]
    svc.run("rollback").expect(0)
    assert svc.snapshot() == middle
    svc.run("rollback").expect(0)
    assert svc.snapshot() == before


def test_takeover_is_told_and_can_be_forbidden(svc: GuestLab) -> None:
    before = svc.snapshot()
    applied(svc, svc_with(svc, cpu={"weight": 700}, pids={"max": 70}), name="first")
    held = svc.snapshot()
    second = svc_with(svc, cpu={"weight": 900, "quota": 0.9})
    refused = svc.run("apply", "--no-takeover", svc.profile("second", groups=second)).expect(2)
    assert f"{svc.name}-first" in refused.err
    assert svc.snapshot() == held
    taken = [{"resource": f"cgroup:{svc.path('svc')}", "knob": "cpu.weight", "owner": f"{svc.name}-first"}]
    assert applied(svc, second, name="second")["takes_over"] == taken
    svc.run("rollback").expect(0)
    assert svc.snapshot() == held
    svc.run("rollback").expect(0)
    assert svc.snapshot() == before


def test_a_foreign_value_is_left_alone_and_named(svc: GuestLab) -> None:
    before = svc.snapshot()
    applied(svc, svc_with(svc, cpu={"weight": 700}, pids={"max": 70}))
    svc.write("svc", "pids.max", 99)
    run = svc.run("rollback").expect(5)
    assert "pids.max" in run.out
    assert svc.snapshot() == before | {str(svc.file("svc", "pids.max")): b"99\n"}
    svc.write("svc", "pids.max", 50)
    svc.run("rollback").expect(0)
    assert svc.snapshot() == before
