"""``canary.yml`` and ``rollback.yml`` over SSH: batches, gates, what is rolled back and what the summary says."""

from __future__ import annotations

import pytest

from tests.fleet.controller import Play
from tests.fleet.lab import GROUP, REFUSES, SYSCTL, Fleet, Host

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.xdist_group("both-cpus")]


def canary(fleet: Fleet, serial: list[int | str], **extra: object) -> Play:
    """A run in batches of these sizes, with a gate that needs no time."""
    return fleet.play("canary", cotune_label="run-1", cotune_serial=serial, cotune_gate_seconds=0, **extra)


def applied(host: Host) -> bool:
    """Whether the profile is in force: all of it, or the test fails if there is a part."""
    group = any(host.root.glob(f"sys/fs/cgroup/**/{GROUP}"))
    assert (host.read(SYSCTL) == "50") == group
    return group


def which(fleet: Fleet, *names: str) -> set[str]:
    """The hosts where the profile is in force."""
    return {name for name in names or fleet.hosts if applied(fleet.hosts[name])}


def test_a_kernel_that_refuses_stops_the_run_and_every_touched_host_goes_back(fleet: Fleet) -> None:
    fleet.fresh(faults={"h3": REFUSES})
    before = fleet.snapshots()
    play = canary(fleet, [1, 3, "100%"])
    assert play.code == 2, play.out
    assert play.recap["localhost"]["failed"] == 1
    assert "run run-1: 4 hosts touched, 1 in trouble, STOPPED" in play.out
    assert "exit 4" in play.out and "memory.wmark_ratio" in play.out
    assert "rolled back: 4 of 4 hosts" in play.out
    assert which(fleet) == set()
    after = fleet.snapshots()
    for name in ("h5", "h6", "h7", "h8"):  # of the batch after the closed gate
        assert after[name] == before[name]
    for name in ("h1", "h2", "h4"):
        assert [one["state"] for one in fleet.hosts[name].transactions()] == ["rolled-back"]


def test_a_check_that_fails_closes_the_gate(fleet: Fleet) -> None:
    names = ("h1", "h4", "h5")
    fleet.fresh(*names)
    before = fleet.snapshots()
    (fleet.hosts["h4"].root / "tmp/unwell").touch()
    play = canary(fleet, [1, 1, 1], cotune_gate_check=["test", "!", "-e", "{{ cotune_root }}/tmp/unwell"])
    assert play.code == 2, play.out
    assert "run run-1: 2 hosts touched, 1 in trouble, STOPPED" in play.out
    assert "h4: the gate is closed" in play.out
    assert which(fleet, *names) == set()
    assert fleet.snapshots()["h5"] == before["h5"]


def test_a_run_goes_on_while_few_hosts_fail_and_can_be_undone_by_its_label(fleet: Fleet) -> None:
    names = ("h1", "h2", "h3", "h4")
    fleet.fresh(*names, faults={"h2": REFUSES})
    fleet.hosts["h4"].server.stop()
    try:
        play = canary(fleet, [2, "100%"], cotune_max_fail_percentage=50)
    finally:
        fleet.hosts["h4"].server.start()
    assert play.code == 2, play.out
    assert "run run-1: 4 hosts touched, 2 in trouble, not stopped" in play.out
    assert "h4: unreachable" in play.out
    assert which(fleet, *names) == {"h1", "h3"}

    undo = fleet.play("rollback", cotune_label="run-1").expect(0)
    assert undo.hosts("changed") == {"h1", "h3"}
    assert which(fleet, *names) == set()
