"""Memory controls."""

from __future__ import annotations

from cotune.controls.base import UNLIMITED, Control, Limit, Part, Value, Values, Write
from cotune.controls.pairs import Pair
from cotune.knobs.base import ValueContext
from cotune.units import human_size

NO_LIMIT = 9223372036854771712
"""What v1 prints for "no limit" with 4 KiB pages: LONG_MAX rounded down to a page (mm/page_counter.c)."""
_NO_LIMIT_FROM = 2**63 - 65536
"""Any number from here on is "no limit": the largest page is 64 KiB."""


class Bytes(Limit):
    """Byte limits kept as whole pages."""

    controller = "memory"

    def canonical(self, part: str, value: Value, context: ValueContext) -> Value:
        if value == UNLIMITED or not isinstance(value, int) or value >= NO_LIMIT:
            return NO_LIMIT
        return value - value % context.page_size

    def parse(self, part: str, text: str, row: str | None) -> Value:
        value = int(text)
        return NO_LIMIT if value >= _NO_LIMIT_FROM else value

    def format(self, part: str, value: Value, row: str | None) -> str:
        return "-1" if value == NO_LIMIT else str(value)

    def show(self, part: str, value: Value) -> str:
        return "max" if value == NO_LIMIT else human_size(int(value))


class MemoryLimit(Bytes):
    """``memory.limit_in_bytes`` with ``memory.memsw.limit_in_bytes``: the second is never below the first."""

    name = "memory.limit"
    coupled = True
    causes = {
        "EBUSY": "the group uses more than this and the kernel could not reclaim enough",
        "EINVAL": "the limit would be above memory.memsw, or the group is the root",
        "EINTR": "a signal interrupted the reclaim",
    }

    def refusal(self, old: Values, new: Values) -> str | None:
        limit, memsw = new.get("limit"), new.get("memsw")
        if isinstance(limit, int) and isinstance(memsw, int) and limit > memsw:
            low, high = self.show("limit", memsw), self.show("limit", limit)
            return f"memory.limit {high} is above memory.memsw {low}, which counts memory and swap together"
        return None

    def writes(self, old: Values, new: Values) -> list[Write]:
        writes = super().writes(old, new)
        before, after = old.get("memsw"), new.get("memsw")
        raising = isinstance(before, int) and isinstance(after, int) and after > before
        return writes[::-1] if raising else writes


class SoftLimit(Bytes):
    """``memory.soft_limit_in_bytes``."""

    name = "memory.soft_limit"


class MemoryNumber(Control):
    """A memory file that holds one small number."""

    controller = "memory"

    def __init__(self, name: str, *parts: Part, causes: dict[str, str] | None = None) -> None:
        super().__init__(*parts)
        self.name = name
        self.causes = causes or {}


class OomControl(MemoryNumber):
    """``memory.oom_control``: written as 0 or 1, read as a table."""

    def parse(self, part: str, text: str, row: str | None) -> Value:
        for line in text.splitlines():
            key, _, value = line.partition(" ")
            if key == part:
                return int(value)
        raise ValueError(f"no {part} line")


class WatermarkMinAdj(MemoryNumber):
    """ANCK ``memory.wmark_min_adj``: reads the effective value, never what was written.

    Values of this control are the group's own ones; :meth:`own` works them out where it can.
    """

    @staticmethod
    def effective(parent: int, own: int) -> int:
        """What the file reads: the parent's effective value where that is set and larger (mm/memcontrol.c, ANCK)."""
        return parent if parent != 0 and parent > own else own

    def own(self, read: int, parent: int, known: int | None) -> int | None:
        """The group's own value, from what it and its parent read and the last own value known; None if masked."""
        if known is not None and self.effective(parent, known) == read:
            return known
        return read if parent == 0 or read != parent else None


class DirtyPair(Pair):
    """Per-memcg dirty thresholds of kernels that have them."""

    controller = "memory"


#: every ANCK kernel with the watermark and priority files has this one in the root group too (mm/memcontrol.c, ANCK)
_ANCK_SIGN = "memory.use_priority_oom"
CONTROLS: tuple[Control, ...] = (
    MemoryLimit(
        Part("limit", "memory.limit", {"v1": "memory.limit_in_bytes"}, NO_LIMIT),
        Part("memsw", "memory.memsw", {"v1": "memory.memsw.limit_in_bytes"}, NO_LIMIT),
    ),
    SoftLimit(Part("soft_limit", "memory.soft_limit", {"v1": "memory.soft_limit_in_bytes"}, NO_LIMIT)),
    MemoryNumber(
        "memory.swappiness",
        Part("swappiness", "memory.swappiness", {"v1": "memory.swappiness"}),
        causes={"EINVAL": "above what this kernel takes: 100 before Linux 5.8, 200 since"},
    ),
    OomControl(
        "memory.oom_control",
        Part("oom_kill_disable", "memory.oom_kill_disable", {"v1": "memory.oom_control"}),
        causes={"EINVAL": "the group is the root"},
    ),
    WatermarkMinAdj(
        "memory.wmark_min_adj",
        Part("wmark_min_adj", "memory.wmark_min_adj", {"v1": "memory.wmark_min_adj"}, at_root=False, sign=_ANCK_SIGN),
    ),
    MemoryNumber(
        "memory.wmark_ratio",
        Part("wmark_ratio", "memory.wmark_ratio", {"v1": "memory.wmark_ratio"}, at_root=False, sign=_ANCK_SIGN),
    ),
    MemoryNumber(
        "memory.priority",
        Part("priority", "memory.priority", {"v1": "memory.priority"}, 0, at_root=False, sign=_ANCK_SIGN),
    ),
    MemoryNumber(
        "memory.use_priority_oom",
        Part("use_priority_oom", "memory.use_priority_oom", {"v1": "memory.use_priority_oom"}, 0),
    ),
    DirtyPair(
        "memory.dirty",
        Part("ratio", "memory.dirty_ratio", {"v1": "memory.dirty_ratio"}, 0, at_root=False, sign=_ANCK_SIGN),
        Part("bytes", "memory.dirty_bytes", {"v1": "memory.dirty_bytes"}, 0, at_root=False, sign=_ANCK_SIGN),
    ),
    DirtyPair(
        "memory.dirty_background",
        Part(
            "ratio",
            "memory.dirty_background_ratio",
            {"v1": "memory.dirty_background_ratio"},
            0,
            at_root=False,
            sign=_ANCK_SIGN,
        ),
        Part(
            "bytes",
            "memory.dirty_background_bytes",
            {"v1": "memory.dirty_background_bytes"},
            0,
            at_root=False,
            sign=_ANCK_SIGN,
        ),
    ),
)
