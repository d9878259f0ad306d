"""Inventory: every value that knobs can set in one place, and which place a word on the command line means.

A place is a resource as plans name it (``cgroup:online``, ``cgroup:/``, ``sysctl``, ``block:sda``, ``mount:/data``).
Reads names and tables only; never writes.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import NamedTuple

from cotune.controls import CONTROLS
from cotune.controls.base import Control, Part
from cotune.controls.host import SchedFeature
from cotune.controls.io import Cost
from cotune.controls.resctrl import DEFAULT
from cotune.errors import UsageError
from cotune.host.cgroups import cgroup_resource, clean_group, find_groups
from cotune.host.devices import Disk, NoSuchDevice, disk_names, find_disks
from cotune.host.facts import Host
from cotune.host.forms import find_form, part_file
from cotune.host.mounts import find_mount
from cotune.host.resctrl import class_targets, read_resctrl
from cotune.host.support import feature_file, probe
from cotune.knobs import section
from cotune.knobs.base import Knob
from cotune.model import Target
from cotune.resolve.host import file_target, sysctl_path, sysctl_target
from cotune.resolve.mounts import mount_targets as ext4_targets
from cotune.resolve.mounts import quota_targets

_KINDS = ("cgroup", "sysctl", "block", "mount", "quota", "resctrl")
#: Resources that there is one of.
_SINGLE = ("sysctl", "host")


class Place(NamedTuple):
    """``kind`` is cgroup, sysctl, host, block, mount, quota or resctrl; ``name`` the group (empty: root), sysctl,
    disk, mount point, directory or class.

    The place of a sysctl without a name is all of them; ``host`` has no name.
    """

    kind: str
    name: str

    @property
    def resource(self) -> str:
        """The resource as plans name it."""
        return self.kind if self.kind in _SINGLE else f"{self.kind}:{self.name or '/'}"


def find_place(host: Host, text: str, known: Iterable[str] = ()) -> Place:
    """The place ``text`` means: a group path, ``/``, a sysctl, or any resource as plans name it.

    ``known`` are further resources that count as existing, though their cgroup may be gone. Raises UsageError with
    what is similar.
    """
    kind, separator, name = text.partition(":")
    if text in _SINGLE:
        return Place(text, "")
    if separator and kind in _KINDS:
        return _prefixed(host, kind, name, set(known))
    group = _below_a_mount(host, text)
    if not group or _group_exists(host, group) or f"cgroup:{group}" in known:
        return Place("cgroup", group)
    if "." in text and host.kernel.exists(sysctl_path(text)):
        return Place("sysctl", text)
    hint = _similar(text, section("sysctl")) if "." in text else ""
    message = f"there is no cgroup {text} on this host, and no sysctl of that name"
    raise UsageError(message, hint or near_groups(host, group))


def place_targets(host: Host, place: Place) -> list[Target]:
    """Every value that a knob can set in a place and whose file is there, in the order of the catalogue."""
    if place.kind == "cgroup":
        return group_targets(host, place.name)
    if place.kind in _SINGLE:
        single = [target for target in host_targets(host) if target.resource == place.resource]
        return single if place.kind == "host" else _sysctl_targets(host, place.name, single)
    if place.kind == "resctrl":
        return class_targets(host, place.name)
    if place.kind == "block":
        return [
            target for disk in find_disks(host.kernel, {"device": place.name}) for target in disk_targets(host, disk)
        ]
    return quota_targets(host, place.name) if place.kind == "quota" else mount_targets(host, place.name)


def group_targets(host: Host, group: str, control: str = "") -> list[Target]:
    """The values of a cgroup (empty: the root): of every control, or of the one named."""
    found: list[Target] = []
    names: dict[str, set[str]] = {}
    devices: dict[str, list[str]] = {}
    for form in (CONTROLS[control],) if control else CONTROLS.values():
        hierarchy = host.layout.controllers.get(form.controller) if form.scope == "cgroup" else None
        if hierarchy is None or isinstance(form, Cost):
            continue  # the cost model stands in the root cgroup, but is the disk's
        unit = hierarchy.dir(group)
        if unit not in names:
            names[unit] = _names(host, unit)
        for part in form.parts.values():
            file = next((file for file in _files(part, hierarchy.version) if file in names[unit]), None)
            if file is None or part.report:
                continue
            path = f"{unit}/{file}"
            where = Target(form.name, part.name, cgroup_resource(group), unit, path, None, part.knob)
            if not _has_devices(form, part):
                found.append(where._replace(row=form.row(part.name, None)))
                continue
            if path not in devices:
                devices[path] = [word for line in host.text(path).splitlines() if ":" in (word := line.split(" ")[0])]
            found += [where._replace(row=form.row(part.name, device)) for device in devices[path]]
    return found


def disk_targets(host: Host, disk: Disk) -> list[Target]:
    """The values of a disk: files of its queue, and its rows of the cost model."""
    targets = []
    unit = f"{disk.sysfs}/queue"
    for knob in section("block").values():
        control = CONTROLS[knob.control]
        if control.scope == "cgroup":
            if row := _root_target(host, knob):
                device = CONTROLS[row.control].row(knob.part, disk.device)
                targets.append(row._replace(resource=f"block:{disk.name}", row=device))
            continue
        path = f"{unit}/{control.parts[knob.part].files['any']}"
        if host.kernel.exists(path):
            targets.append(Target(knob.control, knob.part, f"block:{disk.name}", unit, path, None, knob.key))
    return targets


def host_targets(host: Host) -> list[Target]:
    """The values of the ``host`` section with a key of their own: files, scheduler features, and what is a sysctl or
    stands in the root cgroup."""
    known = (knob for knob in section("host").values() if probe(host, knob).state in ("yes", "gated"))
    return [target for knob in known if (target := _host_target(host, knob))]


def mount_targets(host: Host, point: str) -> list[Target]:
    """What can be set of the ext4 file system mounted at ``point``; nothing of other file systems."""
    mount = find_mount(host.kernel, point)
    return ext4_targets(host, mount) if mount and mount.fstype == "ext4" else []


def group_names(host: Host, pattern: str = "**") -> list[str]:
    """Cgroups that match a pattern in any hierarchy with a controller, without the root."""
    return [name for name in find_groups(host.kernel, host.layout.hierarchies(), pattern) if name]


def parent_target(target: Target) -> Target | None:
    """The same value of the parent cgroup, or None at the root of a hierarchy's path."""
    parent = target.unit.rpartition("/")[0]
    file = target.path.rpartition("/")[2]
    group = target.resource.removeprefix("cgroup:")
    if group == "/":
        return None
    above = group.rpartition("/")[0] or "/"
    return target._replace(resource=f"cgroup:{above}", unit=parent, path=f"{parent}/{file}")


