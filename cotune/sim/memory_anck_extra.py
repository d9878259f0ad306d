"""Files that came to ANCK's memory controller after 4.19: background reaping, page-cache limits, text pages.

Read in mm/memcontrol.c and mm/pagecache_limit.c of 6.6; that 5.10 behaves alike is our assumption, its file set is that
of a node's listing.
"""

from __future__ import annotations

import errno
import re

from cotune.sim.ancksys import REAP_BACKGROUND, SOME_MEMCG
from cotune.sim.files import (
    PAGE,
    CgroupFile,
    Where,
    format_ids,
    number_file,
    parse_ids,
    parse_s32,
    parse_u64,
    refuse,
    report_file,
)
from cotune.sim.hosts.specs import HostSpec
from cotune.sim.machine import Group
from cotune.sim.release import hz, since

REAP = "memory.reap_background"
_LIMIT = "memory.pagecache_limit"
ENABLE, SIZE, SYNC = f"{_LIMIT}.enable", f"{_LIMIT}.size", f"{_LIMIT}.sync"
_INTERVAL, _BYTES = f"{_LIMIT}.reclaim_interval_ms", f"{_LIMIT}.reclaim_bytes"
_MIN_CACHE = "memory.min_cache_kbytes"
_TEXT, _TEXT_PERCENT = "memory.allow_text_unevictable", "memory.text_unevictable_percent"
_DUPTEXT, _DUPTEXT_REFRESH = "memory.allow_duptext", "memory.allow_duptext_refresh"
_DUPTEXT_NODES = "memory.duptext_nodes"
_PRE_OOM, _ASYNC_FORK, _PRIORITY_SWAP = "memory.pre_oom", "memory.async_fork", "memory.use_priority_swap"
_THP = "memory.thp_reclaim"
_THP_WORDS = ("reclaim", "swap", "disable")
#: Copied at mkdir; the rest starts at its default.
_INHERITED = (REAP, ENABLE, SIZE, SYNC, _INTERVAL, _BYTES, _TEXT, _DUPTEXT)
#: The default of the two reclaim numbers is in no source read; 0 is our assumption.
_DEFAULTS = {
    **dict.fromkeys(_INHERITED, 0), _MIN_CACHE: 0, _TEXT_PERCENT: 100, _DUPTEXT_REFRESH: 0, _PRE_OOM: 0, _ASYNC_FORK: 0,
    _PRIORITY_SWAP: 0, _THP: 2,
}  # fmt: skip


def extra_files(name: str, spec: HostSpec) -> list[CgroupFile]:
    """Of 5.10 and later; what concerns program text and huge pages is in the v1 table only."""
    if not since(spec, 5, 10):
        return []
    files = [
        CgroupFile(REAP, lambda group: f"{group.numbers[REAP]}\n", _write_reap),
        number_file(ENABLE, 0, 1, parse=parse_s32),
        CgroupFile(SIZE, lambda group: f"{group.numbers[SIZE]}\n", _write_size),
        number_file(SYNC, 0, 1, parse=parse_s32),
    ]
    newest = since(spec, 6, 6)
    if newest:
        files += [
            CgroupFile(_INTERVAL, lambda group: f"{group.numbers[_INTERVAL]}\n", _write_interval),
            number_file(_BYTES, 0, 2**64 - 1),
            CgroupFile(_MIN_CACHE, lambda group: f"{group.numbers[_MIN_CACHE]}\n", _write_min_cache, Where.CHILD),
        ]
    return files + (_text_files(newest) if name == "memory" else [])


