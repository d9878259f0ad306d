"""Controls of the host: sysctls, block queues and mounts."""

from __future__ import annotations

from cotune.controls.base import Control, Part, Value, Values, Wanted, Write
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


class Queue(Control):
    """``queue/scheduler`` with ``queue/nr_requests``: changing the scheduler resets the depth (block/elevator.c)."""

    name = "block.queue"
    coupled = True
    scope = "block"
    causes = {"EINVAL": "a scheduler this kernel lacks, or more requests than the device's tag set has"}

    def parse(self, part: str, text: str, row: str | None) -> Value:
        if part == "nr_requests":
            return int(text)
        active = [word[1:-1] for word in text.split() if word.startswith("[")]
        return active[0] if active else text.strip()

    def canonical(self, part: str, value: Value, context: ValueContext) -> Value:
        return "mq-deadline" if value == "deadline" else value

    def settle(self, old: Values, wanted: Wanted, context: ValueContext) -> Values:
        new = super().settle(old, wanted, context)
        if new.get("scheduler") != old.get("scheduler") and wanted.get("nr_requests") is None and "nr_requests" in old:
            new["nr_requests"] = None  # the new scheduler's own default, not known before
        return new

    def after(self, state: Values, write: Write) -> Values:
        if write.part == "scheduler" and "nr_requests" in state:
            return {**state, "scheduler": write.value, "nr_requests": None}
        return super().after(state, write)

    def writes(self, old: Values, new: Values) -> list[Write]:
        scheduler, depth = new.get("scheduler"), new.get("nr_requests")
        writes: list[Write] = []
        if scheduler is not None and scheduler != old.get("scheduler"):
            writes.append(Write("scheduler", scheduler))
        if depth is not None and (writes or depth != old.get("nr_requests")):
            writes.append(Write("nr_requests", depth))
        return writes


class QueueNumber(Control):
    """One number of a block queue."""

    scope = "block"

    def __init__(self, name: str, part: Part) -> None:
        super().__init__(part)
        self.name = name


class ReadAhead(QueueNumber):
    """``queue/read_ahead_kb``: whole pages (block/blk-sysfs.c queue_ra_store)."""

    def canonical(self, part: str, value: Value, context: ValueContext) -> Value:
        page = max(1, context.page_size // 1024)
        return int(value) // page * page


class Ext4(Control):
    """Options of one mounted ext4 file system; all changes go in one remount, which is refused or done as a whole.

    The part is the option's name and also the target's row.
    """

    name = "mount.ext4"
    scope = "mount"
    causes = {"EINVAL": "the kernel refuses this combination of options on a mounted file system"}

    def show(self, part: str, value: Value) -> str:
        if part in EXT4_NUMBERS or part == "errors":
            return str(value)
        return "on" if value else "off"

    def format(self, part: str, value: Value, row: str | None) -> str:
        if part in EXT4_NUMBERS or part == "errors":
            return f"{part}={value}"
        off = {name: word for word, name in EXT4_OFF.items()}
        return part if value else off.get(part, f"no{part}")


EXT4_NUMBERS = {"commit": 5, "max_batch_time": 15000, "min_batch_time": 0}
"""ext4 options with a number → the number in force when /proc/mounts shows none (fs/ext4/super.c)."""
EXT4_FLAGS = {
    "barrier": True,
    "lazytime": False,
    "delalloc": True,
    "discard": False,
    "auto_da_alloc": True,
    "dioread_nolock": True,
}
"""ext4 flag options → whether they are on when nothing says otherwise (fs/ext4/super.c)."""
EXT4_OFF = {"dioread_lock": "dioread_nolock"}
"""Words that switch a flag off and are not just its name with ``no`` before it (4.19 knows no other)."""

CONTROLS: tuple[Control, ...] = (
    Sysctl(),
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
    Queue(
        Part("scheduler", "block.scheduler", {"any": "scheduler"}),
        Part("nr_requests", "block.nr_requests", {"any": "nr_requests"}),
    ),
    QueueNumber("block.wbt", Part("wbt_lat_usec", "block.wbt_lat_usec", {"any": "wbt_lat_usec"})),
    ReadAhead("block.read_ahead", Part("read_ahead_kb", "block.read_ahead_kb", {"any": "read_ahead_kb"})),
    Ext4(*(Part(name, f"mount.{name}", {}) for name in (*EXT4_FLAGS, *EXT4_NUMBERS, "errors"))),
)
