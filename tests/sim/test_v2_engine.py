"""The engine on cgroup v2: staged memory limits, enabling of controllers, approximations, what cannot be undone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cotune.errors import ApplyFailed, PlanRefused
from cotune.host.facts import Host
from cotune.journal import Journal
from cotune.model import Plan
from cotune.planning import Options
from cotune.rollback import Selection, rollback
from cotune.sim.kernel import SimKernel
from cotune.state import given_state
from cotune.undo import UndoResult
from tests.sim.lab import run, write_profile

ROOT = "/sys/fs/cgroup"
MIB = 2**20


class Lab:
    """A version 2 host with a journal."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kernel = SimKernel("mainline-v2")
        self.journal = Journal(given_state(folder / "state"))

    def apply(self, body: str, *flags: str) -> Plan:
        return run(
            self.kernel, self.journal, write_profile(self.folder, "p", body), Options(flags=frozenset(flags))
        ).plan

    def rollback(self) -> UndoResult:
        return rollback(Host(self.kernel), self.journal, Selection(), lambda: "now")[1]

    def read(self, path: str) -> str:
        return self.kernel.read(f"{ROOT}/{path}").strip()


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


Make = Callable[[str], None]


def group(lab: Lab, usage: int, reclaimable: int) -> None:
    """A group that uses memory (MiB) under a limit of 1 GiB."""
    lab.kernel.mkdir(f"{ROOT}/g")
    lab.kernel.write(f"{ROOT}/g/memory.max", "1G")
    lab.kernel.spawn(9001, "worker")
    lab.kernel.write(f"{ROOT}/g/cgroup.procs", "9001")
    lab.kernel.set_usage(f"{ROOT}/g", usage * MIB, reclaimable * MIB)


LOWER = "groups: {g: {match: {cgroup: g}, memory: {limit: 256MiB}}}\n"


def test_a_limit_under_the_usage_needs_consent(lab: Lab) -> None:
    group(lab, usage=512, reclaimable=512)
    with pytest.raises(
        PlanRefused, match=r"limit 256MiB is under the 512MiB the group uses now.*--allow-oom or --force"
    ):
        try:
            lab.apply(LOWER)
        except PlanRefused as error:
            raise PlanRefused(f"{error.message} {error.hint}", "") from None
    assert lab.read("g/memory.max") == str(1024 * MIB)


def test_what_can_be_reclaimed_is_reclaimed_first(lab: Lab) -> None:
    group(lab, usage=512, reclaimable=512)
    plan = lab.apply(LOWER, "force")
    written = [(step.target.path.rpartition("/")[2], step.text) for step in plan.steps if step.op == "write"]
    assert written == [("memory.high", str(256 * MIB)), ("memory.max", str(256 * MIB)), ("memory.high", "max")]
    assert (lab.read("g/memory.max"), lab.read("g/memory.high")) == (str(256 * MIB), "max")
    assert 9001 in lab.kernel.pids()
    assert lab.rollback().left == []
    assert lab.read("g/memory.max") == str(1024 * MIB)


def test_nobody_is_killed_without_consent(lab: Lab) -> None:
    group(lab, usage=512, reclaimable=64)
    with pytest.raises(ApplyFailed, match="still uses"):
        lab.apply(LOWER, "force")
    assert 9001 in lab.kernel.pids()
    assert (lab.read("g/memory.max"), lab.read("g/memory.high")) == (str(1024 * MIB), "max")


def test_with_consent_the_kernel_kills(lab: Lab) -> None:
    group(lab, usage=512, reclaimable=64)
    lab.apply(LOWER, "allow-oom")
    assert lab.read("g/memory.max") == str(256 * MIB)
    assert 9001 not in lab.kernel.pids()


def test_a_rollback_kills_nobody_either(lab: Lab) -> None:
    group(lab, usage=512, reclaimable=64)
    lab.apply("groups: {g: {match: {cgroup: g}, memory: {limit: 2GiB}}}\n")
    lab.kernel.set_usage(f"{ROOT}/g", 1500 * MIB, 0)
    undone = lab.rollback()
    assert 9001 in lab.kernel.pids()
    (left,) = [line for line in undone.left if "memory.limit" in line or "memory.max" in line]
    assert "still uses" in left
    assert lab.read("g/memory.max") == str(2048 * MIB)


def test_controllers_are_enabled_from_the_top_down_and_stay(lab: Lab) -> None:
    lab.kernel.mkdir(f"{ROOT}/bare")
    plan = lab.apply("groups: {g: {match: {cgroup: bare/x/y}, create: true, cpu: {weight: 5}, io: {weight: 7}}}\n")
    enabled = [step.target.path for step in plan.steps if step.op == "enable"]
    assert enabled == [f"{ROOT}/bare/cgroup.subtree_control", f"{ROOT}/bare/x/cgroup.subtree_control"]
    assert (lab.read("bare/x/y/cpu.weight"), lab.read("bare/x/y/io.weight")) == ("5", "default 7")
    assert any("stay enabled" in note for note in plan.notes)
    assert lab.rollback().left == []
    assert lab.read("bare/cgroup.subtree_control") == "cpu io"
    assert not lab.kernel.exists(f"{ROOT}/bare/x")


