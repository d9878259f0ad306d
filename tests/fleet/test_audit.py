"""``audit.yml`` over SSH, and the module by itself: what it takes, gives back, and takes away."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fleet.lab import COTUNE, GROUP, PROFILE, REFUSES, SYSCTL, Fleet

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.xdist_group("both-cpus")]


def test_an_audit_is_one_table_and_one_json_file(fleet: Fleet, tmp_path: Path) -> None:
    fleet.fresh("h1", "h2", "h3", "h4")
    fleet.play("site", limit=("h1", "h2", "h3")).expect(0)
    fleet.hosts["h2"].write(SYSCTL, "11")
    fleet.hosts["h3"].server.stop()
    try:
        report = tmp_path / "report.json"
        asked = {"cotune_report": str(report), "cotune_audit_diff": True}
        play = fleet.play("audit", **asked).expect(0)
        strict = fleet.play("audit", limit=("localhost", "h2"), cotune_audit_fail=True, **asked).expect(2)
    finally:
        fleet.hosts["h3"].server.start()

    table = {line.split()[0]: line.split()[1] for line in report.with_suffix(".txt").read_text().splitlines()}
    assert table == {"HOST": "STATE", "h2": "drift"}  # of the second run, which asked one host
    assert "not all hosts are as they should be" in strict.out
    lines = [line.strip().strip('",') for line in play.out.splitlines() if line.strip().startswith('"h')]
    assert [line.split()[:2] for line in lines] == [  # trouble first
        ["h2", "drift"], ["h3", "unreachable"], ["h4", "differs"], ["h1", "ok"],
    ]  # fmt: skip
    [host] = json.loads(report.read_text())["hosts"]
    [drift] = host["status"]["drift"]
    assert (drift["knob"], drift["desired"], drift["current"]) == ("vm.watermark_scale_factor", "50", "11")


def ask(fleet: Fleet, **options: Any) -> dict[str, Any]:
    """Run the module on h1; returns its result."""
    arguments = {"executable": str(COTUNE), "root": "{{ cotune_root }}", **options}
    run = fleet.controller.run("ansible", "h1", "-m", "cotune.host.profile", "-a", json.dumps(arguments))
    result: dict[str, Any] = json.loads(run.out.partition("=>")[2])
    return result


def test_the_module_takes_profiles_in_four_ways_and_absent_is_the_baseline(fleet: Fleet, tmp_path: Path) -> None:
    fleet.fresh("h1")
    host = fleet.hosts["h1"]
    path = tmp_path / "fleet-test.yaml"
    path.write_text(yaml.safe_dump(PROFILE, sort_keys=False))

    first = ask(fleet, profile=PROFILE)
    assert first["changed"] and first["transaction"] == "000001"
    change = {"action": "set", "current": None, "desired": 512, "knob": "pids.max", "resource": f"cgroup:{GROUP}"}
    assert change in first["changes"]
    for same in ({"profile": str(path)}, {"src": str(path)}):
        assert ask(fleet, **same)["changed"] is False
    ready = ask(fleet, profile="online-offline", only=["cgroup:offline"])
    assert ready["counts"]["unsupported"] == 2 and ready["transaction"] == "000002"

    assert ask(fleet, profile="online-offline", state="absent")["rolled_back"] == ["000002"]
    gone = ask(fleet, profile="fleet-test", state="absent")
    assert gone["rolled_back"] == ["000001"]
    assert host.read(SYSCTL) == "10"
    assert ask(fleet, profile="fleet-test", state="absent")["changed"] is False


def test_a_failure_carries_what_cotune_said(fleet: Fleet) -> None:
    fleet.fresh("h1", faults={"h1": REFUSES})
    failed = ask(fleet, profile=PROFILE)
    assert failed["exit_code"] == 4
    assert "memory.wmark_ratio: EINVAL" in failed["msg"] and "2 values restored, 3 groups removed" in failed["msg"]
    assert fleet.hosts["h1"].read(SYSCTL) == "10"
