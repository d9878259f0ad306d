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
    """Set one part to one value. A control returns these in the order the kernel needs.

    ``beside`` are parts of the same file that this write sets as well. ``waits`` marks one that may only be carried
    out once the group's usage is no higher than ``value``.
    """

    part: str
    value: Value
    beside: tuple[tuple[str, Value], ...] = ()
    waits: bool = False


class Gate(NamedTuple):
    """A switch that must read ``value`` before a part can be written, on kernels that have it. ``path`` is absolute."""

    path: str
    value: str = "1"

    @property
    def name(self) -> str:
        """The switch for people: the name of a sysctl, or the path."""
        return (
            self.path.removeprefix("/proc/sys/").replace("/", ".") if self.path.startswith("/proc/sys/") else self.path
        )


class Bound(NamedTuple):
    """Why a plan needs the consent of its user; ``flags`` are the options that give it, without the dashes."""

    text: str
    flags: tuple[str, ...] = ("force",)


class Lost(NamedTuple):
    """What remains of a value (``value``), and the knob that is lost with the rest: its key, and why."""

    value: Value
    knob: str
    reason: str
    remedy: str


class Part(NamedTuple):
    """One file of a control.

    ``files`` is cgroup version (``v1``, ``v2``) or ``any`` → file name. ``fresh`` is what a new cgroup starts with,
    None when it copies its parent; ``top`` stands for the parent's where that is the root and has no such file.
    ``knob`` is the profile key shown for it, ``at_root`` whether the root group has the file too, ``sign`` a file of
    the root group without which the kernel has this file nowhere. ``also`` are other names the file has on some
    kernels. ``gate`` is a switch that must be set first. A ``report`` is only read: it tells what a change of the
    other parts must heed.
    """

    name: str
    knob: str
    files: dict[str, str]
    fresh: Value | None = None
    at_root: bool = True
    sign: str = ""
    also: tuple[str, ...] = ()
    gate: Gate | None = None
    report: bool = False
    top: Value = 0


class Control:
    """Base of all controls: independent parts holding whole numbers, no ordering rules inside.

    ``scope`` is ``cgroup``, ``sysctl``, ``file``, ``block``, ``mount``, ``feature``, ``quota``, ``project`` or
    ``resctrl``; ``controller`` the cgroup
    controller; ``rows`` tells whether files are tables with a row per device; ``reach`` is ``subtree`` when children
    must be written too. ``owner`` says who rewrites the value on its own: ``runtime`` (kubelet, runc, systemd) or
    ``none``. ``reversible`` is ``yes``, ``partial`` or ``no``; ``resets`` what else the kernel resets on a write.
    """

    name = ""
    scope = "cgroup"
    controller = ""
    rows = False
    #: whether writing one part can change or constrain another, so that all of them are read and settled together
    coupled = False
    reach = "self"
    #: whether the kernel writes every descendant as well, which then must be written after their ancestor
    covers = False
    #: name of the control that stands for this one where the controller is on cgroup v2; empty: this one does
    v2 = ""
    owner = "none"
    reversible = "yes"
    resets: tuple[str, ...] = ()
    #: values that are only written after everything else
    last: frozenset[Value] = frozenset()
    #: parts whose file is there only in some states of the control
    transient: frozenset[str] = frozenset()
    #: parts that the kernel takes and shows nowhere → what they start with; they cannot be verified
    hidden: Mapping[str, Value] = {}
    parts: dict[str, Part]
    #: errno name → (reason, remedy) when the state cannot even be read
    absent: Mapping[str, tuple[str, str]] = {}
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

    def text(self, write: Write, row: str | None) -> str:
        """The text of one write."""
        return self.format(write.part, write.value, row)

    def row(self, part: str, device: str | None) -> str | None:
        """What tells this part's value from others in the same file: the device, and the key where rows have keys."""
        return device

    def place(self, unit: str, row: str | None) -> tuple[str, str, str | None]:
        """What values that must be planned together have in common: control, unit and, in tables, the device."""
        if self.rows:
            return (self.name, unit, (row or "").partition(" ")[0])
        return (self.name, unit, None if self.coupled or self.scope == "cgroup" else row)

    def canonical(self, part: str, value: Value, context: ValueContext) -> Value:
        """What the kernel will keep of a wanted value."""
        return value

    def lower(self, wanted: Wanted) -> Wanted:
        """Turn the values of knobs into wanted values of parts that have files."""
        return wanted

    def narrowed(self, part: str, value: Value, file: str) -> Lost | None:
        """What of a value a kernel cannot have whose file goes by this name, or None when it can have it all."""
        return None

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

    def comes_later(self, part: str, old: Values, wanted: Wanted) -> bool:
        """Whether a transient part that has no file now will have one once ``wanted`` is written."""
        return False

    def pending(self, old: Values, wanted: Wanted) -> dict[str, tuple[str, str]]:
        """Parts that only an unmount or a reboot can bring there: part → (reason, remedy)."""
        return {}

    def refusal(self, old: Values, new: Values, context: ValueContext) -> str | None:
        """Why a plan that leads here must be refused before any write, or None."""
        return None

    def bounds(self, old: Values, new: Values, context: ValueContext) -> list[Bound]:
        """What needs the user's consent before ``new`` may replace ``old``."""
        return []

    def looser(self, old: Values, new: Values) -> Values:
        """The state to pass through between ``old`` and ``new`` that constrains parents and children least."""
        return new

    def after(self, state: Values, write: Write) -> Values:
        """What a state becomes by one write, side effects on other parts included (None: the kernel chooses)."""
        return {**state, write.part: write.value, **dict(write.beside)}

    def touches(self, write: Write) -> frozenset[str]:
        """The parts to restore after a write even where it leaves them the value they had."""
        return frozenset((write.part,))

    def writes(self, old: Values, new: Values) -> list[Write]:
        """The writes that lead from ``old`` to ``new``."""
        return [
            Write(part, value)
            for part, value in new.items()
            if value is not None and value != old.get(part) and not self.is_report(part)
        ]

    def is_report(self, part: str) -> bool:
        """Whether a part is only read. Parts of sysctls and other host files have no record."""
        return part in self.parts and self.parts[part].report


class Limit(Control):
    """Numbers of which a larger one constrains less."""

    def looser(self, old: Values, new: Values) -> Values:
        return {part: _larger(old.get(part), value) for part, value in new.items()}


def _larger(first: Value | None, second: Value | None) -> Value | None:
    if isinstance(first, int) and isinstance(second, int):
        return max(first, second)
    return second


__all__ = [
    "UNLIMITED",
    "Bound",
    "Control",
    "Gate",
    "Limit",
    "Lost",
    "Part",
    "Share",
    "Value",
    "Values",
    "Wanted",
    "Write",
]
