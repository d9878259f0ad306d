"""Capture: a profile from the host as it is. Only reads.

For each group it holds what differs from a fresh cgroup, so that applying the profile changes nothing here and makes
another host alike. What no profile can say is listed instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from cotune.capture_groups import GroupCapture
from cotune.capture_resctrl import capture_resctrl
from cotune.controls import CONTROLS
from cotune.controls.base import Value
from cotune.controls.mounts import EXT4_DEFAULTS
from cotune.errors import UsageError
from cotune.execute import ReadBack
from cotune.host.cgroups import clean_group, find_groups
from cotune.host.devices import Disk
from cotune.host.dialect import find_dialect
from cotune.host.facts import Host
from cotune.host.mounts import ext4_options
from cotune.host.summary import disks, ext4_mounts
from cotune.inventory import Place, disk_targets, find_place, near_groups, place_targets
from cotune.knobs import section
from cotune.model import Target
from cotune.profile.schema import API_VERSION, KIND, plain_sysctl
from cotune.spell import Inexpressible, Written, spell
from cotune.yamltext import Noted, render

ALL = "all"


class Wish(NamedTuple):
    """What to capture. ``groups`` are patterns (none: the top-level groups); ``sysctls`` names, or ``all``."""

    name: str
    groups: tuple[str, ...] = ()
    sysctls: tuple[str, ...] = ()
    block: bool = False
    mounts: bool = False


class Captured(NamedTuple):
    """``data`` is the profile with comments, ``left_out`` what it could not hold and why."""

    data: dict[str, Any]
    groups: list[str]
    left_out: list[str]


def capture(host: Host, wish: Wish) -> Captured:
    """The profile of a host. Raises UsageError for groups and sysctls that do not exist."""
    left_out: list[str] = []
    groups = GroupCapture(host, left_out)
    found = groups.run(_groups(host, wish.groups))
    host_part: dict[str, Any] = {}
    if sysctls := _sysctls(host, wish.sysctls, left_out):
        host_part["sysctl"] = sysctls
    if groups.root_priority():
        host_part["memory"] = {"use_priority_oom": Noted(True, "of the root memory cgroup")}
    if wish.block and (queues := _queues(host, left_out)):
        host_part["block"] = queues
    if wish.mounts and (mounts := _mounts(host, left_out)):
        host_part["mounts"] = mounts
    if classes := capture_resctrl(host):
        host_part["resctrl"] = classes
    data: dict[str, Any] = {"apiVersion": API_VERSION, "kind": KIND, "metadata": _metadata(host, wish.name)}
    data |= {key: value for key, value in (("host", host_part), ("groups", found)) if value}
    return Captured(data, list(found), left_out)


def profile_text(host: Host, captured: Captured, time: str, version: str) -> str:
    """The profile as YAML, with where it comes from at its head. ``version`` is cotune's."""
    family = find_dialect(host).name
    head = [
        f"Captured by cotune {version} from {_hostname(host)} on {time}, kernel {host.release} ({family}).",
        "Groups hold what differs from a fresh cgroup; behind each value: its file and what that read.",
    ]
    if captured.left_out:
        head += ["Left out:", *(f"  {line}" for line in captured.left_out)]
    return "".join(f"# {line}\n" for line in head) + render(captured.data)


def _hostname(host: Host) -> str:
    return host.text("/proc/sys/kernel/hostname") or host.kernel.name


def _metadata(host: Host, name: str) -> dict[str, Any]:
    return {"name": name, "version": "1.0.0", "description": f"As captured from {_hostname(host)}"}


def _groups(host: Host, patterns: tuple[str, ...]) -> list[str]:
    trees = host.layout.hierarchies()
    found: dict[str, None] = {}
    for pattern in patterns:
        clean = clean_group(pattern.removeprefix("cgroup:"))
        if not clean:
            raise UsageError("the root cgroup cannot be a group of a profile", "name cgroups below it")
        names = find_groups(host.kernel, trees, clean)
        if not names:
            raise UsageError(f"--cgroup {pattern} matches no cgroup on this host", near_groups(host, clean))
        found.update(dict.fromkeys(names))
    if not patterns:
        found.update(dict.fromkeys(find_groups(host.kernel, trees, "*")))
    return [name for name in found if name]


