"""Sizes, durations and CPU lists: what people write in profiles and what kernels print.

Nothing here touches the host. Percentages are taken of a total the caller passes in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

SIZE_UNITS = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
SIZE_EXPECTED = "a size such as 64GiB, 500MB, 4096, 3% (of MemTotal), min(4GiB, 3%) or max"
DURATION_UNITS = {"us": 1, "µs": 1, "ms": 10**3, "s": 10**6, "m": 60 * 10**6, "min": 60 * 10**6, "h": 3600 * 10**6}
DURATION_EXPECTED = "a duration such as 100ms, 20us, 1.5s or a bare number of seconds"

_NUMBER = re.compile(r"\s*(\d{1,20}(?:\.\d{1,9})?)\s*([A-Za-zµ%]*)\s*\Z")
_CALL = re.compile(r"\s*(min|max)\(([^(),]{1,60}),([^(),]{1,60})\)\s*\Z")
_U64 = 2**64 - 1


def parse_size(value: object, mem_total: int, unit: int = 1) -> int:
    """The size a profile value means, in units of ``unit`` bytes, rounded down.

    ``value`` is a number (already in the kernel file's own unit) or text: ``N`` with a unit of :data:`SIZE_UNITS`,
    ``N%`` of ``mem_total`` (bytes), or ``min(a, b)`` / ``max(a, b)`` of two such. Raises ValueError.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(SIZE_EXPECTED)
    if isinstance(value, str) and (call := _CALL.match(value)):
        sizes = [parse_size(part, mem_total, unit) for part in (call[2], call[3])]
        return min(sizes) if call[1] == "min" else max(sizes)
    result = _plain_size(str(value), mem_total, unit)
    if result > _U64:
        raise ValueError("a size below 2^64")
    return result


def _plain_size(text: str, mem_total: int, unit: int) -> int:
    match = _NUMBER.match(text)
    if match is None:
        raise ValueError(SIZE_EXPECTED)
    number, suffix = match[1], match[2].lower()
    if not suffix:
        if "." in number:
            raise ValueError("a whole number, or a size with a unit such as 1.5GiB")
        return int(number)
    if suffix == "%":
        return _scaled(number, mem_total) // (100 * unit)
    if suffix not in SIZE_UNITS:
        raise ValueError(SIZE_EXPECTED)
    return _scaled(number, SIZE_UNITS[suffix]) // unit


def _scaled(number: str, factor: int) -> int:
    """``number`` (decimal text) times ``factor``, exactly, rounded down: floats would lose bytes above 2^53."""
    whole, _, fraction = number.partition(".")
    scale: int = 10 ** len(fraction)
    return (int(whole + fraction) * factor) // scale


def parse_duration(value: object) -> int:
    """A duration in µs. A bare number is seconds. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(DURATION_EXPECTED)
    match = _NUMBER.match(str(value))
    suffix = match[2].lower() or "s" if match else ""
    if match is None or suffix not in DURATION_UNITS:
        raise ValueError(DURATION_EXPECTED)
    return _scaled(match[1], DURATION_UNITS[suffix])


def parse_percent(text: str) -> float | None:
    """The number before a ``%`` sign, or None when ``text`` is no percentage."""
    match = _NUMBER.match(text)
    return float(match[1]) if match and match[2] == "%" else None


def parse_cpulist(text: str) -> frozenset[int]:
    """CPU or node numbers of a kernel list such as ``0-3,8`` (bitmap_parselist). Raises ValueError."""
    numbers: set[int] = set()
    for part in text.strip().split(","):
        if not part.strip():
            continue
        match = re.match(r"\s*(\d{1,6})(?:-(\d{1,6}))?\s*\Z", part)
        if match is None:
            raise ValueError("a list of numbers and ranges such as 0-3,8")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f"a range whose end is not below its start (not {part.strip()})")
        if last > 65535:
            raise ValueError("CPU numbers up to 65535")
        numbers.update(range(first, last + 1))
    return frozenset(numbers)


def format_cpulist(numbers: Iterable[int]) -> str:
    """The kernel's canonical form of a set of numbers (``%*pbl``): ascending, runs as ranges."""
    parts: list[str] = []
    ordered = sorted(numbers)
    index = 0
    while index < len(ordered):
        end = index
        while end + 1 < len(ordered) and ordered[end + 1] == ordered[end] + 1:
            end += 1
        parts.append(str(ordered[index]) if end == index else f"{ordered[index]}-{ordered[end]}")
        index = end + 1
    return ",".join(parts)


def human_duration(microseconds: int) -> str:
    """A duration as people write it: ``100ms``, ``250us``."""
    return f"{microseconds // 1000}ms" if microseconds and microseconds % 1000 == 0 else f"{microseconds}us"


def human_size(size: int) -> str:
    """Bytes for people: exact in the largest unit that gives a short number, otherwise with one decimal."""
    for name in ("TiB", "GiB", "MiB", "KiB"):
        factor = SIZE_UNITS[name.lower()]
        if size >= factor and size % factor == 0 and size // factor < 10000:
            return f"{size // factor}{name}"
    for name in ("TiB", "GiB", "MiB", "KiB"):
        factor = SIZE_UNITS[name.lower()]
        if size >= factor:
            return f"{size / factor:.1f}{name}"
    return f"{size}B"


def count(number: int, noun: str) -> str:
    """A number with its noun: ``1 value``, ``2 values``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
