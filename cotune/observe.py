"""Observe: read every value a plan needs to know. Never writes."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from functools import cached_property

from cotune.controls import CONTROLS
from cotune.controls.base import UNLIMITED, Control, Part, Value
from cotune.controls.memory import WatermarkMinAdj
from cotune.host.facts import Host
from cotune.host.forms import part_file
from cotune.host.resctrl import Resctrl, fresh_value, read_resctrl
from cotune.host.support import sample_file
from cotune.model import Create, Enable, Instance, Key, Setting, Target
from cotune.places import OPERATIONS, Places


def observe(
    host: Host,
    settings: Iterable[Setting],
    creates: Iterable[Create] = (),
    known: Mapping[Key, Value] | None = None,
    enables: Iterable[Enable] = (),
) -> list[Instance]:
    """Group settings by control and place and read what is there now.

    Groups to be created, and controllers to be enabled, have what the kernel starts them with. ``known`` is the last
    own value that cotune wrote, for files that print something else (memory.wmark_min_adj).
    """
    grouped: dict[tuple[str, str, str | None], dict[str, Setting]] = {}
    for setting in settings:
        target = setting.target
        place = (target.control, target.unit, _device(target))
        grouped.setdefault(place, {})[target.part] = setting
    enabled = {(enable.path, controller) for enable in enables for controller in enable.controllers}
    reader = Reader(host, {create.path for create in creates}, enabled, known or {})
    return [reader.instance(CONTROLS[name], unit, row, wanted) for (name, unit, row), wanted in grouped.items()]


def _device(target: Target) -> str | None:
    """Devices of a table are planned one by one; the options of a mount together."""
    return (target.row or "").partition(" ")[0] if CONTROLS[target.control].rows else None


def _lowers(instance: Instance) -> bool:
    """Whether any value is to become smaller than it is."""
    for part, setting in instance.wanted.items():
        old = instance.old.get(part)
        if isinstance(setting.value, int) and isinstance(old, int) and UNLIMITED < setting.value < old:
            return True
    return False


class Reader:
    """Reads instances; keeps the text of each file, since tables have many rows."""

    def __init__(
        self, host: Host, created: set[str], enabled: set[tuple[str, str]], known: Mapping[Key, Value]
    ) -> None:
        self.host, self.created, self.enabled, self.known = host, created, enabled, known
        self.texts: dict[str, str | OSError] = {}
        self.files: dict[tuple[str, str], str | None] = {}
        self.samples: dict[tuple[str, str], bool | None] = {}
        self.places = Places(host.kernel)

    def instance(self, control: Control, unit: str, row: str | None, wanted: dict[str, Setting]) -> Instance:
        """One control in one place with everything its settling needs."""
        created = unit in self.created
        fresh = created or (unit.rpartition("/")[0], control.controller) in self.enabled
        targets = self._targets(control, unit, row, wanted)
        instance = Instance(control, unit, row, targets, wanted, {}, {}, {}, created)
        unsure = []
        for part, target in targets.items():
            if control.is_report(part):
                continue
            if control.scope in OPERATIONS:
                self._place(instance, part, target)
            elif fresh:
                if self._fresh(instance, part, target) is None:
                    unsure.append(part)
            else:
                self._read(instance, part, target)
        if not fresh and _lowers(instance):
            for part in targets:
                if control.is_report(part):
                    self._read(instance, part, targets[part])
        vanishes = control.scope in ("cgroup", "resctrl") and not created
        if instance.missing and vanishes and not self.host.kernel.exists(unit):
            return instance._replace(gone=True)
        return instance._replace(unsure=tuple(unsure))

    def text(self, path: str) -> str:
        """The text of a file, read once. Raises OSError."""
        found = self.texts.get(path)
        if found is None:
            try:
                found = self.host.kernel.read(path)
            except OSError as error:
                found = error
            self.texts[path] = found
        if isinstance(found, OSError):
            raise found
        return found

    def _targets(self, control: Control, unit: str, row: str | None, wanted: dict[str, Setting]) -> dict[str, Target]:
        targets = {part: setting.target for part, setting in wanted.items()}
        if not control.coupled:
            return targets
        one = next(iter(targets.values()))
        for part in control.parts.values():
            file = part.files.get("any") or self._file(control, part)
            if part.name not in targets and file:
                targets[part.name] = Target(
                    control.name,
                    part.name,
                    one.resource,
                    unit,
                    f"{unit}/{file}",
                    control.row(part.name, row),
                    part.knob,
                )
        # the order of the parts is the order in which independent ones are written
        return {name: targets[name] for name in control.parts if name in targets}

    def _file(self, control: Control, part: Part) -> str | None:
        """The file of a part that nobody asked for; None where this kernel has none, which is found out once."""
        name = (control.name, part.name)
        if name not in self.files:
            hierarchy = self.host.layout.controllers.get(control.controller)
            file = part_file(self.host, hierarchy, part) if hierarchy else None
            lacking = hierarchy and file and sample_file(self.host, hierarchy, file, part) is False
            self.files[name] = None if lacking else file
        return self.files[name]

    def _read(self, instance: Instance, part: str, target: Target) -> None:
        try:
            value = instance.control.parse(part, self.text(target.path), target.row)
        except OSError as error:
            wanted = {name: setting.value for name, setting in instance.wanted.items()}
            if error.errno == errno.ENOENT and instance.control.comes_later(part, instance.old, wanted):
                instance.old[part] = None
                return
            instance.missing[part] = errno.errorcode.get(error.errno or 0, "EIO")
        except ValueError:
            instance.missing[part] = "unreadable"
        else:
            if isinstance(instance.control, WatermarkMinAdj) and isinstance(value, int):
                instance.reads[part] = value
                known = self.known.get(target.key)
                parent = self._parent_value(target)
                instance.old[part] = instance.control.own(value, parent, known if isinstance(known, int) else None)
            else:
                instance.old[part] = value

    def _parent_value(self, target: Target) -> int:
        directory, _, file = target.path.rpartition("/")
        try:
            return int(self.text(f"{directory.rpartition('/')[0]}/{file}"))
        except (OSError, ValueError):
            return 0  # the root group has no such file: no opinion

    def _fresh(self, instance: Instance, part: str, target: Target) -> bool | None:
        """What the group will start with. Returns whether the file will be there, None when that cannot be told."""
        if instance.control.scope == "resctrl":
            instance.old[part] = self._fresh_class(instance.control.parts[part], target)
            return True
        hierarchy = self.host.layout.controllers[instance.control.controller]
        file = target.path.rpartition("/")[2]
        place = (hierarchy.point, file)
        if place not in self.samples:
            self.samples[place] = sample_file(self.host, hierarchy, file, instance.control.parts[part])
        if self.samples[place] is False:
            instance.missing[part] = "ENOENT"
        else:
            fresh = instance.control.parts[part].fresh
            instance.old[part] = self._inherited(instance.control, part, target) if fresh is None else fresh
            if instance.control.name == "memory.swappiness":
                # the root's is vm.swappiness, which the same plan may set first: so this one is always written
                instance.old[part] = None
        return self.samples[place]

    def _fresh_class(self, part: Part, target: Target) -> Value | None:
        if part.fresh is not None or target.row is None or self.resctrl is None:
            return part.fresh
        return fresh_value(self.host, self.resctrl, target.row)

    @cached_property
    def resctrl(self) -> Resctrl | None:
        """The mounted resctrl, read when it is first needed."""
        return read_resctrl(self.host)

    def _inherited(self, control: Control, part: str, target: Target) -> Value | None:
        """What a new group copies from its nearest existing ancestor; 0 where the root has no such file."""
        directory, _, file = target.path.rpartition("/")
        hierarchy = self.host.layout.controllers[control.controller]
        while directory.startswith(hierarchy.point + "/"):
            directory = directory.rpartition("/")[0]
            if self.host.kernel.exists(directory):
                break
        above = target._replace(unit=directory, path=f"{directory}/{file}")
        instance = Instance(control, directory, None, {part: above}, {}, {}, {}, {})
        self._read(instance, part, above)
        return control.parts[part].top if part in instance.missing else instance.old[part]

    def _place(self, instance: Instance, part: str, target: Target) -> None:
        """What is no file is read as a whole: a control may need to know more of it than what is wanted."""
        try:
            values = self.places.values(target)
        except OSError as error:
            instance.missing[part] = errno.errorcode.get(error.errno or 0, "EIO")
            return
        instance.old.update(values)
        if part in instance.control.hidden:
            instance.old[part] = self.known.get(target.key)
