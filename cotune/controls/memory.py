"""Memory controls."""

from __future__ import annotations

from cotune.controls.base import UNLIMITED, Bound, Control, Gate, Limit, Part, Value, Values, Wanted, Write
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


class WordBytes(Bytes):
    """Byte limits of version 2 files, and of v1 files in their manner: ``max`` is the word for unlimited."""

    def __init__(self, name: str, *parts: Part) -> None:
        super().__init__(*parts)
        self.name = name

    def parse(self, part: str, text: str, row: str | None) -> Value:
        return NO_LIMIT if text.strip() == "max" else super().parse(part, text, row)

    def format(self, part: str, value: Value, row: str | None) -> str:
        return "max" if value == NO_LIMIT else str(value)


class WithCacheRatio(Bytes):
    """A memory limit with TencentOS ``memory.pagecache.max_ratio``, a percentage of it.

    The ratio is taken only while there is a limit (mm/memcontrol.c, TencentOS 5.4): it is written after one is set and
    before it is lifted.
    """

    ratio = "pagecache_max_ratio"

    def canonical(self, part: str, value: Value, context: ValueContext) -> Value:
        return value if part == self.ratio else super().canonical(part, value, context)

    def show(self, part: str, value: Value) -> str:
        return f"{value}%" if part == self.ratio else super().show(part, value)

    def blocked(self, old: Values, wanted: Wanted) -> dict[str, tuple[str, str]]:
        value = wanted.get(self.ratio)
        limited = any(limit.get("limit", NO_LIMIT) not in (None, NO_LIMIT, UNLIMITED) for limit in (old, wanted))
        if value is None or value == old.get(self.ratio) or limited:
            return {}
        return {self.ratio: ("the group has no memory limit the ratio could be of", "set memory.limit as well")}

    def around(self, writes: list[Write], new: Values) -> list[Write]:
        """The writes with that of the ratio where the limit is in force."""
        ratio = [write for write in writes if write.part == self.ratio]
        others = [write for write in writes if write.part != self.ratio]
        return ratio + others if new.get("limit") == NO_LIMIT else others + ratio


class MemoryLimit(WithCacheRatio):
    """``memory.limit_in_bytes`` with ``memory.memsw.limit_in_bytes``: the second is never below the first."""

    name = "memory.limit"
    coupled = True
    owner = "runtime"
    v2 = "memory.limit.v2"
    causes = {
        "EBUSY": "the group uses more than this and the kernel could not reclaim enough",
        "EINVAL": "the limit would be above memory.memsw, or the group is the root",
        "EINTR": "a signal interrupted the reclaim",
        "EPERM": "the group has no memory limit the page cache ratio could be of",
    }

    def refusal(self, old: Values, new: Values, context: ValueContext) -> str | None:
        limit, memsw = new.get("limit"), new.get("memsw")
        if isinstance(limit, int) and isinstance(memsw, int) and limit > memsw:
            low, high = self.show("limit", memsw), self.show("limit", limit)
            return f"memory.limit {high} is above memory.memsw {low}, which counts memory and swap together"
        return None

    def bounds(self, old: Values, new: Values, context: ValueContext) -> list[Bound]:
        return _under_usage(self, old, new, "the kernel refuses that (EBUSY) unless it can reclaim the difference")

    def writes(self, old: Values, new: Values) -> list[Write]:
        writes = super().writes(old, new)
        before, after = old.get("memsw"), new.get("memsw")
        raising = isinstance(before, int) and isinstance(after, int) and after > before
        return self.around(writes[::-1] if raising else writes, new)


def _under_usage(
    control: Bytes, old: Values, new: Values, why: str, flags: tuple[str, ...] = ("force",)
) -> list[Bound]:
    """Consent needed for a limit that is lowered below what the group uses now."""
    usage, before, after = old.get("usage"), old.get("limit"), new.get("limit")
    if not (isinstance(usage, int) and isinstance(before, int) and isinstance(after, int)):
        return []
    if after >= before or after >= usage:
        return []
    shown = control.show("limit", after)
    return [Bound(f"memory.limit {shown} is under the {human_size(usage)} the group uses now: {why}", flags)]


