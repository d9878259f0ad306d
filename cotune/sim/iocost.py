"""iocost: io.{weight,cost.qos,cost.model} of cgroup v2, blkio.cost.{weight,qos,model,stat} of ANCK on v1.

block/blk-iocost.c, observed on 6.1 and read from the ANCK source.

Percentages are kept in hundredths and latencies in microseconds. A device has rows once its qos was written; the rows
stay with ``enable=0``.
"""

from __future__ import annotations

import errno
import re

from cotune.sim.devrows import by_device, know, parse_device
from cotune.sim.files import U64_MAX, CgroupFile, Where, refuse
from cotune.sim.hosts import Disk
from cotune.sim.machine import Group

#: Names on v1, and on every version the keys the values are kept under.
WEIGHT, QOS, MODEL = "blkio.cost.weight", "blkio.cost.qos", "blkio.cost.model"
_PERCENT = ("rpct", "wpct", "min", "max")
_QOS_KEYS = ("rpct", "rlat", "wpct", "wlat", "min", "max")
_MODEL_KEYS = ("rbps", "rseqiops", "rrandiops", "wbps", "wseqiops", "wrandiops")
#: VRATE_MIN_PPM and VRATE_MAX_PPM as hundredths of a percent.
_VRATE_MIN, _VRATE_MAX = 100, 1000000
#: autop[AUTOP_HDD] and autop[AUTOP_SSD_DFL]: latency target in µs, then the linear model.
_HDD = (250000, (174019176, 41708, 370, 178075866, 42705, 378))
_SSD = (25000, (488636629, 8932, 8518, 427891549, 28755, 21940))


def iocost_files(weight: str, qos: str, model: str) -> list[CgroupFile]:
    """The files, under the names they have on one cgroup version."""
    return [
        CgroupFile(weight, _show_weight, _write_weight, Where.CHILD),
        CgroupFile(qos, _show_qos, _write_qos, Where.ROOT),
        CgroupFile(model, _show_model, _write_model, Where.ROOT),
    ]


def created(group: Group) -> None:
    """Weights are not inherited; the root holds the rows of qos and model, one table per key."""
    group.numbers[WEIGHT] = 100
    tables = [WEIGHT]
    if group.parent is None:
        tables += [f"{QOS}:{key}" for key in ("enable", "user", *_QOS_KEYS)]
        tables += [f"{MODEL}:{key}" for key in ("user", *_MODEL_KEYS)]
    group.rows.update({name: {} for name in tables})


# --- weight ---------------------------------------------------------------------------------------------------------


def _show_weight(group: Group) -> str:
    return f"default {group.numbers[WEIGHT]}\n" + "".join(f"{d} {n}\n" for d, n in by_device(group, WEIGHT))


def _write_weight(group: Group, text: str) -> None:
    """``N``, ``default N``, ``MAJ:MIN N`` or ``MAJ:MIN default``; 1…10000.

    EOPNOTSUPP for a disk that iocost does not run on: on v2 one without rows, on ANCK also one with ``enable=0``.
    """
    if ":" not in text:
        group.numbers[WEIGHT] = _weight(re.sub(r"^\s*default\s+", "", text))
        return
    disk, body = parse_device(group, text)
    enable = group.hierarchy.root.rows[f"{QOS}:enable"].get(disk.number)
    if enable is None or (group.hierarchy.version == 1 and not enable):
        refuse(errno.EOPNOTSUPP)
    know(group, disk)
    if body.strip() == "default":
        group.rows[WEIGHT].pop(disk.number, None)
    else:
        group.rows[WEIGHT][disk.number] = _weight(body)


def _weight(text: str) -> int:
    digits = re.match(r"\s*(\d+)", text)
    if digits is None or not 1 <= int(digits[1]) <= 10000:
        refuse(errno.EINVAL)
    return int(digits[1])


# --- qos ------------------------------------------------------------------------------------------------------------


def _show_qos(group: Group) -> str:
    lines = []
    for device, enable in by_device(group, f"{QOS}:enable"):
        row = {key: group.rows[f"{QOS}:{key}"][device] for key in ("user", *_QOS_KEYS)}
        shown = " ".join(f"{key}={_hundredths(row[key]) if key in _PERCENT else row[key]}" for key in _QOS_KEYS)
        lines.append(f"{device} enable={enable} ctrl={_ctrl(row['user'])} {shown}\n")
    return "".join(lines)


def _hundredths(value: int) -> str:
    return f"{value // 100}.{value % 100:02}"


