"""Remounting through mount(2), keeping every option that was not asked to change.

The raw system call is used rather than mount(8): the latter merges options from /etc/fstab, which nobody asked for.
A remount that leaves out a VFS flag clears it, so the flags in force are passed again; ext4 keeps the options of its
own that are not named (fs/ext4/super.c ext4_remount).
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Sequence

from cotune.kernel.port import Mount

# include/uapi/linux/mount.h
_MS_REMOUNT = 32
MOUNT_FLAGS = {
    "ro": 1,
    "nosuid": 2,
    "nodev": 4,
    "noexec": 8,
    "sync": 16,
    "mand": 64,
    "dirsync": 128,
    "noatime": 1024,
    "nodiratime": 2048,
    "relatime": 1 << 21,
    "lazytime": 1 << 25,
}
_STRICTATIME = 1 << 24
_ATIME = ("noatime", "relatime", "strictatime")


def remount(mount: Mount, options: Sequence[str]) -> None:
    """Change the option words ``options`` of a mounted file system. Raises OSError with the kernel's errno."""
    if "ro" in mount.options and "ro" not in mount.super_options:
        # MS_REMOUNT sets the flags of mount and file system alike: this would make one of them wrong
        raise OSError(errno.EOPNOTSUPP, "a read-only bind of a writable file system cannot be remounted", mount.point)
    flags = _MS_REMOUNT
    for word in (*mount.options, *mount.super_options):
        flags |= MOUNT_FLAGS.get(word, 0)
    data = []
    for word in options:
        if word in _ATIME:
            flags = flags & ~(MOUNT_FLAGS["noatime"] | MOUNT_FLAGS["relatime"]) | MOUNT_FLAGS.get(word, 0)
        elif word in ("lazytime", "nodiratime"):
            flags |= MOUNT_FLAGS[word]
        elif word == "diratime":
            flags &= ~MOUNT_FLAGS["nodiratime"]
        elif word == "nolazytime":
            flags &= ~MOUNT_FLAGS["lazytime"]
            data.append(word)
        else:
            data.append(word)
    if not flags & (MOUNT_FLAGS["noatime"] | MOUNT_FLAGS["relatime"]):
        flags |= _STRICTATIME
    mount_call(mount.source, mount.point, mount.fstype, flags, ",".join(data))


def mount_call(source: str, point: str, fstype: str, flags: int, data: str) -> None:
    """mount(2) itself. Raises OSError with the kernel's errno."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
    result = libc.mount(os.fsencode(source), os.fsencode(point), os.fsencode(fstype), flags, os.fsencode(data))
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), point)
