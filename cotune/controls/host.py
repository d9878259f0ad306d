"""Controls of the host: sysctls, other files and scheduler features."""

from __future__ import annotations

from cotune.controls.base import Bound, Control, Part, Value, Values
from cotune.controls.pairs import Pair
from cotune.knobs.base import ValueContext


class Sysctl(Control):
    """A sysctl on its own: one line, blanks do not matter, numbers compare as numbers.

    The part is the sysctl's name; there is one target per sysctl.
    """

    name = "sysctl"
    scope = "sysctl"
    causes = {"EINVAL": "outside the range this kernel takes", "EPERM": "this kernel does not let it be changed"}

    def parse(self, part: str, text: str, row: str | None) -> Value:
        value = _normal(text)
        return value.partition(" ")[0] if part in _DOUBLED else value

    def canonical(self, part: str, value: Value, context: ValueContext) -> Value:
        return _normal(str(value))

    def bounds(self, old: Values, new: Values, context: ValueContext) -> list[Bound]:
        wanted = str(new.get(_MIN_FREE))
        if wanted == old.get(_MIN_FREE) or not wanted.isdecimal() or not context.mem_total:
            return []
        share = int(wanted) * 1024 / context.mem_total
        if share <= _MOST_FREE:
            return []
        text = f"{_MIN_FREE} {wanted} is {share:.0%} of the host's memory, above {_MOST_FREE:.0%}: it starves the rest"
        return [Bound(text)]


class HostFile(Sysctl):
    """A file of the whole host that is no sysctl: one line. The part is its path; there is one target per file."""

    name = "file"
    scope = "file"

    def parse(self, part: str, text: str, row: str | None) -> Value:
        return _normal(text)


class SchedFeature(Control):
    """One scheduler feature: ``NAME`` or ``NO_NAME`` in the list of debugfs. Part and row are the name."""

    name = "sched.feature"
    scope = "file"
    causes = {"EINVAL": "this kernel has no such scheduler feature"}

    def parse(self, part: str, text: str, row: str | None) -> Value:
        words = text.split()
        if part in words:
            return 1
        if f"NO_{part}" in words:
            return 0
        raise ValueError(f"no feature {part}")

    def format(self, part: str, value: Value, row: str | None) -> str:
        return part if value else f"NO_{part}"

    def show(self, part: str, value: Value) -> str:
        return "on" if value else "off"


_MIN_FREE = "vm.min_free_kbytes"
_MOST_FREE = 0.05
"""Largest share of MemTotal that may be kept free: the kernel itself stops at 256 MiB (mm/page_alloc.c) and checks
nothing that is written."""
_DOUBLED = frozenset(("kernel.sched_expel_update_interval",))
"""Sysctls that take one number and print two: a long driven by the int handler (kernel/sysctl.c, ANCK)."""


def _normal(text: str) -> str:
    words = text.split()
    return " ".join(str(int(word)) if _is_number(word) else word for word in words)


def _is_number(word: str) -> bool:
    return word.removeprefix("-").isdecimal() and word.isascii()


class SysctlPair(Pair):
    """``vm.dirty_*``: bytes and ratio zero each other."""

    scope = "sysctl"


CONTROLS: tuple[Control, ...] = (
    Sysctl(),
    HostFile(),
    SchedFeature(),
    SysctlPair(
        "vm.dirty",
        Part("ratio", "vm.dirty_ratio", {"any": "dirty_ratio"}),
        Part("bytes", "vm.dirty_bytes", {"any": "dirty_bytes"}),
    ),
    SysctlPair(
        "vm.dirty_background",
        Part("ratio", "vm.dirty_background_ratio", {"any": "dirty_background_ratio"}),
        Part("bytes", "vm.dirty_background_bytes", {"any": "dirty_background_bytes"}),
    ),
    SysctlPair(
        "vm.overcommit",
        Part("ratio", "vm.overcommit_ratio", {"any": "overcommit_ratio"}),
        Part("bytes", "vm.overcommit_kbytes", {"any": "overcommit_kbytes"}),
    ),
)
