"""On a mounted simulated host, cotune sees and does what it does on the same host in memory."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from cotune.kernel.real import RealKernel
from cotune.sim.hosts import KERNELS
from cotune.sim.kernel import SimKernel
from tests.sim.lab import snapshot
from tests.sim.mount_lab import SimMount, cotune, mounted, need_fuse

#: The ready profile for each kernel, by how the kernel's name begins; the longest counts.
PROFILES = {
    "anck": "online-offline", "anck-6.6-v2": "online-offline-v2", "mainline-v1": "mainline-v1", "hybrid": "mainline-v1",
    "mainline-v2": "online-offline-v2", "tencentos": "tencentos", "openeuler": "openeuler",
}  # fmt: skip
#: Differs with every host, or names it.
VARIES = re.compile(r'"(?:boot_id|time|kernel)": "[^"]*"')

DISK = """\
apiVersion: cotune/v1
kind: IsolationProfile
metadata: {name: disk}
host:
  mounts:
    - match: {mountpoint: /data}
      options: {lazytime: true, barrier: false}
      jbd2: {force_copy: 1}
      features: {fast_commit: true}
      quota: {project: {/data/c1: {id: 101, hard: 20GiB}}}
"""


@pytest.fixture(autouse=True)
def _fuse() -> None:
    need_fuse()


def words(kernel: str) -> list[str]:
    """The profile of a kernel, with the consent it needs."""
    found = max((name for name in PROFILES if kernel.startswith(name)), key=len)
    return [PROFILES[found], *(["--allow-irreversible"] if found == "openeuler" else [])]


def same(host: SimMount, memory: Path, *verb: str) -> Any:
    """Run a verb on the mount and in memory and compare; returns what it printed."""
    there = host.cotune(*verb, "--json")
    here = cotune("--sim", host.kernel, "--state-dir", str(memory), *verb, "--json")
    assert (there.code, VARIES.sub("", there.out)) == (here.code, VARIES.sub("", here.out)), there.err + here.err
    return there.json


@pytest.mark.parametrize("kernel", KERNELS)
def test_main_road(kernel: str, tmp_path: Path) -> None:
    profile = words(kernel)
    with mounted(tmp_path, kernel) as host:
        memory = tmp_path / "memory"
        planned = same(host, memory, "diff", *profile)
        applied = same(host, memory, "apply", *profile, "--label", "run")
        assert applied["changes"] == planned["changes"] != []
        assert same(host, memory, "apply", *profile)["changed"] is False
        assert same(host, memory, "status")["held"] > 0
        same(host, memory, "why", "offline")
        same(host, memory, "show", "1")
        assert same(host, memory, "rollback", "--label", "run")["transactions"]


@pytest.mark.parametrize("kernel", ["anck-5.10", "hybrid", "mainline-v2"])
def test_everything_reads_the_same(kernel: str, tmp_path: Path) -> None:
    with mounted(tmp_path, kernel) as host:
        # a change, so that there is a saved host
        host.write("/proc/sys/vm/swappiness", "11")
        saved = SimKernel.load(kernel, host.state / "sim" / kernel / f"{kernel}.json")
        below = RealKernel(str(host.root))
        there, here = snapshot(below), snapshot(saved)
        # SimKernel.mounts() knows no peer groups, its mountinfo does
        there["mounts"] = str([mount._replace(shared=0) for mount in below.mounts()])
        below.close()
        assert there == here
        _compare_support(host, tmp_path / "memory")


def _compare_support(host: SimMount, memory: Path) -> None:
    """Facts agree, but for what no files can do: ext4 knobs are not available below another root, and say so."""
    there = host.cotune("facts", "--json").json
    here = cotune("--sim", host.kernel, "--state-dir", str(memory), "facts", "--json").json
    elsewhere = {key for key, support in there["knobs"].items() if "below another root" in support["reason"]}
    assert {key for key in there["knobs"] if there["knobs"][key] != here["knobs"][key]} <= elsewhere
    assert elsewhere <= {key for key in there["knobs"] if key.startswith(("mount.", "host.resctrl."))}
    for facts in (there, here):
        for key in ("knobs", "boot_id", "kernel"):
            del facts[key]
    assert there == here
    assert host.cotune("doctor", "--json").code == 0


def test_what_no_file_can_do_is_reported_and_all_else_done(tmp_path: Path) -> None:
    """Mount options and quotas; the files of the journal are files. In memory the same profile changes them all."""
    profile = tmp_path / "disk.yaml"
    profile.write_text(DISK)
    with mounted(tmp_path, "anck-5.10") as host:
        applied = host.cotune("apply", str(profile), "--json").json
        elsewhere = {item["knob"]: item["reason"] for item in applied["unsupported"]}
        assert set(elsewhere) == {
            "mount.lazytime", "mount.barrier", "mount.features.fast_commit", "mount.quota.project.id",
            "mount.quota.project.hard",
        }  # fmt: skip
        assert set(elsewhere.values()) == {"file systems below another root cannot be changed"}
        assert [change["knob"] for change in applied["changes"]] == ["mount.jbd2.force_copy"]
        assert host.read("/proc/fs/jbd2/nvme0n1-8/force_copy") == "1"
        assert host.cotune("apply", str(profile), "--strict").code == 3
