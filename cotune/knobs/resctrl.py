"""Knobs of a resctrl class: its parts of the caches and of the memory bandwidth.

How the values are written, and what they mean before the limits of a machine are known, stands here; what becomes of
them on a machine stands in ``cotune/controls/resctrl.py``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from cotune.knobs.base import Knob, ValueContext
from cotune.knobs.types import CpuList, Words
from cotune.units import parse_percent

_NUMBER = r"\d{1,3}(?:\.\d{1,2})?"
_PERCENTS = re.compile(rf"({_NUMBER})%?\s*-\s*({_NUMBER})%")
_BITS = re.compile(r"(?:bits?\s+(\d{1,2})(?:-(\d{1,2}))?|(\d{1,2})-(\d{1,2}))")
# digits alone would be ambiguous: text of the kernel is hexadecimal, a number of YAML is not
_HEX = re.compile(r"0[xX][0-9a-fA-F]{1,8}|(?=[0-9]*[a-fA-F])[0-9a-fA-F]{1,8}")
_RATE = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s*([MG])Bps", re.IGNORECASE)
_MOST_BITS = 32  # a mask is a u32 (include/linux/resctrl.h struct resctrl_cache, cbm_len)
#: Hundredths of a percent in the whole.
WHOLE = 100_00


class Portion(NamedTuple):
    """A part of a cache. ``kind`` is ``percent`` (from ``low`` to ``high`` hundredths of a percent), ``bits`` (the
    first and the last) or ``mask`` (``low``)."""

    kind: str
    low: int
    high: int = 0


class Rate(NamedTuple):
    """A memory bandwidth. ``unit`` is ``percent`` (hundredths), ``MBps``, ``GBps`` (eighths, rounded up), ``max`` or
    ``file`` (a bare number: whatever the kernel's file counts in)."""

    unit: str
    amount: int = 0


@dataclass(frozen=True)
class CacheShare:
    """A part of a cache: percent, a range of percent, a range of bits, or a mask."""

    expected: str = (
        "a percentage such as 30%, a range of percent such as 20-50%, bits such as 0-3 or bits 4, a mask such as 0xff, "
        "or max"
    )

    def schema(self) -> dict[str, Any]:
        return _each_cache({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string"}]})

    def resolve(self, value: Any, context: ValueContext) -> Portion:
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**_MOST_BITS:
            return Portion("mask", value)
        if not isinstance(value, str):
            raise ValueError(self.expected)
        text = value.strip()
        if (percent := parse_percent(text)) is not None:
            return self._percent(0, percent)
        if found := _PERCENTS.fullmatch(text):
            return self._percent(float(found[1]), float(found[2]))
        if found := _BITS.fullmatch(text):
            first, last = found[1] or found[3], found[2] or found[4]
            return self._bits(int(first), int(last or first))
        if _HEX.fullmatch(text):
            return Portion("mask", int(text, 16))
        if text == "max":
            return Portion("percent", 0, WHOLE)
        if text.isdecimal():
            raise ValueError(f"bits {text}-N for bits, or 0x{text} for a mask")
        raise ValueError(self.expected)

    def _percent(self, low: float, high: float) -> Portion:
        if not 0 <= low < high <= 100:
            raise ValueError("a range of percent that goes up, from 0 to 100, such as 20-50%")
        return Portion("percent", round(low * 100), round(high * 100))

    def _bits(self, first: int, last: int) -> Portion:
        if not first <= last < _MOST_BITS:
            raise ValueError(f"bits that go up, from 0 to {_MOST_BITS - 1}, such as 0-3")
        return Portion("bits", first, last)


@dataclass(frozen=True)
class Bandwidth:
    """Memory bandwidth: percent, MBps, GBps or the kernel's own number."""

    expected: str = (
        "a percentage such as 20%, 5000MBps (resctrl mounted with mba_MBps), 12.5GBps (AMD), max, or a number as the "
        "kernel file takes it"
    )

    def schema(self) -> dict[str, Any]:
        return _each_cache({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string"}]})

    def resolve(self, value: Any, context: ValueContext) -> Rate:
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32:
            return Rate("file", value)
        if not isinstance(value, str):
            raise ValueError(self.expected)
        text = value.strip()
        if text == "max":
            return Rate("max")
        if (percent := parse_percent(text)) is not None:
            if not 0 < percent <= 100:
                raise ValueError("a percentage above 0 and up to 100")
            return Rate("percent", round(percent * 100))
        found = _RATE.fullmatch(text)
        if found is None:
            raise ValueError(self.expected)
        thousandths = round(float(found[1]) * 1000)
        if found[2] in "Gg":
            return Rate("GBps", -(-thousandths * 8 // 1000))
        if thousandths % 1000:
            raise ValueError("a whole number of MBps")
        return Rate("MBps", thousandths // 1000)


def _each_cache(one: dict[str, Any]) -> dict[str, Any]:
    """The value for all caches, or a mapping of cache id → value."""
    each = {"type": "object", "minProperties": 1, "propertyNames": {"pattern": "^[0-9]+$"}, "additionalProperties": one}
    return {"anyOf": [*one["anyOf"], each]}


_CACHE_DOC = (
    "Percent become the bits of the capacity mask that cover them, rounded outwards: at least the fewest bits the "
    "hardware takes. A mapping gives each cache its own, by the id in schemata: {0: 50%, 1: 0xf}. The class "
    "default is the group of all tasks without another class."
)
_CDP = " Only while resctrl is mounted with {option}, which host.resctrl.mount asks for."
_SOURCE = "fs/resctrl/ctrlmondata.c (before 6.16 arch/x86/kernel/cpu/resctrl)"


def _cache(part: str, title: str, doc: str, confidence: str = "live") -> Knob:
    return Knob(f"resctrl.{part}", "resctrl", title, CacheShare(), "resctrl.schemata", part, doc, _SOURCE, confidence)


KNOBS = (
    _cache("l3", "Part of the L3 cache", _CACHE_DOC),
    _cache(
        "l3code",
        "Part of the L3 cache for code",
        "Like l3, for instructions." + _CDP.format(option="cdp"),
    ),
    _cache("l3data", "Part of the L3 cache for data", "Like l3, for data." + _CDP.format(option="cdp")),
    _cache("l2", "Part of the L2 cache", "Like l3, for the L2 caches.", "source"),
    _cache(
        "l2code",
        "Part of the L2 cache for code",
        "Like l2, for instructions." + _CDP.format(option="cdpl2"),
        "source",
    ),
    _cache("l2data", "Part of the L2 cache for data", "Like l2, for data." + _CDP.format(option="cdpl2"), "source"),
    Knob(
        "resctrl.mb",
        "resctrl",
        "Memory bandwidth",
        Bandwidth(),
        "resctrl.schemata",
        "mb",
        "Intel takes percent, rounded up to steps of info/MB/bandwidth_gran; mounted with mba_MBps the kernel takes "
        "MBps and steers the percentage itself. AMD counts in 1/8 GB/s and knows no percentage but 100%. A mapping "
        "gives each cache its own, by the id in schemata.",
        _SOURCE,
    ),
    Knob(
        "resctrl.mode",
        "resctrl",
        "Whether other classes may use its bits",
        Words({"shareable": "shareable", "exclusive": "exclusive"}),
        "resctrl.mode",
        "mode",
        "An exclusive class shares no bit of any cache with another class, nor with hardware (shareable_bits); the "
        "class default has all bits until a profile gives it fewer.",
        "fs/resctrl/rdtgroup.c rdtgroup_mode_write",
    ),
    Knob(
        "resctrl.cpus",
        "resctrl",
        "CPUs whose tasks belong to the class",
        CpuList(),
        "resctrl.cpus",
        "cpus",
        "Tasks of the class default get this class while they run on one of these CPUs. A CPU belongs to one class: "
        "taking it here takes it from another.",
        "fs/resctrl/rdtgroup.c rdtgroup_cpus_write",
    ),
)
