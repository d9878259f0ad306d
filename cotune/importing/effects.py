"""What the commands of a script do to the kernel."""

from __future__ import annotations

from typing import NamedTuple

from cotune.importing.expand import Field


class Write(NamedTuple):
    """``text`` written to a kernel file."""

    line: int
    path: Field
    text: str


class Made(NamedTuple):
    """A directory made, perhaps a cgroup."""

    line: int
    path: Field


class Remount(NamedTuple):
    """A mounted file system given other options."""

    line: int
    point: str
    options: tuple[str, ...]


class UnitProperty(NamedTuple):
    """A property of a systemd unit, as ``systemctl set-property`` takes it."""

    line: int
    unit: str
    name: str
    value: str


class Mounted(NamedTuple):
    """A cgroup hierarchy mounted by the script: ``version`` 1 or 2."""

    line: int
    point: str
    version: int


class ResctrlMounted(NamedTuple):
    """resctrl mounted by the script, with its options."""

    line: int
    options: tuple[str, ...]


Effect = Write | Made | Remount | UnitProperty | Mounted | ResctrlMounted


class Unread(NamedTuple):
    """Something the profile does not hold: where, the text of the line, and why."""

    line: int
    text: str
    reason: str
