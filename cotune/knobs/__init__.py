"""The catalogue of knobs. One module a family; ``KNOBS`` is all of them."""

from __future__ import annotations

from cotune.knobs import block, cpu, ext4, io, memory, mm, mounts, openeuler, pids, resctrl, sched, sysctl, tencentos
from cotune.knobs.base import Knob

KNOBS: tuple[Knob, ...] = (
    *cpu.KNOBS,
    *memory.KNOBS,
    *io.KNOBS,
    *pids.KNOBS,
    *openeuler.KNOBS,
    *tencentos.KNOBS,
    *sched.KNOBS,
    *mm.KNOBS,
    *sysctl.KNOBS,
    *block.KNOBS,
    *mounts.KNOBS,
    *ext4.KNOBS,
    *resctrl.KNOBS,
)

#: Key → record. Keys are unique over all sections.
BY_KEY: dict[str, Knob] = {knob.key: knob for knob in KNOBS}

#: Lists below ``io`` of a group → the section of the knobs an entry may set beside its device.
IO_LISTS = {"throttle": "throttle", "max": "throttle", "weight": "weight", "latency": "latency"}


def section(name: str) -> dict[str, Knob]:
    """The knobs of one section of a profile (``group``, ``host``, ``sysctl``, ``block``, ``mount``, or
    one of an IO list)."""
    return {knob.key: knob for knob in KNOBS if knob.section == name}
