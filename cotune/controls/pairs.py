"""Two files of which writing one zeroes the other: dirty thresholds in bytes or percent."""

from __future__ import annotations

from cotune.controls.base import Control, Part, Value, Values, Wanted, Write
from cotune.knobs.base import ValueContext
from cotune.units import human_size


class Pair(Control):
    """``ratio`` and ``bytes``: at most one is not zero (mm/page-writeback.c dirty_ratio_handler and siblings)."""

    coupled = True

    def __init__(self, name: str, *parts: Part) -> None:
        super().__init__(*parts)
        self.name = name

    def show(self, part: str, value: Value) -> str:
        return human_size(int(value)) if part == "bytes" else f"{value}%"

    def settle(self, old: Values, wanted: Wanted, context: ValueContext) -> Values:
        new = super().settle(old, wanted, context)
        if wanted.get("bytes"):
            new["ratio"] = 0
        elif wanted.get("ratio") is not None:
            new["bytes"] = 0
        return new

    def after(self, state: Values, write: Write) -> Values:
        other = "ratio" if write.part == "bytes" else "bytes"
        return {**state, write.part: write.value, other: 0}

    def touches(self, write: Write) -> frozenset[str]:
        return frozenset(("ratio", "bytes"))

    def writes(self, old: Values, new: Values) -> list[Write]:
        ratio, size = new.get("ratio"), new.get("bytes")
        if size:
            return [Write("bytes", size)] if size != old.get("bytes") else []
        if ratio is None or (ratio == old.get("ratio") and not old.get("bytes")):
            return []
        if ratio == 0 and old.get("ratio") == 0:
            # the kernel zeroes the bytes only when the ratio changes, and 0 bytes cannot be written
            return [Write("ratio", 1), Write("ratio", 0)]
        return [Write("ratio", ratio)]
