"""ext4 project quota: limits of a folder, felt by an ordinary user."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.vm.inside.lab import GuestLab

MIB = 2**20


@pytest.fixture
def disk(lab: GuestLab) -> Iterator[Path]:
    """The disk made with project quota, mounted with it enforced, and an empty folder c1 of user 1000 on it."""
    point = lab.directory / "data"
    point.mkdir()
    for directory in (point, *point.parents):
        directory.chmod(0o755)
    subprocess.run(["mount", "-o", "prjquota", "/dev/vda", point], check=True)
    try:
        folder = point / "c1"
        folder.mkdir()
        os.chown(folder, 1000, 1000)
        yield point
        subprocess.run(["rm", "-rf", folder], check=True)
    finally:
        subprocess.run(["umount", point], check=True)


def project(point: Path, **limits: Any) -> dict[str, Any]:
    """The host section with a quota on the folder."""
    quota = {"project": {str(point / "c1"): limits}}
    return {"mounts": [{"match": {"mountpoint": str(point), "fstype": "ext4"}, "quota": quota}]}


def fill(file: Path, mebibytes: int) -> subprocess.CompletedProcess[str]:
    """Write a file as an ordinary user."""
    command = ["dd", "if=/dev/zero", f"of={file}", "bs=1M", f"count={mebibytes}"]
    return subprocess.run(command, user=1000, group=1000, extra_groups=[], capture_output=True, text=True, check=False)


def test_a_limit_is_felt_and_taken_back(lab: GuestLab, disk: Path) -> None:
    profile = lab.profile(host=project(disk, id=101, hard="4MiB"))
    lab.run("diff", profile).expect(1)
    lab.run("apply", profile).expect(0)
    lab.run("diff", profile).expect(0)
    assert lab.run("apply", "--json", profile).expect(0).json["transaction"] is None
    assert fill(disk / "c1" / "small", 2).returncode == 0
    over = fill(disk / "c1" / "large", 8)
    assert over.returncode
    assert "Disk quota exceeded" in over.stderr
    lab.run("status").expect(0)
    lab.run("rollback").expect(0)
    assert fill(disk / "c1" / "large", 8).returncode == 0


def test_the_limit_follows_the_profile(lab: GuestLab, disk: Path) -> None:
    lab.run("apply", lab.profile(host=project(disk, id=101, hard="2MiB"))).expect(0)
    assert fill(disk / "c1" / "file", 4).returncode
    lab.run("apply", lab.profile(host=project(disk, id=101, hard="8MiB"))).expect(0)
    assert fill(disk / "c1" / "file", 4).returncode == 0
    lab.run("rollback", "--profile", f"{lab.name}-test").expect(0)
    assert fill(disk / "c1" / "file", 16).returncode == 0
