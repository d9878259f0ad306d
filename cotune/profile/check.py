"""What can be said about a merged profile without a host, beyond its structure.

The structure has been judged by the schema and may be wrong here: everything of an unexpected kind is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from cotune.controls import CONTROLS
from cotune.errors import Origin, Problem
from cotune.knobs import IO_LISTS, KNOBS, section
from cotune.knobs.base import NO_HOST
from cotune.profile import patterns
from cotune.profile.merge import Tree
from cotune.profile.mounts import check_mounts
from cotune.profile.resctrl import check_resctrl
from cotune.profile.schema import GROUP_NAME, PROFILE_NAME, SYSCTL_NAME, knob_at
from cotune.profile.text import Path, at, found, shown, similar

#: Keys of which the kernel zeroes one when the other is written: (first, second).
PAIRS = (
    ("dirty_bytes", "dirty_ratio"),
    ("dirty_background_bytes", "dirty_background_ratio"),
    ("overcommit_kbytes", "overcommit_ratio"),
)
# include/linux/sched.h TASK_COMM_LEN is 16 with the terminating NUL
_COMM_MAX = 15
_MOST_GUESSES = 100


class Checked(NamedTuple):
    """The outcome: ``problems`` refuse the profile, ``warnings`` do not."""

    problems: list[Problem]
    warnings: list[Problem]


def check(tree: Tree) -> Checked:
    """Check ``tree``, a merged profile whose variables are replaced."""
    checker = _Checker(tree)
    checker.names()
    checker.knob_values()
    checker.requires()
    checker.host()
    checker.resctrl()
    for name, group in _mapping(tree.data.get("groups")).items():
        if isinstance(group, dict):
            checker.group(group, ("groups", name))
    # a list of cgroups of one owner warns once
    return Checked(checker.problems, list(dict.fromkeys(checker.warnings)))


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _leaves(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """All scalars below ``path`` in the order of the document."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _leaves(child, (*path, key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _leaves(child, (*path, index))
    else:
        yield path, value


