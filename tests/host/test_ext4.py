"""Remounting an ext4 file system on a loop device: the profile's options there and back, every other one kept."""

from __future__ import annotations

import contextlib
import os
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
