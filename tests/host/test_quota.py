"""Project quota of a loop device with ext4: limits there and back, and felt by an ordinary user."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cotune.kernel.mountinfo import parse_mountinfo
from cotune.kernel.port import Project, Quota
from cotune.kernel.real import RealKernel
from tests.host.conftest import Loop
from tests.host.lab import Lab

pytestmark = [pytest.mark.root, pytest.mark.ext4]

NOBODY = 65534
MIB = 2**20


@pytest.fixture
def volume(lab: Lab, loop: Loop) -> Iterator[Path]:
    """The loop device with what project quota needs, mounted with it enforced; c1 on it belongs to nobody."""
    subprocess.run(["mkfs.ext4", "-q", "-F", "-O", "project,quota", loop.path], capture_output=True, check=True)
    point = lab.directory / "data"
    point.mkdir()
    run = subprocess.run(["mount", "-o", "prjquota", loop.path, point], capture_output=True, text=True, check=False)
    if run.returncode:
        pytest.skip("needs a kernel with CONFIG_QUOTA and CONFIG_QFMT_V2, as the guest has")
    try:
        (point / "c1").mkdir()
        os.chown(point / "c1", NOBODY, NOBODY)
        yield point
    finally:
        subprocess.run(["umount", point], check=True)


def project_of(path: Path) -> Project:
    """The project of a file. The kernel is closed again: a descriptor below a mount point keeps it busy."""
    with contextlib.closing(RealKernel()) as kernel:
        return kernel.project(str(path))


def limits_of(point: Path, project: int) -> Quota:
    """The limits of a project."""
    with contextlib.closing(RealKernel()) as kernel:
        return kernel.quota(str(point), project)


def set_limits(point: Path, project: int, limits: Quota) -> None:
    """Set limits as somebody else would."""
    with contextlib.closing(RealKernel()) as kernel:
        kernel.set_quota(str(point), project, limits)


def quota(point: Path, projects: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The host section with projects of directories on one file system."""
    wanted = {str(point / name): limits for name, limits in projects.items()}
    return {"mounts": [{"match": {"mountpoint": str(point)}, "quota": {"project": wanted}}]}


def fill(file: Path, size: int) -> str:
    """Write a file as nobody, from inside its directory since nobody may not pass those above; the complaint."""
    command = ["dd", "if=/dev/zero", f"of={file.name}", "bs=64K", f"count={size // 65536}"]
    run = subprocess.run(
        command, cwd=file.parent, user=NOBODY, group=NOBODY, extra_groups=[], stderr=subprocess.PIPE, text=True,
        check=False,
    )  # fmt: skip
    return run.stderr if run.returncode else ""


def test_limits_there_and_back(lab: Lab, volume: Path) -> None:
    c1 = str(volume / "c1")
    limits = {"id": 101, "hard": "2MiB", "soft": "1MiB", "inodes_hard": 20, "inodes_soft": 10}
    profile = lab.profile(host=quota(volume, {"c1": limits}))
    changes = lab.run("diff", "--json", profile).expect(1).json["changes"]
    assert {c["knob"].rpartition(".")[2]: (c["current"], c["desired"]) for c in changes} == {
        "id": ("0 (not inherited)", 101),
        "hard": (0, 2048),
        "soft": (0, 1024),
        "inodes_hard": (0, 20),
        "inodes_soft": (0, 10),
    }
    assert project_of(volume / "c1") == Project(0, False)
    lab.run("apply", profile).expect(0)
    assert project_of(volume / "c1") == Project(101, True)
    assert limits_of(volume, 101) == Quota(2 * MIB, MIB, 20, 10)
    assert lab.run("apply", "--json", profile).expect(0).json["transaction"] is None
    lab.run("status").expect(0)
    assert "mount.quota.project.hard" in lab.run("why", f"quota:{c1}").expect(0).out
    assert "Disk quota exceeded" in fill(volume / "c1" / "large", 4 * MIB)
    lab.run("rollback").expect(0)
    assert project_of(volume / "c1") == Project(0, False)
    assert limits_of(volume, 101) == Quota()
    assert fill(volume / "c1" / "larger", 4 * MIB) == ""


def test_a_limit_changed_by_hand(lab: Lab, volume: Path) -> None:
    """status finds it, apply mends it, rollback leaves somebody else's value alone."""
    profile = lab.profile(host=quota(volume, {"c1": {"id": 101, "hard": "2MiB"}}))
    lab.run("apply", profile).expect(0)
    set_limits(volume, 101, Quota(hard=3 * MIB, soft=MIB))
    [drift] = lab.run("status", "--json").expect(1).json["drift"]
    assert (drift["knob"], drift["current"], drift["desired"]) == ("mount.quota.project.hard", 3072, 2048)
    lab.run("apply", profile).expect(0)
    assert limits_of(volume, 101) == Quota(2 * MIB, MIB)
    set_limits(volume, 101, Quota(hard=5 * MIB))
    lab.run("rollback", "--profile", f"{lab.name}-test").expect(5)
    assert limits_of(volume, 101) == Quota(5 * MIB)
    assert project_of(volume / "c1") == Project(0, False)


