"""Per-device rows of blkio files (block/blk-cgroup.c blkg_conf_prep)."""

from __future__ import annotations

import errno
import re

from cotune.sim.files import refuse
from cotune.sim.hosts import Disk
from cotune.sim.machine import Group

_KEY = re.compile(r"\s*(\d+):(\d+)(?=\s)\s*")
#: Not a file: devices the kernel has a blkcg_gq for in this group, numbered in the order they came.
_KNOWN = "blkgs"


def created(group: Group) -> None:
    """The root knows every disk from the start, other groups those that were named in them or below."""
    disks = group.machine.spec.disks if group.parent is None else ()
    group.rows[_KNOWN] = {disk.number: i for i, disk in enumerate(disks)}


def parse_device(group: Group, text: str) -> tuple[Disk, str]:
    """``MAJ:MIN`` and the rest of the text: no blank after it is EINVAL, anything but a whole disk ENODEV."""
    match = _KEY.match(text)
    if match is None:
        refuse(errno.EINVAL)
    disk = group.machine.device(f"{int(match[1])}:{int(match[2])}")
    if not isinstance(disk, Disk):
        refuse(errno.ENODEV)
    return disk, text[match.end() :]


def know(group: Group, disk: Disk) -> None:
    """blkg_create: the group and its ancestors know the device from now on, even if no row comes of it."""
    for member in (group, *group.ancestors()):
        member.rows[_KNOWN].setdefault(disk.number, len(member.rows[_KNOWN]))


def known(group: Group) -> list[str]:
    """``MAJ:MIN`` of the group's devices in the order the kernel lists them: the latest first."""
    rows = group.rows[_KNOWN]
    return sorted(rows, key=lambda device: -rows[device])


def by_device(group: Group, name: str) -> list[tuple[str, int]]:
    """Rows of a file in the order of the group's list of devices: the latest first (blkcg_print_blkgs)."""
    return sorted(group.rows[name].items(), key=lambda row: -group.rows[_KNOWN][row[0]])
