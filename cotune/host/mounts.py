"""ext4 mounts: which one a profile means, and the options in force on it."""

from __future__ import annotations

import contextlib
from typing import NamedTuple

from cotune.controls.base import Value
from cotune.controls.mounts import (
    EXT4_DEFAULTS,
    EXT4_FLAGS,
    EXT4_NUMBERS,
    EXT4_OFF,
    EXT4_WORDS,
    PER_MOUNT,
    PROJECT_QUOTA,
)
from cotune.kernel.port import Kernel, Mount


class Volume(NamedTuple):
    """A file system of a profile: its device node, and its mount (None: it is mounted nowhere)."""

    device: str
    mount: Mount | None


def find_mount(kernel: Kernel, point: str) -> Mount | None:
    """The topmost mount at ``point``, or None."""
    wanted = point.rstrip("/") or "/"
    return next((mount for mount in reversed(kernel.mounts()) if mount.point == wanted), None)


def find_volume(kernel: Kernel, match: dict[str, str]) -> Volume | None:
    """The file system a match mapping names: by ``mountpoint``, which /etc/fstab may know, or by ``device``."""
    if "mountpoint" in match:
        mount = find_mount(kernel, match["mountpoint"])
        if mount is not None:
            return Volume(device_node(kernel, mount), mount)
        source = _in_fstab(kernel, match["mountpoint"].rstrip("/") or "/")
        return _by_device(kernel, source) if source else None
    return _by_device(kernel, match["device"])


def device_node(kernel: Kernel, mount: Mount) -> str:
    """The node of the block device below a mount; its source may be a symbolic link or ``/dev/root``."""
    return "/dev/" + device_name(kernel, mount).replace("!", "/")


def device_name(kernel: Kernel, mount: Mount) -> str:
    """The kernel's name of the block device below a mount, as /proc/fs spells it."""
    return kernel.realpath(f"/sys/dev/block/{mount.device}").rpartition("/")[2]


def journal_directory(kernel: Kernel, mount: Mount) -> str:
    """The directory of a mount's journal: the device's name with the journal's inode, which is 8 nearly everywhere."""
    name = device_name(kernel, mount)
    try:
        found = [entry for entry in kernel.listdir("/proc/fs/jbd2") if entry.startswith(f"{name}-")]
    except OSError:
        found = []
    return f"/proc/fs/jbd2/{found[0] if found else f'{name}-8'}"


def ext4_options(kernel: Kernel, mount: Mount) -> dict[str, Value]:
    """Options in force on a mounted ext4 file system: name → 1/0, a number, or a word.

    ``/proc/fs/ext4/DEV/options`` shows every state; ``/proc/mounts`` hides defaults (fs/ext4/super.c
    _ext4_show_options). lazytime is a flag of the VFS and stands in the mount table only; prjquota is shown where
    limits are not enforced, too. Linux 6.1 puts a comma where a line should end. Access times are a matter of the
    mount: ``strictatime`` is what is in force where neither of the other words stands.
    """
    shown = _options_file(kernel, mount)
    options = dict(EXT4_DEFAULTS)
    if shown and not any(word.startswith("data=") for word in shown):
        options["data"] = ""
    for word in (*mount.super_options, *shown):
        name, _, value = word.partition("=")
        if name in EXT4_NUMBERS and value.isdecimal():
            options[name] = int(value)
        elif name in EXT4_WORDS and name not in PER_MOUNT and value:
            options[name] = value
        elif word == "noinit_itable":
            options["init_itable"] = -1
        elif name == "dax":
            options["dax"] = int(value in ("", "always"))
        elif word in EXT4_FLAGS:
            options[word] = 1
        elif word in EXT4_OFF:
            options[EXT4_OFF[word]] = 0
        elif word.removeprefix("no") in EXT4_FLAGS:
            options[word.removeprefix("no")] = 0
    options["atime"] = next((word for word in mount.options if word in ("noatime", "relatime")), "strictatime")
    options["diratime"] = int("nodiratime" not in mount.options)
    with contextlib.suppress(OSError):
        options["prjquota"] = int(kernel.quota_enforced(mount.point))
    return options


def mount_values(kernel: Kernel, mount: Mount) -> dict[str, Value]:
    """The options, and beside them whether project quota is possible."""
    return {**ext4_options(kernel, mount), PROJECT_QUOTA: int(has_project_quota(kernel, mount.point))}


def has_project_quota(kernel: Kernel, point: str) -> bool:
    """Whether a file system keeps limits of projects; every one that does has those of project 0."""
    try:
        kernel.quota(point, 0)
    except OSError:
        return False
    return True


def _options_file(kernel: Kernel, mount: Mount) -> list[str]:
    try:
        text = kernel.read(f"/proc/fs/ext4/{device_name(kernel, mount)}/options")
    except OSError:
        return []
    return text.replace(",", " ").split()


def _by_device(kernel: Kernel, path: str) -> Volume | None:
    """A block device by its node, which may be a symbolic link such as /dev/disk/by-label/data."""
    name = kernel.realpath(path).removeprefix("/dev/").replace("/", "!")
    try:
        number = kernel.read(f"{kernel.realpath(f'/sys/class/block/{name}')}/dev").strip()
    except OSError:
        return None
    mount = next((m for m in reversed(kernel.mounts()) if m.device == number and m.root == "/"), None)
    return Volume("/dev/" + name.replace("!", "/"), mount)


_TAGS = ("uuid", "label", "partuuid", "partlabel")


def _in_fstab(kernel: Kernel, point: str) -> str:
    """The device that fstab(5) has for a mount point, or nothing."""
    try:
        lines = kernel.read(kernel.realpath("/etc/fstab")).splitlines()
    except OSError:
        return ""
    for line in lines:
        words = line.split()
        # fstab(5): a blank in a name is written as its octal number
        if len(words) >= 3 and words[1].replace("\\040", " ") == point and words[2] == "ext4":
            tag, _, value = words[0].partition("=")
            name = value.strip('"')
            return f"/dev/disk/by-{tag.lower()}/{name}" if tag.lower() in _TAGS else words[0]
    return ""
