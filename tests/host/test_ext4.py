"""Remounting an ext4 file system on a loop device: the profile's options there and back, every other one kept."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cotune.kernel.mountinfo import parse_mountinfo
from tests.host.conftest import Loop
from tests.host.lab import Lab

pytestmark = [pytest.mark.root, pytest.mark.ext4]

MountIt = Callable[[str], Path]


@pytest.fixture
def mount_it(lab: Lab, loop: Loop) -> Iterator[MountIt]:
    """Makes an ext4 file system on the loop device and mounts it with the options given."""
    mkfs = subprocess.run(["mkfs.ext4", "-q", "-F", loop.path], capture_output=True, text=True, check=False)
    if mkfs.returncode:
        pytest.skip(f"needs mkfs.ext4: {mkfs.stderr}")
    point = lab.directory / "mnt"
    point.mkdir()
    with contextlib.ExitStack() as stack:

        def mount(options: str) -> Path:
            command = ["mount", "-o", options, loop.path, str(point)]
            run = subprocess.run(command, capture_output=True, text=True, check=False)
            if run.returncode:
                pytest.skip(f"needs an ext4 that mounts with {options}: {run.stderr.strip()}")
            stack.callback(lambda: subprocess.run(["umount", point], check=True))
            return point

        yield mount


def state(loop: Loop, point: Path) -> tuple[list[str], list[Any]]:
    """Every option as ext4 itself and the mount table tell it."""
    options = Path(f"/proc/fs/ext4/{loop.name}/options").read_text().splitlines()
    mounts = [m for m in parse_mountinfo(Path("/proc/self/mountinfo").read_text()) if m.point == str(point)]
    return options, mounts


def mounts(point: Path, options: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The host section with one mount."""
    return {"mounts": [{"match": {"mountpoint": str(point), "fstype": "ext4"}, "options": options, **more}]}


ALL = {
    "commit": 33,
    "barrier": False,
    "lazytime": True,
    "discard": True,
    "auto_da_alloc": False,
    "min_batch_time": 12,
    "errors": "continue",
}


@pytest.mark.parametrize(
    "initial",
    [
        "defaults",
        "noatime,nodelalloc,max_batch_time=4321",
        "strictatime,nosuid,nodev,noexec,commit=77,errors=remount-ro",
        "relatime,nodiratime,lazytime,nobarrier,discard,noauto_da_alloc",
        "sync,dirsync,noauto_da_alloc,resuid=1000,stripe=4",
        "ro,noatime,data=journal,journal_checksum,inode_readahead_blks=8",
        "noatime,lazytime,data=writeback,max_dir_size_kb=512,grpid,minixdf,noblock_validity,nodioread_nolock",
    ],
)
def test_there_and_back(lab: Lab, loop: Loop, mount_it: MountIt, initial: str) -> None:
    point = mount_it(initial)
    before = state(loop, point)
    profile = lab.profile(host=mounts(point, ALL, accept_data_loss=True))
    changes = lab.run("diff", "--json", profile).expect(1).json["changes"]
    assert {change["action"] for change in changes} == {"remount"}
    assert {change["resource"] for change in changes} == {f"mount:{point}"}
    assert state(loop, point) == before

    lab.run("apply", profile).expect(0)
    options, [mount] = state(loop, point)
    wanted = {"commit=33", "nobarrier", "discard", "noauto_da_alloc", "min_batch_time=12", "errors=continue"}
    assert wanted <= set(options)
    assert "lazytime" in mount.super_options
    # nothing else moved
    touched = tuple(ALL)
    assert mount.options == before[1][0].options
    assert others(options, touched) == others(before[0], touched)
    assert others(mount.super_options, touched) == others(before[1][0].super_options, touched)

    lab.run("diff", profile).expect(0)
    assert lab.run("apply", "--json", profile).expect(0).json["transaction"] is None
    lab.run("status").expect(0)
    lab.run("rollback").expect(0)
    assert state(loop, point) == before


def others(words: Any, names: tuple[str, ...]) -> list[str]:
    """Option words that are not about one of the names."""
    return [word for word in words if word.partition("=")[0].removeprefix("no") not in names]


@pytest.mark.parametrize("initial", ["noatime,nodiratime", "strictatime,nosuid", "relatime,lazytime,commit=7"])
@pytest.mark.parametrize("wanted", [("relatime", True), ("noatime", False), ("strictatime", False)])
def test_access_times_of_one_mount(
    lab: Lab, loop: Loop, mount_it: MountIt, initial: str, wanted: tuple[str, bool]
) -> None:
    """They are flags of the mount: the file system and its other mounts keep theirs."""
    point = mount_it(initial)
    before = state(loop, point)
    atime, diratime = wanted
    profile = lab.profile(host=mounts(point, {"atime": atime, "diratime": diratime}))
    changed = lab.run("apply", "--json", profile).expect(0).json["changed"]
    _, [mount] = state(loop, point)
    assert ([w for w in ("noatime", "relatime") if w in mount.options] or ["strictatime"]) == [atime]
    assert ("nodiratime" in mount.options) is not diratime
    times = {"noatime", "relatime", "nodiratime"}
    assert set(mount.options) - times == set(before[1][0].options) - times
    assert mount.super_options == before[1][0].super_options
    lab.run("diff", profile).expect(0)
    if changed:
        lab.run("rollback").expect(0)
    assert state(loop, point) == before


