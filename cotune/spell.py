"""Values as people write them in profiles: the way back from what a kernel file holds."""

from __future__ import annotations

from cotune.controls.base import UNLIMITED, Value
from cotune.controls.memory import NO_LIMIT
from cotune.knobs.base import Knob
from cotune.knobs.types import Boolean, Burst, CpuList, CpuTime, Duration, Integer, NodeList, Size, Words
from cotune.units import SIZE_UNITS

Written = str | int | float | bool


#: A larger number of CPUs is not taken for a quota.
_MOST_CPUS = 65536


class Inexpressible(Exception):
    """A value that no profile can ask for; the message says why."""


def spell(knob: Knob, value: Value, period: int = 0) -> Written:
    """What to write for ``knob`` so that it resolves to ``value`` again. Raises Inexpressible.

    ``period`` is the group's CPU period in µs: a quota that is a round number of CPUs of it is written so.
    """
    kind = knob.type
    if isinstance(kind, Boolean):
        return bool(value)
    if isinstance(kind, Words):
        return _word(kind, value)
    if isinstance(kind, (CpuList, NodeList)) or not isinstance(value, int):
        return value
    if value == UNLIMITED or (isinstance(kind, Size) and value >= NO_LIMIT):
        return "max"
    if isinstance(kind, Size):
        return exact_size(value, kind.unit)
    if isinstance(kind, CpuTime) and (cpus := _cpus(value, period)) is not None:
        return cpus
    if isinstance(kind, (CpuTime, Duration, Burst)):
        return exact_duration(value)
    if isinstance(kind, Integer) and not kind.low <= value <= kind.high:
        raise Inexpressible(f"{value} is not {kind.expected}")
    return value


def exact_size(size: int, unit: int = 1) -> str | int:
    """A size in the largest binary unit that divides it; the bare number (of ``unit`` bytes) when none does."""
    total = size * unit
    for name in ("TiB", "GiB", "MiB", "KiB"):
        factor = SIZE_UNITS[name.lower()]
        if total and total % factor == 0:
            return f"{total // factor}{name}"
    return size


def exact_duration(microseconds: int) -> str:
    """A duration in the largest unit that divides it."""
    for name, factor in (("s", 10**6), ("ms", 10**3)):
        if microseconds and microseconds % factor == 0:
            return f"{microseconds // factor}{name}"
    return f"{microseconds}us"


def _word(kind: Words, value: Value) -> str:
    for word, number in kind.words.items():
        if number == value:
            return word
    raise Inexpressible(f"{value} has no word: {', '.join(kind.words)}")


def _cpus(quota: int, period: int) -> int | float | None:
    """The quota as CPUs with at most two decimals, or None when that would not give it back exactly."""
    if period <= 0:
        return None
    cpus = round(quota / period, 2)
    if not 0 < cpus <= _MOST_CPUS or round(cpus * period) != quota:
        return None
    return int(cpus) if cpus == int(cpus) else cpus
