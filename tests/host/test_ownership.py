"""Who owns a value, and what happens when profiles, people and rollbacks meet on the running kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.host.lab import CONTROLLERS, Lab

pytestmark = pytest.mark.root


def group(lab: Lab, path: str, **sections: Any) -> dict[str, Any]:
    """One group of a profile."""
    return {"match": {"cgroup": lab.path(path)}, **sections}


def applied(lab: Lab, profile: Path, *options: str) -> Any:
    """Apply a profile; returns the JSON."""
    return lab.run("apply", "--json", *options, profile).expect(0).json


@pytest.fixture
def svc(lab: Lab) -> Lab:
    """A laboratory with the group svc, at values of its own."""
    lab.make("svc")
    lab.write("svc", "cpu.shares", 300)
    lab.write("svc", "cpu.cfs_quota_us", 30_000)
    lab.write("svc", "memory.swappiness", 33)
    lab.write("svc", "pids.max", 50)
    return lab


def test_upgrade_releases_what_it_dropped(svc: Lab) -> None:
    before = svc.snapshot()
    first = svc.profile(
        groups={"svc": group(svc, "svc", cpu={"shares": 700, "quota": 0.7}, memory={"swappiness": 7}, pids={"max": 70})}
    )
    applied(svc, first)
    middle = svc.snapshot()
    second = svc.profile(groups={"svc": group(svc, "svc", cpu={"shares": 800}, memory={"swappiness": 7})})

    changes = {c["knob"]: c for c in svc.run("diff", "--json", second).expect(1).json["changes"]}
    assert {knob: c["action"] for knob, c in changes.items()} == {
        "cpu.shares": "set",
        "cpu.quota": "release",
        "pids.max": "release",
    }
    assert (changes["cpu.quota"]["current"], changes["cpu.quota"]["desired"]) == (70_000, 30_000)
    assert applied(svc, second)["changes"] == list(changes.values())
    assert svc.read("svc", "cpu.shares") == "800"
    assert svc.read("svc", "cpu.cfs_quota_us") == "30000"
    assert svc.read("svc", "pids.max") == "50"
    assert svc.read("svc", "memory.swappiness") == "7"
    assert applied(svc, second)["transaction"] is None
    svc.run("status").expect(0)

    svc.run("rollback").expect(0)
    assert svc.snapshot() == middle
    svc.run("status").expect(0)
    svc.run("rollback").expect(0)
    assert svc.snapshot() == before


def test_upgrade_that_drops_everything_returns_to_the_baseline(svc: Lab) -> None:
    before = svc.snapshot()
    applied(svc, svc.profile(groups={"svc": group(svc, "svc", cpu={"shares": 700}, pids={"max": 70})}))
    nothing = svc.profile(groups={})
    assert {change["action"] for change in applied(svc, nothing)["changes"]} == {"release"}
    assert svc.snapshot() == before
    assert applied(svc, nothing)["transaction"] is None
    svc.run("rollback", "--profile", f"{svc.name}-test").expect(0)
    assert svc.snapshot() == before


def test_a_dropped_value_somebody_changed_is_given_up(svc: Lab) -> None:
    applied(svc, svc.profile(groups={"svc": group(svc, "svc", cpu={"shares": 700}, pids={"max": 70})}))
    svc.write("svc", "cpu.shares", 555)
    rest = svc.profile(groups={"svc": group(svc, "svc", pids={"max": 70})})
    notes = applied(svc, rest)["notes"]
    assert any("cpu.shares" in note for note in notes)
    assert svc.read("svc", "cpu.shares") == "555"
    svc.run("status").expect(0)
    assert applied(svc, rest)["transaction"] is None


def test_takeover_is_told_and_can_be_forbidden(svc: Lab) -> None:
    before = svc.snapshot()
    applied(svc, svc.profile("first", groups={"svc": group(svc, "svc", cpu={"shares": 700}, pids={"max": 70})}))
    held = svc.snapshot()
    second = svc.profile("second", groups={"svc": group(svc, "svc", cpu={"shares": 900, "quota": 0.9})})

    taken = [{"resource": f"cgroup:{svc.path('svc')}", "knob": "cpu.shares", "owner": f"{svc.name}-first"}]
    assert svc.run("diff", "--json", second).expect(1).json["takes_over"] == taken
    for verb in ("diff", "apply"):
        refused = svc.run(verb, "--no-takeover", second).expect(2)
        assert "cpu.shares" in refused.err
        assert f"{svc.name}-first" in refused.err
    assert svc.snapshot() == held
    assert len(list(svc.state.rglob("*.jsonl"))) == 1

    assert applied(svc, second)["takes_over"] == taken
    refused = svc.run("rollback", "1").expect(2)
    assert "cpu.shares" in refused.err
    assert "000002" in refused.err + refused.out
    svc.run("rollback", "--profile", f"{svc.name}-first").expect(2)
    svc.run("rollback").expect(0)
    assert svc.snapshot() == held
    svc.run("status").expect(0)
    svc.run("rollback").expect(0)
    assert svc.snapshot() == before


def test_rollback_goes_newest_first(svc: Lab) -> None:
    snapshots = [svc.snapshot()]
    for shares in (700, 800, 900):
        applied(svc, svc.profile(groups={"svc": group(svc, "svc", cpu={"shares": shares})}))
        snapshots.append(svc.snapshot())
    svc.run("rollback", "2").expect(2)
    for number in (2, 1, 0):
        [one] = svc.run("rollback", "--json").expect(0).json["transactions"]
        assert one["transaction"] == f"{number + 1:06d}"
        assert svc.snapshot() == snapshots[number]
    assert svc.run("rollback").expect(0).out.strip() == "nothing to roll back"
    states = [one["state"] for one in svc.run("history", "--json").expect(0).json["transactions"]]
    assert states == ["rolled-back"] * 3
    svc.run("rollback", "2").expect(2)


def test_rollback_of_a_profile_returns_to_the_baseline(svc: Lab) -> None:
    before = svc.snapshot()
    for shares, quota in ((700, 0.7), (800, 0.8), (900, 0.9)):
        groups = {"svc": group(svc, "svc", cpu={"shares": shares, "quota": quota})}
        groups[f"new{shares}"] = group(svc, f"new/{shares}", create=True, pids={"max": shares})
        applied(svc, svc.profile(groups=groups))
    other = svc.profile("other", groups={"svc": group(svc, "svc", pids={"max": 99})})
    applied(svc, other)
    svc.run("rollback", "--profile", f"{svc.name}-test").expect(0)
    assert svc.read("svc", "pids.max") == "99"
    assert not svc.dir("pids", "new").exists()
    svc.run("status").expect(0)
    svc.run("rollback").expect(0)
    assert svc.snapshot() == before


def test_rollback_by_label(svc: Lab) -> None:
    before = svc.snapshot()
    applied(svc, svc.profile("base", groups={"svc": group(svc, "svc", pids={"max": 60})}))
    base = svc.snapshot()
    for name, shares in (("one", 700), ("two", 800)):
        profile = svc.profile(name, groups={"svc": group(svc, "svc", cpu={"shares": shares})})
        applied(svc, profile, "--label", "rollout-7")
    assert svc.read("svc", "cpu.shares") == "800"
    assert len(svc.run("rollback", "--label", "rollout-7", "--json").expect(0).json["transactions"]) == 2
    assert svc.snapshot() == base
    svc.run("rollback").expect(0)
    assert svc.snapshot() == before


@pytest.mark.parametrize("options", [(), ("--profile",), ("1",)])
def test_a_foreign_value_is_left_alone_and_named(svc: Lab, options: tuple[str, ...]) -> None:
    """Afterwards, once nothing foreign remains, the same rollback ends well."""
    if options == ("--profile",):
        options = ("--profile", f"{svc.name}-test")
    before = svc.snapshot()
    wanted = {"cpu": {"shares": 700, "quota": 0.7}, "memory": {"swappiness": 7}, "pids": {"max": 70}}
    applied(svc, svc.profile(groups={"svc": group(svc, "svc", **wanted)}))
    svc.write("svc", "memory.swappiness", 99)

    run = svc.run("rollback", *options).expect(5)
    assert "memory.swappiness" in run.out
    assert svc.path("svc") in run.out
    assert "99" in run.out
    assert svc.read("svc", "memory.swappiness") == "99"
    changed = svc.file("svc", "memory.swappiness")
    assert svc.snapshot() == before | {str(changed): b"99\n"}

    again = svc.run("recover", "--json").expect(5).json
    assert any("memory.swappiness" in text for text in again["errors"])
    svc.write("svc", "memory.swappiness", 33)
    assert svc.run("rollback", *options, "--json").expect(0).json["errors"] == []
    assert svc.snapshot() == before
    assert svc.run("recover").expect(0).out.strip() == "nothing to recover"
    svc.run("status").expect(0)


def test_force_overwrites_a_foreign_value(svc: Lab) -> None:
    before = svc.snapshot()
    applied(svc, svc.profile(groups={"svc": group(svc, "svc", cpu={"shares": 700})}))
    svc.write("svc", "cpu.shares", 99)
    svc.run("rollback", "--force").expect(0)
    assert svc.snapshot() == before


def test_apply_after_a_partial_rollback(svc: Lab) -> None:
    """What a rollback had to leave does not block the next apply, nor its rollback."""
    first = svc.profile(groups={"svc": group(svc, "svc", cpu={"shares": 700}, pids={"max": 70})})
    applied(svc, first)
    svc.write("svc", "cpu.shares", 99)
    svc.run("rollback").expect(5)
    state = svc.snapshot()
    applied(svc, first)
    assert (svc.read("svc", "cpu.shares"), svc.read("svc", "pids.max")) == ("700", "70")
    svc.run("status").expect(0)
    svc.run("rollback").expect(0)
    assert svc.snapshot() == state


def test_a_foreign_task_keeps_a_created_group(svc: Lab) -> None:
    before = svc.snapshot()
    applied(svc, svc.profile(groups={"new": group(svc, "new/deep", create=True, cpu={"shares": 5}, pids={"max": 9})}))
    process = svc.spawn()
    (svc.dir("pids", "new/deep") / "cgroup.procs").write_text(str(process.pid))

    run = svc.run("rollback").expect(5)
    assert str(process.pid) in run.out
    assert str(svc.dir("pids", "new/deep")) in run.out
    assert not svc.dir("cpu", "new").exists()
    assert svc.groups_of(process.pid)["pids"] == svc.path("new/deep")

    process.kill()
    process.wait()
    svc.run("rollback").expect(0)
    assert svc.snapshot() == before


def test_a_foreign_child_keeps_a_created_group(svc: Lab) -> None:
    before = svc.snapshot()
    applied(svc, svc.profile(groups={"new": group(svc, "new", create=True, cpu={"shares": 5}, pids={"max": 9})}))
    child = svc.dir("cpu", "new/somebody-elses")
    child.mkdir()
    run = svc.run("rollback").expect(5)
    assert "somebody-elses" in run.out
    assert child.is_dir()
    assert not svc.dir("pids", "new").exists()
    child.rmdir()
    svc.run("recover").expect(0)
    assert svc.snapshot() == before


def test_values_in_a_created_group_do_not_keep_it(svc: Lab) -> None:
    before = svc.snapshot()
    applied(svc, svc.profile(groups={"new": group(svc, "new", create=True, cpu={"shares": 5}, pids={"max": 9})}))
    svc.write("new", "cpu.shares", 4242)
    svc.run("rollback").expect(0)
    assert svc.snapshot() == before


def test_a_group_that_is_gone_before_the_rollback(svc: Lab) -> None:
    svc.make("gone")
    wanted = {"cpu": {"shares": 700}, "pids": {"max": 70}}
    groups = {name: group(svc, name, **wanted) for name in ("svc", "gone")}
    groups["new"] = group(svc, "new", create=True, **wanted)
    applied(svc, svc.profile(groups=groups))
    for name in ("gone", "new"):
        for controller in CONTROLLERS:
            if svc.dir(controller, name).exists():
                svc.dir(controller, name).rmdir()
    assert svc.run("status", "--json").expect(0).json["vanished"] == 4
    svc.run("rollback").expect(0)
    assert svc.read("svc", "cpu.shares") == "300"
    svc.run("status").expect(0)
