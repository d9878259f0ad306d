"""The groups of a captured profile: which values of a cgroup differ from those of a fresh one."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from cotune.controls import CONTROLS
from cotune.controls.base import Value
from cotune.controls.cpu import Weight
from cotune.execute import ReadBack
from cotune.host.cgroups import descendants
from cotune.host.devices import NoSuchDevice, find_disks
from cotune.host.facts import Host
from cotune.inventory import Place, parent_target, place_targets
from cotune.knobs import BY_KEY
from cotune.knobs.base import Knob
from cotune.model import Target
from cotune.profile.patterns import cgroup_problem, has_wildcard
from cotune.spell import Inexpressible, Written, spell
from cotune.yamltext import Noted

_NAME_LENGTH = 56
_IDENTITY = "cpu.identity"


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
        #: Group → identity the profile gives it.
        self.identities: dict[str, dict[str, Value]] = {}

    def run(self, groups: list[str]) -> dict[str, Any]:
        """The ``groups`` section: name → entry, for the groups in which anything differs."""
        found: dict[str, Any] = {}
        for group in groups:
            families = self._families(group)
            if families:
                self._add(found, group, families)
        self._shield_descendants(found)
        return found

    def root_priority(self) -> bool:
        """Whether the root memory cgroup kills by priority."""
        memory = self.host.layout.controllers.get("memory")
        return bool(memory) and self.host.text(f"{memory.point if memory else ''}/memory.use_priority_oom") == "1"

    def _add(self, found: dict[str, Any], group: str, families: dict[str, Any]) -> None:
        if has_wildcard(group) or cgroup_problem(group) or not group.isprintable():
            self.left_out.append(f"cgroup:{group!r}: its name cannot stand in a profile")
            return
        name = self._name(group, found)
        self.names[group] = name
        found[name] = {"match": {"cgroup": group}, **families}

    def _name(self, group: str, taken: dict[str, Any]) -> str:
        """A name for the group in the profile: its path with what a name may not hold replaced."""
        base = re.sub(r"[^A-Za-z0-9_.-]+", "-", group).strip(".-")[:_NAME_LENGTH] or "group"
        name, count = base, 1
        while name in taken:
            count += 1
            name = f"{base}-{count}"
        return name

    def _families(self, group: str) -> dict[str, Any]:
        """``cpu``, ``memory``, … of a group entry."""
        controls: dict[tuple[str, str | None], dict[str, _Read]] = {}
        for target in place_targets(self.host, Place("cgroup", group)):
            try:
                value = self.reader.value(target)
            except OSError:
                continue  # vanished, or a file that only looks readable
            if value is not None:
                device = (target.row or "").partition(" ")[0] if CONTROLS[target.control].rows else None
                controls.setdefault((target.control, device), {})[target.part] = _Read(target, value)
        families: dict[str, Any] = {}
        for (control, row), values in controls.items():
            if control == _IDENTITY:
                self._identity(families, group, values)
            elif row is not None:
                self._row(families, row, values)
            else:
                self._values(families, control, values)
        return {name: families[name] for name in ("cpu", "memory", "pids", "io") if name in families}

    def _values(self, families: dict[str, Any], control: str, values: dict[str, _Read]) -> None:
        period = values["period"].value if "period" in values else 0
        for part, read in values.items():
            if (
                isinstance(CONTROLS[control], Weight)
                and part != "idle"
                and "idle" in values
                and values["idle"].value == 1
            ):
                continue  # hidden by cpu.idle
            if read.value != self._fresh(read.target):
                knob = BY_KEY[read.target.knob]
                self._put(families, knob, read, int(period) if isinstance(period, int) else 0)

    def _fresh(self, target: Target) -> Value:
        """What a cgroup made now beside this one would have: a default, or a copy of its parent's value."""
        fresh = CONTROLS[target.control].parts[target.part].fresh
        above = parent_target(target)
        if fresh is not None or above is None:
            return 0 if fresh is None else fresh
        try:
            value = self.reader.value(above)
        except OSError:
            return 0  # the root has no such file
        return 0 if value is None else value

    def _put(self, families: dict[str, Any], knob: Knob, read: _Read, period: int = 0) -> None:
        family, _, key = knob.key.partition(".")
        try:
            written = spell(knob, read.value, period)
        except Inexpressible as why:
            self.left_out.append(f"{read.target.resource} {knob.key}: {why}")
            return
        families.setdefault(family, {})[key] = Noted(written, _comment(read, written))

    def _row(self, families: dict[str, Any], row: str, values: dict[str, _Read]) -> None:
        """One disk of a throttle table."""
        throttle = families.setdefault("io", {}).setdefault("throttle", [])
        resource = next(iter(values.values())).target.resource
        try:
            disk = find_disks(self.host.kernel, {"majmin": row})[0]
        except NoSuchDevice:
            self.left_out.append(f"{resource} io.throttle of {row}: no such disk")
            return
        entry = next((e for e in throttle if e["device"]["device"] == disk.name), None)
        if entry is None:
            entry = {"device": {"device": disk.name}}
            throttle.append(entry)
        for part, read in values.items():
            try:
                written = spell(BY_KEY[read.target.knob], read.value)
                entry[part] = Noted(written, _comment(read, written))
            except Inexpressible as why:
                self.left_out.append(f"{resource} {read.target.knob} of {disk.name}: {why}")

    # --- identity: copied at mkdir only, so cotune gives it to descendants as well -----------------------------------

    def _identity(self, families: dict[str, Any], group: str, values: dict[str, _Read]) -> None:
        if all(read.value == self._fresh(read.target) for read in values.values()):
            return
        written = self._identity_entry(group, values)
        if written:
            families.setdefault("cpu", {}).update(written)

    def _identity_entry(self, group: str, values: dict[str, _Read]) -> dict[str, Any]:
        """``identity`` and ``smt_expeller``; empty, with a reason, when no profile leads to these values."""
        control = CONTROLS[_IDENTITY]
        now = {part: read.value for part, read in values.items()}
        read = values["bvt"]
        gate = control.parts["bvt"].gate
        expeller = now["bvt"] == 2
        try:
            word = spell(BY_KEY["cpu.identity"], 1 if expeller else read.value)
            if control.settle(dict(now), {"bvt": now["bvt"]}, self.host.context).get("flags") != now.get("flags"):
                raise Inexpressible("cpu.identity holds flags that cpu.bvt_warp_ns does not give")
            if gate and self.host.text(gate.path) == "0":
                raise Inexpressible(f"{gate.name} is 0, and a profile that sets it switches that on")
        except Inexpressible as why:
            self.left_out.append(f"cgroup:{group} cpu.identity: {why}")
            return {}
        self.identities[group] = now
        entry: dict[str, Any] = {"identity": Noted(word, _comment(read, word))}
        return entry | ({"smt_expeller": True} if expeller else {})

    def _shield_descendants(self, found: dict[str, Any]) -> None:
        """Give descendants with another identity than the profile would give them an entry of their own."""
        cpu = self.host.layout.controllers.get("cpu")
        if cpu is None:
            return
        for group in sorted(self.identities):
            for below in descendants(self.host.kernel, cpu, group):
                if below in self.identities:
                    continue
                values = self._identity_values(below)
                if {part: read.value for part, read in values.items()} == self.identities[self._nearest(below)]:
                    continue
                entry = self._identity_entry(below, values) if "bvt" in values else {}
                if not entry:
                    continue
                if below in self.names:
                    found[self.names[below]].setdefault("cpu", {}).update(entry)
                else:
                    self._add(found, below, {"cpu": entry})

    def _identity_values(self, group: str) -> dict[str, _Read]:
        values = {}
        for target in place_targets(self.host, Place("cgroup", group)):
            if target.control == _IDENTITY and (value := self.reader.value(target)) is not None:
                values[target.part] = _Read(target, value)
        return values

    def _nearest(self, group: str) -> str:
        """The nearest ancestor the profile gives an identity."""
        above = group.rpartition("/")[0]
        while above not in self.identities:
            above = above.rpartition("/")[0]
        return above


def _comment(read: _Read, written: Written) -> str:
    """The file, and what it holds where the profile says it differently."""
    file = read.target.path.rpartition("/")[2]
    return file if str(written) == str(read.value) else f"{file} {read.value}"
