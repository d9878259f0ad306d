"""Memory management in sysfs on every kernel: transparent huge pages and the multi-generational LRU.

Sources: mm/huge_memory.c, mm/vmscan.c; observed on 6.1.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from cotune.sim.files import HostFile, Refusal, parse_u64, refuse
from cotune.sim.machine import Machine
from cotune.sim.release import since

_THP = "/sys/kernel/mm/transparent_hugepage/"
#: Menus, the first word being the default.
_MENUS = {
    f"{_THP}enabled": ("always", "madvise", "never"),
    f"{_THP}defrag": ("always", "defer", "defer+madvise", "madvise", "never"),
}
_DEFAULTS = {f"{_THP}enabled": "always", f"{_THP}defrag": "madvise"}
_LRU = "/sys/kernel/mm/lru_gen/enabled"
_LRU_ALL = 0x7


def boot(machine: Machine) -> None:
    """Defaults of the probed kernel; the multi-generational LRU is built in and off."""
    machine.texts.update(_DEFAULTS)
    machine.numbers[_LRU] = [0]


def files(machine: Machine) -> Iterator[tuple[str, HostFile]]:
    """The menus, and lru_gen since 6.1."""
    for path in _MENUS:
        yield path, _menu(machine, path)
    if since(machine.spec, 6, 1):
        yield _LRU, HostFile(lambda: f"0x{machine.numbers[_LRU][0]:04x}\n", lambda text: _write_lru(machine, text))


def _menu(machine: Machine, path: str) -> HostFile:
    """All words, the one in force in brackets. sysfs_streq: one trailing newline is fine, a blank is not."""

    def show() -> str:
        chosen = machine.texts[path]
        return " ".join(f"[{word}]" if word == chosen else word for word in _MENUS[path]) + "\n"

    def write(text: str) -> None:
        word = text.removesuffix("\n")
        if word not in _MENUS[path]:
            refuse(errno.EINVAL)
        machine.texts[path] = word

    return HostFile(show, write)


def _write_lru(machine: Machine, text: str) -> None:
    """enabled_store: ``y`` or ``n`` for everything or nothing, else a bit mask."""
    word = text.strip()
    if word[:1].lower() in ("y", "n"):
        machine.numbers[_LRU] = [_LRU_ALL if word[0].lower() == "y" else 0]
        return
    try:
        mask = parse_u64(word)
    except Refusal:
        refuse(errno.EINVAL)
    machine.numbers[_LRU] = [mask & _LRU_ALL]
