"""From what a script does to the kernel to the profile it amounts to."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

from cotune.controls import CONTROLS
from cotune.controls.base import Write as PartWrite
from cotune.importing.effects import Effect, Made, Remount, ResctrlMounted, UnitProperty, Unread, Write
from cotune.importing.expand import Field, Unresolved
from cotune.importing.lines import Reader
from cotune.importing.places import TASK_FILES, cgroup_of, find_place
from cotune.importing.record import printable
from cotune.importing.resctrl import POINT, Classes, inside
from cotune.importing.units import unit_meaning
from cotune.importing.values import Meaning, host_meaning, meanings, written
from cotune.knobs.base import Knob
from cotune.knobs.types import Boolean, Words
from cotune.profile.patterns import cgroup_problem, has_wildcard, majmin_problem, unit_problem
from cotune.profile.schema import API_VERSION, KIND, section
from cotune.yamltext import Noted, render

_NAME_LENGTH = 56
_DEFAULT_PERIOD = 100_000
_MOST_LISTED = 50
#: More would not fit into a profile.
_MOST_VALUES = 2000
_MOST_GROUPS = 500
#: Options that leave a mount as it is, where it can be written to.
_AS_MOUNTED = ("rw", "defaults")
#: Files that cotune takes care of by itself.
_NOT_NEEDED = {"cgroup.subtree_control": "cotune enables the controllers a profile needs"}
_ORDER = ("cpu", "memory", "pids", "io")


class Imported(NamedTuple):
    """``data`` is the profile with comments; ``unread`` what it could not hold; ``notes`` remarks about the rest."""

    data: dict[str, Any]
    unread: list[Unread]
    notes: list[str]


class _Held(NamedTuple):
    """A value and the line that wrote it last, with what it wrote."""

    meaning: Meaning
    line: int
    source: str


class _Resource:
    """What one group, disk, mount or unit is given: ``held`` by knob and device, ``made`` the line of a mkdir."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str | None], _Held] = {}
        self.made = 0

    def state(self, meaning: Meaning) -> dict[str, Any]:
        """The control's parts as far as the script set them; what a new cgroup has otherwise."""
        fresh = {part.name: part.fresh for part in meaning.control.parts.values()}
        same = (held.meaning for held in self.held.values())
        return fresh | {m.part: m.value for m in same if m.control is meaning.control and m.row == meaning.row}


def import_script(source: str, name: str) -> Imported:
    """The profile ``name`` that a shell script amounts to. Nothing of the script is run."""
    reader = Reader(source)
    reader.run()
    builder = _Builder(reader)
    for effect in reader.effects:
        builder.add(effect)
    data = builder.document(name)
    unread = sorted(reader.unread.values(), key=lambda item: item.line)
    notes = [f"line {line}: {text}" for line, text in sorted(reader.notes, key=lambda note: note[0])]
    return Imported(data, unread, notes)


def profile_text(imported: Imported, script: str, version: str) -> str:
    """The profile as YAML, with where it comes from at its head. ``version`` is cotune's."""
    head = [
        f"Imported by cotune {version} from {script}.",
        "Behind each value: the line of the script, and what it wrote where that is spelled differently here.",
    ]
    head += _listed("Not read:", [f"line {item.line}: {item.text}  ({item.reason})" for item in imported.unread])
    head += _listed("Remarks:", imported.notes)
    return "".join(f"# {printable(line)}\n" for line in head) + render(imported.data)


def _listed(title: str, lines: list[str]) -> list[str]:
    """A list for the head of the profile: not all of it when it is long."""
    more = [f"  … and {len(lines) - _MOST_LISTED} more"] if len(lines) > _MOST_LISTED else []
    return [title, *(f"  {line}" for line in lines[:_MOST_LISTED]), *more] if lines else []


def profile_name(file: str) -> str:
    """A name for the profile of a script, from the name of its file."""
    base = re.sub(r"\.(?:sh|bash)$", "", file.rpartition("/")[2].lower())
    return re.sub(r"[^a-z0-9._-]+", "-", base).strip(".-_")[:_NAME_LENGTH].rstrip(".-_") or "imported"