def _prefixed(host: Host, kind: str, name: str, known: set[str]) -> Place:
    if kind == "cgroup":
        group = clean_group(name)
        if not group or _group_exists(host, group) or f"cgroup:{group}" in known:
            return Place(kind, group)
        raise UsageError(f"there is no cgroup {name} on this host", near_groups(host, group))
    if kind == "sysctl":
        if host.kernel.exists(sysctl_path(name)):
            return Place(kind, name)
        raise UsageError(f"there is no sysctl {name} on this host", _similar(name, section("sysctl")))
    if kind == "resctrl":
        if not (f"resctrl:{name}" in known or class_targets(host, name)):
            resctrl = read_resctrl(host)
            here = ", ".join((DEFAULT, *resctrl.classes)) if resctrl else "none: resctrl is not mounted"
            raise UsageError(f"there is no resctrl class {name} on this host", f"classes: {here}")
        return Place(kind, name)
    if kind == "block":
        try:
            return Place(kind, find_disks(host.kernel, {"device": name})[0].name)
        except NoSuchDevice:
            raise UsageError(
                f"there is no disk {name} on this host", f"disks: {', '.join(disk_names(host.kernel)) or 'none'}"
            ) from None
    if kind == "quota":
        if host.kernel.exists(name):
            return Place(kind, host.kernel.realpath(name))
        raise UsageError(f"there is no directory {name}")
    if find_mount(host.kernel, name) is None:
        points = [mount.point for mount in host.kernel.mounts() if mount.fstype == "ext4"]
        raise UsageError(f"nothing is mounted at {name}", f"ext4 mounts: {', '.join(points) or 'none'}")
    return Place(kind, name.rstrip("/") or "/")


