"""Controller ``io`` of cgroup v2: throttling, iocost, bfq and latency targets; observed on 6.1.

Rules: block/blk-throttle.c, block/blk-iocost.c, block/bfq-cgroup.c; block/blk-iolatency.c from documentation.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

from cotune.sim import blkio
from cotune.sim.devrows import by_device, know, known, parse_device
from cotune.sim.devrows import created as known_devices
from cotune.sim.files import U32_MAX, U64_MAX, CgroupFile, Controller, Where, refuse, report_file
from cotune.sim.hosts import HostSpec
from cotune.sim.iocost import created as iocost_created
from cotune.sim.iocost import iocost_files
from cotune.sim.machine import Group

MAX, LATENCY = "io.max", "io.latency"
#: Keys of io.max and the number that means no limit.
_LIMITS = {"rbps": U64_MAX, "wbps": U64_MAX, "riops": U32_MAX, "wiops": U32_MAX}


def io_v2(spec: HostSpec) -> Controller:
    """The io controller of a host."""
    files = [
        CgroupFile(MAX, _show_max, _write_max, Where.CHILD),
        *iocost_files("io.cost.weight" if spec.anck else "io.weight", "io.cost.qos", "io.cost.model"),
        CgroupFile("io.bfq.weight", blkio.show_weights, _write_bfq, Where.CHILD),
        report_file("io.stat", lambda group: "".join(f"{device} \n" for device in known(group))),
    ]
    if "iolatency" in spec.features:
        files.append(CgroupFile(LATENCY, _show_latency, _write_latency, Where.CHILD))

    def created(group: Group) -> None:
        known_devices(group)
        group.numbers[blkio.WEIGHT] = 100
        group.rows.update({name: {} for name in (*map(_table, _LIMITS), blkio.WEIGHT_DEVICE, LATENCY)})
        iocost_created(group)

    return Controller("io", tuple(files), created)


def _table(key: str) -> str:
    return f"{MAX}:{key}"


def _fields(body: str) -> Iterator[tuple[str, str]]:
    """``KEY=VALUE`` words; a word without ``=`` is EINVAL."""
    for word in body.split():
        key, equals, value = word.partition("=")
        if not equals:
            refuse(errno.EINVAL)
        yield key, value


def _show_max(group: Group) -> str:
    """One row per limited disk, with all four keys."""
    lines = []
    for device, _ in by_device(group, _table("rbps")):
        row = {key: group.rows[_table(key)][device] for key in _LIMITS}
        if row != _LIMITS:
            words = (f"{key}={'max' if value == _LIMITS[key] else value}" for key, value in row.items())
            lines.append(f"{device} {' '.join(words)}\n")
    return "".join(lines)


def _write_max(group: Group, text: str) -> None:
    """tg_set_limit: keys that are not named keep their value. 0 is ERANGE; 1 is EINVAL, as the kernel asks for > 1."""
    disk, body = parse_device(group, text)
    know(group, disk)
    row = {key: group.rows[_table(key)].get(disk.number, most) for key, most in _LIMITS.items()}
    for key, word in _fields(body):
        digits = re.match(r"\d+", word)
        if digits is None and word != "max":
            refuse(errno.EINVAL)
        value = U64_MAX if digits is None else int(digits[0]) & U64_MAX
        if value == 0:
            refuse(errno.ERANGE)
        if key not in _LIMITS or value == 1:
            refuse(errno.EINVAL)
        row[key] = min(value, _LIMITS[key])
    for key, value in row.items():
        group.rows[_table(key)][disk.number] = value


def _write_bfq(group: Group, text: str) -> None:
    """``N``, ``default N``, ``MAJ:MIN N`` or ``MAJ:MIN default``."""
    if ":" in text:
        blkio.write_device_weight(group, text)
    else:
        blkio.write_weight(group, re.sub(r"^\s*default\s+", "", text))


def _show_latency(group: Group) -> str:
    return "".join(f"{device} target={target}\n" for device, target in by_device(group, LATENCY))


def _write_latency(group: Group, text: str) -> None:
    """iolatency_set_limit: ``MAJ:MIN target=N`` in µs; 0 and ``max`` remove the row."""
    disk, body = parse_device(group, text)
    target = None
    for key, word in _fields(body):
        if key != "target" or not (word.isdecimal() or word == "max"):
            refuse(errno.EINVAL)
        target = 0 if word == "max" else int(word)
    if target is None:
        refuse(errno.EINVAL)
    know(group, disk)
    if target:
        group.rows[LATENCY][disk.number] = target
    else:
        group.rows[LATENCY].pop(disk.number, None)
