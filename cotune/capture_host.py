"""The host section of a captured profile: sysctls, files of the whole host, queues of disks, and ext4 mounts."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from cotune.capture_values import number, put, value_of
from cotune.controls import CONTROLS
from cotune.controls.base import Value
from cotune.controls.mounts import EXT4_DEFAULTS, PROJECT_QUOTA
from cotune.controls.pairs import Pair
from cotune.execute import ReadBack
from cotune.host.devices import Disk
from cotune.host.facts import Host
from cotune.host.summary import disks, ext4_mounts
from cotune.inventory import Place, disk_targets, find_place, host_targets, mount_targets, place_targets
from cotune.knobs import BY_KEY, section
from cotune.model import Target
from cotune.profile.schema import plain_sysctl
from cotune.spell import Inexpressible, Written, spell
from cotune.yamltext import Noted

ALL = "all"


class HostCapture:
    """Reads the host; ``left_out`` collects what a profile cannot say.

    With ``tunables`` it also takes what is only there while something else is as it is: the tunables of the active
    IO scheduler, and files of journals.
    """

    def __init__(self, host: Host, left_out: list[str], tunables: bool = False) -> None:
        self.host, self.left_out, self.tunables = host, left_out, tunables
        self.reader = ReadBack(host)

    # --- sysctls and files -------------------------------------------------------------------------------------------

    def sysctls(self, names: Iterable[str]) -> dict[str, Any]:
        """The sysctls asked for, in the order of the catalogue, then of the command line."""
        targets: dict[str, Target] = {}
        for name in names:
            place = Place("sysctl", "") if name == ALL else find_place(self.host, f"sysctl:{name}")
            found = place_targets(self.host, place)
            # a switch with a key of its own is part of the files
            targets.update({t.knob: t for t in found if not t.knob.startswith("host.")})
        entries: dict[str, Any] = {}
        for name, target in targets.items():
            value = value_of(self.reader, target)
            if value is None:
                self.left_out.append(f"{name}: cannot be read")
            elif value == 0 and self._partner(target):
                continue  # the kernel zeroed it in favour of its partner, which holds the value
            else:
                put(entries, [name], partial(_sysctl, name, value), self.left_out, name)
        return entries

    def files(self) -> dict[str, Any]:
        """Everything of the section that has a key of its own: scheduler features, files of the memory manager."""
        found: dict[str, Any] = {}
        for target in host_targets(self.host):
            value = value_of(self.reader, target)
            if value is None:
                self.left_out.append(f"{target.knob}: cannot be read")
            else:
                keys = target.knob.split(".")[1:]
                put(found, keys, partial(spell, BY_KEY[target.knob], number(value)), self.left_out, target.knob)
        return found

    def root_priority(self) -> dict[str, Any]:
        """Whether the root memory cgroup kills by priority: groups that have one rely on it."""
        for target in host_targets(self.host):
            if target.control == "memory.use_priority_oom" and value_of(self.reader, target) == 1:
                return {"memory": {"use_priority_oom": Noted(True, "of the root memory cgroup")}}
        return {}

    def _partner(self, target: Target) -> Value | None:
        """The value of the other half of a pair."""
        control = CONTROLS[target.control]
        if not isinstance(control, Pair):
            return None
        other = next(part for part in control.parts.values() if part.name != target.part)
        return value_of(self.reader, target._replace(part=other.name, path=f"{target.unit}/{other.files['any']}"))

    # --- disks -------------------------------------------------------------------------------------------------------

    def queues(self) -> list[dict[str, Any]]:
        """The queues of all disks, and of their cost model what is switched on or the user's."""
        queues = []
        for fact in disks(self.host):
            disk = Disk(fact.name, fact.device, self.host.kernel.realpath(f"/sys/block/{fact.name}"))
            queue: dict[str, Any] = {"match": {"device": disk.name}}
            rows: dict[str, dict[str, tuple[Target, Value]]] = {}
            for target in disk_targets(self.host, disk):
                value = value_of(self.reader, target)
                if value is None:
                    continue  # a file this queue has no use for: wbt_lat_usec without writeback throttling
                if CONTROLS[target.control].scope == "cgroup":
                    rows.setdefault(target.control, {})[target.part] = (target, value)
                elif self.tunables or target.part not in CONTROLS[target.control].transient:
                    self._queue_value(queue, target, value)
            for row in rows.values():
                self._cost(queue, row)
            if len(queue) > 1:
                queues.append(queue)
        return queues

    def _queue_value(self, queue: dict[str, Any], target: Target, value: Value) -> None:
        knob = BY_KEY[target.knob]
        put(queue, knob.key.split(".")[1:], partial(spell, knob, value), self.left_out, f"{target.resource} {knob.key}")

    def _cost(self, queue: dict[str, Any], row: dict[str, tuple[Target, Value]]) -> None:
        """A row of the cost model; the numbers are the kernel's own choice unless the user has set them."""
        user = row["ctrl"][1] == "user"
        on = "enable" in row and row["enable"][1] == 1
        for part, (target, value) in row.items() if user or on else ():
            if user or part in ("enable", "ctrl"):
                self._queue_value(queue, target, value)

    # --- mounts ------------------------------------------------------------------------------------------------------

    def mounts(self) -> list[dict[str, Any]]:
        """ext4 options that are not the default and that a remount can set."""
        entries = []
        for fact in ext4_mounts(self.host):
            options: dict[str, Any] = {}
            journal: dict[str, Any] = {}
            for target in mount_targets(self.host, fact.point):
                if target.control == "mount.ext4":
                    self._option(options, target, fact.options["data"])
                elif target.control == "jbd2" and self.tunables:
                    self._journal(journal, target)
            if not (options or journal):
                continue
            if not fact.point.isprintable():
                self.left_out.append(f"mount:{fact.point!r}: its name cannot stand in a profile")
                continue
            parts = {key: found for key, found in (("options", options), ("jbd2", journal)) if found}
            entry: dict[str, Any] = {"match": {"mountpoint": fact.point}, **parts}
            if "barrier" in options:
                entry["accept_data_loss"] = Noted(True, "barriers are off: a power cut can lose data")
            entries.append(entry)
        return entries

    def _option(self, options: dict[str, Any], target: Target, data: str) -> None:
        value = value_of(self.reader, target)
        if value is None or value == EXT4_DEFAULTS[target.part]:
            return
        if CONTROLS[target.control].blocked({"data": data}, {target.part: value}):
            return  # there is no journal that the option could be about
        write = partial(_option, target, value)
        put(options, [target.part], write, self.left_out, f"{target.resource} {target.part}")

    def _journal(self, journal: dict[str, Any], target: Target) -> None:
        value = value_of(self.reader, target)
        if value is not None:
            write = partial(spell, BY_KEY[target.knob], value)
            put(journal, [target.part], write, self.left_out, f"{target.resource} {target.knob}")


def _sysctl(name: str, value: Value) -> Written | Noted:
    known = section("sysctl").get(name)
    kept = number(value)
    if isinstance(kept, str) and ("\n" in kept or not kept):
        raise Inexpressible("not one line of text")
    written = spell(known or plain_sysctl(name), kept)
    return written if str(written) == str(value) else Noted(written, f"{value}")


def _option(target: Target, value: Value) -> Written:
    """An option that differs from the default. Raises Inexpressible for those that only a mount can set."""
    control = CONTROLS[target.control]
    usual = {**EXT4_DEFAULTS, PROJECT_QUOTA: 1}
    if pending := control.pending(dict(usual), {target.part: value}).get(target.part):
        raise Inexpressible(f"it is {control.show(target.part, value)}; {pending[0]}")
    return spell(BY_KEY[target.knob], value)
