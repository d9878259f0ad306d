"""The records that flow from resolve through plan to report. Plain data: no I/O, no behaviour beyond keys."""

from __future__ import annotations

from typing import NamedTuple

from cotune.controls.base import Control, Value, Values
from cotune.errors import Origin
from cotune.knobs.types import Share

#: What identifies one kernel value: the file and, in a table, the row.
Key = tuple[str, str | None]


class Target(NamedTuple):
    """One kernel value.

    ``unit`` is what the control's parts live in (a cgroup directory, a queue directory, a mount point); targets with
    equal ``control``, ``unit`` and ``row`` are planned together. ``resource`` is the name people see.
    """

    control: str
    part: str
    resource: str
    unit: str
    path: str
    row: str | None = None
    knob: str = ""

    @property
    def key(self) -> Key:
        """The identity of the value."""
        return (self.path, self.row)


class Setting(NamedTuple):
    """A wanted value.

    ``implied`` settings come from cotune itself: a gate, or the cpuset of a group it creates. ``release`` puts back
    the original of a value the profile no longer names. ``approximates`` says which knob this kernel lacks it stands
    for.
    """

    target: Target
    value: Value | Share
    origin: Origin
    implied: bool = False
    release: bool = False
    approximates: str = ""


class Create(NamedTuple):
    """A cgroup or resctrl directory to make. ``parent`` marks those only needed for another.

    With ``fstype`` it is a file system to mount at ``path``, with the option words ``options``.
    """

    resource: str
    path: str
    origin: Origin
    parent: bool = False
    fstype: str = ""
    options: tuple[str, ...] = ()


class Enable(NamedTuple):
    """Controllers to switch on for the children of a version 2 cgroup. Never undone: it would reset every child."""

    resource: str
    path: str
    controllers: tuple[str, ...]
    origin: Origin


class Move(NamedTuple):
    """A process to put into a group of one hierarchy. ``origin_path`` and ``path`` are cgroup directories.

    ``file`` takes its number: ``cgroup.procs`` takes a process with all its threads, resctrl's ``tasks`` one thread.
    """

    pid: int
    start: int
    comm: str
    resource: str
    path: str
    origin_path: str
    origin: Origin
    file: str = "cgroup.procs"


class UnsupportedKnob(NamedTuple):
    """A wanted value that cannot be set here: why, and what would make it possible."""

    resource: str
    knob: str
    reason: str
    remedy: str
    origin: Origin


class Refusal(NamedTuple):
    """Why a plan may not be carried out; ``flags`` are the options that allow it all the same.

    It only counts while the plan has a resource whose name begins with ``resource``.
    """

    text: str
    flags: tuple[str, ...] = ()
    resource: str = ""


class Change(NamedTuple):
    """One difference. ``current`` is None where it is not known, or where the group is only ``created`` by the plan."""

    target: Target
    current: Value | None
    desired: Value | None
    action: str
    origin: Origin
    created: bool = False
    approximates: str = ""


class Resolved(NamedTuple):
    """A profile on a host: every wanted value with its place.

    ``summaries`` are changes shown in place of many single moves, such as the threads of a group that are outside
    its resctrl class.
    """

    settings: list[Setting]
    creates: list[Create]
    moves: list[Move]
    unsupported: list[UnsupportedKnob]
    notes: list[str]
    pending: list[UnsupportedKnob]
    refusals: list[Refusal]
    enables: list[Enable]
    summaries: list[Change]


class Instance(NamedTuple):
    """One control in one place, as wanted and as read.

    ``old`` has every part that was read (None: there, but its own value cannot be known); ``missing`` part → errno
    name; ``reads`` what a file printed where that is not the value itself. ``created`` marks a cgroup that this plan
    creates, ``gone`` one that vanished.
    """

    control: Control
    unit: str
    row: str | None
    targets: dict[str, Target]
    wanted: dict[str, Setting]
    old: Values
    missing: dict[str, str]
    reads: dict[str, Value]
    created: bool = False
    gone: bool = False
    #: parts of a group still to be created of which it cannot be told yet whether the kernel has them
    unsure: tuple[str, ...] = ()


class Step(NamedTuple):
    """One operation.

    ``op`` is write, enable, mkdir, mount, move, or an operation of places.py such as remount; ``value`` is canonical,
    ``text`` what is written.

    ``waits`` marks a limit that is only written once the group uses no more than that.
    """

    op: str
    target: Target
    value: Value | None = None
    move: Move | None = None
    words: tuple[str, ...] = ()
    text: str = ""
    waits: bool = False


class Entry(NamedTuple):
    """What the journal keeps of one value.

    ``old`` is the value before (None: not known), ``new`` the one wanted (None: whatever the kernel makes of it),
    ``ours`` every value it takes on the way (None: one that the kernel chooses; empty: it is not touched), ``read``
    what the file printed before where that is not the value itself. ``effect`` marks a value that changes only as a
    side effect of another; ``released`` one that the profile gave up.
    """

    target: Target
    old: Value | None
    new: Value | None
    ours: tuple[Value | None, ...] = ()
    origin: str = ""
    read: Value | None = None
    implied: bool = False
    effect: bool = False
    released: bool = False


class Takeover(NamedTuple):
    """A value that another profile owns."""

    resource: str
    knob: str
    owner: str


class Plan(NamedTuple):
    """Everything an apply would do, in order. Empty ``changes`` means that there is nothing to do."""

    changes: tuple[Change, ...]
    steps: tuple[Step, ...]
    entries: tuple[Entry, ...]
    creates: tuple[Create, ...]
    moves: tuple[Move, ...]
    unsupported: tuple[UnsupportedKnob, ...]
    pending: tuple[UnsupportedKnob, ...]
    takes_over: tuple[Takeover, ...]
    refusals: tuple[Refusal, ...]
    notes: tuple[str, ...]
    enables: tuple[Enable, ...] = ()
    #: own values (file → value) that the plan is about to hide from reading
    witnessed: tuple[tuple[str, Value], ...] = ()


__all__ = [
    "Change",
    "Create",
    "Enable",
    "Entry",
    "Instance",
    "Key",
    "Move",
    "Plan",
    "Refusal",
    "Resolved",
    "Setting",
    "Step",
    "Takeover",
    "Target",
    "UnsupportedKnob",
]