def test_a_remount_by_hand_is_seen(lab: Lab, loop: Loop, mount_it: MountIt) -> None:
    """status names it, apply mends it, and what somebody else changed stays on rollback."""
    point = mount_it("noatime")
    profile = lab.profile(host=mounts(point, {"commit": 33, "lazytime": True}))
    lab.run("apply", profile).expect(0)
    subprocess.run(["mount", "-o", "remount,commit=44", point], check=True)
    [drift] = lab.run("status", "--json").expect(1).json["drift"]
    assert (drift["knob"], drift["current"], drift["desired"]) == ("mount.commit", 44, 33)
    run = lab.run("rollback").expect(5)
    assert "mount.commit" in run.out
    assert "commit=44" in state(loop, point)[0]
    lab.run("rollback", "--force").expect(0)
    assert "commit=5" in state(loop, point)[0]


def test_barrier_needs_consent_on_a_volatile_cache(lab: Lab, loop: Loop, mount_it: MountIt) -> None:
    if Path(f"/sys/block/{loop.name}/queue/write_cache").read_text().strip() != "write back":
        pytest.skip("needs a loop device with a volatile write cache")
    point = mount_it("defaults")
    before = state(loop, point)
    refused = lab.run("apply", lab.profile(host=mounts(point, {"barrier": False}))).expect(2)
    assert "accept_data_loss" in refused.err
    assert state(loop, point) == before


@pytest.mark.parametrize(
    ("initial", "options"),
    [
        ("data=journal", {"commit": 30, "delalloc": True}),
        ("data=journal", {"commit": 30, "dioread_nolock": True}),
        ("defaults", {"lazytime": True, "max_batch_time": 2**31 - 1, "commit": 8589934}),
    ],
)
def test_refused_or_done_as_a_whole(
    lab: Lab, loop: Loop, mount_it: MountIt, initial: str, options: dict[str, Any]
) -> None:
    """What the kernel refuses leaves everything as it was, the group written before included."""
    point = mount_it(initial)
    lab.make("svc")
    before, groups = state(loop, point), lab.snapshot()
    svc = {"svc": {"match": {"cgroup": lab.path("svc")}, "cpu": {"shares": 4096}}}
    run = lab.run("apply", lab.profile(groups=svc, host=mounts(point, options)))
    if run.code == 0:  # other kernels may take it
        lab.run("rollback").expect(0)
    else:
        run.expect(4)
        assert str(point) in run.err
        assert "EINVAL" in run.err
        assert f"commit={options['commit']}" in run.err
    assert state(loop, point) == before
    assert lab.snapshot() == groups


def test_not_mounted_any_more(lab: Lab, loop: Loop, mount_it: MountIt) -> None:
    """An unmounted file system takes its options with it."""
    point = mount_it("noatime")
    profile = lab.profile(host=mounts(point, {"commit": 33}))
    lab.run("apply", profile).expect(0)
    subprocess.run(["umount", point], check=True)
    try:
        assert "nothing is mounted" in lab.run("diff", profile).out
        lab.run("rollback").expect(0)
        lab.run("status").expect(0)
    finally:
        subprocess.run(["mount", loop.path, point], check=True)