def _text_files(newest: bool) -> list[CgroupFile]:
    files = [
        CgroupFile(_TEXT, lambda group: f"{group.numbers[_TEXT]}\n", _write_text),
        number_file(_TEXT_PERCENT, 0, 100, parse=parse_s32),
        number_file(_DUPTEXT, 0, 1, parse=parse_s32),
    ]
    if newest:
        return [
            *files,
            number_file(_DUPTEXT_REFRESH, 0, 1, parse=parse_s32),
            CgroupFile(_DUPTEXT_NODES, lambda group: f"{format_ids(group.lists[_DUPTEXT_NODES])}\n", _write_nodes),
            number_file(_PRE_OOM, 0, 1, parse=parse_s32),
        ]
    # Known by name only are use_priority_swap and async_fork (0 and 1 is our assumption), and thp_reclaim_ctrl.
    return [
        *files,
        number_file(_PRIORITY_SWAP, 0, 1),
        number_file(_ASYNC_FORK, 0, 1),
        CgroupFile(_THP, _show_thp, _write_thp),
        report_file(f"{_THP}_ctrl", "threshold 16\n"),
        report_file(f"{_THP}_stat", "queue_length 0\nsplit_hugepage 0\n"),
    ]


def inherit_extra(group: Group) -> None:
    """mkdir copies the reaper's switch, the page-cache limit and the permissions for text pages."""
    group.numbers.update(_DEFAULTS)
    group.lists[_DUPTEXT_NODES] = []
    if group.parent is not None:
        group.numbers.update({name: group.parent.numbers[name] for name in _INHERITED})


def _write_reap(group: Group, text: str) -> None:
    """A write covers the whole subtree. A 1 sets bit 2 of the global file; only a 0 at the root takes it away."""
    value = parse_s32(text)
    if value not in (0, 1):
        refuse(errno.EINVAL)
    for member in group.walk():
        member.numbers[REAP] = value
    mask = group.machine.numbers[REAP_BACKGROUND]
    if value:
        mask[0] |= SOME_MEMCG
    elif group.parent is None:
        mask[0] &= ~SOME_MEMCG


def _limit_bytes(group: Group) -> int:
    name = "memory.max" if group.hierarchy.version == 2 else "memory.limit_in_bytes"
    return group.numbers.get(name, 2**63 // PAGE) * PAGE


def _write_size(group: Group, text: str) -> None:
    """memparse without a look at what follows: junk is 0, which takes the limit away. Kept exact, not in pages.

    EINVAL above the group's memory limit, or above the parent's size while that limit is on.
    """
    match = re.match(r"\s*(\d+)([kKmMgGtT]?)", text)
    size = int(match[1]) << 10 * (" kmgt".index(match[2].lower() or " ")) if match else 0
    parent = group.parent
    bound = parent.numbers[SIZE] if parent is not None and parent.numbers[ENABLE] else 0
    if size > _limit_bytes(group) or (bound and size > bound):
        refuse(errno.EINVAL)
    group.numbers[SIZE] = size


def _write_interval(group: Group, text: str) -> None:
    """Kept in ticks (msecs_to_jiffies rounds up), so it reads back rounded."""
    tick = 1000 // hz(group.machine.spec)
    group.numbers[_INTERVAL] = -(-parse_u64(text) // tick) * tick


def _write_min_cache(group: Group, text: str) -> None:
    """kB, rounded down to pages; EINVAL above half of the memory limit."""
    size = parse_u64(text) * 1024
    if size > _limit_bytes(group) // 2:
        refuse(errno.EINVAL)
    group.numbers[_MIN_CACHE] = size // PAGE * PAGE // 1024


def _write_text(group: Group, text: str) -> None:
    """EPERM for 1 while the global switch is off, and nothing here switches it on: its name is in no source read."""
    value = parse_s32(text)
    if value not in (0, 1):
        refuse(errno.EINVAL)
    if value:
        refuse(errno.EPERM)
    group.numbers[_TEXT] = 0


def _write_nodes(group: Group, text: str) -> None:
    group.lists[_DUPTEXT_NODES] = parse_ids(text, len(group.machine.spec.nodes), words=False)


def _show_thp(group: Group) -> str:
    """All choices, the one in force in brackets."""
    chosen = group.numbers[_THP]
    return " ".join(f"[{word}]" if i == chosen else word for i, word in enumerate(_THP_WORDS)) + "\n"


def _write_thp(group: Group, text: str) -> None:
    word = text.strip()
    if word not in _THP_WORDS:
        refuse(errno.EINVAL)
    group.numbers[_THP] = _THP_WORDS.index(word)
