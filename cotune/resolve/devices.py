"""Lists below ``io`` of a group whose entries name a device each: bounds, weights and latency targets."""

from __future__ import annotations

from typing import Any, NamedTuple

from cotune.errors import Origin
from cotune.host.devices import NoSuchDevice, find_disks
from cotune.host.facts import Host
from cotune.knobs import IO_LISTS, section
from cotune.knobs.base import Knob
from cotune.model import Resolved
from cotune.profile.load import Profile
from cotune.resolve.values import resolve_value


class DeviceValue(NamedTuple):
    """A value for one disk: ``device`` is its ``MAJ:MIN``."""

    knob: Knob
    value: Any
    origin: Origin
    device: str


def device_values(profile: Profile, host: Host, out: Resolved, name: str, io: dict[str, Any]) -> list[DeviceValue]:
    """The values of every list of the group ``name``; a device that is not there is noted in ``out``."""
    found: list[DeviceValue] = []
    for key, kind in IO_LISTS.items():
        entries = io.get(key, [])
        for index, item in enumerate(entries if isinstance(entries, list) else []):
            place = ("groups", name, "io", key, index)
            try:
                disks = find_disks(host.kernel, item["device"])
            except NoSuchDevice as error:
                out.notes.append(f"{profile.origin(*place, 'device')}: {error}")
                continue
            for knob in section(kind).values():
                word = knob.key.rpartition(".")[2]
                if word in item:
                    origin = profile.origin(*place, word)
                    value = resolve_value(knob.type, item[word], host, origin)
                    found += [DeviceValue(knob, value, origin, disk.device) for disk in disks]
    return found