def test_a_read_only_bind_is_not_made_writable(lab: Lab, loop: Loop, mount_it: MountIt) -> None:
    """MS_REMOUNT sets the flags of mount and file system alike; a bind that differs is refused as a whole."""
    point = mount_it("noatime")
    bind = lab.directory / "bind"
    bind.mkdir()
    subprocess.run(["mount", "--bind", point, bind], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", bind], check=True)
        before = state(loop, point), state(loop, bind)
        run = lab.run("apply", lab.profile(host=mounts(bind, {"commit": 33}))).expect(4)
        assert str(bind) in run.err
        assert (state(loop, point), state(loop, bind)) == before
    finally:
        subprocess.run(["umount", bind], check=True)


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two CPUs")
def test_a_later_refusal_undoes_the_remount(lab: Lab, loop: Loop, mount_it: MountIt) -> None:
    point = mount_it("noatime,nodelalloc")
    lab.make("svc")
    lab.write("svc", "cpuset.cpus", 0)
    lab.make("svc/inner")
    before, groups = state(loop, point), lab.snapshot()
    inner = {"inner": {"match": {"cgroup": lab.path("svc/inner")}, "cpu": {"cpus": 1}}}
    host = mounts(point, ALL, accept_data_loss=True)
    run = lab.run("apply", lab.profile(groups=inner, host=host)).expect(4)
    assert "EACCES" in run.err
    assert state(loop, point) == before
    assert lab.snapshot() == groups


@pytest.mark.parametrize(
    ("initial", "options", "words"),
    [
        ("defaults", {"stripe": 16, "inode_readahead_blks": 8}, {"stripe=16", "inode_readahead_blks=8"}),
        ("stripe=16", {"stripe": 0, "inode_readahead_blks": 0}, {"stripe=0", "inode_readahead_blks=0"}),
        ("defaults", {"init_itable": False, "block_validity": False}, {"noinit_itable", "noblock_validity"}),
        ("noinit_itable", {"init_itable": 20, "grpid": True}, {"init_itable=20", "grpid"}),
        ("grpid,noblock_validity", {"grpid": False, "block_validity": True}, {"nogrpid", "block_validity"}),
        ("init_itable=7", {"init_itable": False}, {"noinit_itable"}),
        (
            "defaults",
            {"max_dir_size_kb": 512, "resuid": 7, "resgid": 8},
            {"max_dir_size_kb=512", "resuid=7", "resgid=8"},
        ),
        ("resuid=7", {"resuid": 0, "acl": True, "user_xattr": True}, {"resuid=0", "acl", "user_xattr"}),
        (
            "data=writeback,commit=9",
            {"data": "writeback", "commit": 9, "mbcache": True},
            {"data=writeback", "commit=9"},
        ),
    ],
)
def test_further_options(
    lab: Lab, loop: Loop, mount_it: MountIt, initial: str, options: dict[str, Any], words: set[str]
) -> None:
    """Every other option that a remount can change, there and back; and those that are as wanted already."""
    point = mount_it(initial)
    before = state(loop, point)
    profile = lab.profile(host=mounts(point, options))
    assert not lab.run("diff", "--json", profile).json["pending"]
    lab.run("apply", profile).expect(0)
    assert words <= set(state(loop, point)[0])
    lab.run("diff", profile).expect(0)
    lab.run("rollback").expect(0)
    assert state(loop, point) == before


@pytest.mark.parametrize(
    ("initial", "options"),
    [
        ("defaults", {"data": "journal", "mbcache": False, "dax": True, "journal_checksum": False}),
        ("data=journal,nombcache", {"data": "ordered", "mbcache": True}),
        ("defaults", {"journal_async_commit": True}),
        ("data=writeback,journal_async_commit", {"journal_async_commit": False, "data": "ordered"}),
        ("defaults", {"prjquota": True}),
    ],
)
def test_what_only_a_mount_can_change_is_pending(
    lab: Lab, loop: Loop, mount_it: MountIt, initial: str, options: dict[str, Any]
) -> None:
    """Listed with what to do and never tried, while the other options are set."""
    point = mount_it(initial)
    before = state(loop, point)
    profile = lab.profile(host=mounts(point, {**options, "commit": 31}))
    said = lab.run("apply", "--json", profile).expect(0).json
    assert {item["knob"].removeprefix("mount.") for item in said["pending"]} == set(options)
    assert all("unmount" in item["remedy"] for item in said["pending"])
    assert [change["knob"] for change in said["changes"]] == ["mount.commit"]
    now = state(loop, point)
    assert others(now[0], ("commit",)) == others(before[0], ("commit",))
    assert "commit=31" in now[0]
    assert lab.run("diff", "--json", profile).expect(0).json["changed"] is False
    assert "--strict" in lab.run("apply", "--strict", profile).expect(3).err
    lab.run("rollback").expect(0)
    assert state(loop, point) == before


def test_asynchronous_commits_beside_writeback(lab: Lab, loop: Loop, mount_it: MountIt) -> None:
    """A remount switches them on but never off: rollback names what is left."""
    point = mount_it("data=writeback")
    lab.run("apply", lab.profile(host=mounts(point, {"journal_async_commit": True, "commit": 31}))).expect(0)
    assert "journal_async_commit" in state(loop, point)[0]
    run = lab.run("rollback").expect(5)
    assert "journal_async_commit" in run.out
    now, _ = state(loop, point)
    assert {"journal_async_commit", "commit=5"} <= set(now)


def test_a_priority_nothing_shows(lab: Lab, loop: Loop, mount_it: MountIt) -> None:
    """journal_ioprio is written once, never called verified, and goes back to the default."""
    point = mount_it("defaults")
    before = state(loop, point)
    profile = lab.profile(host=mounts(point, {"journal_ioprio": 1}))
    said = lab.run("apply", "--json", profile).expect(0).json
    [change] = said["changes"]
    assert (change["current"], change["desired"]) == (None, 1)
    assert any("never verified" in note for note in said["notes"])
    assert lab.run("apply", "--json", profile).expect(0).json["transaction"] is None
    lab.run("status").expect(0)
    assert "never verified" in lab.run("why", f"mount:{point}").expect(0).out
    assert "set to the default, 3" in lab.run("rollback").expect(0).out
    assert state(loop, point) == before


def test_barrier_with_force(lab: Lab, loop: Loop, mount_it: MountIt) -> None:
    point = mount_it("defaults")
    before = state(loop, point)
    lab.run("apply", "--force", lab.profile(host=mounts(point, {"barrier": False}))).expect(0)
    assert "nobarrier" in state(loop, point)[0]
    lab.run("rollback").expect(0)
    assert state(loop, point) == before


def test_the_journal_needs_an_anck_kernel(lab: Lab, loop: Loop, mount_it: MountIt) -> None:
    point = mount_it("defaults")
    if Path(f"/proc/fs/jbd2/{loop.name}-8/stall_thresh").exists():
        pytest.skip("needs a kernel without ANCK's files of the journal")
    entry = {"match": {"mountpoint": str(point)}, "jbd2": {"stall_thresh": 1000}}
    said = lab.run("apply", "--json", lab.profile(host={"mounts": [entry]})).expect(0).json
    [item] = said["unsupported"]
    assert (item["knob"], item["resource"]) == ("mount.jbd2.stall_thresh", f"mount:{point}")
    assert "ANCK" in item["remedy"]
    assert said["transaction"] is None


# --- features -------------------------------------------------------------------------------------------------------


def features(loop: Loop) -> set[str]:
    """The features in the superblock."""
    run = subprocess.run(["tune2fs", "-l", loop.path], capture_output=True, text=True, check=True)
    return set(next(line for line in run.stdout.splitlines() if line.startswith("Filesystem features:")).split()[2:])


def with_features(match: dict[str, str], **wanted: bool) -> dict[str, Any]:
    """The host section with features of one file system."""
    return {"mounts": [{"match": match, "features": wanted}]}


@pytest.fixture
def made(loop: Loop) -> Loop:
    """The loop device with an ext4 file system that is mounted nowhere."""
    subprocess.run(["mkfs.ext4", "-q", "-F", loop.path], capture_output=True, check=True)
    if shutil.which("tune2fs") is None:
        pytest.skip("needs tune2fs")
    return loop


def test_features_of_an_unmounted_device(lab: Lab, made: Loop) -> None:
    before = features(made)
    profile = lab.profile(host=with_features({"device": made.path}, fast_commit=True, project=True, quota=True))
    lab.run("diff", profile).expect(1)
    assert features(made) == before
    lab.run("apply", profile).expect(0)
    assert features(made) == before | {"fast_commit", "project", "quota"}
    listing = subprocess.run(["tune2fs", "-l", made.path], capture_output=True, text=True, check=True).stdout
    assert "Project quota inode" in listing
    lab.run("diff", profile).expect(0)
    lab.run("status").expect(0)
    lab.run("rollback").expect(0)
    assert features(made) == before


def test_features_of_a_mounted_file_system_are_pending(lab: Lab, loop: Loop, mount_it: MountIt) -> None:
    """tune2fs itself would change some of them below a mount."""
    point = mount_it("defaults")
    before = features(loop)
    for match in ({"mountpoint": str(point)}, {"device": loop.path}):
        profile = lab.profile(host=with_features(match, fast_commit=True, project=False))
        said = lab.run("apply", "--json", profile).expect(0).json
        assert [item["knob"] for item in said["pending"]] == ["mount.features.fast_commit"]
        assert "unmount" in said["pending"][0]["remedy"]
        assert said["changes"] == []
    assert features(loop) == before


def test_features_cannot_go_back_below_a_mount(lab: Lab, made: Loop) -> None:
    before = features(made)
    lab.run("apply", lab.profile(host=with_features({"device": made.path}, fast_commit=True))).expect(0)
    point = lab.directory / "mnt"
    point.mkdir()
    subprocess.run(["mount", made.path, point], check=True)
    try:
        assert "mount.features.fast_commit" in lab.run("rollback").expect(5).out
        assert "fast_commit" in features(made)
    finally:
        subprocess.run(["umount", point], check=True)
    lab.run("rollback").expect(0)
    assert features(made) == before


def test_a_device_without_ext4_is_reported(lab: Lab, loop: Loop) -> None:
    profile = lab.profile(host=with_features({"device": loop.path}, fast_commit=True))
    said = lab.run("apply", "--json", profile).expect(0).json
    assert [item["knob"] for item in said["unsupported"]] == ["mount.features.fast_commit"]
    assert said["transaction"] is None