def _below_a_mount(host: Host, text: str) -> str:
    """The group path of ``text``, which may also be a directory below a cgroup mount."""
    if text.startswith("/"):
        path = host.kernel.realpath(text)
        for hierarchy in host.layout.hierarchies():
            if path == hierarchy.point or path.startswith(hierarchy.point + "/"):
                return clean_group(path[len(hierarchy.point) :])
    return clean_group(text)


def _group_exists(host: Host, group: str) -> bool:
    return any(host.kernel.exists(hierarchy.dir(group)) for hierarchy in host.layout.hierarchies())


def near_groups(host: Host, group: str) -> str:
    """A hint for a group that does not exist: similar ones, ones of that name elsewhere, or those at the top."""
    names = group_names(host)
    if hint := _similar(group, names):
        return hint
    tails = [name for name in names if name.rpartition("/")[2] == group.rpartition("/")[2]]
    shown = tails or [name for name in names if "/" not in name]
    return f"cgroups here: {', '.join(shown[:8])}{', …' if len(shown) > 8 else ''}" if shown else "it has no cgroups"


def _similar(word: str, choices: Iterable[str]) -> str:
    close = get_close_matches(word, list(choices), n=1)
    return f"did you mean {close[0]}?" if close else ""


def _sysctl_targets(host: Host, name: str, others: list[Target]) -> list[Target]:
    """One sysctl, or all with a record; ``others`` are those that a profile sets by another key."""
    known = section("sysctl")
    names = [name] if name else list(known)
    targets = [sysctl_target(name, known.get(name.replace("/", "."))) for name in names]
    return [*(target for target in targets if host.kernel.exists(target.path)), *([] if name else others)]


def _host_target(host: Host, knob: Knob) -> Target | None:
    control = CONTROLS[knob.control]
    if control.scope == "sysctl":
        return sysctl_target(knob.part, None)._replace(knob=knob.key)
    if control.scope == "cgroup":
        return _root_target(host, knob)
    if isinstance(control, SchedFeature):
        return file_target(feature_file(host), knob.key)._replace(control=control.name, part=knob.part, row=knob.part)
    part = control.parts.get(knob.part)
    if part is None:
        return file_target(knob.part, knob.key)
    return file_target(part.files["any"], knob.key)._replace(control=control.name, part=part.name)


def _root_target(host: Host, knob: Knob) -> Target | None:
    """A value of the root cgroup, or None where its file is missing."""
    control, hierarchy = find_form(host, knob.control)
    file = part_file(host, hierarchy, control.parts.get(knob.part)) if hierarchy else None
    if hierarchy is None or file is None or not host.kernel.exists(f"{hierarchy.point}/{file}"):
        return None
    return Target(control.name, knob.part, "cgroup:/", hierarchy.point, f"{hierarchy.point}/{file}", None, knob.key)


def _names(host: Host, directory: str) -> set[str]:
    try:
        return set(host.kernel.listdir(directory))
    except OSError:
        return set()


def _files(part: Part, version: int) -> tuple[str, ...]:
    """The names a part's file may have on a cgroup version."""
    file = part.files.get(f"v{version}")
    return (file, *part.also) if file else ()


def _has_devices(control: Control, part: Part) -> bool:
    """Whether a part has a row for each device; the one of io.weight that is led by ``default`` has not."""
    return control.rows and control.row(part.name, "") != control.row(part.name, "0:0")
