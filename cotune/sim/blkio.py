"""Controller ``blkio`` of cgroup v1: throttling (block/blk-throttle.c) and the bfq weight (block/bfq-cgroup.c)."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable

from cotune.sim import iocost
from cotune.sim.block import BFQ_ROWS
from cotune.sim.devrows import by_device, know, parse_device
from cotune.sim.devrows import created as known_devices
from cotune.sim.files import U32_MAX, U64_MAX, CgroupFile, Controller, Where, parse_u64, refuse, report_file
from cotune.sim.hosts import HostSpec
from cotune.sim.iocost import created as iocost_created
from cotune.sim.iocost import iocost_files
from cotune.sim.machine import Group

_THROTTLE = {f"blkio.throttle.{way}_{unit}_device": unit for way in ("read", "write") for unit in ("bps", "iops")}
_STATS = ("io_service_bytes", "io_service_bytes_recursive", "io_serviced", "io_serviced_recursive")
#: Further statistics of the ANCK file table.
_ANCK_STATS = ("io_service_time", "io_wait_time", "io_completed", "total_bytes_queued", "total_io_queued")
WEIGHT, WEIGHT_DEVICE = "blkio.bfq.weight", BFQ_ROWS


def blkio(spec: HostSpec) -> Controller:
    """The blkio controller of a host."""
    files = [throttle_file(name, unit) for name, unit in _THROTTLE.items()]
    stats = (*_STATS, *_ANCK_STATS) if spec.anck else _STATS
    files += [report_file(f"blkio.throttle.{name}", "Total 0\n") for name in stats]
    files += [
        CgroupFile("blkio.reset_stats", None, _reset_stats),
        CgroupFile(WEIGHT, lambda group: f"{group.numbers[WEIGHT]}\n", write_weight, Where.CHILD),
    ]
    if spec.anck:
        files += iocost_files(iocost.WEIGHT, iocost.QOS, iocost.MODEL)
        files.append(report_file("blkio.cost.stat", "", Where.CHILD))
    else:
        files.append(CgroupFile(WEIGHT_DEVICE, show_weights, write_device_weight, Where.CHILD))

    def created(group: Group) -> None:
        """mkdir copies no limit, although those of ancestors apply to descendants."""
        known_devices(group)
        group.numbers[WEIGHT] = 100
        group.rows.update({name: {} for name in (*_THROTTLE, WEIGHT_DEVICE)})
        iocost_created(group)

    return Controller("blkio", tuple(files), created)


def throttle_file(name: str, unit: str) -> CgroupFile:
    """A table of limits per disk; ``unit`` is ``bps`` or ``iops``. Its rows live under the file's name."""
    return CgroupFile(name, _show_rows(name, unit), _write_row(name, unit))


def _unlimited(unit: str) -> int:
    return U64_MAX if unit == "bps" else U32_MAX


def _show_rows(name: str, unit: str) -> Callable[[Group], str]:
    """tg_print_conf: one ``MAJ:MIN N`` per limited device."""
    unlimited = _unlimited(unit)
    return lambda group: "".join(f"{dev} {n}\n" for dev, n in by_device(group, name) if n != unlimited)


def _write_row(name: str, unit: str) -> Callable[[Group, str], None]:
    """tg_set_conf: sscanf("%llu") of one row, so a suffix and further lines are ignored; 0 means unlimited.

    iops are cut to 32 bits after that: 2^32 is stored, and shown, as 0.
    """
    unlimited = _unlimited(unit)

    def write(group: Group, text: str) -> None:
        disk, body = parse_device(group, text)
        know(group, disk)
        digits = re.match(r"\d+", body)
        if digits is None:
            refuse(errno.EINVAL)
        group.rows[name][disk.number] = (int(digits[0]) & U64_MAX or U64_MAX) & unlimited

    return write


def _reset_stats(_group: Group, text: str) -> None:
    parse_u64(text)


# --- bfq ------------------------------------------------------------------------------------------------------------


def write_weight(group: Group, text: str) -> None:
    """bfq_io_set_weight_legacy: ERANGE outside 1…1000."""
    weight = parse_u64(text)
    if not 1 <= weight <= 1000:
        refuse(errno.ERANGE)
    group.numbers[WEIGHT] = weight


def show_weights(group: Group) -> str:
    """The group's weight and its rows per disk."""
    rows = "".join(f"{dev} {n}\n" for dev, n in by_device(group, WEIGHT_DEVICE))
    return f"default {group.numbers[WEIGHT]}\n{rows}"


def write_device_weight(group: Group, text: str) -> None:
    """bfq_io_set_device_weight: EOPNOTSUPP unless the disk runs the bfq scheduler now."""
    disk, body = parse_device(group, text)
    if group.machine.schedulers[disk.name] != "bfq":
        refuse(errno.EOPNOTSUPP)
    know(group, disk)
    if body.strip() == "default":
        group.rows[WEIGHT_DEVICE].pop(disk.number, None)
        return
    digits = re.match(r"\d+", body)
    if digits is None:
        refuse(errno.EINVAL)
    if not 1 <= int(digits[0]) <= 1000:
        refuse(errno.ERANGE)
    group.rows[WEIGHT_DEVICE][disk.number] = int(digits[0])
