"""Which disk a profile means: by mount point, name, glob, serial number or MAJ:MIN."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import NamedTuple

from cotune.kernel.port import Kernel


class Disk(NamedTuple):
    """A whole disk. ``device`` is ``MAJ:MIN``; ``sysfs`` its directory below ``/sys/devices``."""

    name: str
    device: str
    sysfs: str


class NoSuchDevice(Exception):
    """No disk matches; the message says what was looked for and what there is."""


def find_disks(kernel: Kernel, match: dict[str, str]) -> list[Disk]:
    """The disks a match mapping names (one key of ``mountpoint``, ``device``, ``serial``, ``majmin``).

    A partition resolves to its disk: throttling or tuning a partition is ENODEV (block/blk-cgroup.c). Raises
    NoSuchDevice.
    """
    key, value = next(iter(match.items()))
    finders = {"mountpoint": _by_mountpoint, "device": _by_name, "serial": _by_serial, "majmin": _by_number}
    disks = finders[key](kernel, value)
    if not disks:
        names = ", ".join(disk_names(kernel)) or "none"
        raise NoSuchDevice(f"no block device matches {key} {value}; disks here: {names}")
    return disks


def disk_names(kernel: Kernel) -> list[str]:
    """Names of all whole disks."""
    try:
        return kernel.listdir("/sys/block")
    except OSError:
        return []


def _by_mountpoint(kernel: Kernel, point: str) -> list[Disk]:
    wanted = point.rstrip("/") or "/"
    mount = next((m for m in reversed(kernel.mounts()) if m.point == wanted), None)
    if mount is None:
        raise NoSuchDevice(f"nothing is mounted at {point}")
    if mount.device.startswith("0:"):
        raise NoSuchDevice(f"{point} is a {mount.fstype} file system without a block device of its own")
    return _by_number(kernel, mount.device)


def _by_name(kernel: Kernel, pattern: str) -> list[Disk]:
    name = pattern.removeprefix("/dev/")
    found = [disk for disk in disk_names(kernel) if fnmatchcase(disk, name)]
    if found:
        return [disk for disk in (_disk(kernel, f"/sys/block/{found_name}") for found_name in found) if disk]
    one = _disk(kernel, f"/sys/class/block/{name}") if "/" not in name else None
    return [one] if one else []


def _by_serial(kernel: Kernel, serial: str) -> list[Disk]:
    disks = []
    for name in disk_names(kernel):
        for place in ("serial", "device/serial"):
            base = kernel.realpath(f"/sys/block/{name}")
            if _read(kernel, kernel.realpath(f"{base}/{place}")) == serial:
                disks += [disk for disk in [_disk(kernel, base)] if disk]
                break
    return disks


def _by_number(kernel: Kernel, device: str) -> list[Disk]:
    disk = _disk(kernel, f"/sys/dev/block/{device}")
    return [disk] if disk else []


def _disk(kernel: Kernel, link: str) -> Disk | None:
    path = kernel.realpath(link)
    if kernel.exists(f"{path}/partition"):
        path = path.rpartition("/")[0]
    device = _read(kernel, f"{path}/dev")
    return Disk(path.rpartition("/")[2], device, path) if device else None


def _read(kernel: Kernel, path: str) -> str:
    try:
        return kernel.read(path).strip()
    except OSError:
        return ""