def test_an_existing_group_gets_a_controller_it_did_not_have(lab: Lab) -> None:
    for path in ("bare", "bare/x"):
        lab.kernel.mkdir(f"{ROOT}/{path}")
    body = "groups: {g: {match: {cgroup: bare/x}, cpu: {weight: 5}}}\n"
    lab.apply(body)
    assert lab.read("bare/x/cpu.weight") == "5"
    assert lab.apply(body).changes == ()
    assert lab.rollback().left == []
    assert lab.read("bare/x/cpu.weight") == "100"


def test_a_group_with_tasks_cannot_hand_memory_down(lab: Lab) -> None:
    for path in ("busy", "busy/x"):
        lab.kernel.mkdir(f"{ROOT}/{path}")
    lab.kernel.spawn(9001, "worker")
    lab.kernel.write(f"{ROOT}/busy/cgroup.procs", "9001")
    with pytest.raises(PlanRefused, match="cgroup:busy has 1 task of its own"):
        lab.apply("groups: {g: {match: {cgroup: busy/x}, memory: {limit: 1GiB}}}\n")


def test_an_inherited_cpuset_with_tasks_is_widened_not_emptied(lab: Lab) -> None:
    lab.kernel.mkdir(f"{ROOT}/g")
    lab.kernel.spawn(9001, "worker")
    lab.apply("groups: {g: {match: {cgroup: g}, cpu: {cpus: '1'}}}\n")
    lab.kernel.write(f"{ROOT}/g/cgroup.procs", "9001")
    undone = lab.rollback()
    assert [line.split(":")[1] for line in undone.left] == ["g cpu.cpus"]
    assert lab.read("g/cpuset.cpus") == lab.read("cpuset.cpus.effective")
    lab.kernel.kill(9001)
    assert lab.rollback().left == []
    assert lab.read("g/cpuset.cpus") == ""


def test_a_rollback_goes_behind_a_drift_in_a_value_that_was_right_at_first(lab: Lab) -> None:
    """The first apply only changes the period; the second one mends the quota as well."""
    lab.kernel.mkdir(f"{ROOT}/g")
    lab.kernel.write(f"{ROOT}/g/cpu.max", "30000 60000")
    body = "groups: {g: {match: {cgroup: g}, cpu: {quota: 30ms, period: 50ms}}}\n"
    lab.apply(body)
    lab.kernel.write(f"{ROOT}/g/cpu.max", "40000 20000")
    lab.apply(body)
    rollback(Host(lab.kernel), lab.journal, Selection(profile="p"), lambda: "now")
    assert lab.read("g/cpu.max") == "30000 60000"


def test_an_invalid_partition_is_undone(lab: Lab) -> None:
    for path in ("a", "b"):
        lab.kernel.mkdir(f"{ROOT}/{path}")
    lab.kernel.write(f"{ROOT}/b/cpuset.cpus", "0-3")
    with pytest.raises(ApplyFailed, match="root invalid"):
        lab.apply("groups: {a: {match: {cgroup: a}, cpu: {cpus: 0-1, partition: root}}}\n")
    assert (lab.read("a/cpuset.cpus.partition"), lab.read("a/cpuset.cpus")) == ("member", "")


APPROXIMATE = "defaults: {unsupported: approximate}\n"


@pytest.mark.parametrize(
    ("cpu", "file", "text"),
    [
        ("{identity: low}", "cpu.idle", "1"),
        ("{shares: 1024}", "cpu.weight", "100"),
        ("{shares: 2}", "cpu.weight", "1"),
        ("{shares: 262144}", "cpu.weight", "10000"),
        ("{shares: 512}", "cpu.weight", "50"),
    ],
)
def test_approximations(lab: Lab, cpu: str, file: str, text: str) -> None:
    plan = lab.apply(f"groups: {{g: {{match: {{cgroup: g}}, create: true, cpu: {cpu}}}}}\n" + APPROXIMATE)
    assert lab.read(f"g/{file}") == text
    approximated = [change.approximates for change in plan.changes if change.approximates]
    assert len(approximated) == (0 if text == "100" else 1)


def test_without_the_word_nothing_is_approximated(lab: Lab) -> None:
    plan = lab.apply(
        "groups: {g: {match: {cgroup: g}, create: true, cpu: {identity: low, shares: 2}, pids: {max: 9}}}\n"
    )
    assert [item.knob for item in plan.unsupported] == ["cpu.shares", "cpu.identity"]
    assert lab.read("g/cpu.idle") == "0"


def test_what_has_nothing_near_it_stays_unsupported(lab: Lab) -> None:
    body = "groups: {g: {match: {cgroup: g}, create: true, cpu: {identity: high, weight: 5}}}\n"
    plan = lab.apply(body + APPROXIMATE)
    assert [item.knob for item in plan.unsupported] == ["cpu.identity"]


def test_shares_beside_an_approximated_identity_are_subsumed(lab: Lab) -> None:
    body = "groups: {g: {match: {cgroup: g}, create: true, cpu: {identity: low, shares: 2}}}\n"
    plan = lab.apply(body + APPROXIMATE)
    assert plan.unsupported == ()
    assert any("subsumed" in note for note in plan.notes)
    assert lab.read("g/cpu.idle") == "1"


def test_weight_on_version_1_becomes_shares(tmp_path: Path) -> None:
    kernel = SimKernel("mainline-v1")
    journal = Journal(given_state(tmp_path / "state"))
    body = "groups: {g: {match: {cgroup: g}, create: true, cpu: {weight: 300}}}\n" + APPROXIMATE
    run(kernel, journal, write_profile(tmp_path, "p", body))
    assert kernel.read("/sys/fs/cgroup/cpu/g/cpu.shares") == "3072\n"
