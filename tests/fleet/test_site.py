"""``site.yml`` on nine hosts over SSH: rehearsed, applied, applied again, drifted, cut off, taken away."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fleet.lab import COTUNE, GROUP, PROFILE, SYSCTL, Fleet
from tests.host.lab import Lab, wait_for

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.xdist_group("both-cpus")]

EIGHT = {f"h{number}" for number in range(1, 9)}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Groups on the kernel that is running."""
    made = Lab(tmp_path, tmp_path / "compiled")
    yield made
    made.close()


def written(directory: Path) -> Path:
    """The profile as a file."""
    path = directory / "fleet-test.yaml"
    path.write_text(yaml.safe_dump(PROFILE, sort_keys=False))
    return path


def real_host(fleet: Fleet, lab: Lab) -> dict[str, Any]:
    """This machine as one more host: no root directory, a state of its own, and a group that was made for the test."""
    lab.make("offline")
    profile = {**PROFILE, "host": {}, "groups": {"offline": {"match": {"cgroup": lab.path("offline")}}}}
    profile["groups"]["offline"].update(cpu={"shares": 128}, memory={"limit": "1GiB"})
    variables = fleet.hosts["h1"].variables()
    del variables["cotune_root"]
    return {**variables, "cotune_state_dir": str(lab.state), "cotune_profiles": [profile]}


def test_a_rehearsal_shows_what_diff_shows_and_changes_nothing(fleet: Fleet, tmp_path: Path) -> None:
    fleet.fresh()
    before = fleet.snapshots()
    play = fleet.play("site", "--check", "--diff").expect(0)
    assert play.hosts("changed") == EIGHT
    assert fleet.snapshots() == before
    for name in ("h1", "h4"):  # on cgroup v1 and v2
        host = fleet.hosts[name]
        assert host.cotune("diff", written(tmp_path)).expect(1).out.strip() in play.out
    assert fleet.snapshots() == before


def test_nine_hosts_change_once_and_later_only_the_one_that_drifted(fleet: Fleet, lab: Lab) -> None:
    fleet.fresh()
    fleet.write_inventory(more={"real": real_host(fleet, lab)})

    first = fleet.play("site").expect(0)
    assert first.hosts("changed") == EIGHT | {"real"}  # eight simulated ones and this machine
    assert {host.read(SYSCTL) for host in fleet.hosts.values()} == {"50"}
    assert lab.read("offline", "cpu.shares") == "128"

    before = fleet.snapshots()
    second = fleet.play("site", "-v").expect(0)
    assert second.hosts("changed") == set()
    assert set(second.recap) == EIGHT | {"real"}
    assert fleet.snapshots() == before
    small(second.out)

    fleet.hosts["h5"].write(SYSCTL, "11")
    third = fleet.play("site").expect(0)
    assert third.hosts("changed") == {"h5"}
    assert fleet.hosts["h5"].read(SYSCTL) == "50"


def small(output: str) -> None:
    """What a host that needed nothing returns to the controller's memory is a few figures."""
    results = re.findall(r"^ok: \[(\S+)\] => (\{.*\})$", output, re.MULTILINE)
    assert {name for name, _ in results} == EIGHT | {"real"}
    assert max(len(text) for _, text in results) < 400


def test_a_host_that_dies_in_the_middle_recovers_in_the_next_run(fleet: Fleet, tmp_path: Path) -> None:
    # the kernel ends cotune at its fifth write, and then the machine loses its power: no answer to anybody
    fleet.fresh("h1", "h2", "h3", faults={"h2": "kill=caller,write=5"})
    host = fleet.hosts["h2"]
    died = tmp_path / "died"
    program = tmp_path / "cotune"
    program.write_text(f'#!/bin/sh\n{COTUNE} "$@" && exit\ntouch {died}\nsleep 600\n')
    program.chmod(0o755)
    fleet.write_inventory("h1", "h2", "h3", more={"h2": {**host.variables(), "cotune_executable": str(program)}})

    def power_off() -> None:
        wait_for(died.exists, "the end of cotune", 120)
        host.server.stop()

    watching = threading.Thread(target=power_off)
    watching.start()
    play = fleet.play("site")
    watching.join()
    assert play.code == 4  # Ansible's word for unreachable hosts
    assert play.hosts("unreachable") == {"h2"}
    assert play.hosts("changed") == {"h1", "h3"}
    assert [one["state"] for one in host.transactions()] == ["applying"]
    assert "was cut off by a crash" in host.cotune("status").expect(1).out

    host.server.start()
    fleet.write_inventory("h1", "h2", "h3")
    again = fleet.play("site").expect(0)
    assert again.hosts("changed") == {"h2"}
    assert [one["state"] for one in host.transactions()] == ["committed", "rolled-back"]
    assert host.read(f"/sys/fs/cgroup/pids/{GROUP}/pids.max") == "512"