class MemoryLimitV2(WithCacheRatio, WordBytes):
    """``memory.max`` with ``memory.high``.

    Writing memory.max below the usage kills inside the write (mm/memcontrol.c memory_max_write). So a limit that is
    lowered below it goes through memory.high, which reclaims and never kills, and waits until the usage is down.
    """

    coupled = True
    owner = "runtime"
    causes = {
        "EBUSY": "the group uses more than this and the kernel did not reclaim enough in time; memory.max would have "
        "killed in it (--allow-oom lets it)",
        "EPERM": "the group has no memory limit the page cache ratio could be of",
    }

    def bounds(self, old: Values, new: Values, context: ValueContext) -> list[Bound]:
        why = "what cannot be reclaimed would be killed for it"
        return _under_usage(self, old, new, why, ("force", "allow-oom"))

    def writes(self, old: Values, new: Values) -> list[Write]:
        return self.around(self._limits(old, new), new)

    def _limits(self, old: Values, new: Values) -> list[Write]:
        before, after, high = old.get("limit"), new.get("limit"), new.get("high")
        writes = super().writes(old, {**new, "limit": None})
        if not isinstance(after, int) or after == before:
            return writes
        lowers = not isinstance(before, int) or after < before
        limit = Write("limit", after, waits=lowers)
        usage, now = old.get("usage"), old.get("high")
        if not lowers or not isinstance(usage, int) or usage <= after or not isinstance(now, int) or now <= after:
            return [*writes, limit]
        back = [Write("high", high)] if high is not None and high != after else []
        return [Write("high", after), limit, *back]


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


#: TencentOS refuses every write to memory.high on version 1 until this is 1
_WUJING = Gate("/proc/sys/vm/wujing_enable")


class MemoryHigh(WordBytes):
    """``memory.high`` of v1 kernels that have it (ANCK, openEuler); on version 2 it belongs to memory.max."""

    v2 = "memory.limit.v2"


def both_versions(file: str) -> dict[str, str]:
    """A file of the same name on both cgroup versions."""
    return {"v1": file, "v2": file}


def _cache_ratio(version: str) -> Part:
    return Part(
        WithCacheRatio.ratio,
        "memory.pagecache_max_ratio",
        {version: "memory.pagecache.max_ratio"},
        100,
        at_root=False,
        gate=Gate("/proc/sys/vm/pagecache_limit_global", "0"),
    )


#: every ANCK kernel with the watermark and priority files has this one in the root group too (mm/memcontrol.c, ANCK)
_ANCK_SIGN = "memory.use_priority_oom"
CONTROLS: tuple[Control, ...] = (
    MemoryLimit(
        Part("limit", "memory.limit", {"v1": "memory.limit_in_bytes"}, NO_LIMIT),
        Part("memsw", "memory.memsw", {"v1": "memory.memsw.limit_in_bytes"}, NO_LIMIT),
        _cache_ratio("v1"),
        Part("usage", "", {"v1": "memory.usage_in_bytes"}, report=True),
    ),
    MemoryLimitV2(
        "memory.limit.v2",
        Part("limit", "memory.limit", {"v2": "memory.max"}, NO_LIMIT, at_root=False),
        Part("high", "memory.high", {"v2": "memory.high"}, NO_LIMIT, at_root=False),
        _cache_ratio("v2"),
        Part("usage", "", {"v2": "memory.current"}, report=True, at_root=False),
    ),
    MemoryHigh(
        "memory.high",
        Part("high", "memory.high", {"v1": "memory.high"}, NO_LIMIT, at_root=False, gate=_WUJING),
    ),
    WordBytes("memory.min", Part("min", "memory.min", both_versions("memory.min"), 0, at_root=False)),
    WordBytes("memory.low", Part("low", "memory.low", both_versions("memory.low"), 0, at_root=False)),
    WordBytes(
        "memory.swap_max",
        Part("swap_max", "memory.swap_max", {"v2": "memory.swap.max"}, NO_LIMIT, at_root=False),
    ),
    WordBytes(
        "memory.swap_high",
        Part("swap_high", "memory.swap_high", both_versions("memory.swap.high"), NO_LIMIT, at_root=False),
    ),
    MemoryNumber(
        "memory.oom_group",
        Part("oom_group", "memory.oom_group", both_versions("memory.oom.group"), 0, at_root=False),
        causes={"EINVAL": "not 0 or 1"},
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
        Part(
            "wmark_min_adj",
            "memory.wmark_min_adj",
            both_versions("memory.wmark_min_adj"),
            at_root=False,
            sign=_ANCK_SIGN,
        ),
    ),
    MemoryNumber(
        "memory.wmark_ratio",
        Part("wmark_ratio", "memory.wmark_ratio", both_versions("memory.wmark_ratio"), at_root=False, sign=_ANCK_SIGN),
    ),
    MemoryNumber(
        "memory.wmark_scale_factor",
        Part(
            "wmark_scale_factor",
            "memory.wmark_scale_factor",
            both_versions("memory.wmark_scale_factor"),
            at_root=False,
            sign=_ANCK_SIGN,
            top=50,
        ),
        causes={"EINVAL": "1 to 1000; 0 is refused"},
    ),
    MemoryNumber(
        "memory.priority",
        Part("priority", "memory.priority", both_versions("memory.priority"), 0, at_root=False, sign=_ANCK_SIGN),
    ),
    MemoryNumber(
        "memory.use_priority_oom",
        Part("use_priority_oom", "memory.use_priority_oom", both_versions("memory.use_priority_oom"), 0),
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
