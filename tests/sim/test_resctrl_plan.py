"""Profiles with resctrl on a simulated host: what is planned, written, refused and put back."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import yaml

from cotune import execute
from cotune.capture_resctrl import capture_resctrl
from cotune.errors import ApplyFailed, PlanRefused
from cotune.host.facts import Host
from cotune.inventory import find_place, place_targets
from cotune.planning import Options
from cotune.report import plan_lines
from cotune.sim.faults import Fault, FaultyKernel
from cotune.sim.kernel import SimKernel
from tests.sim.resctrl_lab import POINT, Lab, simulated, threads


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """An Intel machine with resctrl mounted: 11 bits of L3, two caches, room for seven classes."""
    return Lab(tmp_path, SimKernel("anck-4.19"))


CLASSES = """
host:
  resctrl:
    classes:
      online: {l3: 100%, mb: 100%, cpus: 4-5}
      offline: {l3: 0-30%, mb: 15%, monitor: [batch]}
groups:
  online: {match: {cgroup: kubepods/burstable}, resctrl: online}
  offline: {match: {cgroup: batch}, create: true, cpu: {shares: 2}, tasks: {comm: worker}, resctrl: offline}
"""

# --- the main road --------------------------------------------------------------------------------------------------


def test_apply_then_nothing_to_do_then_back(lab: Lab) -> None:
    simulated(lab).spawn(7000, "web", {"cpu": "kubepods/burstable"}, threads=3)
    simulated(lab).spawn(8000, "worker", threads=2)
    before = lab.snapshot()

    result = lab.apply(CLASSES)

    assert [c.target.resource for c in result.plan.changes if c.action == "create"] == [
        "resctrl:online", "resctrl:offline", "resctrl:offline", "cgroup:batch",
    ]  # fmt: skip
    schemata = lab.kernel.read(f"{POINT}/offline/schemata").split()
    assert schemata == ["MB:0=", "20;1=", "20", "L3:0=00f;1=00f"], "15 % of bandwidth is 20 to this machine"
    assert lab.kernel.read(f"{POINT}/online/cpus_list") == "4-5\n"
    assert lab.kernel.exists(f"{POINT}/offline/mon_groups/batch/tasks")
    assert {7000, 7001, 7002} <= threads(lab.kernel, "online")
    assert threads(lab.kernel, "offline") == {8000, 8001}, "also what the same plan moves into the group"

    again = lab.plan(CLASSES)
    assert not again.changes and not again.steps

    undone = lab.rollback()
    assert undone.left == []
    assert lab.snapshot() == before


def test_outsiders_are_counted_and_put_back_where_they_were(lab: Lab) -> None:
    kernel = simulated(lab)
    kernel.mkdir("/sys/fs/cgroup/cpu/jobs")
    kernel.mkdir("/sys/fs/cgroup/cpu/jobs/deep")
    kernel.spawn(7000, "one", {"cpu": "jobs"}, threads=2)
    kernel.spawn(7100, "two", {"cpu": "jobs/deep"}, threads=2)
    for name in ("before", "after"):
        kernel.mkdir(f"{POINT}/{name}")
    kernel.write(f"{POINT}/before/tasks", "7101")
    kernel.write(f"{POINT}/after/tasks", "7000")
    body = "groups: {jobs: {match: {cgroup: jobs}, resctrl: after}}\n"

    (change,) = lab.plan(body).changes
    assert (change.target.resource, change.target.knob) == ("cgroup:jobs", "resctrl")
    assert (change.current, change.desired) == ("3 of 4 threads outside", "after")

    lab.apply(body)
    assert threads(kernel, "after") == {7000, 7001, 7100, 7101}
    assert lab.rollback().left == []
    assert threads(kernel, "after") == {7000} and threads(kernel, "before") == {7101}


def test_of_two_groups_the_more_specific_one_decides(lab: Lab) -> None:
    kernel = simulated(lab)
    kernel.mkdir("/sys/fs/cgroup/cpu/jobs")
    kernel.mkdir("/sys/fs/cgroup/cpu/jobs/urgent")
    kernel.spawn(7000, "slow", {"cpu": "jobs"})
    kernel.spawn(7100, "fast", {"cpu": "jobs/urgent"})
    body = """
