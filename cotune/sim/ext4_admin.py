"""Programs and system calls that administer ext4: tune2fs, project ids, project quotas.

Sources: e2fsprogs misc/tune2fs.c, fs/ext4/ioctl.c, fs/quota/quota.c. What a 6.1 kernel answered to the ioctl and to
quotactl(2) was observed; the wording of tune2fs is that of 1.46 as far as known.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import NamedTuple

from cotune.kernel.port import Project, Quota
from cotune.sim import ext4
from cotune.sim.files import PAGE, refuse
from cotune.sim.machine import FileSystem, Machine
from cotune.sim.mounts import block_device
from cotune.sim.release import since

_KIB = 1024
#: Features tune2fs can set and clear, in the order it lists them.
_FEATURES = (
    "has_journal", "ext_attr", "resize_inode", "dir_index", "fast_commit", "stable_inodes", "filetype", "extent",
    "64bit", "flex_bg", "ea_inode", "large_dir", "encrypt", "casefold", "sparse_super", "large_file", "huge_file",
    "uninit_bg", "dir_nlink", "extra_isize", "quota", "metadata_csum", "read-only", "project", "verity",
)  # fmt: skip
#: Those that tune2fs refuses to change while the file system is mounted.
_OFFLINE = frozenset(("quota", "project", "metadata_csum", "64bit", "fast_commit", "uninit_bg", "has_journal"))
_UNCLEARABLE = frozenset(("filetype", "extent", "sparse_super", "dir_nlink", "casefold", "verity", "stable_inodes"))
_QUOTA_WORDS = ("usrquota", "grpquota", "prjquota")
_INODE_SIZE = 256


class _Complaint(Exception):
    """The last line a program printed before it failed."""


# --- tune2fs --------------------------------------------------------------------------------------------------------


def tool(machine: Machine, name: str, arguments: Sequence[str]) -> str:
    """Run ``tune2fs -l DEV`` or ``tune2fs [-O [^]FEATURE,…] [-Q [^]prjquota,…] DEV``; returns its output.

    OSError: ENOENT for any other program, EIO with the complaint when it fails.
    """
    if name != "tune2fs":
        refuse(errno.ENOENT)
    try:
        return _tune2fs(machine, list(arguments))
    except _Complaint as complaint:
        raise OSError(errno.EIO, str(complaint), name) from None


def _tune2fs(machine: Machine, arguments: list[str]) -> str:
    listing, features, quotas, operands = False, "", "", []
    while arguments:
        word = arguments.pop(0)
        if word == "-l":
            listing = True
        elif word in ("-O", "-Q") and arguments:
            features, quotas = (arguments.pop(0), quotas) if word == "-O" else (features, arguments.pop(0))
        elif word.startswith("-"):
            raise _Complaint(f"tune2fs: invalid option -- '{word.lstrip('-')}'")
        else:
            operands.append(word)
    if len(operands) != 1 or not (listing or features or quotas):
        raise _Complaint("Usage: tune2fs [-l] [-O [^]feature[,...]] [-Q quota_options] device")
    volume = _volume(machine, operands[0])
    if listing:
        return _list(machine, volume)
    old = set(volume.fs.words["features"].split())
    found = set(old)
    for word in filter(None, features.split(",")):
        _change_feature(machine, volume, found, word)
    types = _quota_types(volume, found, quotas, new="quota" in found - old)
    volume.fs.words["features"] = " ".join(feature for feature in _FEATURES if feature in found)
    volume.fs.words["quota types"] = " ".join(sorted(types))
    return _banner(machine)


class _Volume(NamedTuple):
    """An ext4 file system by its device node."""

    fs: FileSystem
    sectors: int
    #: Where it is mounted: empty for nowhere.
    point: str


def _volume(machine: Machine, source: str) -> _Volume:
    device = block_device(machine, source)
    if device is None:
        raise _Complaint(f"tune2fs: No such file or directory while trying to open {source}")
    if device.number not in machine.filesystems:
        raise _Complaint(f"tune2fs: Bad magic number in super-block while trying to open {source}")
    points = [m.spec.point for m in machine.mount_points if m.spec.device == device.number]
    return _Volume(machine.filesystems[device.number], device.sectors, (points or [""])[0])


def _change_feature(machine: Machine, volume: _Volume, found: set[str], word: str) -> None:
    feature, clear = word.removeprefix("^"), word.startswith("^")
    if feature not in _known_features(machine):
        raise _Complaint(f"Invalid filesystem option set: {word}")
    if clear == (feature not in found):
        return  # nothing to do, mounted or not
    if clear and feature in _UNCLEARABLE:
        raise _Complaint(f"Clearing filesystem feature '{feature}' not supported.")
    if feature in _OFFLINE and volume.point:
        raise _Complaint(f"The {feature} feature may only be changed when the filesystem is unmounted.")
    (found.discard if clear else found.add)(feature)


def _quota_types(volume: _Volume, found: set[str], words: str, new: bool) -> set[str]:
    """The types of quota that have a file for their limits after ``-Q``; the quota feature comes and goes with them.

    ``-O quota`` without ``-Q`` makes the files for users and groups only.
    """
    types = set(volume.fs.words["quota types"].split())
    if "quota" not in found:
        types = set()
    elif new and not words:
        types = {"usrquota", "grpquota"}
    for word in filter(None, words.split(",")):
        kind, clear = word.removeprefix("^"), word.startswith("^")
        if kind not in _QUOTA_WORDS:
            raise _Complaint(f"Bad quota options specified: {word}")
        if volume.point:
            raise _Complaint("The quota feature may only be changed when the filesystem is unmounted.")
        if kind == "prjquota" and "project" not in found and not clear:
            raise _Complaint("Project quotas cannot be enabled without the project feature.")
        (types.discard if clear else types.add)(kind)
        (found.add if types else found.discard)("quota")
    return types


def _known_features(machine: Machine) -> set[str]:
    """e2fsprogs is as old as the distribution: fast_commit came with 1.46."""
    known = set(_FEATURES)
    return known if since(machine.spec, 5, 10) else known - {"fast_commit", "stable_inodes", "casefold", "verity"}


def _banner(machine: Machine) -> str:
    return "tune2fs 1.46.2 (28-Feb-2021)\n" if since(machine.spec, 5, 10) else "tune2fs 1.43.5 (04-Aug-2017)\n"


def _list(machine: Machine, volume: _Volume) -> str:
    """dumpe2fs-style superblock; needs_recovery is set while the journal of a writable mount is in use."""
    words = volume.fs.words["features"].split()
    if volume.point and not volume.fs.read_only and "has_journal" in words:
        words.insert(words.index("filetype") + 1, "needs_recovery")
    blocks = volume.sectors * 512 // PAGE
    rows = {
        "Filesystem volume name": "<none>",
        "Last mounted on": volume.point or "<not available>",
        "Filesystem UUID": "5f1c9a52-8c3e-4f0b-9d55-0d5a7a3b7e11",
        "Filesystem magic number": "0xEF53",
        "Filesystem revision #": "1 (dynamic)",
        "Filesystem features": " ".join(words),
        "Filesystem flags": "signed_directory_hash ",
        "Default mount options": "user_xattr acl",
        "Filesystem state": "clean",
        "Errors behavior": "Continue",
        "Filesystem OS type": "Linux",
        "Inode count": str(blocks // 4),
        "Block count": str(blocks),
        "Reserved block count": str(blocks // 20),
        "Free blocks": str(blocks * 3 // 4),
        "First block": "0",
        "Block size": str(PAGE),
        "Inode size": str(_INODE_SIZE),
        "Journal inode": "8",
        "Default directory hash": "half_md4",
        "Journal backup": "inode blocks",
    }
    if "quota" in words:
        titles = {"usrquota": ("User", "3"), "grpquota": ("Group", "4"), "prjquota": ("Project", "12")}
        for kind in volume.fs.words["quota types"].split():
            title, inode = titles[kind]
            rows[f"{title} quota inode"] = inode
    return _banner(machine) + "".join(f"{name + ':':<26}{value}\n" for name, value in rows.items())


# --- projects -------------------------------------------------------------------------------------------------------
#
# machine.extra["projects"]: path -> [id, inherit]; what is not in it belongs to project 0. Files keep their project
# when that of the directory changes, as on disk.


def project(machine: Machine, path: str) -> Project:
    """FS_IOC_FSGETXATTR. ENOTTY outside ext4; without the project feature everything belongs to project 0."""
    _holding(machine, path)
    number, inherit = machine.extra.get("projects", {}).get(path, (0, 0))
    return Project(int(number), bool(inherit))


def set_project(machine: Machine, path: str, project: Project) -> None:
    """FS_IOC_FSSETXATTR. ENOTTY outside ext4, EINVAL for an inherit flag on a file.

    Without the project feature an id other than 0 is EOPNOTSUPP, but the inherit flag has been set by then.
    """
    fs = _holding(machine, path)
    if project.inherit and machine.plain.get(path) is not None:
        refuse(errno.EINVAL)
    projects = machine.extra.setdefault("projects", {})
    supported = "project" in fs.words["features"].split()
    number = project.id if supported else projects.get(path, (0, 0))[0]
    projects[path] = [number, int(project.inherit)]
    if not supported and project.id:
        refuse(errno.EOPNOTSUPP)


def created(machine: Machine, path: str) -> None:
    """A new file or directory takes the project of a directory that passes it on (ext4_new_inode)."""
    parent = path.rpartition("/")[0] or "/"
    projects = machine.extra.get("projects", {})
    number, inherit = projects.get(parent, (0, 0))
    if inherit:
        projects[path] = [number, int(machine.plain.get(path) is None)]


def removed(machine: Machine, path: str) -> None:
    """A removed file or directory leaves no project behind for one of the same name."""
    machine.extra.get("projects", {}).pop(path, None)


def _holding(machine: Machine, path: str) -> FileSystem:
    """The ext4 file system a path lies on."""
    above = [m for m in machine.mount_points if f"{path}/".startswith(m.spec.point.rstrip("/") + "/")]
    nearest = max(above, key=lambda m: len(m.spec.point))
    fs = machine.filesystems.get(nearest.spec.device)
    return fs if fs is not None else refuse(errno.ENOTTY)


# --- quota ----------------------------------------------------------------------------------------------------------
#
# machine.extra["quotas"]: MAJ:MIN -> project -> [hard, soft, inodes_hard, inodes_soft], bytes in whole KiB.


def quota(machine: Machine, point: str, project: int) -> Quota:
    """quotactl Q_GETQUOTA. ESRCH without the project quota feature, mounted with prjquota or not."""
    limits = machine.extra.get("quotas", {}).get(_quota_device(machine, point), {})
    return Quota(*limits.get(str(project), (0, 0, 0, 0)))


def set_quota(machine: Machine, point: str, project: int, quota: Quota) -> None:
    """quotactl Q_SETQUOTA: sizes become whole KiB, rounded up; a soft limit above the hard one is accepted."""
    quotas: dict[str, dict[str, list[int]]] = machine.extra.setdefault("quotas", {})
    limits = quotas.setdefault(_quota_device(machine, point), {})
    sizes = [-(-size // _KIB) * _KIB for size in (quota.hard, quota.soft)]
    limits[str(project)] = [*sizes, quota.inodes_hard, quota.inodes_soft]


def quota_enforced(machine: Machine, point: str) -> bool:
    """quotactl Q_XGETQSTATV. A remount with prjquota counts as the port's, which enforces with quotactl Q_QUOTAON."""
    return bool(machine.filesystems[_quota_device(machine, point)].numbers["prjquota"])


def _quota_device(machine: Machine, point: str) -> str:
    """The device mounted at ``point``, which must keep project quota."""
    mounted = [m.spec.device for m in machine.mount_points if m.spec.point == point]
    fs = machine.filesystems.get(mounted[-1]) if mounted else None
    if fs is None or not ext4.has_project_quota(fs):
        refuse(errno.ESRCH)
    return mounted[-1]
