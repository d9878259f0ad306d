"""The groups of a captured profile: which values of a cgroup differ from those of a fresh one."""

from __future__ import annotations

import re
from functools import partial
from typing import Any, NamedTuple

from cotune.capture_values import check_gate, put, value_of
from cotune.controls import CONTROLS
from cotune.controls.base import Value
from cotune.controls.cpu import Weight
from cotune.execute import ReadBack
from cotune.host.cgroups import descendants
from cotune.host.devices import Disk, NoSuchDevice, find_disks
from cotune.host.facts import Host
from cotune.inventory import group_targets, parent_target
from cotune.knobs import BY_KEY
from cotune.model import Target
from cotune.profile.patterns import cgroup_problem, has_wildcard
from cotune.spell import Inexpressible, Written, spell
from cotune.yamltext import Noted, enter

_NAME_LENGTH = 56
_IDENTITY = "cpu.identity"
#: What the root group has, in no file, of values that groups copy from it (mm/memcontrol.c of ANCK; TencentOS BT).
_OF_THE_ROOT = {"memory.wmark_scale_factor": 50, "cpu.bt_suppress_percent": 100}
_FAMILIES = ("cpu", "memory", "pids", "io")


class _Read(NamedTuple):
    """A value with its place."""

    target: Target
    value: Value