host: {resctrl: {classes: {slow: {l3: 20%}, fast: {l3: 80%}}}}
groups: {all: {match: {cgroup: "jobs*/**"}, resctrl: slow}, urgent: {match: {cgroup: jobs/urgent}, resctrl: fast}}
"""
    lab.apply(body)
    assert threads(kernel, "slow") == {7000} and threads(kernel, "fast") == {7100}
    tie = body.replace('"jobs*/**"', "jobs/urgent")
    assert "process 7100 belongs to the resctrl class fast here and to slow" in lab.refusal(tie)


def test_a_systemd_unit(lab: Lab) -> None:
    kernel = simulated(lab)
    for place in ("systemd", "systemd/system.slice", "systemd/system.slice/etl.service"):
        if not kernel.exists(f"/sys/fs/cgroup/{place}"):
            kernel.mkdir(f"/sys/fs/cgroup/{place}")
    kernel.spawn(7000, "etl", {"name=systemd": "system.slice/etl.service"}, threads=2)
    lab.apply("""
host: {resctrl: {classes: {c: {mb: 20%}}}}
groups: {etl: {match: {systemd: etl.service}, resctrl: c}}
""")
    assert threads(kernel, "c") == {7000, 7001}, "though it is in no other tree"


def test_how_people_see_it(lab: Lab) -> None:
    simulated(lab).spawn(7000, "web", {"cpu": "kubepods/burstable"})
    plan = lab.plan(CLASSES)
    lines = ["".join(text for _, text in line) for line in plan_lines(plan)]
    start = lines.index("resctrl:offline")
    assert lines[start : start + 5] == [
        "resctrl:offline",
        "  + create /sys/fs/resctrl/offline",
        "  + create /sys/fs/resctrl/offline/mon_groups/batch",
        "  + resctrl.l3 [L3:0]  0xf",
        "  + resctrl.l3 [L3:1]  0xf",
    ]
    assert "3 resctrl groups to be created" in lines[-1]
    assert any(line.startswith("  ~ resctrl  ") and line.endswith(" threads outside → online") for line in lines)


def test_threads_that_end_meanwhile_are_no_failure(lab: Lab) -> None:
    kernel = simulated(lab)
    kernel.mkdir("/sys/fs/cgroup/cpu/jobs")
    kernel.spawn(7000, "one", {"cpu": "jobs"})
    kernel.spawn(7100, "two", {"cpu": "jobs"})
    body = "host: {resctrl: {classes: {c: {l3: 20%}}}}\ngroups: {jobs: {match: {cgroup: jobs}, resctrl: c}}\n"

    class Ending(FaultyKernel):
        def write(self, path: str, text: str) -> None:
            if path.endswith("/tasks") and text == "7000":
                kernel.kill(7000)
            super().write(path, text)

    lab.kernel = Ending(kernel, [])
    lab.apply(body)
    assert threads(kernel, "c") == {7100}


def test_a_class_nobody_defines(lab: Lab) -> None:
    plan = lab.plan("groups: {g: {match: {cgroup: kubepods}, resctrl: nothere}}\n")
    (item,) = plan.unsupported
    assert (item.resource, item.knob) == ("cgroup:kubepods", "resctrl")
    assert (item.reason, item.remedy) == ("there is no resctrl class nothere", "host.resctrl.classes.nothere")
    assert not plan.changes


def test_only_some_resources(lab: Lab) -> None:
    simulated(lab).spawn(7000, "web", {"cpu": "kubepods/burstable"})
    body = CLASSES.replace("tasks: {comm: worker}, ", "")
    assert {c.target.resource for c in lab.plan(body, Options(only=("resctrl:off*",))).changes} == {"resctrl:offline"}
    plan = lab.plan(body, Options(only=("cgroup:kubepods*",)))
    assert not plan.moves, "their class would not be there"


# --- the default class, upgrades, drift -----------------------------------------------------------------------------


def test_the_default_class_is_the_root_group(lab: Lab) -> None:
    before = lab.snapshot()
    lab.apply("host: {resctrl: {classes: {default: {l3: 40-100%, mb: 70%}}}}\n")
    assert "L3:0=7f0;1=7f0" in lab.kernel.read(f"{POINT}/schemata")
    host = Host(lab.kernel)
    rows = [target.row for target in place_targets(host, find_place(host, "resctrl:default"))]
    assert rows == ["L3:0", "L3:1", "MB:0", "MB:1", None, None]
    assert lab.rollback().left == [] and lab.snapshot() == before


def test_values_given_up_go_back(lab: Lab) -> None:
    lab.apply("host: {resctrl: {classes: {c: {l3: 30%, mb: 20%}}}}\n")
    result = lab.apply("host: {resctrl: {classes: {c: {l3: 30%}}}}\n")
    assert {(c.target.row, c.action) for c in result.plan.changes} == {("MB:0", "release"), ("MB:1", "release")}
    assert "MB:0=100;1=100" in lab.kernel.read(f"{POINT}/c/schemata")


def test_cpus_taken_from_another_class_are_given_back(lab: Lab) -> None:
    lab.kernel.mkdir(f"{POINT}/theirs")
    lab.kernel.write(f"{POINT}/theirs/cpus_list", "0-3\n")
    before = lab.snapshot()
    lab.apply("host: {resctrl: {classes: {ours: {cpus: 2-5}}}}\n")
    assert lab.kernel.read(f"{POINT}/theirs/cpus_list") == "0-1\n"
    assert lab.rollback().left == [] and lab.snapshot() == before
    twice = "host: {resctrl: {classes: {a: {cpus: 0-3}, b: {cpus: 3-5}}}}\n"
    assert "CPU 3 is given to resctrl:a and resctrl:b" in lab.refusal(twice)


# --- exclusive classes ----------------------------------------------------------------------------------------------

EXCLUSIVE = """
host:
  resctrl:
    classes:
      default: {l3: 4-10}
      a: {l3: 0-1, mode: exclusive}
      b: {l3: 2-3, mode: exclusive}
