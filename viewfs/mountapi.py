"""The mount system calls that Python has no functions for, and who has mounted what (mount_namespaces(7)).

All raise OSError with the kernel's errno.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from cotune.kernel.mountinfo import parse_mountinfo
from cotune.kernel.port import Mount

# The calls since Linux 5.2 have the same numbers on every architecture but alpha (asm-generic/unistd.h).
_OPEN_TREE = 428
_MOVE_MOUNT = 429
_MOUNT_SETATTR = 442
_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 4
_MOVE_MOUNT_T_EMPTY_PATH = 0x40
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV, _ATTR_NOEXEC = 1, 2, 4, 8
_ATTRIBUTES = _ATTR_RDONLY | _ATTR_NOSUID | _ATTR_NODEV | _ATTR_NOEXEC
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_PRIVATE = 2, 4, 8, 1 << 18
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
_CLONE_NEWNS = 0x00020000
_libc = ctypes.CDLL(None, use_errno=True)


#: Source of our mounts in mountinfo: by it they are known again, also when the service is dead.
SOURCE = "viewfs"


def clone_file(path: str) -> int:
    """A descriptor of a new, detached bind mount of one file: read-only, nosuid, nodev, noexec and private."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC
    tree = _checked(_libc.syscall(_OPEN_TREE, _AT_FDCWD, os.fsencode(path), flags), path)
    attributes = struct.pack("=4Q", _ATTRIBUTES, 0, _MS_PRIVATE, 0)
    try:
        _checked(_libc.syscall(_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH, attributes, len(attributes)), path)
    except BaseException:
        os.close(tree)
        raise
    return tree


def move_mount(tree: int, target: str) -> None:
    """Mount a detached tree over a file. ELOOP when ``target`` is a symbolic link."""
    fd = os.open(target, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if _is_link(fd):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), target)
        flags = _MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_EMPTY_PATH
        _checked(_libc.syscall(_MOVE_MOUNT, tree, b"", fd, b"", flags), target)
    finally:
        os.close(fd)


def _is_link(fd: int) -> bool:
    """Unlike fstat this works on a file whose service is dead."""
    try:
        os.readlink("", dir_fd=fd)
    except OSError:
        return False
    return True


def mount_tmpfs(point: str) -> None:
    """Mount a tmpfs for small files; only root may write."""
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    result = _libc.mount(SOURCE.encode(), os.fsencode(point), b"tmpfs", flags, b"mode=0755,size=5%")
    _checked(result, point)


def unmount(target: str) -> None:
    """Take the topmost mount at ``target`` away; who has a file of it open keeps that."""
    _checked(_libc.umount2(os.fsencode(target), _MNT_DETACH | _UMOUNT_NOFOLLOW), target)


def enter_mounts(namespace: int) -> None:
    """Move this process, which must have one thread, into a mount namespace."""
    _checked(_libc.setns(namespace, _CLONE_NEWNS), "setns")


def read_mounts(file: int | str = "/proc/self/mountinfo") -> list[Mount]:
    """The mounts of a mountinfo file, or of an open one from its beginning, lowest first.

    They are those of the process whose file it is, by the names it sees them under.
    """
    by_name = isinstance(file, str)
    with open(file, "rb", closefd=by_name) as mountinfo:
        if not by_name:
            mountinfo.seek(0)
        return parse_mountinfo(mountinfo.read().decode("utf-8", "surrogateescape"))


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result
