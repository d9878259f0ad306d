"""The catalogue of knobs. One module a family; ``KNOBS`` is all of them."""

from __future__ import annotations

from cotune.knobs import block, cpu, io, memory, mounts, pids, sysctl
from cotune.knobs.base import Knob

KNOBS: tuple[Knob, ...] = (
    *cpu.KNOBS,
    *memory.KNOBS,
    *io.KNOBS,
    *pids.KNOBS,
    *sysctl.KNOBS,
    *block.KNOBS,
    *mounts.KNOBS,
)

#: Key → record. Keys are unique over all sections.
BY_KEY: dict[str, Knob] = {knob.key: knob for knob in KNOBS}


def section(name: str) -> dict[str, Knob]:
    """The knobs of one section of a profile (``group``, ``host``, ``sysctl``, ``block``, ``mount``, ``throttle``)."""
    return {knob.key: knob for knob in KNOBS if knob.section == name}
