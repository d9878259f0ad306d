"""ANCK group identity: cpu.bvt_warp_ns and cpu.identity (kernel/sched/core.c of ANCK, read from source, not run)."""

from __future__ import annotations

import errno

from cotune.sim.files import CgroupFile, parse_s64, refuse
from cotune.sim.machine import Group

BVT, FLAGS = "cpu.bvt_warp_ns", "cpu.identity"
GATE = "/proc/sys/kernel/sched_group_identity_enabled"
UNDERCLASS, HIGHCLASS, SMT_EXPELLER, IDLE_SAVER, IDLE_SEEKER = 0x1, 0x2, 0x4, 0x8, 0x10
_MASK = 0xFF
_FLAGS_OF = {
    -2: UNDERCLASS | IDLE_SAVER,
    -1: UNDERCLASS | IDLE_SAVER,
    0: 0,
    1: HIGHCLASS | IDLE_SEEKER,
    2: HIGHCLASS | IDLE_SEEKER | SMT_EXPELLER,
}


def inherit_identity(group: Group) -> None:
    """Both values are copied once, at mkdir; later writes to the parent do not reach the child."""
    for name in (BVT, FLAGS):
        group.numbers[name] = group.parent.numbers[name] if group.parent is not None else 0


def _check_usable(group: Group) -> None:
    """The files are visible at the root and with the gate closed, yet refuse every write there."""
    if group.parent is None or group.machine.numbers[GATE][0] == 0:
        refuse(errno.EINVAL)


def _write_bvt(group: Group, text: str) -> None:
    """ERANGE outside -2…2. Writing the number it already has does not apply the flags again."""
    value = parse_s64(text)
    _check_usable(group)
    if value not in _FLAGS_OF:
        refuse(errno.ERANGE)
    if value != group.numbers[BVT]:
        group.numbers.update({BVT: value, FLAGS: _FLAGS_OF[value]})


def _write_flags(group: Group, text: str) -> None:
    """ERANGE outside the mask, EINVAL for both classes at once. cpu.bvt_warp_ns keeps its number."""
    flags = parse_s64(text)
    _check_usable(group)
    if flags & ~_MASK:
        refuse(errno.ERANGE)
    if flags & UNDERCLASS and flags & HIGHCLASS:
        refuse(errno.EINVAL)
    group.numbers[FLAGS] = flags


BVT_FILE = CgroupFile(BVT, lambda group: f"{group.numbers[BVT]}\n", _write_bvt)
IDENTITY_FILES = (
    BVT_FILE,
    CgroupFile(FLAGS, lambda group: f"{group.numbers[FLAGS]}\n", _write_flags),
)