def _sysctls(host: Host, names: Iterable[str], left_out: list[str]) -> dict[str, Any]:
    """The sysctls asked for, in the order of the catalogue, then of the command line."""
    known = section("sysctl")
    reader = ReadBack(host)
    targets: dict[str, Target] = {}
    for name in names:
        place = Place("sysctl", "") if name == ALL else find_place(host, f"sysctl:{name}")
        targets.update({target.knob: target for target in place_targets(host, place)})
    values = {name: _value(reader, target) for name, target in targets.items()}
    found: dict[str, Any] = {}
    for name, target in targets.items():
        value = values[name]
        if value is None:
            left_out.append(f"{name}: cannot be read")
        elif value == 0 and target.control != "sysctl" and _partner(reader, target):
            continue  # the kernel zeroed it in favour of its partner, which holds the value
        else:
            _put(found, name, partial(_sysctl, name, value, name in known), left_out, name)
            if name in found and str(found[name]) != str(value):
                found[name] = Noted(found[name], f"{value}")
    return found


def _partner(reader: ReadBack, target: Target) -> Value | None:
    """The value of the other half of a pair."""
    control = CONTROLS[target.control]
    other = next(part for part in control.parts.values() if part.name != target.part)
    return _value(reader, target._replace(part=other.name, path=f"{target.unit}/{other.files['any']}"))


def _sysctl(name: str, value: Value, known: bool) -> Written:
    number = int(value) if isinstance(value, int) or value.removeprefix("-").isdecimal() else None
    if number is None:
        if "\n" in str(value) or not str(value):
            raise Inexpressible("not one line of text")
        return value
    return spell(section("sysctl")[name] if known else plain_sysctl(name), number)


def _value(reader: ReadBack, target: Target) -> Value | None:
    try:
        return reader.value(target)
    except OSError:
        return None


def _put(found: dict[str, Any], key: str, write: Callable[[], Written], left_out: list[str], label: str) -> None:
    """Enter what ``write`` returns, or the reason why there is nothing to enter."""
    try:
        found[key] = write()
    except Inexpressible as why:
        left_out.append(f"{label}: {why}")


def _queues(host: Host, left_out: list[str]) -> list[dict[str, Any]]:
    queues = []
    reader = ReadBack(host)
    known = section("block")
    for disk in disks(host):
        queue: dict[str, Any] = {"match": {"device": disk.name}}
        for target in disk_targets(host, Disk(disk.name, disk.device, host.kernel.realpath(f"/sys/block/{disk.name}"))):
            value = _value(reader, target)
            if value is None:
                continue  # a file this queue has no use for: wbt_lat_usec without writeback throttling
            label = f"block:{disk.name} {target.knob}"
            _put(queue, target.part, partial(spell, known[target.knob], value), left_out, label)
        if len(queue) > 1:
            queues.append(queue)
    return queues


def _mounts(host: Host, left_out: list[str]) -> list[dict[str, Any]]:
    entries = []
    known = section("mount")
    mounts = {mount.point: mount for mount in host.kernel.mounts()}
    for fact in ext4_mounts(host):
        options: dict[str, Any] = {}
        for name, value in ext4_options(host.kernel, mounts[fact.point]).items():
            if value != EXT4_DEFAULTS[name]:
                label = f"mount:{fact.point} {name}"
                _put(options, name, partial(spell, known[f"mount.{name}"], value), left_out, label)
        if not options:
            continue
        if not fact.point.isprintable():
            left_out.append(f"mount:{fact.point!r}: its name cannot stand in a profile")
            continue
        entry: dict[str, Any] = {"match": {"mountpoint": fact.point}, "options": options}
        if "barrier" in options:
            entry["accept_data_loss"] = Noted(True, "barriers are off: a power cut can lose data")
        entries.append(entry)
    return entries
