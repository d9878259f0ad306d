"""What ``defaults: {unsupported: approximate}`` chooses where a kernel lacks a knob.

============  =========  ============================================================================================
profile key   becomes    rule
============  =========  ============================================================================================
identity low  idle true  SCHED_IDLE for the whole group: any normal task preempts it (kernel/sched/fair.c)
shares        weight     weight = round(shares * 100 / 1024), the kernel's own conversion (kernel/sched/core.c)
weight        shares     shares = round(weight * 1024 / 100), likewise
============  =========  ============================================================================================

Identity ``high`` and ``normal``, and the SMT expeller, have nothing like them elsewhere and stay unsupported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from cotune.controls.base import Value


class Approximation(NamedTuple):
    """``knob`` to use instead, and what a value becomes (None: nothing comes near it)."""

    knob: str
    convert: Callable[[Value], Value | None]


def weight_of(shares: int) -> int:
    """The cpu.weight the kernel shows for shares, kept in its range."""
    return min(max(_round_div(shares * 100, 1024), 1), 10000)


def shares_of(weight: int) -> int:
    """The shares the kernel keeps for a cpu.weight."""
    return _round_div(weight * 1024, 100)


def _round_div(number: int, divisor: int) -> int:
    """DIV_ROUND_CLOSEST of the kernel (include/linux/math.h)."""
    return (number + divisor // 2) // divisor


#: Key of the knob that is missing → what is set in its place.
APPROXIMATIONS = {
    "cpu.identity": Approximation("cpu.idle", lambda value: 1 if int(value) < 0 else None),
    "cpu.shares": Approximation("cpu.weight", lambda value: weight_of(int(value))),
    "cpu.weight": Approximation("cpu.shares", lambda value: shares_of(int(value))),
}
