"""A control: the smallest kernel state that must be compared, ordered and restored together.

A control has parts, each with a file of its own (or a row of a table). Values are in canonical form: what the kernel
will keep and print, so that equality is ``==``. All methods are pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from cotune.knobs.base import ValueContext
from cotune.knobs.types import UNLIMITED, Share

Value = int | str
#: Part → value; None means that the value is not known.
Values = dict[str, Value | None]
Wanted = Mapping[str, Value | Share | None]


class Write(NamedTuple):
    """Set one part to one value. A control returns these in the order the kernel needs."""

    part: str
    value: Value


class Part(NamedTuple):
    """One file of a control.

    ``files`` is cgroup version (``v1``, ``v2``) or ``any`` → file name; ``fresh`` is what a new cgroup starts with,
    None when it copies its parent; ``knob`` the profile key shown for it; ``at_root`` whether the root group has the
    file too; ``sign`` a file of the root group without which the kernel has this file nowhere.
    """

    name: str
    knob: str
    files: dict[str, str]
    fresh: Value | None = None
    at_root: bool = True
    sign: str = ""


class Control:
    """Base of all controls: independent parts holding whole numbers, no ordering rules inside.

    ``scope`` is ``cgroup``, ``sysctl``, ``block`` or ``mount``; ``controller`` the cgroup controller; ``rows`` tells
    whether files are tables with a row per device; ``reach`` is ``subtree`` when children must be written too.
    """

    name = ""
    scope = "cgroup"
    controller = ""
    rows = False
    #: whether writing one part can change or constrain another, so that all of them are read and settled together
    coupled = False
    reach = "self"
    #: sysctl name that must be 1 before the control can be written, on kernels that have that sysctl
    gate: str | None = None
    parts: dict[str, Part]
    #: errno name → likely cause of a refusal
    causes: Mapping[str, str] = {}

    def __init__(self, *parts: Part) -> None:
        self.parts = {part.name: part for part in parts}

    def parse(self, part: str, text: str, row: str | None) -> Value:
        """The canonical value of a file's text. Raises ValueError when it makes no sense."""
        return int(text)

    def format(self, part: str, value: Value, row: str | None) -> str:
        """The text to write for a canonical value."""
        return str(value)

    def show(self, part: str, value: Value) -> str:
        """The value for people."""
        return str(value)

    def canonical(self, part: str, value: Value, context: ValueContext) -> Value:
        """What the kernel will keep of a wanted value."""
        return value

    def lower(self, wanted: Wanted) -> Wanted:
        """Turn the values of knobs into wanted values of parts that have files."""
        return wanted

    def settle(self, old: Values, wanted: Wanted, context: ValueContext) -> Values:
        """The whole state that should result from ``old`` when ``wanted`` is asked for, side effects included."""
        new = dict(old)
        for part, value in wanted.items():
            if not isinstance(value, Share) and value is not None:
                new[part] = self.canonical(part, value, context)
        return new

    def blocked(self, old: Values, wanted: Wanted) -> dict[str, tuple[str, str]]:
        """Parts that cannot be set in this state: part → (reason, remedy)."""
        return {}

    def refusal(self, old: Values, new: Values) -> str | None:
        """Why a plan that leads here must be refused before any write, or None."""
        return None

    def looser(self, old: Values, new: Values) -> Values:
        """The state to pass through between ``old`` and ``new`` that constrains parents and children least."""
        return new

    def after(self, state: Values, write: Write) -> Values:
        """What a state becomes by one write, side effects on other parts included (None: the kernel chooses)."""
        return {**state, write.part: write.value}

    def writes(self, old: Values, new: Values) -> list[Write]:
        """The writes that lead from ``old`` to ``new``."""
        return [Write(part, value) for part, value in new.items() if value is not None and value != old.get(part)]


class Limit(Control):
    """Numbers of which a larger one constrains less."""

    def looser(self, old: Values, new: Values) -> Values:
        return {part: _larger(old.get(part), value) for part, value in new.items()}


def _larger(first: Value | None, second: Value | None) -> Value | None:
    if isinstance(first, int) and isinstance(second, int):
        return max(first, second)
    return second


__all__ = ["UNLIMITED", "Control", "Limit", "Part", "Share", "Value", "Values", "Wanted", "Write"]