class GroupCapture:
    """Reads groups one by one; ``left_out`` collects what a profile cannot say."""

    def __init__(self, host: Host, left_out: list[str]) -> None:
        self.host, self.left_out = host, left_out
        self.reader = ReadBack(host)
        self.names: dict[str, str] = {}
        #: Control that reaches over the subtree → group → what the profile gives it.
        self.reaching: dict[str, dict[str, dict[str, Value]]] = {}
        self.disks: dict[str, Disk | None] = {}

    def run(self, groups: list[str]) -> dict[str, Any]:
        """The ``groups`` section: name → entry, for the groups in which anything differs."""
        found: dict[str, Any] = {}
        for group in groups:
            for families in self._families(group):
                self._add(found, group, families)
        for control, given in self.reaching.items():
            self._shield_descendants(found, control, given)
        return found

    def _add(self, found: dict[str, Any], group: str, families: dict[str, Any]) -> None:
        if has_wildcard(group) or cgroup_problem(group) or not group.isprintable():
            self.left_out.append(f"cgroup:{group!r}: its name cannot stand in a profile")
            return
        name = self._name(group, found)
        self.names.setdefault(group, name)
        found[name] = {"match": {"cgroup": group}, **families}

    def _name(self, group: str, taken: dict[str, Any]) -> str:
        """A name for the group in the profile: its path with what a name may not hold replaced."""
        base = re.sub(r"[^A-Za-z0-9_.-]+", "-", group).strip(".-")[:_NAME_LENGTH] or "group"
        name, count = base, 1
        while name in taken:
            count += 1
            name = f"{base}-{count}"
        return name

    def _families(self, group: str) -> list[dict[str, Any]]:
        """``cpu``, ``memory``, … of a group entry, or of two: a key is one value for all disks or a list of disks."""
        controls: dict[tuple[str, str], dict[str, _Read]] = {}
        for target in group_targets(self.host, group):
            value = value_of(self.reader, target)
            if value is not None:
                device = (target.row or "").partition(" ")[0]
                row = device if CONTROLS[target.control].rows and ":" in device else ""
                controls.setdefault((target.control, row), {})[target.part] = _Read(target, value)
        families: dict[str, Any] = {}
        second: dict[str, Any] = {}
        for (control, row), values in controls.items():
            if control == _IDENTITY:
                self._identity(families, group, values)
            elif row:
                self._row(families, second, row, values)
            else:
                self._values(families, group, control, values)
        ordered = {name: families[name] for name in _FAMILIES if name in families}
        return [entry for entry in (ordered, second) if entry]

    def _values(self, families: dict[str, Any], group: str, control: str, values: dict[str, _Read]) -> None:
        period = values["period"].value if "period" in values else 0
        idle = isinstance(CONTROLS[control], Weight) and "idle" in values and values["idle"].value == 1
        for part, read in values.items():
            if idle and part != "idle":
                continue  # hidden by cpu.idle
            if read.value != self._fresh(read.target):
                entered = self._put(families, read, int(period))
                if entered and CONTROLS[control].reach == "subtree":
                    self.reaching.setdefault(control, {}).setdefault(group, {})[part] = read.value

    def _fresh(self, target: Target) -> Value:
        """What a cgroup made now beside this one would have: a default, or a copy of its parent's value."""
        fresh = CONTROLS[target.control].parts[target.part].fresh
        above = parent_target(target)
        if fresh is not None or above is None:
            return 0 if fresh is None else fresh
        value = value_of(self.reader, above)
        return _OF_THE_ROOT.get(target.control, 0) if value is None else value

    def _put(self, families: dict[str, Any], read: _Read, period: int = 0) -> bool:
        label = f"{read.target.resource} {read.target.knob}"
        return put(families, read.target.knob.split("."), partial(self._write, read, period), self.left_out, label)

    def _write(self, read: _Read, period: int = 0) -> Noted:
        check_gate(self.host, read.target)
        written = spell(BY_KEY[read.target.knob], read.value, period)
        return Noted(written, _comment(read, written))

    # --- lists of disks ----------------------------------------------------------------------------------------------

    def _row(self, families: dict[str, Any], second: dict[str, Any], device: str, values: dict[str, _Read]) -> None:
        """One disk of a list. ``second`` takes it where the key holds the value for all disks already."""
        unusual = [read for read in values.values() if read.value != self._fresh(read.target)]
        if not unusual:
            return
        target = unusual[0].target
        table = BY_KEY[target.knob].section
        disk = self._disk(device)
        if disk is None:
            self.left_out.append(f"{target.resource} io.{table} of {device}: no such disk")
            return
        entry: dict[str, Any] = {}
        for read in unusual:
            key = read.target.knob.rpartition(".")[2]
            label = f"{target.resource} {read.target.knob} of {disk.name}"
            put(entry, [key], partial(self._write, read), self.left_out, label)
        if not entry:
            return
        taken = isinstance(families.get("io", {}).get(table), Noted)
        into = (second if taken else families).setdefault("io", {}).setdefault(table, [])
        same = next((other for other in into if other["device"]["device"] == disk.name), None)
        if same is None:
            into.append({"device": {"device": disk.name}, **entry})
        else:
            same.update(entry)

    def _disk(self, device: str) -> Disk | None:
        if device not in self.disks:
            try:
                self.disks[device] = find_disks(self.host.kernel, {"majmin": device})[0]
            except NoSuchDevice:
                self.disks[device] = None
        return self.disks[device]

    # --- identity: copied at mkdir only, so cotune gives it to descendants as well -----------------------------------

    def _identity(self, families: dict[str, Any], group: str, values: dict[str, _Read]) -> None:
        if all(read.value == self._fresh(read.target) for read in values.values()):
            return
        for keys, value in self._identity_entry(group, values):
            enter(families, keys, value)

    def _identity_entry(self, group: str, values: dict[str, _Read]) -> list[tuple[list[str], Any]]:
        """``identity`` and ``smt_expeller``; nothing, with a reason, when no profile leads to these values."""
        control = CONTROLS[_IDENTITY]
        now = {part: read.value for part, read in values.items()}
        read = values["bvt"]
        expeller = now["bvt"] == 2
        try:
            word = spell(BY_KEY["cpu.identity"], 1 if expeller else read.value)
            if control.settle(dict(now), {"bvt": now["bvt"]}, self.host.context).get("flags") != now.get("flags"):
                raise Inexpressible("cpu.identity holds flags that cpu.bvt_warp_ns does not give")
            check_gate(self.host, read.target)
        except Inexpressible as why:
            self.left_out.append(f"cgroup:{group} cpu.identity: {why}")
            return []
        self.reaching.setdefault(_IDENTITY, {})[group] = now
        entry: list[tuple[list[str], Any]] = [(["cpu", "identity"], Noted(word, _comment(read, word)))]
        return [*entry, (["cpu", "smt_expeller"], True)] if expeller else entry

    def _shield_descendants(self, found: dict[str, Any], control: str, given: dict[str, dict[str, Value]]) -> None:
        """Give descendants with another value than the profile would give them an entry of their own."""
        hierarchy = self.host.layout.controllers[CONTROLS[control].controller]
        for top in sorted(group for group in given if not _nearest(group, given)):
            for below in descendants(self.host.kernel, hierarchy, top):
                if below in given:
                    continue
                values = {
                    target.part: _Read(target, value)
                    for target in group_targets(self.host, below, control)
                    if (value := value_of(self.reader, target)) is not None
                }
                if {part: read.value for part, read in values.items()} != given[_nearest(below, given)]:
                    self._shield(found, below, values)

    def _shield(self, found: dict[str, Any], group: str, values: dict[str, _Read]) -> None:
        families: dict[str, Any] = found[self.names[group]] if group in self.names else {}
        if "bvt" in values:
            for keys, value in self._identity_entry(group, values):
                enter(families, keys, value)
        else:
            for read in values.values():
                self._put(families, read)
        if families and group not in self.names:
            self._add(found, group, families)


def _nearest(group: str, given: dict[str, dict[str, Value]]) -> str:
    """The nearest ancestor of a group that is in ``given``; empty when there is none."""
    above = group.rpartition("/")[0]
    while above and above not in given:
        above = above.rpartition("/")[0]
    return above


def _comment(read: _Read, written: Written) -> str:
    """The file, and what it holds where the profile says it differently."""
    file = read.target.path.rpartition("/")[2]
    return file if str(written) == str(read.value) else f"{file} {read.value}"
