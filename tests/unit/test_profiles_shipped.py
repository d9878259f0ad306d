"""The shipped profiles: sound, applied and undone on every simulated kernel they are for, and on this one as root."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cotune.cli.app import run
from cotune.profile.load import load_profile
from cotune.resources import profiles_dir
from cotune.sim.kernel import SimKernel

NAMES = ("base", "mainline-v1", "online-offline")
#: Profile, simulated kernel, and the knobs that kernel does not have.
TARGETS = [
    ("base", "anck-4.19", set[str]()),
    ("base", "anck-seed", set[str]()),
    ("base", "mainline-v1", set[str]()),
    ("online-offline", "anck-4.19", {"memory.dirty_bytes", "memory.dirty_background_bytes"}),
    ("online-offline", "anck-seed", set[str]()),
    ("mainline-v1", "mainline-v1", set[str]()),
    ("mainline-v1", "anck-4.19", {"cpu.idle"}),
]


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
def test_is_valid_and_documented(name: str) -> None:
    profile = load_profile([name])
    assert profile.name == name, "the name in metadata and the name of the file differ"
    assert profile.version and profile.description
    assert not profile.warnings
    text = (profiles_dir() / f"{name}.yaml").read_text(encoding="utf-8")
    assert "# For:" in text and "Adapt" in text, "the head comment says for whom the profile is and what to adapt"


def test_catalogue_is_complete() -> None:
    assert sorted(path.stem for path in profiles_dir().glob("*.yaml")) == sorted(NAMES)


@pytest.mark.parametrize(("name", "kernel", "missing"), TARGETS)
def test_round_trip_on_simulated_kernel(
    name: str, kernel: str, missing: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cotune = Cotune(capsys, "--sim", kernel, "--state-dir", str(tmp_path))
    host = tmp_path / "sim" / kernel / f"{kernel}.json"

    code, record = cotune("diff", name)
    assert (code, record["changed"]) == (1, True)
    assert {item["knob"] for item in record["unsupported"]} == missing
    assert all(item["reason"] and item["remedy"] for item in record["unsupported"])
    start = json.loads(host.read_bytes())

    code, record = cotune("apply", name)
    assert code == 0 and record["transaction"]
    assert {item["knob"] for item in record["unsupported"]} == missing
    assert json.loads(host.read_bytes()) != start

    code, record = cotune("diff", name)
    assert (code, record["changed"], record["changes"]) == (0, False, [])
    code, record = cotune("apply", name)
    assert (code, record["transaction"]) == (0, None)
    code, record = cotune("status")
    assert (code, record["drift"]) == (0, [])

    code, record = cotune("rollback")
    assert (code, record["errors"]) == (0, [])
    assert json.loads(host.read_bytes()) == start


def value(host: SimKernel, path: str) -> str:
    return host.read(f"/sys/fs/cgroup/{path}").strip()


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


@pytest.mark.parametrize("name", ["online-offline", "mainline-v1"])
def test_variables_adapt(name: str, tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    variables = "vars: {offline_cgroup: batch, offline_quota: max, offline_memory: 8GiB, batch_disk: /data}\n"
    site.write_text(head(name) + variables, encoding="utf-8")
    offline = load_profile([str(site)]).data["groups"]["offline"]
    assert offline["match"] == {"cgroup": "batch"}
    assert (offline["cpu"]["quota"], offline["memory"]["limit"]) == ("max", "8GiB")
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
