"""The shipped profiles: sound, explained, applied and undone on the simulated kernels they are for, and on this one."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from cotune.cli.app import run
from cotune.profile.load import load_profile
from cotune.resources import profiles_dir
from cotune.sim.kernel import SimKernel
from tests.sim.lab import changed, snapshot

NAMES = tuple(sorted(path.stem for path in profiles_dir().glob("*.yaml")))
EXPECTED_NAMES = {
    "base", "batch-only", "cache-partitioned", "k8s-qos", "latency-critical", "mainline-v1", "online-offline",
    "online-offline-v2", "openeuler", "shared-disk", "tencentos",
}  # fmt: skip
TARGETS: list[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parent.parent / "cases" / "shipped_profiles.yaml").read_text(encoding="utf-8")
)


class Cotune:
    """The command line in this process, with a state directory of its own."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *common: str) -> None:
        self.capsys, self.common = capsys, common

    def __call__(self, *words: str) -> tuple[int, dict[str, Any]]:
        """Exit code and JSON object of one command."""
        self.capsys.readouterr()
        code = run([*self.common, "--json", *words])
        return code, json.loads(self.capsys.readouterr().out)


@pytest.mark.parametrize("name", NAMES)
def test_is_valid_without_warnings(name: str) -> None:
    profile = load_profile([name])
    assert profile.name == name, "the name in metadata and the name of the file differ"
    assert profile.version and profile.description and "\n" not in profile.description
    assert not profile.warnings


