"""Administering ext4: mounting and unmounting, tune2fs, projects and their quotas."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from cotune.kernel.port import Project, Quota
from cotune.sim.kernel import SimKernel

Attempt = Callable[..., str]
BACKUP, DEVICE = "/backup", "/dev/sdb1"


@pytest.fixture
def host() -> SimKernel:
    """A host with project quota on /data, none on /, and the unmounted /backup."""
    return SimKernel("anck-5.10")


def complaint(sim: SimKernel, *arguments: str) -> str:
    with pytest.raises(OSError) as caught:
        sim.tool("tune2fs", arguments)
    assert caught.value.errno == errno.EIO
    return str(caught.value.strerror)


def features(sim: SimKernel, device: str) -> set[str]:
    lines = sim.tool("tune2fs", ["-l", device]).splitlines()
    rows = dict(line.split(":", 1) for line in lines[1:])
    return set(rows["Filesystem features"].split())


def shown(sim: SimKernel, point: str) -> tuple[str, ...]:
    return next(mount.super_options for mount in sim.mounts() if mount.point == point)


# --- mounting -------------------------------------------------------------------------------------------------------


def test_fstab_names_what_is_not_mounted(host: SimKernel) -> None:
    assert f"{DEVICE} {BACKUP} ext4 noauto 0 2\n" in host.read("/etc/fstab")
    assert BACKUP not in {mount.point for mount in host.mounts()}
    assert host.listdir(BACKUP) == []
    assert not host.exists("/proc/fs/ext4/sdb1/options")


def test_mounting_and_unmounting(host: SimKernel, attempt: Attempt) -> None:
    host.mount("ext4", DEVICE, BACKUP, ["nodev", "noatime", "nodelalloc", "commit=30"])
    mount = host.mounts()[-1]
    assert (mount.point, mount.device, mount.fstype) == (BACKUP, "8:17", "ext4")
    assert mount.options == ("rw", "nodev", "noatime")
    assert shown(host, BACKUP) == ("rw", "nodelalloc", "commit=30")
    assert "nodelalloc" in host.read("/proc/fs/ext4/sdb1/options").split()
    assert host.read("/proc/fs/jbd2/sdb1-8/force_copy") == "0\n"
    assert attempt(host.mount, "ext4", DEVICE, BACKUP, []) == "EBUSY"
    host.unmount(BACKUP)
    assert not host.exists("/proc/fs/ext4/sdb1/options")
    assert attempt(host.unmount, BACKUP) == "EINVAL"
    host.mount("ext4", DEVICE, BACKUP, ["ro"])
    assert shown(host, BACKUP) == ("ro",), "the options of the first mount are gone"


@pytest.mark.parametrize(
    ("fstype", "source", "words", "result"),
    [
        ("xfs", DEVICE, [], "ENODEV"),
        ("ext4", "/dev/sdz", [], "ENOENT"),
        ("ext4", "/dev/sdb", [], "EINVAL"),
        ("ext4", DEVICE, ["bogus"], "EINVAL"),
        ("ext4", DEVICE, ["prjquota"], "EINVAL"),
        ("ext4", DEVICE, ["journal_async_commit"], "EINVAL"),
        ("ext4", DEVICE, ["data=journal", "delalloc"], "EINVAL"),
        ("ext4", DEVICE, ["dax"], "EINVAL"),
        ("ext4", DEVICE, ["fast_commit"], "EINVAL"),
        ("ext4", DEVICE, ["data=writeback", "journal_async_commit"], "OK"),
        ("ext4", DEVICE, ["nombcache"], "OK"),
    ],
)
def test_first_mounts(
    host: SimKernel, attempt: Attempt, fstype: str, source: str, words: list[str], result: str
) -> None:
    assert attempt(host.mount, fstype, source, BACKUP, words) == result
    assert (BACKUP in {mount.point for mount in host.mounts()}) == (result == "OK")


def test_journalled_data_drops_what_it_cannot_have(host: SimKernel, attempt: Attempt) -> None:
    host.mount("ext4", DEVICE, BACKUP, ["data=journal", "dioread_nolock"])
    assert "nodelalloc" in shown(host, BACKUP)
    assert "data=journal" in shown(host, BACKUP)
    assert attempt(host.remount, BACKUP, ["delalloc"]) == "EINVAL"
    assert attempt(host.remount, BACKUP, ["dioread_nolock"]) == "EINVAL"
    assert attempt(host.remount, BACKUP, ["data=ordered"]) == "EINVAL"


def test_a_second_mount_shares_the_superblock(host: SimKernel) -> None:
    host.mkdir("/mnt")
    host.mount("ext4", "/dev/nvme0n1", "/mnt", ["commit=7"])
    assert shown(host, "/mnt") == shown(host, "/data") == ("rw",)
    host.remount("/mnt", ["commit=9"])
    assert shown(host, "/data") == ("rw", "commit=9")
    host.unmount("/data")
    assert shown(host, "/mnt") == ("rw", "commit=9")


def test_what_cannot_be_unmounted(host: SimKernel, attempt: Attempt) -> None:
    assert attempt(host.unmount, "/") == "EBUSY"
    assert attempt(host.unmount, "/sys/fs/cgroup") == "EBUSY"
    assert attempt(host.mount, "ext4", DEVICE, "/nowhere", []) == "ENOENT"


# --- tune2fs --------------------------------------------------------------------------------------------------------


def test_the_superblock_is_listed(host: SimKernel) -> None:
    text = host.tool("tune2fs", ["-l", "/dev/nvme0n1"])
    assert text.startswith("tune2fs 1.46")
    assert "Last mounted on:          /data\n" in text
    assert {"has_journal", "needs_recovery", "metadata_csum", "quota", "project"} <= features(host, "/dev/nvme0n1")
    assert not {"needs_recovery", "quota", "project"} & features(host, DEVICE)


@pytest.mark.parametrize("feature", ["fast_commit", "quota", "project", "metadata_csum"])
def test_some_features_want_an_unmounted_file_system(host: SimKernel, feature: str) -> None:
    change = f"^{feature}" if feature in features(host, DEVICE) else feature
    host.mount("ext4", DEVICE, BACKUP, [])
    before = features(host, DEVICE)
    assert "unmounted" in complaint(host, "-O", change, DEVICE)
    assert features(host, DEVICE) == before
    host.unmount(BACKUP)
    host.tool("tune2fs", ["-O", change, DEVICE])
    assert (feature in features(host, DEVICE)) != change.startswith("^")


def test_nothing_to_change_is_no_error_while_mounted(host: SimKernel) -> None:
    assert host.tool("tune2fs", ["-O", "project,quota", "/dev/nvme0n1"]).startswith("tune2fs")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-l", "/dev/sdz"), "/dev/sdz"),
        (("-l", "/dev/sda"), "super-block"),
        (("-O", "nonsense", DEVICE), "nonsense"),
        (("-O", "^extent", DEVICE), "not supported"),
        (("-Q", "prjquota", DEVICE), "project"),
        (("-Q", "diskquota", DEVICE), "diskquota"),
        (("-Z", DEVICE), "invalid option"),
        ((DEVICE,), "Usage"),
    ],
)
def test_complaints(host: SimKernel, arguments: tuple[str, ...], words: str) -> None:
    before = features(host, DEVICE)
    assert words in complaint(host, *arguments)
    assert features(host, DEVICE) == before


def test_one_bad_feature_changes_none(host: SimKernel) -> None:
    complaint(host, "-O", "fast_commit,nonsense", DEVICE)
    assert "fast_commit" not in features(host, DEVICE)


def test_old_tools_and_missing_ones(anck: SimKernel, attempt: Attempt) -> None:
    assert "fast_commit" in complaint(anck, "-O", "fast_commit", "/dev/nvme0n1")
    assert attempt(anck.tool, "xfs_admin", ["-l", "/dev/nvme0n1"]) == "ENOENT"


def test_project_quota_is_prepared_offline_and_enforced_by_an_option(host: SimKernel, attempt: Attempt) -> None:
    host.tool("tune2fs", ["-O", "project,quota", "-Q", "prjquota", DEVICE])
    host.mount("ext4", DEVICE, BACKUP, [])
    host.set_quota(BACKUP, 7, Quota(hard=2**20))  # limits can be set before they are enforced
    host.remount(BACKUP, ["prjquota"])
    assert "prjquota" in shown(host, BACKUP)
    assert attempt(host.remount, BACKUP, ["noquota"]) == "EINVAL"
    assert "Project quota inode" in host.tool("tune2fs", ["-l", DEVICE])


def test_the_quota_feature_alone_makes_no_file_for_projects(host: SimKernel, attempt: Attempt) -> None:
    host.tool("tune2fs", ["-O", "project,quota", DEVICE])
    text = host.tool("tune2fs", ["-l", DEVICE])
    assert "User quota inode" in text
    assert "Project quota inode" not in text
    host.mount("ext4", DEVICE, BACKUP, ["prjquota"])
    assert attempt(host.quota, BACKUP, 7) == "ESRCH"
    host.unmount(BACKUP)
    host.tool("tune2fs", ["-Q", "prjquota", DEVICE])
    host.mount("ext4", DEVICE, BACKUP, ["prjquota"])
    assert host.quota(BACKUP, 7) == Quota()
    host.unmount(BACKUP)
    host.tool("tune2fs", ["-O", "^quota", DEVICE])
    assert "quota" not in features(host, DEVICE)
    assert "quota inode" not in host.tool("tune2fs", ["-l", DEVICE])


# --- projects and quotas --------------------------------------------------------------------------------------------


def test_projects(host: SimKernel, attempt: Attempt) -> None:
    host.put("/data/c1/file", "x")
    assert host.project("/data/c1") == Project(0, False)
    host.set_project("/data/c1", Project(101, True))
    assert host.project("/data/c1") == Project(101, True)
    assert host.project("/data/c1/file") == Project(0, False), "what was there keeps its project"
    assert attempt(host.set_project, "/data/c1/file", Project(101, True)) == "EINVAL"
    host.set_project("/data/c1/file", Project(101, False))
    assert host.project("/data/c1/file") == Project(101, False)
    assert attempt(host.project, "/data/none") == "ENOENT"
    assert attempt(host.project, "/run") == "ENOTTY"


def test_without_the_feature_the_flag_is_set_before_the_id_is_refused(host: SimKernel, attempt: Attempt) -> None:
    host.mkdir("/srv")
    assert attempt(host.set_project, "/srv", Project(42, True)) in ("EOPNOTSUPP", "ENOTSUP")
    assert host.project("/srv") == Project(0, True)


def test_quotas_are_kept_in_kib(host: SimKernel, attempt: Attempt) -> None:
    assert host.quota("/data", 42) == Quota()
    host.set_quota("/data", 42, Quota(hard=2**30 + 1, soft=2**31, inodes_hard=1001))
    assert host.quota("/data", 42) == Quota(hard=2**30 + 1024, soft=2**31, inodes_hard=1001)
    host.set_quota("/data", 42, Quota())
    assert host.quota("/data", 42) == Quota()
    for point in ("/", "/run"):
        assert attempt(host.quota, point, 42) == "ESRCH"
        assert attempt(host.set_quota, point, 42, Quota(hard=1024)) == "ESRCH"


def test_all_of_it_is_saved(host: SimKernel, tmp_path: Path) -> None:
    host.tool("tune2fs", ["-O", "fast_commit", DEVICE])
    host.mount("ext4", DEVICE, BACKUP, ["commit=30"])
    host.unmount("/data")
    host.mount("ext4", "/dev/nvme0n1", "/data", ["prjquota"])
    host.set_quota("/data", 5, Quota(hard=4096))
    host.set_project("/data", Project(5, True))
    host.save(tmp_path / "state")
    again = SimKernel.load("anck-5.10", tmp_path / "state")
    assert again.mounts() == host.mounts()
    assert features(again, DEVICE) == features(host, DEVICE) >= {"fast_commit"}
    assert again.quota("/data", 5) == Quota(hard=4096)
    assert again.project("/data") == Project(5, True)
