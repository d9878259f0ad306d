"""The ``host`` section of a profile: sysctls, switches, block queues and mounts."""

from __future__ import annotations

from typing import Any

from cotune.controls import CONTROLS
from cotune.controls.base import Gate
from cotune.controls.host import SchedFeature
from cotune.errors import Origin, PlanRefused
from cotune.host.devices import Disk, NoSuchDevice, find_disks
from cotune.host.facts import Host
from cotune.host.forms import find_form, part_file
from cotune.host.support import feature_file, probe
from cotune.knobs import section
from cotune.knobs.base import Knob
from cotune.knobs.types import KernelValue
from cotune.model import Key, Resolved, Setting, Target, UnsupportedKnob
from cotune.profile.load import Profile
from cotune.profile.text import at
from cotune.resolve.mounts import MountResolver
from cotune.resolve.values import resolve_value


def sysctl_path(name: str) -> str:
    """The file of a sysctl (sysctl.d(5): the first separator decides; in the dotted form ``/`` stands for a dot)."""
    dot, slash = name.find("."), name.find("/")
    if slash >= 0 and (dot < 0 or slash < dot):
        return f"/proc/sys/{name}"
    return "/proc/sys/" + name.translate(str.maketrans("./", "/."))


class HostResolver:
    """The ``host`` section."""

    def __init__(self, profile: Profile, host: Host, resolved: Resolved) -> None:
        self.profile, self.host, self.out = profile, host, resolved
        self.data: dict[str, Any] = profile.data.get("host", {})
        self.wanted: dict[Key, Setting] = {}

    def run(self) -> None:
        self._sysctls()
        self._switches()
        for index, item in enumerate(self.data.get("block", [])):
            self._block(index, item)
        mounts = MountResolver(self.profile, self.host, self.out, self._add)
        for index, item in enumerate(self.data.get("mounts", [])):
            mounts.entry(index, item)

    def _sysctls(self) -> None:
        known = section("sysctl")
        for name, value in self.data.get("sysctl", {}).items():
            origin = self.profile.origin("host", "sysctl", name)
            knob = known.get(name.replace("/", "."))
            wanted = resolve_value(knob.type if knob else KernelValue(), value, self.host, origin)
            self._add(Setting(sysctl_target(name, knob), wanted, origin))

    def _switches(self) -> None:
        """Everything below ``host`` with a key of its own: switches, files of the memory manager, the root group."""
        for key, knob in section("host").items():
            keys = tuple(key.split(".")[1:])
            written = at(self.data, keys)
            if written is None:
                continue
            origin = self.profile.origin("host", *keys)
            value = resolve_value(knob.type, written, self.host, origin)
            target = self._host_target(knob, origin)
            if target is not None:
                scope = CONTROLS[knob.control].scope
                kept = str(value) if scope == "sysctl" or knob.control == "file" else value
                self._add(Setting(target, kept, origin))

    def _host_target(self, knob: Knob, origin: Origin) -> Target | None:
        control = CONTROLS[knob.control]
        if control.scope == "sysctl":
            return sysctl_target(knob.part, None)._replace(knob=knob.key)
        if control.scope == "cgroup":
            return self._root_target(knob, origin)
        if isinstance(control, SchedFeature):
            path = feature_file(self.host)
            return Target(control.name, knob.part, "host", path, path, knob.part, knob.key)
        part = control.parts.get(knob.part)
        if part is None:
            return file_target(knob.part, knob.key)
        path = part.files["any"]
        return Target(control.name, part.name, "host", path, path, None, knob.key)

    def _root_target(self, knob: Knob, origin: Origin) -> Target | None:
        """The file of the root cgroup, or None, reported, where there is none."""
        control, hierarchy = find_form(self.host, knob.control)
        file = part_file(self.host, hierarchy, control.parts.get(knob.part)) if hierarchy else None
        if hierarchy is None or file is None:
            support = probe(self.host, knob)
            self._unsupported("cgroup:/", knob.key, support.reason, support.remedy, origin)
            return None
        path = f"{hierarchy.point}/{file}"
        return Target(control.name, knob.part, "cgroup:/", hierarchy.point, path, None, knob.key)

    def _block(self, index: int, item: dict[str, Any]) -> None:
        try:
            disks = find_disks(self.host.kernel, item["match"])
        except NoSuchDevice as error:
            origin = self.profile.origin("host", "block", index, "match")
            self.out.notes.append(f"{origin}: {error}")
            return
        for name, knob in ((key.removeprefix("block."), knob) for key, knob in section("block").items()):
            written = at(item, tuple(name.split(".")))
            if written is None:
                continue
            origin = self.profile.origin("host", "block", index, *name.split("."))
            value = resolve_value(knob.type, written, self.host, origin)
            for disk in disks:
                target = self._block_target(knob, disk, origin)
                if target is not None:
                    self._add(Setting(target, value, origin))

    def _block_target(self, knob: Knob, disk: Disk, origin: Origin) -> Target | None:
        """A file of the disk's queue, or, for the cost model, the disk's row in a file of the root cgroup."""
        control = CONTROLS[knob.control]
        if control.scope != "cgroup":
            unit = f"{disk.sysfs}/queue"
            path = f"{unit}/{control.parts[knob.part].files['any']}"
            return Target(control.name, knob.part, f"block:{disk.name}", unit, path, None, knob.key)
        target = self._root_target(knob, origin)
        row = CONTROLS[target.control].row(knob.part, disk.device) if target else None
        return target._replace(resource=f"block:{disk.name}", row=row) if target else None

    def _add(self, setting: Setting) -> None:
        """Keep a setting. Raises PlanRefused when another entry sets the same value differently."""
        other = self.wanted.setdefault(setting.target.key, setting)
        if other is setting:
            self.out.settings.append(setting)
        elif other.value != setting.value:
            raise PlanRefused(
                f"{setting.origin}: {setting.target.resource} {setting.target.knob} is set differently at "
                f"{other.origin}",
                "let one of the two set it, or make their matches differ",
            )

    def _unsupported(self, resource: str, knob: str, reason: str, remedy: str, origin: Origin) -> None:
        self.out.unsupported.append(UnsupportedKnob(resource, knob, reason, remedy, origin))


def sysctl_target(name: str, knob: Knob | None) -> Target:
    """The target of a sysctl: on its own, or a part of the pair it belongs to."""
    path = sysctl_path(name)
    shown = path.removeprefix("/proc/sys/").replace("/", ".")
    if knob and knob.control != "sysctl":
        unit = path.rpartition("/")[0]
        return Target(knob.control, knob.part, "sysctl", unit, path, None, shown)
    return Target("sysctl", shown, "sysctl", path, path, None, shown)


def file_target(path: str, knob: str) -> Target:
    """The target of a file of the whole host that is no sysctl."""
    return Target("file", path, "host", path, path, None, knob)


def gate_target(gate: Gate) -> Target:
    """The target of a switch."""
    return sysctl_target(gate.name, None) if gate.name != gate.path else file_target(gate.path, gate.path)