def test_catalogue_is_complete(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(NAMES) == EXPECTED_NAMES
    code, record = Cotune(capsys)("profiles")
    assert code == 0
    assert {one["name"] for one in record["profiles"] if one["description"]} >= EXPECTED_NAMES


def text(name: str) -> str:
    return (profiles_dir() / f"{name}.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_head_says_for_whom_and_what_to_adapt(name: str) -> None:
    header = text(name).split("apiVersion: cotune/v1\nkind:", 1)[0]
    assert header.startswith(f"# {name}: ")
    assert "\n# For:" in header and "\n# Adapt" in header


#: Keys whose values say where something is set, not what: nothing to explain.
_NAMING = {"apiVersion", "kind", "metadata", "include", "match", "create", "device"}


def leaves(node: yaml.Node) -> Iterator[yaml.ScalarNode]:
    """The values of a profile, without those that name things."""
    if isinstance(node, yaml.MappingNode):
        for key, child in node.value:
            if key.value not in _NAMING:
                yield from leaves(child)
    elif isinstance(node, yaml.SequenceNode):
        for child in node.value:
            yield from leaves(child)
    elif isinstance(node, yaml.ScalarNode):
        yield node


def explained(lines: list[str], number: int) -> bool:
    """Whether a comment stands on the line, or above it with at most four lines of the same block between."""
    if " #" in lines[number]:
        return True
    for above in range(number - 1, max(number - 6, -1), -1):
        line = lines[above].strip()
        if not line:
            return False
        if line.startswith("#"):
            return len(line) > 10
    return False


@pytest.mark.parametrize("name", NAMES)
def test_every_value_is_explained(name: str) -> None:
    lines = text(name).splitlines()
    root = yaml.compose(text(name), Loader=yaml.SafeLoader)
    assert root is not None
    values = [(leaf.value, leaf.start_mark.line) for leaf in leaves(root)]
    assert len(values) > 3
    # a value that is nothing but a variable is explained where the variable is
    bare = [
        f"{line + 1}: {lines[line].strip()}"
        for value, line in values
        if not re.fullmatch(r"\$\{\w+\}", value) and not explained(lines, line)
    ]
    assert not bare


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_is_used(name: str) -> None:
    body = yaml.safe_load(text(name))
    for variable in body.get("vars") or {}:
        assert f"${{{variable}}}" in text(name), variable


@pytest.mark.parametrize("name", NAMES)
def test_no_profile_risks_data(name: str) -> None:
    data = load_profile([name]).data
    for mount in data.get("host", {}).get("mounts", []):
        options = mount.get("options", {})
        assert "accept_data_loss" not in mount
        # what can lose synced data, or cannot be undone; features need an unmount
        assert not {"barrier", "data", "journal_checksum", "journal_async_commit", "prjquota"} & options.keys()
        assert not {"features", "quota"} & mount.keys()


def cost_rows(path: str, after: str | None) -> bool:
    """What the kernel keeps of iocost: the row of a disk stays once it was written, switched off."""
    return path.endswith(".cost.model") or (path.endswith(".cost.qos") and "enable=0" in (after or ""))


def complete(kernel: str, saved: Path) -> dict[str, Any]:
    """All there is of a simulated host but the next inode. Of resctrl what can be seen: the hardware keeps the masks of
    removed classes, and recycles their ids late."""
    state: dict[str, Any] = json.loads(saved.read_bytes())
    for hidden in ("resctrl", "openeuler.inode"):
        state["extra"].pop(hidden, None)
    host, point = SimKernel.load(kernel, saved), "/sys/fs/resctrl"
    if host.exists(f"{point}/schemata"):
        state["resctrl"] = [sorted(host.listdir(point)), host.read(f"{point}/schemata")]
    return state


def target_id(target: dict[str, Any]) -> str:
    return f"{target['profiles']}-{target['kernel']}".replace(" ", "+")


@pytest.mark.parametrize("target", TARGETS, ids=target_id)
def test_round_trip_on_simulated_kernel(
    target: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kernel = target["kernel"]
    cotune = Cotune(capsys, "--sim", kernel, "--state-dir", str(tmp_path))
    host = tmp_path / "sim" / kernel / f"{kernel}.json"
    names = [*target["profiles"].split(), *target.get("flags", ())]
    expected = {knob: reason for reason, knobs in target.get("missing", {}).items() for knob in knobs}

    code, record = cotune("diff", *names)
    missing = {item["knob"]: item["reason"] for item in record["unsupported"]}
    assert missing.keys() == expected.keys()
    assert {knob: reason for knob, reason in missing.items() if expected[knob] not in reason} == {}
    assert all(item["remedy"] for item in record["unsupported"])
    assert (code, record["changed"]) == (1, True)
    assert record["changes"] and not record["pending"]
    start, saved = snapshot(SimKernel.load(kernel, host)), complete(kernel, host)

    code, record = cotune("apply", *names)
    assert code == 0 and record["transaction"]
    assert {item["knob"] for item in record["unsupported"]} == expected.keys()
    assert snapshot(SimKernel.load(kernel, host)) != start

    code, record = cotune("diff", *names)
    assert (code, record["changed"], record["changes"]) == (0, False, [])
    code, record = cotune("apply", *names)
    assert (code, record["transaction"]) == (0, None)
    code, record = cotune("status")
    assert (code, record["drift"]) == (0, [])

    code, record = cotune("rollback")
    assert (code, record["errors"]) == (0, [])
    left = changed(start, snapshot(SimKernel.load(kernel, host)))
    assert {path: pair for path, pair in left.items() if not cost_rows(path, pair[1])} == {}
    assert left or complete(kernel, host) == saved


def test_every_profile_has_a_home() -> None:
    assert {name for target in TARGETS for name in target["profiles"].split()} == EXPECTED_NAMES


def test_openeuler_asks_before_what_cannot_be_undone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ("--sim", "openeuler", "--state-dir", str(tmp_path))
    assert run([*common, "apply", "openeuler"]) == 2
    assert "--allow-irreversible" in capsys.readouterr().err
    assert "--allow-irreversible" in text("openeuler").split("apiVersion", 1)[0], "the head comment warns"

    site = tmp_path / "site.yaml"
    site.write_text(head("openeuler") + "groups: {offline: {cpu: {qos_level: null, shares: 2}}}\n", encoding="utf-8")
    assert run([*common, "apply", str(site)]) == 0, "what the comment advises works without the flag"


def test_dirty_limits_of_batch_only_exclude_those_of_base(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["validate", "base", "batch-only"]) == 2
    assert "zero each other" in capsys.readouterr().err


PODS = [
    ("anck-5.10", "cpu,cpuacct", "memory", "kubepods", "podg", "c1"),
    ("anck-6.6-v2", "", "", "kubepods.slice", "kubepods-podg.slice", "cri-containerd-g1.scope"),
]


@pytest.mark.parametrize(("kernel", "cpu", "memory", "top", "pod", "container"), PODS)
def test_k8s_classes_reach_pods_of_both_drivers(
    kernel: str, cpu: str, memory: str, top: str, pod: str, container: str,
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """A guaranteed pod, which stands beside the classes, and those the simulated hosts have."""
    cotune = Cotune(capsys, "--sim", kernel, "--state-dir", str(tmp_path))
    assert cotune("facts")[0] == 0
    path = tmp_path / "sim" / kernel / f"{kernel}.json"
    host = SimKernel.load(kernel, path)
    groups = [f"{top}/{pod}", f"{top}/{pod}/{container}"]
    for hierarchy in dict.fromkeys((cpu, memory)):
        for group in groups:
            host.mkdir(f"/sys/fs/cgroup/{hierarchy}/{group}".replace("//", "/"))
            if not hierarchy and group.endswith(".slice"):
                host.write(f"/sys/fs/cgroup/{group}/cgroup.subtree_control", "+cpu +memory")
    host.save(path)
    assert cotune("apply", "k8s-qos")[0] == 0
    host = SimKernel.load(kernel, path)
    besteffort = next(
        found for found in ("kubepods/besteffort", "kubepods.slice/kubepods-besteffort.slice")
        if host.exists(f"/sys/fs/cgroup/{memory}/{found}".replace("//", "/"))
    )  # fmt: skip
    for group in groups:
        assert value(host, f"{cpu}/{group}/cpu.bvt_warp_ns") == "2"
        assert value(host, f"{memory}/{group}/memory.wmark_min_adj") == "-25"
        assert value(host, f"{memory}/{group}/memory.priority") == "12"
    assert value(host, f"{cpu}/{besteffort}/cpu.bvt_warp_ns") == "-1"
    assert value(host, f"{memory}/{besteffort}/memory.wmark_min_adj") == "50"
    assert value(host, f"{memory}/{besteffort}/memory.priority") == "0"


def test_online_offline_v2_sets_what_it_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert Cotune(capsys, "--sim", "mainline-v2", "--state-dir", str(tmp_path))("apply", "online-offline-v2")[0] == 0
    host = SimKernel.load("mainline-v2", tmp_path / "sim/mainline-v2/mainline-v2.json")
    expected = {
        "online/cpu.weight": "400",
        "online/io.weight": "default 1000",
        "offline/cpu.idle": "1",
        "offline/cpu.max": "400000 100000",
        "offline/cpu.uclamp.max": "50.00",
        "offline/io.weight": "default 10",
        "offline/io.max": f"8:0 rbps={200 * 2**20} wbps={100 * 2**20} riops=2000 wiops=2000",
        "offline/pids.max": "16384",
    }
    assert {path: value(host, path) for path in expected} == expected
    total = 32 * 2**30
    parts = {"online/memory.max": 55, "online/memory.low": 40, "online/memory.min": 10, "offline/memory.high": 36}
    for path, percent in parts.items():
        assert int(value(host, path)) == total * percent // 100 // 4096 * 4096
    assert "enable=1 ctrl=auto" in value(host, "io.cost.qos")


def value(host: SimKernel, path: str) -> str:
    return host.read(f"/sys/fs/cgroup/{path.removeprefix('/')}").strip()


def test_online_offline_on_anck_sets_what_it_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The values in the kernel's own terms, so that a wrong translation cannot hide behind a clean diff."""
    assert Cotune(capsys, "--sim", "anck-seed", "--state-dir", str(tmp_path))("apply", "online-offline")[0] == 0
    host = SimKernel.load("anck-seed", tmp_path / "sim/anck-seed/anck-seed.json")
    expected = {
        "cpu/online/cpu.bvt_warp_ns": "2",
        "cpu/online/cpu.identity": "22",
        "cpu/online/cpu.shares": "4096",
        "cpu/online/cpu.cfs_quota_us": "1200000",
        "cpu/online/cpu.cfs_burst_us": "600000",
        "cpu/offline/cpu.bvt_warp_ns": "-1",
        "cpu/offline/cpu.identity": "9",
        "cpu/offline/cpu.shares": "2",
        "cpu/offline/cpu.cfs_quota_us": "800000",
        "memory/memory.use_priority_oom": "1",
        "memory/online/memory.wmark_min_adj": "-25",
        "memory/online/memory.wmark_ratio": "95",
        "memory/online/memory.wmark_scale_factor": "200",
        "memory/online/memory.priority": "12",
        "memory/system.slice/memory.priority": "6",
        "memory/offline/memory.wmark_min_adj": "50",
        "memory/offline/memory.wmark_ratio": "80",
        "memory/offline/memory.priority": "0",
        "memory/offline/memory.dirty_bytes": str(256 * 2**20),
        "memory/offline/memory.dirty_background_bytes": str(64 * 2**20),
        "pids/offline/pids.max": "16384",
        "blkio/offline/blkio.throttle.write_bps_device": f"8:0 {100 * 2**20}",
        "blkio/offline/blkio.throttle.read_iops_device": "8:0 2000",
    }
    assert {path: value(host, path) for path in expected} == expected
    total = 64 * 2**30
    assert int(value(host, "memory/offline/memory.limit_in_bytes")) == total * 40 // 100 // 4096 * 4096
    assert host.read("/proc/sys/kernel/sched_group_identity_enabled").strip() == "1"
    assert int(host.read("/proc/sys/vm/min_free_kbytes")) == total // 1024 // 100


@pytest.mark.parametrize("name", ["online-offline", "online-offline-v2", "mainline-v1", "tencentos", "openeuler"])
def test_variables_adapt(name: str, tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    variables = "vars: {offline_cgroup: batch, offline_quota: max, offline_memory: 8GiB, batch_disk: /data}\n"
    site.write_text(head(name) + variables, encoding="utf-8")
    offline = load_profile([str(site)]).data["groups"]["offline"]
    assert offline["match"] == {"cgroup": "batch"}
    limit = "max" if name == "online-offline-v2" else "limit"
    assert (offline["cpu"]["quota"], offline["memory"][limit]) == ("max", "8GiB")
    assert offline["io"]["throttle"][0]["device"] == {"mountpoint": "/data"}


def head(include: str) -> str:
    """The beginning of a profile that includes another one."""
    return (
        "apiVersion: cotune/v1\nkind: IsolationProfile\nmetadata: {name: site, version: 1.0.0}\n"
        f"include: [{json.dumps(include)}]\n"
    )


def test_idle_can_be_exchanged_for_shares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the comment in mainline-v1 advises for kernels without cpu.idle."""
    site = tmp_path / "site.yaml"
    site.write_text(head("mainline-v1") + "groups: {offline: {cpu: {idle: null, shares: 2}}}\n", encoding="utf-8")
    code, record = Cotune(capsys, "--sim", "anck-4.19", "--state-dir", str(tmp_path / "state"))("apply", str(site))
    assert (code, record["unsupported"]) == (0, [])


CONTROLLERS = ("blkio", "cpu", "cpuset", "memory", "pids")


class Site(NamedTuple):
    """mainline-v1 under cgroup names of its own."""

    profile: str
    groups: list[str]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    if os.geteuid() != 0:
        pytest.skip("needs root: it creates cgroups")
    missing = [name for name in CONTROLLERS if not Path(f"/sys/fs/cgroup/{name}/cgroup.clone_children").exists()]
    if missing:
        pytest.skip(f"needs cgroup v1 with {', '.join(missing)} below /sys/fs/cgroup")
    groups = [f"cotune-test-{kind}-{os.getpid()}" for kind in ("online", "offline")]
    profile = tmp_path / "site.yaml"
    names = f"vars: {{online_cgroup: {groups[0]}, offline_cgroup: {groups[1]}}}\n"
    profile.write_text(head(str(profiles_dir() / "mainline-v1.yaml")) + names, encoding="utf-8")
    yield Site(str(profile), groups)
    for path in directories(groups):
        path.rmdir()


def directories(groups: list[str]) -> list[Path]:
    paths = [Path(f"/sys/fs/cgroup/{controller}/{group}") for controller in CONTROLLERS for group in groups]
    return [path for path in paths if path.exists()]


@pytest.mark.root
@pytest.mark.xdist_group("host-cgroups")
def test_mainline_v1_round_trip_on_this_kernel(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cotune = Cotune(capsys, "--state-dir", str(tmp_path / "state"))
    assert cotune("diff", site.profile)[0] == 1
    assert not directories(site.groups), "diff wrote something"

    code, record = cotune("apply", site.profile)
    assert code == 0 and record["transaction"]
    offline = site.groups[1]
    assert Path(f"/sys/fs/cgroup/cpu/{offline}/cpu.cfs_quota_us").read_text() == "100000\n"
    assert Path(f"/sys/fs/cgroup/pids/{offline}/pids.max").read_text() == "16384\n"

    assert cotune("diff", site.profile)[0] == 0
    code, record = cotune("apply", site.profile)
    assert (code, record["transaction"]) == (0, None)
    assert cotune("status")[0] == 0

    code, record = cotune("rollback")
    assert (code, record["errors"]) == (0, [])
    assert not directories(site.groups)