def _ctrl(user: int) -> str:
    return "user" if user else "auto"


def _write_qos(group: Group, text: str) -> None:
    """ioc_qos_write: any parameter but enable makes ctrl ``user``; a later ``ctrl=auto`` undoes the parameters."""
    disk, body = parse_device(group, text)
    row = _current(group, disk, QOS, ("enable", "user", *_QOS_KEYS), _auto_qos(disk))
    for key, word in _pairs(body):
        if key == "enable":
            row["enable"] = int(_number(word) != 0)
        elif key == "ctrl":
            row["user"] = _parse_ctrl(word)
        elif key in _PERCENT:
            row.update({key: _percent(key, word), "user": 1})
        elif key in _QOS_KEYS:
            row.update({key: _number(word), "user": 1})
        else:
            refuse(errno.EINVAL)
    if row["min"] > row["max"]:
        refuse(errno.EINVAL)
    if not row["user"]:
        row.update({k: v for k, v in _auto_qos(disk).items() if k in _QOS_KEYS})
    _store(group, disk, QOS, row)
    # The first write creates the device's iocost state, and with it its model row.
    _store(group, disk, MODEL, _current(group, disk, MODEL, ("user", *_MODEL_KEYS), _auto_model(disk)))


def _percent(key: str, word: str) -> int:
    match = re.fullmatch(r"(\d+)(?:\.(\d{1,2})\d*)?", word)
    if match is None:
        refuse(errno.EINVAL)
    value = int(match[1]) * 100 + int((match[2] or "0").ljust(2, "0"))
    if key in ("min", "max"):
        return min(max(value, _VRATE_MIN), _VRATE_MAX)
    if value > 10000:
        refuse(errno.EINVAL)
    return value


def _auto_qos(disk: Disk) -> dict[str, int]:
    latency = (_HDD if disk.rotational else _SSD)[0]
    bounds = {"min": _VRATE_MIN, "max": _VRATE_MAX}
    return {"enable": 0, "user": 0, "rpct": 0, "rlat": latency, "wpct": 0, "wlat": latency, **bounds}


# --- model ----------------------------------------------------------------------------------------------------------


def _show_model(group: Group) -> str:
    lines = []
    for device, user in by_device(group, f"{MODEL}:user"):
        shown = " ".join(f"{key}={group.rows[f'{MODEL}:{key}'][device]}" for key in _MODEL_KEYS)
        lines.append(f"{device} ctrl={_ctrl(user)} model=linear {shown}\n")
    return "".join(lines)


def _write_model(group: Group, text: str) -> None:
    """ioc_cost_model_write: only the linear model exists; any coefficient makes ctrl ``user``."""
    disk, body = parse_device(group, text)
    row = _current(group, disk, MODEL, ("user", *_MODEL_KEYS), _auto_model(disk))
    for key, word in _pairs(body):
        if key == "ctrl":
            row["user"] = _parse_ctrl(word)
        elif key in _MODEL_KEYS:
            row.update({key: _number(word), "user": 1})
        elif (key, word) != ("model", "linear"):
            refuse(errno.EINVAL)
    if not row["user"]:
        row = _auto_model(disk)
    _store(group, disk, MODEL, row)
    _store(group, disk, QOS, _current(group, disk, QOS, ("enable", "user", *_QOS_KEYS), _auto_qos(disk)))


def _auto_model(disk: Disk) -> dict[str, int]:
    coefficients = (_HDD if disk.rotational else _SSD)[1]
    return {"user": 0, **dict(zip(_MODEL_KEYS, coefficients, strict=True))}


# --- shared ---------------------------------------------------------------------------------------------------------


def _pairs(body: str) -> list[tuple[str, str]]:
    pairs = [word.partition("=") for word in body.split()]
    return [(key, value) for key, _, value in pairs]


def _number(word: str) -> int:
    if not word.isdecimal() or int(word) > U64_MAX:
        refuse(errno.EINVAL)
    return int(word)


def _parse_ctrl(word: str) -> int:
    if word not in ("auto", "user"):
        refuse(errno.EINVAL)
    return int(word == "user")


def _current(group: Group, disk: Disk, name: str, keys: tuple[str, ...], default: dict[str, int]) -> dict[str, int]:
    return {key: group.rows[f"{name}:{key}"].get(disk.number, default[key]) for key in keys}


def _store(group: Group, disk: Disk, name: str, row: dict[str, int]) -> None:
    for key, value in row.items():
        group.rows[f"{name}:{key}"][disk.number] = value
