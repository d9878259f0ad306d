"""/proc/cpuinfo: the host's entries of the CPUs a container sees."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

_NUMBER = re.compile(rb"(?m)^processor\s*:?\s*(\d+)")
_FIELD = re.compile(rb"(?m)^(physical id|core id|siblings|cpu cores)(\s*: )(\d+)")
_S390_LINE = re.compile(rb"(?m)^processor (\d+): .*\n?")
_S390_COUNT = re.compile(rb"(?m)^(# processors\s*: )\d+")


class Entry(NamedTuple):
    """A paragraph of /proc/cpuinfo and the CPU it is about (None: about the machine)."""

    number: int | None
    text: bytes


def parse(data: bytes) -> tuple[Entry, ...]:
    """The paragraphs of /proc/cpuinfo. The one in which s390 lists all CPUs is about the machine."""
    entries = []
    for text in re.findall(rb"(?s).+?\n(?:\n+|\Z)", data):
        found = (
            re.search(rb"(?m)^cpu number\s*: (\d+)", text) if text.startswith(b"cpu number") else _NUMBER.match(text)
        )
        entries.append(Entry(int(found[1]) if found else None, text))
    return tuple(entries)


def render(entries: tuple[Entry, ...], shown: Collection[int]) -> bytes:
    """The entries of the CPUs ``shown``, with the siblings and cores of a package counted as for unplugged CPUs."""
    kept = [entry for entry in entries if entry.number is None or entry.number in shown]
    siblings: dict[int, int] = {}
    cores: dict[int, set[int]] = {}
    for entry in kept:
        package, core = _place(entry.text)
        siblings[package] = siblings.get(package, 0) + 1
        cores.setdefault(package, set()).add(core)
    return b"".join(
        _machine(entry.text, shown) if entry.number is None else _counted(entry.text, siblings, cores) for entry in kept
    )


def _fields(text: bytes) -> dict[bytes, int]:
    return {name: int(value) for name, _, value in _FIELD.findall(text)}


def _place(text: bytes) -> tuple[int, int]:
    fields = _fields(text)
    return fields.get(b"physical id", 0), fields.get(b"core id", 0)


def _counted(text: bytes, siblings: dict[int, int], cores: dict[int, set[int]]) -> bytes:
    """arch/x86/kernel/cpu/proc.c prints the online siblings and the cores that came up."""
    package, _ = _place(text)
    now = {b"siblings": siblings[package], b"cpu cores": len(cores[package])}
    return _FIELD.sub(lambda m: m[1] + m[2] + (b"%d" % now[m[1]] if m[1] in now else m[3]), text)


def _machine(text: bytes, shown: Collection[int]) -> bytes:
    """The paragraph of arch/s390/kernel/processor.c that counts and lists all CPUs; others have nothing to change."""
    text = _S390_COUNT.sub(lambda m: m[1] + b"%d" % len(shown), text)
    return _S390_LINE.sub(lambda m: m[0] if int(m[1]) in shown else b"", text)
