"""What a profile means on a host: selectors, precedence, requirements, processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from cotune.errors import PlanRefused, Unsupported, UsageError
from cotune.host.facts import Host
from cotune.model import Resolved, Setting
from cotune.resolve import resolve
from cotune.sim.kernel import SimKernel
from tests.sim.lab import write_profile


class Lab:
    """A fresh ANCK host and profiles resolved on it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.kernel = folder, SimKernel("anck-4.19")

    def resolve(self, body: str, pids: dict[str, list[int]] | None = None, only: tuple[str, ...] = ()) -> Resolved:
        return resolve(write_profile(self.folder, "p", body), Host(self.kernel), pids or {}, only)

    def values(self, body: str, knob: str) -> dict[str, object]:
        """Resource → wanted value of one knob."""
        return {s.target.resource: s.value for s in self.resolve(body).settings if s.target.knob == knob}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def test_a_systemd_unit_is_found_wherever_it_is(lab: Lab) -> None:
    body = "groups: {web: {match: {systemd: nginx.service}, cpu: {shares: 5}}}\n"
    assert lab.values(body, "cpu.shares") == {"cgroup:system.slice/nginx.service": 5}


def test_the_most_specific_group_wins_each_value(lab: Lab) -> None:
    body = """
groups:
  all: {match: {cgroup: "kubepods/**"}, cpu: {shares: 2, quota: 1.0}}
  tier: {match: {cgroup: "kubepods/*/pod-*"}, cpu: {shares: 30}}
  one: {match: {cgroup: [kubepods/burstable/pod-b, nothing]}, cpu: {shares: 400}}
"""
    shares = lab.values(body, "cpu.shares")
    assert shares["cgroup:kubepods"] == 2
    assert shares["cgroup:kubepods/besteffort/pod-a"] == 30
    assert shares["cgroup:kubepods/burstable/pod-b"] == 400
    assert len(set(map(str, lab.values(body, "cpu.quota").values()))) == 1


def test_a_tie_that_differs_is_refused_and_one_that_agrees_is_not(lab: Lab) -> None:
    body = "groups:\n  a: {{match: {{cgroup: kubepods}}, cpu: {{shares: 2}}}}\n"
    body += "  b: {{match: {{cgroup: /kubepods}}, cpu: {{shares: {0}}}}}\n"
    assert lab.values(body.format(2), "cpu.shares") == {"cgroup:kubepods": 2}
    with pytest.raises(PlanRefused, match=r"equally well.*cpu\.shares differently"):
        lab.resolve(body.format(3))
    with pytest.raises(PlanRefused, match="set differently"):
        lab.resolve(
            "host:\n  block:\n    - {match: {device: nvme0n1}, nr_requests: 64}\n"
            "    - {match: {mountpoint: /data}, nr_requests: 128}\n"
        )


def test_identity_reaches_descendants_unless_something_more_specific_does(lab: Lab) -> None:
    body = """
groups:
  low: {match: {cgroup: kubepods}, cpu: {identity: low}}
  mid: {match: {cgroup: kubepods/burstable}, cpu: {identity: normal}}
  one: {match: {cgroup: kubepods/burstable/pod-b}, cpu: {identity: high, smt_expeller: true}}
"""
    identity = lab.values(body, "cpu.identity")
    assert identity["cgroup:kubepods"] == -1
    assert identity["cgroup:kubepods/besteffort/pod-a"] == -1
    assert identity["cgroup:kubepods/burstable"] == 0
    assert identity["cgroup:kubepods/burstable/pod-b"] == 2
    gates = [s for s in lab.resolve(body).settings if s.implied]
    assert [(s.target.knob, s.value) for s in gates] == [("kernel.sched_group_identity_enabled", "1")]


