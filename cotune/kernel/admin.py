"""Mounting, programs, projects and quotas of the running host: system calls and programs, never a shell.

Sources: mount(2), umount2(2), quotactl(2), include/uapi/linux/fs.h (struct fsxattr), include/uapi/linux/quota.h.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
import stat
import struct
import subprocess
import sys
from collections.abc import Sequence

from cotune.kernel.port import Project, Quota
from cotune.kernel.remount import MOUNT_FLAGS, mount_call

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
# struct fsxattr: xflags, extsize, nextents, projid, cowextsize, padding
_FSXATTR = struct.Struct("=IIIII8s")
_FS_IOC_FSGETXATTR = 0x801C581F
_FS_IOC_FSSETXATTR = 0x401C5820
_PROJECT_INHERIT = 0x200
# struct if_dqblk: bhardlimit, bsoftlimit, curspace, ihardlimit, isoftlimit, curinodes, btime, itime, valid
_DQBLK = struct.Struct("=8QI4x")
_GET_QUOTA = 0x800007
_SET_QUOTA = 0x800008
_QUOTA_ON = 0x800002
_PROJECT_QUOTA = 2
# struct fs_quota_statv (include/uapi/linux/dqblk_xfs.h): version, padding, flags and much else
_GET_STATE = ord("X") << 8 | 8
_STATE_SIZE = 256
_STATE_VERSION = 1
_PROJECT_ENFORCED = 1 << 5
_LIMITS_VALID = 1 | 4  # QIF_BLIMITS, QIF_ILIMITS
_KIB = 1024


def mount(fstype: str, source: str, point: str, options: Sequence[str]) -> None:
    """mount(2): flags are taken out of the option words, the others go to the file system. Raises OSError."""
    flags, data = 0, []
    for word in options:
        if word in MOUNT_FLAGS:
            flags |= MOUNT_FLAGS[word]
        elif word not in ("rw", "defaults"):
            data.append(word)
    mount_call(source, point, fstype, flags, ",".join(data))


def unmount(point: str, lazily: bool = False) -> None:
    """umount2(2) without following a symbolic link; ``lazily`` also while it is in use. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.umount2(os.fsencode(point), _UMOUNT_NOFOLLOW | (_MNT_DETACH if lazily else 0)), point)


def run_tool(name: str, arguments: Sequence[str]) -> str:
    """Run a program from the system's own directories, with nothing of our environment and no input.

    Raises OSError: ENOENT when it is not there, EIO with the last line of its complaint when it fails.
    """
    program = shutil.which(name, path=_PATH)
    if program is None:
        raise OSError(errno.ENOENT, "not installed", name)
    run = subprocess.run(
        [program, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd="/",
        env={"PATH": _PATH, "LC_ALL": "C"},
        text=True,
        errors="replace",
        check=False,
    )
    if run.returncode:
        lines = [line.strip() for line in (run.stderr or run.stdout).splitlines() if line.strip()]
        raise OSError(errno.EIO, lines[-1] if lines else f"ended with exit {run.returncode}", name)
    return run.stdout


def get_project(fd: int) -> Project:
    """The project of an open file or directory. Raises OSError."""
    xflags, _, _, number, *_ = _attributes(fd)
    return Project(number, bool(xflags & _PROJECT_INHERIT))


def set_project(fd: int, project: Project) -> None:
    """Give an open file or directory a project, and keep its other attributes. Raises OSError."""
    xflags, extsize, nextents, _, cowextsize, padding = _attributes(fd)
    xflags = xflags | _PROJECT_INHERIT if project.inherit else xflags & ~_PROJECT_INHERIT
    changed = _FSXATTR.pack(xflags, extsize, nextents, project.id, cowextsize, padding)
    fcntl.ioctl(fd, _FS_IOC_FSSETXATTR, changed)


def _attributes(fd: int) -> tuple[int, int, int, int, int, bytes]:
    if stat.S_IFMT(os.fstat(fd).st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
        raise OSError(errno.ENOTTY, "neither a file nor a directory")
    result: tuple[int, int, int, int, int, bytes] = _FSXATTR.unpack(
        fcntl.ioctl(fd, _FS_IOC_FSGETXATTR, bytes(_FSXATTR.size))
    )
    return result


def get_quota(device: str, project: int) -> Quota:
    """The limits of a project on the file system of a block device. Raises OSError."""
    block = _quotactl(_GET_QUOTA, device, project, bytes(_DQBLK.size))
    hard, soft, _, inodes_hard, inodes_soft, *_ = _DQBLK.unpack(block)
    return Quota(hard * _KIB, soft * _KIB, inodes_hard, inodes_soft)


def set_quota(device: str, project: int, quota: Quota) -> None:
    """Set the limits of a project; sizes are rounded up to KiB. Raises OSError."""
    hard, soft = (-(-size // _KIB) for size in (quota.hard, quota.soft))
    block = _DQBLK.pack(hard, soft, 0, quota.inodes_hard, quota.inodes_soft, 0, 0, 0, _LIMITS_VALID)
    _quotactl(_SET_QUOTA, device, project, block)


def quota_enforced(device: str) -> bool:
    """Whether limits of projects bind on the file system of a block device. Raises OSError."""
    state = _quotactl(_GET_STATE, device, 0, bytes((_STATE_VERSION,)).ljust(_STATE_SIZE, b"\0"))
    return bool(int.from_bytes(state[2:4], sys.byteorder) & _PROJECT_ENFORCED)


def enforce_quota(device: str) -> None:
    """Let limits of projects bind, for as long as the file system is mounted. Raises OSError.

    A remount with prjquota only shows the option (seen on Linux 6.1): ext4_remount enables quotas on the way from
    read-only to writable alone (fs/ext4/super.c).
    """
    if not quota_enforced(device):
        _quotactl(_QUOTA_ON, device, 0, b"")


def _quotactl(command: int, device: str, project: int, block: bytes) -> bytes:
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(block, len(block))
    operation = ctypes.c_int(command << 8 | _PROJECT_QUOTA)
    _check(libc.quotactl(operation, os.fsencode(device), ctypes.c_uint(project), buffer), device)
    return buffer.raw


def _check(result: int, path: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
