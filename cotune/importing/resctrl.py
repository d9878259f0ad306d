"""What a script does below /sys/fs/resctrl, as ``host.resctrl`` of a profile."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from cotune.controls.resctrl import DEFAULT
from cotune.importing.expand import Unresolved
from cotune.importing.record import printable
from cotune.knobs import section
from cotune.knobs.base import NO_HOST
from cotune.profile.resctrl import CLASS_NAME
from cotune.yamltext import Noted

POINT = "/sys/fs/resctrl"
_OPTIONS = ("cdp", "cdpl2", "mba_MBps")
_FILES = {"cpus_list": "cpus", "mode": "mode"}


class Classes:
    """The classes a script makes, with their values; ``data`` is the section of the profile."""

    def __init__(self) -> None:
        self.mounted: Noted | None = None
        self.classes: dict[str, dict[str, Any]] = {}

    def data(self) -> dict[str, Any]:
        """The section; empty when the script does nothing of the kind."""
        found = {"mount": self.mounted, "classes": self.classes}
        return {key: value for key, value in found.items() if value}

    def mount(self, options: tuple[str, ...], line: int) -> None:
        """``mount -t resctrl``. Raises Unresolved."""
        unknown = [option for option in options if option not in (*_OPTIONS, "")]
        if unknown:
            raise Unresolved(f"options of resctrl a profile does not set: {', '.join(unknown)[:80]}")
        chosen = {option: True for option in options if option}
        self.mounted = Noted(chosen or True, f"line {line}")

    def make(self, directory: str, line: int) -> None:
        """A directory made: a class, or a monitoring group in one. Raises Unresolved."""
        group, monitor = _split(directory)
        mine = self.classes.setdefault(group, {})
        if monitor:
            mine.setdefault("monitor", []).append(Noted(monitor, f"line {line}"))

    def write(self, path: str, text: str, line: int) -> None:
        """A write to a file of a class. Raises Unresolved."""
        directory, _, file = path.rpartition("/")
        group, monitor = _split(directory) if directory != POINT else (DEFAULT, "")
        if file in ("tasks", "cpus") or monitor:
            what = "processes cannot be in a profile: name the class in groups.NAME.resctrl"
            raise Unresolved(what if file == "tasks" else f"a profile does not set {file} of {group} this way")
        values = list(_schemata(text)) if file == "schemata" else [(_FILES.get(file, ""), "", text)]
        for key, _, value in values:
            knob = section("resctrl").get(f"resctrl.{key}")
            if knob is None:
                raise Unresolved(f"cotune has no knob for {(key or file)[:60]} of resctrl")
            try:
                knob.type.resolve(value, NO_HOST)
            except (ValueError, OverflowError) as error:
                raise Unresolved(f"{knob.key}: {error}") from None
        for key, cache, value in values:
            noted = Noted(value, f"line {line}: {printable(' '.join(text.split()))}")
            mine = self.classes.setdefault(group, {})
            if cache:
                mine.setdefault(key, {})[cache] = noted
            else:
                mine[key] = noted


def inside(path: str) -> bool:
    """Whether a path belongs to resctrl."""
    return path == POINT or path.startswith(POINT + "/")


def _split(directory: str) -> tuple[str, str]:
    """The class a directory is or belongs to, and the monitoring group."""
    names = directory.removeprefix(POINT + "/").split("/")
    group = names[0] if names[0] != "mon_groups" else DEFAULT
    monitor = names[-1] if len(names) > 1 and names[-2] == "mon_groups" else ""
    wanted = [group] if not monitor else [group, "mon_groups", monitor] if names[0] != "mon_groups" else names
    if names != wanted or not all(re.fullmatch(CLASS_NAME, name) for name in (group, monitor or group)):
        raise Unresolved(f"{directory[:80]} is no class of resctrl")
    return group, monitor


def _schemata(text: str) -> Iterator[tuple[str, str, str]]:
    """Key, cache id and value of each row; masks are hexadecimal, bandwidth is a percentage or a number of MBps."""
    for row in text.splitlines():
        name, colon, rest = row.strip().partition(":")
        if not colon or not rest:
            raise Unresolved(f"{row.strip()[:60]!r} is no line of schemata")
        for item in rest.rstrip(";").split(";"):
            match = re.fullmatch(r"(\d+)=\s*(?:0[xX])?([0-9a-fA-F]+)\s*", item)
            if match is None:
                raise Unresolved(f"{item.strip()[:60]!r} of schemata is more than cotune works out")
            key, number = name.strip().lower(), match[2]
            if key == "mb":
                if not number.isdecimal() or int(number) > 100:
                    raise Unresolved("a bandwidth that is no percentage: say mb with its unit, such as 20GBps")
                yield key, match[1], f"{int(number)}%"
            else:
                yield key, match[1], f"0x{int(number, 16):x}"
