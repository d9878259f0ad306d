"""Properties of the engine over random simulated trees: apply, takeover, rollback."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from cotune.apply import Result, apply
from cotune.host.facts import Host
from cotune.journal import Journal
from cotune.ledger import Ledger
from cotune.planning import Options, make_plan
from cotune.profile.load import Profile, load_profile
from cotune.rollback import Selection, rollback
from cotune.sim.kernel import SimKernel
from cotune.state import given_state

GROUPS = ("a", "a/b", "a/b/c", "a/d")
HIERARCHIES = ("cpu,cpuacct", "memory", "cpuset")
FILES = {
    "cpu,cpuacct": ("cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.cfs_burst_us", "cpu.bvt_warp_ns",
                    "cpu.identity"),
    "memory": ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.swappiness", "memory.wmark_min_adj",
               "memory.wmark_ratio", "memory.priority"),
    "cpuset": ("cpuset.cpus", "cpuset.mems"),
}  # fmt: skip


def make_host() -> Host:
    """An ANCK host with a small tree of groups of its own."""
    kernel = SimKernel("anck-4.19")
    for hierarchy in HIERARCHIES:
        for group in GROUPS:
            kernel.mkdir(f"/sys/fs/cgroup/{hierarchy}/{group}")
    for group in GROUPS:
        kernel.write(f"/sys/fs/cgroup/cpuset/{group}/cpuset.cpus", "0-15")
        kernel.write(f"/sys/fs/cgroup/cpuset/{group}/cpuset.mems", "0-1")
    return Host(kernel)


def snapshot(host: Host) -> dict[str, str]:
    """Every file of the tree, and the sysctls the profiles touch."""
    paths = [
        f"/sys/fs/cgroup/{hierarchy}/{group}/{file}"
        for hierarchy, files in FILES.items()
        for group in GROUPS
        for file in files
    ]
    paths += ["/proc/sys/kernel/sched_group_identity_enabled", "/proc/sys/vm/dirty_ratio", "/proc/sys/vm/dirty_bytes"]
    return {path: host.kernel.read(path) for path in paths}


def changed(before: dict[str, str], after: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Files that differ, with both texts."""
    return {path: (text, after[path]) for path, text in before.items() if after[path] != text}


@st.composite
def group_values(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    """Values for every group that no kernel has a reason to refuse: children inside their parents."""
    groups: dict[str, dict[str, Any]] = {}
    cpus: dict[str, list[int]] = {"": list(range(16))}
    ratio: dict[str, float] = {"": 16.0}
    for group in GROUPS:
        parent = group.rpartition("/")[0]
        own = sorted(draw(st.sets(st.sampled_from(cpus[parent]), min_size=1)))
        share = draw(st.floats(0.02, 1.0)) * ratio[parent]
        period = draw(st.sampled_from([20, 50, 100, 250]))
        quota = max(1.0, int(share * period * 1000) / 1000)
        assume(quota / period <= ratio[parent])  # the kernel takes no quota below 1 ms
        limited = draw(st.booleans()) or ratio[parent] < 16
        limit = draw(st.integers(1, 2000))
        cpus[group], ratio[group] = own, quota / period if limited else ratio[parent]
        cpu: dict[str, Any] = {"shares": draw(st.integers(2, 262144)), "cpus": ",".join(map(str, own))}
        cpu["period"] = f"{period}ms"
        cpu["quota"] = f"{quota}ms" if limited else "max"
        cpu["burst"] = f"{draw(st.integers(0, int(quota)))}ms"
        cpu["identity"] = draw(st.sampled_from(["high", "normal", "low"]))
        memory: dict[str, Any] = {
            "limit": f"{limit}MiB",
            "memsw": f"{limit + draw(st.integers(0, 500))}MiB",
            "swappiness": draw(st.integers(0, 100)),
            "wmark_min_adj": draw(st.integers(-25, 50)),
            "wmark_ratio": draw(st.integers(0, 100)),
            "priority": draw(st.integers(0, 12)),
        }
        groups[group] = {"cpu": _some(draw, cpu), "memory": _some(draw, memory)}
        if "cpus" not in groups[group]["cpu"]:
            cpus[group] = own  # children stay inside what the other profile may have set
    return groups


def _some(draw: st.DrawFn, values: dict[str, Any]) -> dict[str, Any]:
    """Leave out independent keys at random; coupled ones and those that bind children stay."""
    free = [key for key in values if key in ("shares", "swappiness", "wmark_min_adj", "wmark_ratio", "priority")]
    dropped = draw(st.sets(st.sampled_from(free)))
    return {key: value for key, value in values.items() if key not in dropped}


def profile(folder: Path, name: str, groups: dict[str, dict[str, Any]], host: dict[str, Any]) -> Profile:
    """A profile file over the tree, loaded."""
    document = {
        "apiVersion": "cotune/v1",
        "kind": "IsolationProfile",
        "metadata": {"name": name},
        "host": host,
        "groups": {path.replace("/", "-"): {"match": {"cgroup": path}, **values} for path, values in groups.items()},
    }
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(document))
    return load_profile([str(file)])


def run(host: Host, journal: Journal, wanted: Profile) -> Result:
    return apply(wanted, host, journal, Options(), lambda: "now", lambda done, total: None)


dirty_values = st.one_of(
    st.fixed_dictionaries({"vm.dirty_ratio": st.integers(1, 100)}),
    st.fixed_dictionaries({"vm.dirty_bytes": st.integers(8192, 2**33)}),
)


@settings(max_examples=60, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow])
@given(group_values(), group_values(), dirty_values, dirty_values)
def test_apply_takeover_and_rollback(
    first: dict[str, dict[str, Any]],
    second: dict[str, dict[str, Any]],
    dirty_first: dict[str, Any],
    dirty_second: dict[str, Any],
) -> None:
    """Limits raised and lowered at once meet no errno, a takeover leaves no difference, rollbacks give all back."""
    host = make_host()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        journal = Journal(given_state(folder / "state"))
        a, b = (
            profile(folder, "a", first, {"sysctl": dirty_first}),
            profile(folder, "b", second, {"sysctl": dirty_second}),
        )
        start = snapshot(host)
        run(host, journal, a)
        middle = snapshot(host)
        assert run(host, journal, a).transaction is None
        taken = run(host, journal, b)
        ledger = Ledger(journal.load(), host.boot_id)
        assert make_plan(b, host, ledger, Options()).changes == ()
        if taken.transaction:
            _, undone = rollback(host, journal, Selection(), lambda: "now")
            assert undone.left == []
            assert changed(middle, snapshot(host)) == {}
        _, undone = rollback(host, journal, Selection(), lambda: "now")
        assert undone.left == []
        assert changed(start, snapshot(host)) == {}