def test_nothing_matched_is_a_note_unless_required(lab: Lab) -> None:
    body = "groups: {{g: {{match: {{cgroup: nothing}}, {0}cpu: {{shares: 3}}}}}}\n"
    resolved = lab.resolve(body.format(""))
    assert resolved.settings == []
    assert "matches no cgroup" in resolved.notes[0]
    with pytest.raises(Unsupported, match="matches no cgroup"):
        lab.resolve(body.format("required: true, "))


@pytest.mark.parametrize(
    ("requires", "missing"),
    [
        ("features: [cpu.identity, memory.wmark_ratio, host.memory.use_priority_oom]", None),
        ("features: [cpu.idle]", r"cpu\.idle is required"),
        ("features: [memory.dirty_bytes]", r"memory\.dirty_bytes is required"),
        ("boot: [cgwb_v1_not_given]", "not booted with cgwb_v1_not_given"),
    ],
)
def test_requirements(lab: Lab, requires: str, missing: str | None) -> None:
    body = f"requires: {{{requires}}}\nhost: {{sysctl: {{vm.swappiness: 1}}}}\n"
    if missing is None:
        assert len(lab.resolve(body).settings) == 1
    else:
        with pytest.raises(Unsupported, match=missing):
            lab.resolve(body)


def test_created_groups_get_their_parents_and_a_usable_cpuset(lab: Lab) -> None:
    values = "cpu: {cpus: 0-3}, memory: {limit: 1GiB}"
    resolved = lab.resolve(f"groups: {{g: {{match: {{cgroup: a/b}}, create: true, {values}}}}}\n")
    assert [(c.path, c.parent) for c in resolved.creates] == [
        ("/sys/fs/cgroup/cpuset/a", True),
        ("/sys/fs/cgroup/memory/a", True),
        ("/sys/fs/cgroup/cpuset/a/b", False),
        ("/sys/fs/cgroup/memory/a/b", False),
    ]
    filled = {(s.target.resource, s.target.part): s.value for s in resolved.settings if s.implied}
    assert filled == {("cgroup:a", "cpus"): "0-15", ("cgroup:a", "mems"): "0-1", ("cgroup:a/b", "mems"): "0-1"}


def test_what_the_profile_creates_is_matched_as_if_it_were_there(lab: Lab) -> None:
    """Otherwise the next diff, with the groups in place, would find something to do."""
    body = """
groups:
  top: {match: {cgroup: a}, memory: {swappiness: 10}}
  all: {match: {cgroup: "*"}, memory: {priority: 6, swappiness: 20}}
  deep: {match: {cgroup: "a/**/c"}, memory: {swappiness: 30}}
  job: {match: {cgroup: a/b/c}, create: true, memory: {priority: 1}}
"""
    assert lab.values(body, "memory.priority")["cgroup:a"] == 6
    swappiness = lab.values(body, "memory.swappiness")
    assert (swappiness["cgroup:a"], swappiness["cgroup:a/b/c"]) == (10, 30)
    assert lab.resolve(body).unsupported == []


def test_what_this_machine_does_not_have_is_refused(lab: Lab) -> None:
    with pytest.raises(PlanRefused, match=r"cpu\.cpus: on this machine expected node:N.*: 0-1, found the text .node:7"):
        lab.resolve("groups: {g: {match: {cgroup: kubepods}, cpu: {cpus: 'node:7'}}}\n")


def test_percentages_nodes_and_cpus_are_the_hosts(lab: Lab) -> None:
    body = "groups: {g: {match: {cgroup: kubepods}, cpu: {cpus: 'node:1', mems: all}, memory: {limit: 50%}}}\n"
    settings: dict[str, Setting] = {s.target.knob: s for s in lab.resolve(body).settings}
    assert settings["cpu.cpus"].value == "8-15"
    assert settings["cpu.mems"].value == "0-1"
    assert settings["memory.limit"].value == Host(lab.kernel).mem_total // 2