class _Checker:
    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.data = tree.data
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.guesses = 0

    def _problem(self, path: Path, message: str, hint: str = "") -> None:
        self.problems.append(Problem(self.tree.origin(path), message, hint))

    def _at_key(self, path: Path, message: str, hint: str = "") -> None:
        self.problems.append(Problem(self.tree.key_origin(path), message, hint))

    def _warn(self, path: Path, message: str, hint: str = "") -> None:
        self.warnings.append(Problem(self.tree.origin(path), message, hint))

    def _text(self, path: Path) -> str | None:
        value = at(self.data, path)
        return value if isinstance(value, str) and value else None

    def _similar(self, word: str, choices: Iterable[str], cutoff: float = 0.78) -> str:
        """A hint; not for every one of thousands of words, because guessing is slow."""
        self.guesses += 1
        return similar(word, choices, cutoff) if self.guesses <= _MOST_GUESSES else ""

    def names(self) -> None:
        """Names must match their patterns to the last character; ``$`` in a JSON Schema lets a newline pass."""
        name = self._text(("metadata", "name"))
        if name is not None and not re.fullmatch(PROFILE_NAME, name):
            self._problem(("metadata", "name"), "a profile name cannot hold a line break")
        places: tuple[tuple[Path, str], ...] = ((("groups",), GROUP_NAME), (("host", "sysctl"), SYSCTL_NAME))
        for path, pattern in places:
            for key in _mapping(at(self.data, path)):
                if not re.fullmatch(pattern, key):
                    self._at_key((*path, key), f"{shown(key)} is not a name that can stand here")

    def knob_values(self) -> None:
        """Every value of a knob must resolve."""
        for top in ("host", "groups"):
            for path, value in _leaves(self.data.get(top), (top,)):
                knob = knob_at(path)
                if knob is None:
                    continue
                try:
                    knob.type.resolve(value, NO_HOST)
                except (ValueError, OverflowError) as error:
                    text = str(error) or knob.type.expected
                    self._problem(path, f"expected {text}, found {found(value)}")

    def requires(self) -> None:
        """Required features are keys of knobs; boot words are words."""
        known = {knob.key for knob in KNOBS}
        for index, key in enumerate(_list(at(self.data, ("requires", "features")))):
            if isinstance(key, str) and key not in known:
                hint = self._similar(key, known) or "`cotune knobs` lists them"
                self._problem(("requires", "features", index), f"{shown(key)} is not the key of a knob", hint)
        for index, word in enumerate(_list(at(self.data, ("requires", "boot")))):
            if isinstance(word, str) and (not word.isprintable() or len(word.split()) != 1):
                self._problem(("requires", "boot", index), "a word of the kernel command line has no spaces")

    def host(self) -> None:
        """Sysctl pairs and typos, devices and mount points."""
        sysctls = _mapping(at(self.data, ("host", "sysctl")))
        self._pairs(("host", "sysctl"), "vm.")
        known = set(section("sysctl"))
        for name in sysctls:
            if name not in known and (hint := self._similar(name, known, cutoff=0.93)):
                path = ("host", "sysctl", name)
                self.warnings.append(Problem(self.tree.key_origin(path), f"no such sysctl is known: {name}", hint))
        for index, item in enumerate(_list(at(self.data, ("host", "block")))):
            queue: Path = ("host", "block", index)
            self._device((*queue, "match"))
            self._sets_nothing(item, queue, ("match",))
        problems, warnings = check_mounts(self.tree)
        self.problems += problems
        self.warnings += warnings

    def resctrl(self) -> None:
        """Classes of resctrl, and the groups that name one."""
        for finding in check_resctrl(self.data):
            report = self._warn if finding.warning else self._at_key if finding.at_key else self._problem
            report(finding.path, finding.message, finding.hint)

    def group(self, group: dict[str, Any], path: Path) -> None:
        """One group: what it matches, what it creates, and values that exclude each other."""
        self._match(group, path)
        self._pairs((*path, "memory"), "")
        self._aliases(group, path)
        cpu = _mapping(group.get("cpu"))
        if cpu.get("smt_expeller") is True and cpu.get("identity") != "high":
            hint = "set identity: high beside it"
            if "identity" in cpu:
                identity = self.tree.origin((*path, "cpu", "identity"))
                hint = f"identity is {shown(cpu['identity'])} at {identity}"
            self._problem((*path, "cpu", "smt_expeller"), "smt_expeller needs identity: high", hint)
        for key in IO_LISTS:
            for index, item in enumerate(_list(at(group, ("io", key)))):
                below = (*path, "io", key, index)
                self._device((*below, "device"))
                self._sets_nothing(item, below, ("device",))
        self._tasks(_mapping(group.get("tasks")), path, group)

    def _match(self, group: dict[str, Any], path: Path) -> None:
        match = group.get("match")
        where = (*path, "match")
        if match is None:
            self._at_key(path, "the group has no match", "add match: {cgroup: PATH} or match: {systemd: UNIT}")
            return
        if not self._one_of(where, ("cgroup", "systemd")):
            return
        cgroups = _mapping(match).get("cgroup")
        entries: list[Path] = [(*where, "cgroup")] if isinstance(cgroups, str) else []
        entries += [(*where, "cgroup", index) for index in range(len(_list(cgroups)))]
        for entry in entries:
            self._cgroup(entry, group, path)
        if (unit := self._text((*where, "systemd"))) is not None:
            self._unit((*where, "systemd"), unit)
            self._owned(group, path, "systemd", f"for units use `systemctl set-property --runtime {unit}`")
            if group.get("create") is True:
                self._problem((*path, "create"), "systemd creates the cgroup of a unit", "remove create")

    def _cgroup(self, where: Path, group: dict[str, Any], path: Path) -> None:
        pattern = self._text(where)
        if pattern is None:
            return
        if (wrong := patterns.cgroup_problem(pattern)) is not None:
            self._problem(where, f"{shown(pattern)}: {wrong[0]}", wrong[1])
            return
        if group.get("create") is True and patterns.has_wildcard(pattern):
            message = f"create: true, but {shown(pattern)} is a pattern and names no group to create"
            self._problem(where, message, "write the path, or remove create")
        if (owner := patterns.runtime_owner(pattern)) is not None:
            self._owned(group, path, owner, "set it where that manager is configured")

    def _owned(self, group: dict[str, Any], path: Path, owner: str, hint: str) -> None:
        for key, knob in section("group").items():
            where = (*path, *key.split("."))
            if CONTROLS[knob.control].owner == "runtime" and at(self.tree.data, where) is not None:
                self._warn(where, f"{owner} may rewrite {key} of this group at any time", hint)

    def _unit(self, where: Path, unit: str) -> None:
        if (wrong := patterns.unit_problem(unit)) is not None:
            self._problem(where, f"{shown(unit)}: {wrong[0]}", wrong[1])

    def _tasks(self, tasks: dict[str, Any], path: Path, group: dict[str, Any]) -> None:
        where = (*path, "tasks")
        if "tasks" not in group or not self._one_of(where, ("unit", "pidfile", "comm")):
            return
        if (unit := self._text((*where, "unit"))) is not None:
            self._unit((*where, "unit"), unit)
        self._absolute((*where, "pidfile"))
        comm = tasks.get("comm")
        names: list[Path] = [(*where, "comm")] if isinstance(comm, str) else []
        names += [(*where, "comm", index) for index in range(len(_list(comm)))]
        for name in names:
            text = self._text(name) or ""
            if len(text.encode("utf-8", "replace")) > _COMM_MAX:
                hint = f"the kernel cuts process names: {shown(text[:_COMM_MAX])}"
                self._problem(name, f"a process name has at most {_COMM_MAX} bytes", hint)

    def _one_of(self, where: Path, keys: tuple[str, ...]) -> bool:
        """Whether the mapping at ``where`` has exactly one of ``keys``; records a problem where it has not."""
        value = at(self.data, where)
        if not isinstance(value, dict):
            return False
        if not value.keys() <= set(keys) and not any(key in value for key in keys):
            return False  # only unknown keys: reported already, with the key that was meant
        if len(present := [key for key in keys if key in value]) == 1:
            return True
        message = f"expected exactly one of {', '.join(keys)}, found " + (" and ".join(present) or "none")
        self._at_key(where, message, "write another entry for the other one" if present else "")
        return False

    def _device(self, where: Path) -> None:
        if not self._one_of(where, ("mountpoint", "device", "serial", "majmin")):
            return
        self._absolute((*where, "mountpoint"))
        for key in ("device", "serial"):
            text = self._text((*where, key))
            if text is not None and (not text.isprintable() or ".." in text.split("/")):
                self._problem((*where, key), f"{shown(text)} cannot name a device", "such as sda or nvme*n1")
        majmin = self._text((*where, "majmin"))
        if majmin is None:
            return
        if (wrong := patterns.majmin_problem(majmin)) is not None:
            self._problem((*where, "majmin"), f"{shown(majmin)}: {wrong[0]}", wrong[1])
        else:
            hint = "match by mountpoint, device or serial"
            self._warn((*where, "majmin"), "minor numbers can change with every boot", hint)

    def _absolute(self, where: Path) -> None:
        text = self._text(where)
        if text is None:
            return
        if not text.startswith("/") or not text.isprintable() or ".." in text.split("/"):
            self._problem(where, f"expected an absolute path without .., found {shown(text)}")

    def _pairs(self, where: Path, prefix: str) -> None:
        values = _mapping(at(self.data, where))
        for one, other in PAIRS:
            first, second = prefix + one, prefix + other
            if first in values and second in values:
                origins = sorted((self.tree.key_origin((*where, key)) for key in (first, second)), key=_line)
                message = f"{first} and {second} zero each other (the other one is at {origins[0]})"
                self.problems.append(
                    Problem(origins[1], message, "keep one; null deletes one that an included profile sets")
                )

    def _aliases(self, group: dict[str, Any], path: Path) -> None:
        """Two names of one thing: memory.limit and memory.max."""
        if {"limit", "max"} <= _mapping(group.get("memory")).keys():
            other = self.tree.key_origin((*path, "memory", "limit"))
            message = f"max and limit are the same (the other one is at {other})"
            self._at_key((*path, "memory", "max"), message, "keep one of the two")

    def _sets_nothing(self, item: Any, path: Path, besides: tuple[str, ...]) -> None:
        if isinstance(item, dict) and not item.keys() - set(besides):
            self._warn(path, "this entry sets nothing", "add a setting or remove the entry")


def _line(origin: Origin) -> tuple[str, int, int]:
    return origin.file, origin.line, origin.column