class _Builder:
    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.host = _Resource()
        self.blocks: dict[tuple[str, str], _Resource] = {}
        self.mounts: dict[str, _Resource] = {}
        self.groups: dict[str, _Resource] = {}
        self.units: dict[str, _Resource] = {}
        #: device of an ext4 file system → what its journal is given
        self.journals: dict[str, _Resource] = {}
        self.resctrl = Classes()
        self.moves: list[tuple[int, str, str]] = []
        self.values = 0

    def add(self, effect: Effect) -> None:
        """Enter an effect, or list why it cannot be."""
        self.reader.line = effect.line
        try:
            if self.values >= _MOST_VALUES:
                raise Unresolved(f"the script sets more than {_MOST_VALUES} values, which is no profile")
            if isinstance(effect, Write):
                self._write(effect)
            elif isinstance(effect, Made):
                self._made(effect)
            elif isinstance(effect, Remount):
                self._remount(effect)
            elif isinstance(effect, UnitProperty):
                self._unit(effect)
            elif isinstance(effect, ResctrlMounted):
                self.resctrl.mount(effect.options, effect.line)
        except Unresolved as why:
            self._unread(effect.line, str(why))

    def _unread(self, line: int, reason: str) -> None:
        self.reader.line = line
        self.reader.list_unread(reason)

    # --- effects -----------------------------------------------------------------------------------------------------

    def _write(self, effect: Write) -> None:
        path, text = effect.path.text, effect.text
        if inside(path):
            self._no_pattern(effect.path)
            self.resctrl.write(path, text, effect.line)
            return
        if (meaning := host_meaning(path, text)) is not None:
            self._hold(self.host, "the host", meaning, effect.line, text)
            return
        place = find_place(path, self.reader.mounted)
        if place is None:
            raise Unresolved(f"cotune has no knob for {path[:80]}")
        if place.kind == "cgroup" and place.file in _NOT_NEEDED:
            self.reader.note(effect.line, f"{place.file} is not needed: {_NOT_NEEDED[place.file]}")
            return
        if place.kind == "cgroup" and path.endswith(TASK_FILES):
            self._task(effect.line, place.name, text)
            return
        if effect.path.wild and place.kind == "sysctl":
            raise Unresolved(f"which sysctls {place.name[:60]} matches is known only on the host")
        for meaning in meanings(place, text):
            source = f"{place.file} {text}"
            if place.kind == "sysctl" or meaning.knob.section == "host":
                self._hold(self.host, "the host", meaning, effect.line, text)
            elif place.kind == "journal":
                self._no_pattern(effect.path)
                resource = self.journals.setdefault(f"/dev/{place.name}", _Resource())
                self._hold(resource, place.name, meaning, effect.line, source)
            elif meaning.knob.section == "block":
                match = ("device", place.name) if place.kind == "block" else ("majmin", meaning.row or "")
                self._hold(self._disk(*match, effect.path.wild), match[1], meaning, effect.line, source)
            else:
                self._hold(self._group(place.name, effect.path.wild), place.name, meaning, effect.line, source)

    @staticmethod
    def _no_pattern(path: Field) -> None:
        if path.wild or not path.text.isprintable():
            raise Unresolved(f"which files {path.text[:60]!r} matches is known only on the host")

    def _disk(self, key: str, name: str, wild: bool) -> _Resource:
        if not name.isprintable() or (has_wildcard(name) and not wild):
            raise Unresolved("the name of the disk cannot stand in a profile")
        return self.blocks.setdefault((key, name), _Resource())

    def _group(self, name: str, wild: bool = False) -> _Resource:
        problem = cgroup_problem(name)
        if problem or not name.isprintable() or (has_wildcard(name) and not wild):
            raise Unresolved(problem[0] if problem else "the name of the cgroup cannot stand in a profile")
        return self.groups.setdefault(name, _Resource())

    def _task(self, line: int, group: str, text: str) -> None:
        if not group:
            raise Unresolved("processes cannot be in a profile, and the root cgroup is none of its groups")
        self._group(group)
        self.moves.append((line, group, text if text.isascii() and text.isdecimal() else "PID"))

    def _made(self, effect: Made) -> None:
        if inside(effect.path.text):
            self._no_pattern(effect.path)
            if effect.path.text != POINT:
                self.resctrl.make(effect.path.text, effect.line)
            return
        found = cgroup_of(effect.path.text, self.reader.mounted)
        if found is None:
            raise Unresolved(f"{effect.path.text[:80]} is no cgroup: a profile makes no other directories")
        if effect.path.wild:
            raise Unresolved("the name of a cgroup to make cannot be a pattern")
        if found[0]:
            if len(self.groups) > _MOST_GROUPS:
                raise Unresolved(f"the script makes more than {_MOST_GROUPS} cgroups, which is no profile")
            group = self._group(found[0])
            group.made = group.made or effect.line

    def _remount(self, effect: Remount) -> None:
        unknown = []
        if not effect.point.isprintable():
            raise Unresolved("the name of the mount point cannot stand in a profile")
        for option in effect.options:
            if option in _AS_MOUNTED:
                self.reader.note(effect.line, f"{option} is left out: a profile does not change what may be written")
                continue
            try:
                knob, value = _mount_option(option)
            except KeyError:
                unknown.append(option)
                continue
            meaning = Meaning(knob, CONTROLS[knob.control], knob.part, value)
            written(meaning, 0)
            resource = self.mounts.setdefault(effect.point, _Resource())
            self._hold(resource, effect.point, meaning, effect.line, option)
        if unknown:
            raise Unresolved(f"options a profile does not change: {', '.join(unknown)[:80]}")

    def _unit(self, effect: UnitProperty) -> None:
        if problem := unit_problem(effect.unit):
            raise Unresolved(problem[0])
        meaning = unit_meaning(effect.name, effect.value)
        written(meaning, _DEFAULT_PERIOD)
        resource = self.units.setdefault(effect.unit, _Resource())
        self._hold(resource, effect.unit, meaning, effect.line, f"{effect.name}={effect.value}")

    def _hold(self, resource: _Resource, place: str, meaning: Meaning, line: int, source: str) -> None:
        """Keep a value; what the same write makes the kernel forget is dropped."""
        if meaning.row is not None and (problem := majmin_problem(meaning.row)):
            raise Unresolved(problem[0])
        written(meaning, 0)
        self.values += 1
        key = (meaning.knob.key, meaning.row)
        for name, _ in resource.held:
            if name.startswith(f"{key[0]}.") or key[0].startswith(f"{name}."):
                raise Unresolved(f"a profile sets {min(name, key[0])} for all disks or for single ones, not both")
        if key in resource.held:
            self.reader.note(line, f"{meaning.knob.key} of {place} replaces what line {resource.held[key].line} wrote")
        state = resource.state(meaning)
        after = meaning.control.after(state, PartWrite(meaning.part, meaning.value))
        for other, held in list(resource.held.items()):
            same = held.meaning.control is meaning.control and held.meaning.row == meaning.row
            if same and other != key and after.get(held.meaning.part) != held.meaning.value:
                del resource.held[other]
                self.reader.note(line, f"{meaning.knob.key} of {place} resets {other[0]}, which line {held.line} wrote")
        resource.held[key] = _Held(meaning, line, source)

    # --- the document ------------------------------------------------------------------------------------------------

    def document(self, name: str) -> dict[str, Any]:
        """The profile with comments."""
        metadata = {"name": name, "version": "1.0.0", "description": "Imported from a shell script"}
        data: dict[str, Any] = {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata}
        host = self._host()
        groups = self._groups()
        return data | {key: value for key, value in (("host", host), ("groups", groups)) if value}

    def _host(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in self._entries(self.host.held.values()).items():
            _enter(found, key.removeprefix("host.").split(".") if key.startswith("host.") else ["sysctl", key], value)
        blocks = []
        for (key, disk), resource in self.blocks.items():
            block: dict[str, Any] = {"match": {key: disk}}
            for name, value in self._entries(resource.held.values()).items():
                _enter(block, name.split(".")[1:], value)
            blocks.append(block)
        mounts = [self._mount(point, resource) for point, resource in self.mounts.items()]
        for device, resource in self.journals.items():
            values = {k.rpartition(".")[2]: value for k, value in self._entries(resource.held.values()).items()}
            mounts.append({"match": {"device": device}, "jbd2": values})
        more = {"resctrl": self.resctrl.data(), "block": blocks, "mounts": mounts}
        return found | {key: value for key, value in more.items() if value}

    def _mount(self, point: str, resource: _Resource) -> dict[str, Any]:
        options = {key.partition(".")[2]: value for key, value in self._entries(resource.held.values()).items()}
        entry: dict[str, Any] = {"match": {"mountpoint": point}, "options": options}
        if "barrier" in options and options["barrier"].value is False:
            line = resource.held["mount.barrier", None].line
            entry["accept_data_loss"] = Noted(True, f"line {line} takes barriers off: a power cut can lose data")
            self.reader.note(line, f"barriers of {point} are taken off: a power cut can lose data")
        return entry

    def _groups(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        names: dict[str, str] = {}
        for match, resources in (("cgroup", self.groups), ("systemd", self.units)):
            for place, resource in resources.items():
                families = self._families(resource)
                if not families and not resource.made:
                    continue
                names.setdefault(place, _free_name(place, found))
                made = {"create": Noted(True, f"line {resource.made}")} if resource.made else {}
                found[names[place]] = {"match": {match: place}, **made, **families}
        for line, group, pid in self.moves:
            hint = f"use a tasks section, or apply --pid {names.get(group, group)}={pid}"
            self._unread(line, f"processes cannot be in a profile: {hint}")
        return found

    def _families(self, resource: _Resource) -> dict[str, Any]:
        """``cpu``, ``memory``, … of a group entry."""
        period = resource.held.get(("cpu.period", None))
        microseconds = int(period.meaning.value) if period else _DEFAULT_PERIOD
        found: dict[str, Any] = {}
        for held in resource.held.values():
            for key, value in self._entries([held], microseconds).items():
                if held.meaning.row is None:
                    _enter(found, key.split("."), value)
                else:
                    _enter_row(found, key.split("."), held.meaning.row, value)
        return {name: found[name] for name in (*_ORDER, *found) if name in found}

    def _entries(self, held: Iterable[_Held], period: int = _DEFAULT_PERIOD) -> dict[str, Noted]:
        """Keys of the catalogue → what the profile says, with the line it comes from."""
        found: dict[str, Noted] = {}
        for item in held:
            for key, value in written(item.meaning, period).items():
                said = str(value) in (item.source, item.source.rpartition(" ")[2])
                comment = f"line {item.line}" if said else f"line {item.line}: {printable(item.source)}"
                found[key] = Noted(value, comment)
        return found


def _enter(found: dict[str, Any], path: list[str], value: Noted) -> None:
    for key in path[:-1]:
        found = found.setdefault(key, {})
    found[path[-1]] = value


def _enter_row(found: dict[str, Any], path: list[str], row: str, value: Noted) -> None:
    """One value of one disk in a list of disks."""
    family, table, key = path
    entries: list[dict[str, Any]] = found.setdefault(family, {}).setdefault(table, [])
    entry = next((entry for entry in entries if entry["device"]["majmin"] == row), None)
    if entry is None:
        entry = {"device": {"majmin": row}}
        entries.append(entry)
    entry[key] = value


def _free_name(place: str, taken: dict[str, Any]) -> str:
    """A name for the group in the profile that nothing else has."""
    base = re.sub(r"[^A-Za-z0-9_.-]+", "-", place).strip(".-")[:_NAME_LENGTH] or "group"
    names = (base, *(f"{base}-{number}" for number in range(2, len(taken) + 3)))
    return next(name for name in names if name not in taken)


@cache
def _mount_words() -> dict[str, tuple[Knob, int | str]]:
    """ext4 mount options of few values, as the kernel spells them → the knob and what they say."""
    found: dict[str, tuple[Knob, int | str]] = {}
    for knob in section("mount").values():
        values = (0, 1) if isinstance(knob.type, Boolean) else knob.type.words if isinstance(knob.type, Words) else ()
        found |= {CONTROLS[knob.control].format(knob.part, value, None): (knob, value) for value in values}
    return found


def _mount_option(option: str) -> tuple[Knob, int | str]:
    """The knob an ext4 mount option belongs to, and its value. Raises KeyError for options without one."""
    if option in _mount_words():
        return _mount_words()[option]
    name, equals, text = option.partition("=")
    knob = section("mount")[f"mount.{name}"]
    if not equals:
        raise KeyError(option)
    return knob, int(text) if re.fullmatch(r"-?\d{1,18}", text) else text
