"""Observe: read every value a plan needs to know. Never writes."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping

from cotune.controls import CONTROLS
from cotune.controls.base import Control, Value
from cotune.controls.memory import WatermarkMinAdj
from cotune.host.facts import Host
from cotune.host.mounts import ext4_options, find_mount
from cotune.host.support import sample_file
from cotune.model import Create, Instance, Key, Setting, Target


def observe(
    host: Host, settings: Iterable[Setting], creates: Iterable[Create] = (), known: Mapping[Key, Value] | None = None
) -> list[Instance]:
    """Group settings by control and place and read what is there now.

    ``known`` is the last own value that cotune wrote, for files that print something else (memory.wmark_min_adj).
    """
    grouped: dict[tuple[str, str, str | None], dict[str, Setting]] = {}
    for setting in settings:
        target = setting.target
        grouped.setdefault((target.control, target.unit, target.row if _is_row(target) else None), {})[target.part] = (
            setting
        )
    reader = Reader(host, {create.path for create in creates}, known or {})
    return [reader.instance(CONTROLS[name], unit, row, wanted) for (name, unit, row), wanted in grouped.items()]


def _is_row(target: Target) -> bool:
    """Rows of a table are planned one by one; the options of a mount together."""
    return CONTROLS[target.control].rows


class Reader:
    """Reads instances; keeps the text of each file, since tables have many rows."""

    def __init__(self, host: Host, created: set[str], known: Mapping[Key, Value]) -> None:
        self.host, self.created, self.known = host, created, known
        self.texts: dict[str, str | OSError] = {}
        self.samples: dict[tuple[str, str], bool | None] = {}
        self.options: dict[str, dict[str, Value] | None] = {}

    def instance(self, control: Control, unit: str, row: str | None, wanted: dict[str, Setting]) -> Instance:
        """One control in one place with everything its settling needs."""
        created = unit in self.created
        targets = self._targets(control, unit, row, wanted)
        instance = Instance(control, unit, row, targets, wanted, {}, {}, {}, created)
        unsure = []
        for part, target in targets.items():
            if control.scope == "mount":
                self._mount(instance, part, target)
            elif created:
                if self._fresh(instance, part, target) is None:
                    unsure.append(part)
            else:
                self._read(instance, part, target)
        if instance.missing and control.scope == "cgroup" and not created and not self.host.kernel.exists(unit):
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
            file = part.files.get("any") or part.files.get(self._version(control))
            if part.name not in targets and file:
                targets[part.name] = Target(
                    control.name, part.name, one.resource, unit, f"{unit}/{file}", row, part.knob
                )
        # the order of the parts is the order in which independent ones are written
        return {name: targets[name] for name in control.parts if name in targets}

    def _version(self, control: Control) -> str:
        hierarchy = self.host.layout.controllers.get(control.controller)
        return f"v{hierarchy.version}" if hierarchy else ""

    def _read(self, instance: Instance, part: str, target: Target) -> None:
        try:
            value = instance.control.parse(part, self.text(target.path), target.row)
        except OSError as error:
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
        return 0 if part in instance.missing else instance.old[part]

    def _mount(self, instance: Instance, part: str, target: Target) -> None:
        if target.unit not in self.options:
            mount = find_mount(self.host.kernel, target.unit)
            self.options[target.unit] = ext4_options(self.host.kernel, mount) if mount else None
        options = self.options[target.unit]
        if options is None:
            instance.missing[part] = "ENOENT"
        else:
            instance.old[part] = options.get(part)
