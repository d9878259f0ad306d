"""The pids control of a group."""

from __future__ import annotations

from cotune.controls.base import UNLIMITED, Limit, Part, Value, Values


class PidsMax(Limit):
    """``pids.max``; ``max`` is kept as -1."""

    name = "pids.max"
    controller = "pids"

    def parse(self, part: str, text: str, row: str | None) -> Value:
        return UNLIMITED if text.strip() == "max" else int(text)

    def format(self, part: str, value: Value, row: str | None) -> str:
        return "max" if value == UNLIMITED else str(value)

    def show(self, part: str, value: Value) -> str:
        return self.format(part, value, None)

    def looser(self, old: Values, new: Values) -> Values:
        return old if old.get("max") == UNLIMITED else new if new.get("max") == UNLIMITED else super().looser(old, new)


CONTROLS = (PidsMax(Part("max", "pids.max", {"v1": "pids.max", "v2": "pids.max"}, UNLIMITED, at_root=False)),)