@pytest.mark.parametrize("tasks", ["{unit: redis.service}", "{comm: redis-server}", "{comm: [nothing, redis-server]}"])
def test_processes_are_found_and_moved_in_every_hierarchy(lab: Lab, tasks: str) -> None:
    body = f"groups: {{g: {{match: {{cgroup: jobs}}, create: true, cpu: {{shares: 9, cpus: 0-3}}, tasks: {tasks}}}}}\n"
    moves = lab.resolve(body).moves
    assert {move.comm for move in moves} == {"redis-server"}
    assert [move.path for move in moves] == ["/sys/fs/cgroup/cpu,cpuacct/jobs", "/sys/fs/cgroup/cpuset/jobs"]


def test_processes_of_a_pidfile_and_of_the_command_line(lab: Lab) -> None:
    redis = lab.resolve(
        "groups: {g: {match: {cgroup: jobs}, create: true, cpu: {shares: 9}, tasks: {comm: redis-server}}}\n"
    ).moves[0]
    lab.kernel.put("/run/redis.pid", f"{redis.pid}\n")
    body = "groups: {g: {match: {cgroup: jobs}, create: true, cpu: {shares: 9}, tasks: {pidfile: /run/redis.pid}}}\n"
    assert [move.pid for move in lab.resolve(body).moves] == [redis.pid]
    plain = "groups: {g: {match: {cgroup: jobs}, create: true, cpu: {shares: 9}}}\n"
    assert [move.pid for move in lab.resolve(plain, {"g": [redis.pid]}).moves] == [redis.pid]
    with pytest.raises(UsageError, match="no process 999999"):
        lab.resolve(plain, {"g": [999999]})
    with pytest.raises(PlanRefused, match="does not have: h"):
        lab.resolve(plain, {"h": [redis.pid]})
    two = "groups:\n  g: {match: {cgroup: jobs}, create: true, cpu: {shares: 9}}\n"
    two += "  h: {match: {cgroup: other}, create: true, cpu: {shares: 9}}\n"
    with pytest.raises(PlanRefused, match="is to be in both"):
        lab.resolve(two, {"g": [redis.pid], "h": [redis.pid]})


def test_tasks_need_one_group_to_go_to(lab: Lab) -> None:
    with pytest.raises(PlanRefused, match="exactly one"):
        lab.resolve("groups: {g: {match: {cgroup: 'kubepods/*'}, cpu: {shares: 9}, tasks: {comm: redis-server}}}\n")


def test_a_partition_means_its_disk(lab: Lab) -> None:
    body = "groups: {g: {match: {cgroup: kubepods}, io: {throttle: [{device: {device: sda1}, write_bps: 1MiB}]}}}\n"
    (setting,) = lab.resolve(body).settings
    assert setting.target.row == "8:0"


def test_barriers_off_need_consent_on_a_volatile_cache(lab: Lab) -> None:
    lab.kernel.write(lab.kernel.realpath("/sys/block/nvme0n1") + "/queue/write_cache", "write back")
    body = "host: {{mounts: [{{match: {{mountpoint: /data}}, options: {{barrier: false}}{0}}}]}}\n"
    (refusal,) = lab.resolve(body.format("")).refusals
    assert ("power cut" in refusal.text, refusal.flags) == (True, ("force",))
    assert lab.resolve(body.format(", accept_data_loss: true")).refusals == []
    assert len(lab.resolve(body.format(", accept_data_loss: true")).settings) == 1


def test_only_keeps_what_it_names(lab: Lab) -> None:
    body = "host: {sysctl: {vm.swappiness: 1}}\ngroups: {g: {match: {cgroup: kubepods}, cpu: {identity: low}}}\n"
    assert {s.target.resource for s in lab.resolve(body, only=("sys*",)).settings} == {"sysctl"}
    only = lab.resolve(body, only=("cgroup:kubepods",)).settings
    assert [s.target.knob for s in only] == ["cpu.identity", "kernel.sched_group_identity_enabled"]