"""


def test_exclusive_classes(lab: Lab) -> None:
    before = lab.snapshot()
    lab.apply(EXCLUSIVE)
    assert lab.kernel.read(f"{POINT}/a/mode") == lab.kernel.read(f"{POINT}/b/mode") == "exclusive\n"
    assert not lab.plan(EXCLUSIVE).changes
    moved = EXCLUSIVE.replace("4-10", "6-10").replace("0-1,", "0-2,").replace("2-3,", "3-5,")
    lab.apply(moved)
    assert "L3:0=038;1=038" in lab.kernel.read(f"{POINT}/b/schemata"), "bits are given up before they are taken"
    assert lab.rollback().left == []
    assert "L3:0=00c;1=00c" in lab.kernel.read(f"{POINT}/b/schemata")
    assert lab.rollback().left == [] and lab.snapshot() == before


def test_what_an_exclusive_class_cannot_have(lab: Lab) -> None:
    assert "overlaps the 7ff of resctrl:default" in lab.refusal(EXCLUSIVE.replace("default: {l3: 4-10}", ""))
    assert "resctrl:a is exclusive, but in L3:0 its mask 3 overlaps the e of resctrl:b" in lab.refusal(
        EXCLUSIVE.replace("2-3,", "1-3,")
    )
    hardware = EXCLUSIVE.replace("4-10", "4-7").replace("2-3,", "8-10,")
    assert "bits that hardware uses as well (shareable_bits 600)" in lab.refusal(hardware)
    lab.apply(EXCLUSIVE)
    other = "host: {resctrl: {classes: {c: {l3: 2-6}}}}\n"
    with pytest.raises(PlanRefused, match="resctrl:b is exclusive, but in L3:0 its mask c overlaps the 7c"):
        lab.plan(other, name="other")


# --- room -----------------------------------------------------------------------------------------------------------


def test_more_classes_than_there_are_ids(lab: Lab) -> None:
    for name in ("x", "y"):
        lab.kernel.mkdir(f"{POINT}/{name}")
    classes = ", ".join(f"c{number}: {{mb: 50%}}" for number in range(6))
    message = lab.refusal(f"host: {{resctrl: {{classes: {{{classes}}}}}}}\n")
    assert "room for 7 classes beside the default one (8 ids of MB); 2 exist (x, y)" in message
    assert "adds 6 (c0, c1, c2, c3, c4, c5)" in message
    fewer = classes.rpartition(", ")[0]
    assert lab.apply(f"host: {{resctrl: {{classes: {{{fewer}}}}}}}\n").transaction


def test_monitoring_ids_in_limbo(lab: Lab) -> None:
    body = "host: {resctrl: {classes: {c: {mb: 50%}}}}\n"
    faulty = FaultyKernel(lab.kernel, [Fault(1, "mkdir", f"{POINT}/*", number=errno.EBUSY)])
    lab.kernel = faulty
    lab.apply(body)
    assert faulty.counts["mkdir"] == 2 and faulty.exists(f"{POINT}/c")


def test_monitoring_ids_that_never_come_back(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "_MKDIR_PATIENCE", 0.01)
    before = lab.snapshot()
    kernel = lab.kernel
    lab.kernel = FaultyKernel(kernel, [Fault(1, "mkdir", f"{POINT}/c", number=errno.EBUSY, lasting=True)])
    with pytest.raises(ApplyFailed, match="mkdir /sys/fs/resctrl/c: EBUSY"):
        lab.apply("host: {resctrl: {classes: {a: {mb: 50%}, c: {mb: 50%}}}}\n")
    lab.kernel = kernel
    assert lab.snapshot() == before


# --- refusals by the kernel -----------------------------------------------------------------------------------------


def test_the_kernels_own_words(lab: Lab) -> None:
    """Somebody makes their class exclusive between plan and write."""
    kernel = simulated(lab)
    kernel.mkdir(f"{POINT}/theirs")
    before = lab.snapshot()

    class Meddling(FaultyKernel):
        def write(self, path: str, text: str) -> None:
            if path == f"{POINT}/c/schemata" and kernel.read(f"{POINT}/theirs/mode") != "exclusive\n":
                kernel.write(f"{POINT}/theirs/schemata", "L3:0=3;1=3\n")
                for name in ("", "/c"):
                    kernel.write(f"{POINT}{name}/schemata", "L3:0=7fc;1=7fc\n")
                kernel.write(f"{POINT}/theirs/mode", "exclusive\n")
            super().write(path, text)

    lab.kernel = Meddling(kernel, [])
    with pytest.raises(ApplyFailed, match=r"EINVAL .*; the kernel says: Overlaps with exclusive group"):
        lab.apply("host: {resctrl: {classes: {c: {l3: 0-3}}}}\n")
    assert not kernel.exists(f"{POINT}/c")
    kernel.rmdir(f"{POINT}/theirs")
    kernel.write(f"{POINT}/schemata", "L3:0=7ff;1=7ff\n")
    kernel.mkdir(f"{POINT}/theirs")
    lab.kernel = kernel
    assert lab.snapshot() == before


def test_stale_words_are_not_repeated(lab: Lab) -> None:
    kernel = lab.kernel
    with pytest.raises(OSError, match="Invalid argument"):
        kernel.write(f"{POINT}/schemata", "nonsense\n")
    assert kernel.read(f"{POINT}/info/last_cmd_status") != "ok\n"
    lab.kernel = FaultyKernel(kernel, [Fault(1, "write", f"{POINT}/c/schemata", number=errno.EINVAL)])
    with pytest.raises(ApplyFailed) as caught:
        lab.apply("host: {resctrl: {classes: {c: {mb: 50%}}}}\n")
    assert "the kernel says" not in caught.value.message and "likely cause" in caught.value.message


@pytest.mark.parametrize("strike", range(1, 9))
def test_whichever_write_fails_everything_is_undone(lab: Lab, strike: int) -> None:
    kernel = simulated(lab)
    kernel.spawn(7000, "web", {"cpu": "kubepods/burstable"}, threads=3)
    before = lab.snapshot()
    lab.kernel = FaultyKernel(kernel, [Fault(strike, "write", f"{POINT}/*", number=errno.EINVAL)])
    with pytest.raises(ApplyFailed):
        lab.apply(CLASSES)
    lab.kernel = kernel
    assert lab.snapshot() == before


# --- capture --------------------------------------------------------------------------------------------------------


def test_a_captured_profile_changes_nothing(lab: Lab) -> None:
    assert capture_resctrl(Host(lab.kernel)) == {}
    lab.apply(EXCLUSIVE)
    lab.apply('host: {resctrl: {classes: {d: {mb: {"0": 50%}, cpus: 6-7, monitor: [m]}}}}\n', name="other")
    found = capture_resctrl(Host(lab.kernel))
    assert found["classes"]["default"] == {"l3": "0x7f0"}
    assert found["classes"]["a"] == {"mb": "max", "l3": "0x3", "mode": "exclusive"}
    assert found["classes"]["d"] == {"mb": {"0": "50%", "1": "max"}, "l3": "0x7f0", "cpus": "6-7", "monitor": ["m"]}
    assert not lab.plan(yaml.safe_dump({"host": {"resctrl": found}}), name="captured").changes
