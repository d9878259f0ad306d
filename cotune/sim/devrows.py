"""Per-device rows of blkio files (block/blk-cgroup.c blkg_conf_prep)."""

from __future__ import annotations

import errno
import re

from cotune.sim.files import refuse
from cotune.sim.hosts import Disk
from cotune.sim.machine import Machine

_KEY = re.compile(r"\s*(\d+):(\d+)(?=\s)\s*")


def parse_device(machine: Machine, text: str) -> tuple[Disk, str]:
    """``MAJ:MIN`` and the rest of the text: no blank after it is EINVAL, anything but a whole disk ENODEV."""
    match = _KEY.match(text)
    if match is None:
        refuse(errno.EINVAL)
    disk = machine.device(f"{int(match[1])}:{int(match[2])}")
    if not isinstance(disk, Disk):
        refuse(errno.ENODEV)
    return disk, text[match.end() :]


def by_device(rows: dict[str, int]) -> list[tuple[str, int]]:
    """Rows in device order."""
    return sorted(rows.items(), key=lambda row: tuple(map(int, row[0].split(":"))))