def test_a_full_directory_wants_assign(lab: Lab, volume: Path) -> None:
    """Without it nothing happens, without consent it is refused, with both everything below gets the id."""
    tree = volume / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "file").write_text("data")
    (tree / "link").symlink_to("/etc/passwd")
    os.mkfifo(tree / "fifo")
    plain = lab.profile(host=quota(volume, {"tree": {"id": 7, "hard": "8MiB"}}))
    said = lab.run("apply", "--json", plain).expect(0).json
    assert {item["knob"] for item in said["unsupported"]} == {"mount.quota.project.id", "mount.quota.project.hard"}
    assert "assign" in said["unsupported"][0]["remedy"]
    whole = lab.profile(host=quota(volume, {"tree": {"id": 7, "hard": "8MiB", "assign": True}}))
    refused = lab.run("apply", whole).expect(2)
    assert "--allow-irreversible" in refused.err
    assert project_of(tree) == Project(0, False)
    lab.run("apply", "--allow-irreversible", whole).expect(0)
    inside = {path: project_of(tree / path) for path in ("", "a", "a/b", "a/file")}
    assert inside == {"": Project(7, True), "a": Project(7, True), "a/b": Project(7, True), "a/file": Project(7, False)}
    lab.run("apply", whole).expect(0)
    lab.run("rollback").expect(0)
    assert {project_of(path) for path in (tree, tree / "a", tree / "a" / "file")} == {Project(0, False)}


def test_another_file_system_is_not_entered(lab: Lab, volume: Path) -> None:
    inner = volume / "tree" / "inner"
    inner.mkdir(parents=True)
    (volume / "elsewhere").mkdir()
    subprocess.run(["mount", "--bind", volume / "elsewhere", inner], check=True)
    try:
        (inner / "file").write_text("data")
        (volume / "tree" / "file").write_text("data")
        wanted = {"tree": {"id": 7, "assign": True}, "tree/inner": {"id": 8}}
        said = lab.run(
            "apply", "--json", "--allow-irreversible", lab.profile(host=quota(volume, wanted))
        ).expect(0).json  # fmt: skip
        assert [item["resource"] for item in said["unsupported"]] == [f"quota:{inner}"]
        assert project_of(volume / "tree" / "file").id == 7
        assert project_of(inner / "file").id == 0
    finally:
        subprocess.run(["umount", inner], check=True)


def test_enforcement_cannot_be_switched_off(lab: Lab, loop: Loop, volume: Path) -> None:
    """Mounted without prjquota, limits are refused; the option wants consent and stays after rollback."""
    subprocess.run(["umount", volume], check=True)
    subprocess.run(["mount", loop.path, volume], check=True)
    said = lab.run("apply", "--json", lab.profile(host=quota(volume, {"c1": {"id": 1, "hard": "1MiB"}}))).expect(0).json
    assert "prjquota" in said["unsupported"][0]["remedy"]
    host = quota(volume, {"c1": {"id": 1, "hard": "1MiB"}})
    host["mounts"][0]["options"] = {"prjquota": True, "commit": 9}
    profile = lab.profile(host=host)
    assert "--allow-irreversible" in lab.run("apply", profile).expect(2).err
    lab.run("apply", "--allow-irreversible", profile).expect(0)
    assert "Disk quota exceeded" in fill(volume / "c1" / "file", 2 * MIB)
    assert "mount.prjquota" in lab.run("rollback").expect(5).out
    assert limits_of(volume, 1) == Quota()
    mounts = parse_mountinfo(Path("/proc/self/mountinfo").read_text())
    assert "prjquota" in next(mount.super_options for mount in mounts if mount.point == str(volume))


def test_a_file_system_without_projects(lab: Lab, loop: Loop) -> None:
    """Nothing is tried there, not even the flag that the kernel would set before it refuses the id."""
    subprocess.run(["mkfs.ext4", "-q", "-F", loop.path], capture_output=True, check=True)
    point = lab.directory / "plain"
    point.mkdir()
    subprocess.run(["mount", loop.path, point], check=True)
    try:
        (point / "c1").mkdir()
        said = lab.run("apply", "--json", lab.profile(host=quota(point, {"c1": {"id": 1, "hard": "1MiB"}}))).json
        assert {item["resource"] for item in said["unsupported"]} == {f"quota:{point}/c1"}
        assert "project,quota" in said["unsupported"][0]["remedy"]
        assert project_of(point / "c1") == Project(0, False)
        with pytest.raises(ProcessLookupError):
            limits_of(point, 1)
    finally:
        subprocess.run(["umount", point], check=True)
