"""Values as people write them in profiles: the way back from what a kernel file holds."""

from __future__ import annotations

from cotune.controls.base import UNLIMITED, Value
from cotune.controls.memory import NO_LIMIT
from cotune.knobs.base import NO_HOST, Knob, ValueType
from cotune.knobs.mounts import NumberOrOff
from cotune.knobs.types import Boolean, Burst, CpuTime, Duration, Integer, Percent, Size, Words
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
    written = _written(knob.type, value, period)
    try:
        knob.type.resolve(written, NO_HOST)
    except (ValueError, OverflowError):
        raise Inexpressible(f"{str(value) or 'an empty text'} is not {knob.type.expected}") from None
    return written


def _written(kind: ValueType, value: Value, period: int) -> Written:
    """What the value would be written as; whether its type takes that is another question."""
    if isinstance(kind, Boolean):
        return _flag(value)
    if isinstance(kind, Words):
        return _word(kind, value)
    if not isinstance(value, int):
        return value
    if _is_unlimited(kind, value):
        return "max"
    if isinstance(kind, NumberOrOff) and value == -1:
        return False
    if isinstance(kind, Size):
        return exact_size(value, kind.unit)
    if isinstance(kind, Percent):
        return value // 100 if value % 100 == 0 else value / 100
    if isinstance(kind, CpuTime) and (cpus := _cpus(value, period)) is not None:
        return cpus
    return exact_duration(value) if isinstance(kind, (CpuTime, Duration, Burst)) else value


def _is_unlimited(kind: ValueType, value: int) -> bool:
    """Whether a number stands for no limit; -1 is a number like others where a knob has no ``max``."""
    if isinstance(kind, CpuTime):
        return value == UNLIMITED
    if not isinstance(kind, (Size, Integer)) or not kind.unlimited:
        return False
    return value == UNLIMITED or (isinstance(kind, Size) and value >= NO_LIMIT)


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


def _flag(value: Value) -> bool:
    if value not in (0, 1):
        raise Inexpressible(f"{value} is neither off (0) nor on (1)")
    return bool(value)


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
