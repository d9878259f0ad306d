"""Properties of the engine on a cgroup v2 host: apply, takeover, rollback over everything that can be read."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cotune.controls import CONTROLS
from cotune.host.facts import Host
from cotune.journal import Journal
from cotune.ledger import Ledger
from cotune.planning import Options, make_plan
from cotune.rollback import Selection, rollback
from cotune.sim.kernel import SimKernel
from cotune.state import given_state
from tests.sim.lab import changed, run, snapshot
from tests.sim.test_engine_properties import profile

GROUPS = ("a", "a/b", "a/b/c", "a/d")
CONTROLLERS = ("cpu", "cpuset", "memory", "io", "pids")
DATA = {"mountpoint": "/data"}
#: Files of cgroup controls that cannot be put back as they were: the row of a disk in io.cost.* never disappears.
IRREVERSIBLE = sorted(
    {
        file
        for control in CONTROLS.values()
        if control.scope == "cgroup" and control.reversible != "yes"
        for part in control.parts.values()
        for file in part.files.values()
    }
)


def make_host(kernel: str) -> SimKernel:
    """A host with a tree of groups that has every controller."""
    sim = SimKernel(kernel)
    for group in GROUPS:
        sim.mkdir(f"/sys/fs/cgroup/{group}")
        sim.write(f"/sys/fs/cgroup/{group}/cgroup.subtree_control", " ".join(f"+{name}" for name in CONTROLLERS))
    return sim


@st.composite
def group_values(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    """Values for every group; no level of version 2 is compared with another."""
    groups: dict[str, dict[str, Any]] = {}
    for group in GROUPS:
        quota = draw(st.integers(1, 400))
        cpu: dict[str, Any] = {
            "quota": draw(st.sampled_from(["max", f"{quota}ms"])),
            "period": f"{draw(st.sampled_from([20, 100, 500]))}ms",
            "burst": f"{draw(st.integers(0, quota))}ms",
            "cpus": draw(st.sampled_from(["0-3", "1", "0,2", "4-7"])),
        }
        if draw(st.booleans()):
            cpu["weight"] = draw(st.integers(1, 10000))
        else:
            cpu["idle"] = draw(st.booleans())
        memory: dict[str, Any] = {
            "limit": f"{draw(st.integers(1, 4000))}MiB",
            "high": f"{draw(st.integers(1, 4000))}MiB",
            "low": f"{draw(st.integers(0, 400))}KiB",
            "min": draw(st.sampled_from(["max", "5000"])),
            "swap_max": draw(st.sampled_from([0, "max", "1GiB"])),
            "oom_group": draw(st.booleans()),
        }
        io: dict[str, Any] = {
            "max": [{"device": DATA, "write_bps": f"{draw(st.integers(1, 500))}MiB", "read_iops": "max"}],
            "weight": draw(st.one_of(st.integers(1, 10000), st.just([{"device": DATA, "weight": 500}]))),
        }
        values = {"cpu": cpu, "memory": memory, "io": io, "pids": {"max": draw(st.integers(0, 5000))}}
        groups[group] = {
            family: values[family] for family in draw(st.sets(st.sampled_from(sorted(values)), min_size=1))
        }
    return groups


@st.composite
def host_values(draw: st.DrawFn) -> dict[str, Any]:
    """A queue and the cost model of its disk."""
    block: dict[str, Any] = {"match": DATA, "iocost": {"enable": True}}
    if draw(st.booleans()):
        block["iocost"] |= {"rpct": draw(st.integers(1, 99)), "rlat": "5ms", "min": draw(st.integers(1, 100))}
    if draw(st.booleans()):
        block["scheduler"] = draw(st.sampled_from(["none", "mq-deadline", "kyber"]))
    return {"block": [block], "sysctl": {"vm.swappiness": draw(st.integers(0, 200))}}


@pytest.mark.parametrize("kernel", ["mainline-v2", "anck-6.6-v2"])
@settings(max_examples=25, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow])
@given(group_values(), group_values(), host_values(), host_values())
def test_apply_takeover_and_rollback(
    kernel: str,
    first: dict[str, dict[str, Any]],
    second: dict[str, dict[str, Any]],
    host_first: dict[str, Any],
    host_second: dict[str, Any],
) -> None:
    sim = make_host(kernel)
    host = Host(sim)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        journal = Journal(given_state(folder / "state"))
        a, b = profile(folder, "a", first, host_first), profile(folder, "b", second, host_second)
        start = snapshot(sim)
        run(sim, journal, a)
        middle = snapshot(sim)
        assert run(sim, journal, a).transaction is None
        taken = run(sim, journal, b)
        assert make_plan(b, host, Ledger(journal.load(), host.boot_id), Options()).changes == ()
        if taken.transaction:
            _, undone = rollback(host, journal, Selection(), lambda: "now")
            assert undone.left == []
            assert reversible(changed(middle, snapshot(sim))) == {}
        _, undone = rollback(host, journal, Selection(), lambda: "now")
        assert undone.left == []
        assert reversible(changed(start, snapshot(sim))) == {}


def reversible(differences: dict[str, Any]) -> dict[str, Any]:
    """Differences in files that should have been put back; statistics of the kernel's own are not among them."""
    ours = {path: texts for path, texts in differences.items() if not path.endswith("/io.stat")}
    return {path: texts for path, texts in ours.items() if not any(path.endswith(f"/{f}") for f in IRREVERSIBLE)}


def test_what_cannot_be_put_back_is_known() -> None:
    """A control that becomes irreversible, or stops being so, is a decision to be made here."""
    assert sorted(name for name, control in CONTROLS.items() if control.reversible != "yes") == [
        "block.queue",
        "cpu.qos_level",
        "ext4.features",
        "io.cost.model",
        "io.cost.model.v2",
        "io.cost.qos",
        "io.cost.qos.v2",
        "memory.reap_background",
        "mount.ext4",
        "quota.directory",
        "quota.tree",
    ]
