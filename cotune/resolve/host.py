"""The ``host`` section of a profile: sysctls, switches, block queues and mounts."""

from __future__ import annotations

from typing import Any

from cotune.controls import CONTROLS
from cotune.errors import Origin, PlanRefused
from cotune.host.devices import NoSuchDevice, find_disks
from cotune.host.facts import Host
from cotune.host.mounts import find_mount
from cotune.host.support import probe
from cotune.knobs import BY_KEY, section
from cotune.knobs.base import Knob
from cotune.knobs.types import KernelValue
from cotune.model import Key, Resolved, Setting, Target, UnsupportedKnob
from cotune.profile.load import Profile


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
        for index, item in enumerate(self.data.get("mounts", [])):
            self._mount(index, item)

    def _sysctls(self) -> None:
        known = section("sysctl")
        for name, value in self.data.get("sysctl", {}).items():
            origin = self.profile.origin("host", "sysctl", name)
            knob = known.get(name.replace("/", "."))
            wanted = (knob.type if knob else KernelValue()).resolve(value, self.host.context)
            self._add(Setting(sysctl_target(name, knob), wanted, origin))

    def _switches(self) -> None:
        if "group_identity" in self.data.get("sched", {}):
            knob = BY_KEY["host.sched.group_identity"]
            value = knob.type.resolve(self.data["sched"]["group_identity"], self.host.context)
            origin = self.profile.origin("host", "sched", "group_identity")
            target = sysctl_target(knob.part, None)._replace(knob=knob.key)
            self._add(Setting(target, str(value), origin))
        if "use_priority_oom" in self.data.get("memory", {}):
            self._root_oom()

    def _root_oom(self) -> None:
        knob = BY_KEY["host.memory.use_priority_oom"]
        value = knob.type.resolve(self.data["memory"]["use_priority_oom"], self.host.context)
        origin = self.profile.origin("host", "memory", "use_priority_oom")
        memory = self.host.layout.controllers.get("memory")
        file = CONTROLS[knob.control].parts[knob.part].files.get(f"v{memory.version}") if memory else None
        if memory is None or file is None:
            support = probe(self.host, knob)
            self._unsupported("cgroup:/", knob.key, support.reason, support.remedy, origin)
            return
        target = Target(knob.control, knob.part, "cgroup:/", memory.point, f"{memory.point}/{file}", None, knob.key)
        self._add(Setting(target, value, origin))

    def _block(self, index: int, item: dict[str, Any]) -> None:
        try:
            disks = find_disks(self.host.kernel, item["match"])
        except NoSuchDevice as error:
            origin = self.profile.origin("host", "block", index, "match")
            self.out.notes.append(f"{origin}: {error}")
            return
        for name, knob in ((key.removeprefix("block."), knob) for key, knob in section("block").items()):
            if name not in item:
                continue
            value = knob.type.resolve(item[name], self.host.context)
            origin = self.profile.origin("host", "block", index, name)
            for disk in disks:
                unit = f"{disk.sysfs}/queue"
                target = Target(knob.control, knob.part, f"block:{disk.name}", unit, f"{unit}/{name}", None, knob.key)
                self._add(Setting(target, value, origin))

    def _mount(self, index: int, item: dict[str, Any]) -> None:
        point = item["match"]["mountpoint"].rstrip("/") or "/"
        origin = self.profile.origin("host", "mounts", index, "match")
        mount = find_mount(self.host.kernel, point)
        if mount is None:
            self.out.notes.append(f"{origin}: nothing is mounted at {point}")
            return
        wanted_type = item["match"].get("fstype", "ext4")
        if mount.fstype != wanted_type or mount.fstype != "ext4":
            self.out.notes.append(f"{origin}: {point} is {mount.fstype}, not ext4: left alone")
            return
        self._check_barrier(index, item, point)
        known = section("mount")
        for name, value in item.get("options", {}).items():
            knob = known[f"mount.{name}"]
            target = Target(knob.control, knob.part, f"mount:{point}", point, point, name, knob.key)
            wanted = knob.type.resolve(value, self.host.context)
            self._add(Setting(target, wanted, self.profile.origin("host", "mounts", index, "options", name)))

    def _check_barrier(self, index: int, item: dict[str, Any], point: str) -> None:
        if item.get("options", {}).get("barrier") is not False or item.get("accept_data_loss"):
            return
        try:
            disks = find_disks(self.host.kernel, {"mountpoint": point})
        except NoSuchDevice:
            disks = []
        volatile = [disk.name for disk in disks if self.host.text(f"{disk.sysfs}/queue/write_cache") == "write back"]
        if volatile:
            raise PlanRefused(
                f"{self.profile.origin('host', 'mounts', index, 'options', 'barrier')}: barrier: false on "
                f"{', '.join(volatile)}, whose write cache is volatile (write back): a power cut can lose data",
                "leave barriers on, or set accept_data_loss: true beside the options",
            )

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
