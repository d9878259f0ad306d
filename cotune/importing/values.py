"""Which knob a kernel file belongs to, and what a text written to it means in a profile. Driven by the catalogue."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from cotune.controls import CONTROLS
from cotune.controls.base import UNLIMITED, Control, Part, Value
from cotune.controls.io import Cost, Throttle
from cotune.importing.expand import Unresolved
from cotune.importing.places import Place
from cotune.knobs import BY_KEY, KNOBS
from cotune.knobs.base import NO_HOST, Knob
from cotune.knobs.lookup import knob_files
from cotune.knobs.types import Boolean, KernelValue, Share, Size
from cotune.profile.schema import SYSCTL_NAME, plain_sysctl, section
from cotune.spell import Inexpressible, Written, spell

# lib/cmdline.c memparse
_SUFFIXES = {"k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_NUMBER = re.compile(r"([+-]?)(0[xX][0-9a-fA-F]{1,16}|\d{1,19})([kKmMgGtTpP]?)")
_ROW = re.compile(r"(\d+:\d+)\s+\S")
#: Files that make the kernel do something once; what they read afterwards means nothing.
_ACTIONS = frozenset(("vm.drop_caches", "vm.compact_memory", "vm.stat_refresh", "net.ipv4.route.flush"))
_SCHED_FEATURES = ("/sys/kernel/debug/sched_features", "/sys/kernel/debug/sched/features")


class Meaning(NamedTuple):
    """One value of one knob: ``value`` in canonical form, ``row`` the device in a table of devices."""

    knob: Knob
    control: Control
    part: str
    value: Value
    row: str | None = None


class _Entry(NamedTuple):
    version: str
    control: Control
    part: Part


@cache
def _cgroup_files() -> dict[str, list[_Entry]]:
    """File name → the parts that live in it, on either version of cgroups."""
    found: dict[str, list[_Entry]] = {}
    for control in CONTROLS.values():
        for part in control.parts.values() if control.scope == "cgroup" else ():
            for version, file in part.files.items():
                for name in (file, *part.also):
                    if not part.report:
                        found.setdefault(name, []).append(_Entry(version, control, part))
    return found


@cache
def _host_files() -> dict[str, Knob]:
    """Absolute path or sysctl name → the knob of the host that has a key of its own for it."""
    found = {}
    for knob in KNOBS:
        control = CONTROLS[knob.control]
        if knob.section == "host" and control.scope in ("file", "sysctl"):
            part = control.parts.get(knob.part)
            found[part.files.get("any", knob.part) if part else knob.part] = knob
    return found


def meanings(place: Place, text: str) -> list[Meaning]:
    """What ``text`` written to ``place`` sets. Raises Unresolved when no profile can say it."""
    if "\n" in text:
        raise Unresolved("several lines in one write: the kernel takes one")
    if place.kind == "sysctl":
        return [_sysctl(place.name, text)]
    if place.kind == "block":
        return [_queue(place.file, text)]
    if place.kind == "journal":
        return [_journal(place.file, text)]
    return _cgroup(place, text)


def host_meaning(path: str, text: str) -> Meaning | None:
    """What ``text`` means in a file of the host that the catalogue names by its path; None for other files."""
    knob = _host_files().get(path)
    if path in _SCHED_FEATURES:
        name = text.removeprefix("NO_")
        knob = next((knob for knob in KNOBS if (knob.control, knob.part) == ("sched.feature", name)), None)
    return _meaning(knob, CONTROLS[knob.control], knob.part, text) if knob else None


def _sysctl(name: str, text: str) -> Meaning:
    if name in _ACTIONS:
        raise Unresolved(f"{name} makes the kernel do something once, which is no state to keep")
    if not re.fullmatch(SYSCTL_NAME, name):
        raise Unresolved(f"{name[:60]} is not the name of a sysctl")
    knob = _host_files().get(name) or section("sysctl").get(name) or plain_sysctl(name)
    if not text:
        raise Unresolved("an empty value")
    return _meaning(knob, CONTROLS[knob.control], knob.part, text)


def _queue(file: str, text: str) -> Meaning:
    for knob in section("block").values():
        if CONTROLS[knob.control].scope == "block" and file in (knob.part, *knob_files(knob).values()):
            return _meaning(knob, CONTROLS[knob.control], knob.part, text)
    raise Unresolved(f"cotune has no knob for queue/{file[:60]}")


def _journal(file: str, text: str) -> Meaning:
    knob = section("jbd2").get(f"mount.jbd2.{file}")
    if knob is None:
        raise Unresolved(f"cotune has no knob for {file[:60]} of a journal")
    return _meaning(knob, CONTROLS[knob.control], knob.part, text)


def _cgroup(place: Place, text: str) -> list[Meaning]:
    """The knobs of a cgroup file; the hierarchy's own version of it if both have a file of that name."""
    entries = _cgroup_files().get(place.file, [])
    entries = [entry for entry in entries if entry.version == f"v{place.version}"] or entries
    if not entries:
        raise Unresolved(f"cotune has no knob for {place.file[:60]}")
    match = _ROW.match(text)
    found: list[Meaning] = []
    reason: Unresolved | None = None
    for entry in entries:
        device = match[1] if match and entry.control.rows else None
        try:
            found += _part(place, entries, entry, text, device)
        except Unresolved as why:
            reason = reason or why
    if not found:
        raise reason or Unresolved(f"{text[:60]!r} sets nothing")
    return found


def _part(place: Place, entries: list[_Entry], entry: _Entry, text: str, device: str | None) -> Iterator[Meaning]:
    """What a write sets in one of the ``entries`` that share a file."""
    control, part = entry.control, entry.part
    row = control.row(part.name, device)
    if control.rows and (row == control.row(part.name, "")) != (device is None):
        if len(entries) == 1:
            raise Unresolved(f"{text[:60]!r} does not begin with a device number such as 8:0")
        return  # a value for all devices, and a row of one device
    key = (row or "").partition(" ")[2]
    if key and not re.search(rf"\s{re.escape(key)}=", text):
        return
    if isinstance(control, Cost) and key not in ("", "enable", "ctrl") and not re.search(r"\sctrl=", text):
        text = f"{text} ctrl=user"  # naming a number is what makes it the user's
    if control.rows and device is None and kernel_number(text, sized=False) is not None:
        text = f"{row} {text}"
    knob = _knob(part.knob, control, part.name, host=not place.name)
    yield _meaning(knob, control, part.name, text, row, device, guess=entry is entries[0])


def _knob(key: str, control: Control, part: str, host: bool) -> Knob:
    if host:
        for knob in KNOBS:
            forms = (knob.control, CONTROLS[knob.control].v2)
            if knob.section in ("host", "block") and control.name in forms and knob.part == part:
                return knob
        raise Unresolved("the root cgroup cannot be a group of a profile")
    if key not in BY_KEY:
        raise Unresolved(f"cotune has no knob for {key}")
    return BY_KEY[key]


def _meaning(
    knob: Knob,
    control: Control,
    part: str,
    text: str,
    row: str | None = None,
    device: str | None = None,
    guess: bool = True,
) -> Meaning:
    """The canonical value of a text. Raises Unresolved when the kernel would refuse it.

    With ``guess`` a number is taken even where the file reads otherwise: files do not always print what they take.
    """
    if re.fullmatch(r"[+-]?0\d+", text):
        raise Unresolved(f"{text[:40]} begins with 0: octal to some files, decimal to others")
    number = kernel_number(text, sized=isinstance(knob.type, Size))
    plain = text if number is None or isinstance(knob.type, KernelValue) else str(number)
    value: Value | None
    try:
        # a limit that is written as 0 is no limit, though one that reads 0 is
        value = 0 if isinstance(control, Throttle) and plain.split()[-1:] == ["0"] else control.parse(part, plain, row)
    except (ValueError, IndexError, KeyError):
        value = UNLIMITED if text == "max" else number
        value = value if guess else None
    if value is None:
        raise Unresolved(f"{text[:60]!r} is not what {knob.key} takes: expected {knob.type.expected}")
    value = _flags(control, part, value)
    if isinstance(value, str) and control.scope in ("sysctl", "file") and re.fullmatch(r"0|-?[1-9]\d{0,18}", value):
        value = int(value)
    try:
        kept = control.canonical(part, value, NO_HOST)
    except (ValueError, TypeError) as error:
        raise Unresolved(f"{text[:60]!r}: {error}") from None
    kept = value if isinstance(value, int) and str(kept) == str(value) else kept
    return Meaning(knob, control, "bvt" if part == "flags" else part, kept, device)


def _flags(control: Control, part: str, value: Value) -> Value:
    """The identity that leads to these flags: ``cpu.identity`` has no knob of its own."""
    if part != "flags":
        return value
    for bvt in (-1, 0, 1, 2):
        if control.settle({"flags": 0}, {"bvt": bvt}, NO_HOST)["flags"] == value:
            return bvt
    raise Unresolved(f"no identity gives the flags {value}")


def kernel_number(text: str, sized: bool) -> int | None:
    """The number the kernel reads from ``text``, with a suffix where it takes sizes; None if it is none."""
    match = _NUMBER.fullmatch(text.strip())
    if match is None or (match[3] and not sized):
        return None
    digits = match[2]
    if digits.startswith("0") and digits.isdecimal() and len(digits) > 1:
        return None
    number = int(digits, 16 if digits[:2].lower() == "0x" else 10)
    number <<= 10 * _SUFFIXES.get(match[3].lower(), 0)
    return -number if match[1] == "-" else number


def written(meaning: Meaning, period: int) -> dict[str, Written]:
    """The keys and values that say it in a profile, keys as in the catalogue. Raises Unresolved.

    ``period`` is the group's CPU period in µs.
    """
    knob, value = meaning.knob, meaning.value
    extra: dict[str, Written] = {}
    if meaning.part == "bvt" and value == 2:
        value, extra = 1, {"cpu.smt_expeller": True}
    if isinstance(knob.type, Boolean) and value not in (0, 1, "0", "1"):
        raise Unresolved(f"{value} is not what {knob.key} takes: expected 0 or 1")
    if isinstance(knob.type, Boolean):
        value = int(value)
    problem = ""
    spelled: list[Written] = []
    try:
        spelled.append(spell(knob, value, period))
    except Inexpressible as why:
        problem = f"{knob.key}: {why}"
    # the plain number, or one kept in hundredths: whatever leads back to the value is right
    spelled += [value, *([value // 100 if value % 100 == 0 else value / 100] if isinstance(value, int) else [])]
    if meaning.control.rows and value == 0:
        spelled.append("max")
    for text in spelled:
        try:
            if _leads_to(meaning, text, value):
                return {knob.key: text} | extra
        except (ValueError, OverflowError, TypeError) as error:
            problem = problem or f"{text} is not what {knob.key} takes: expected {error or knob.type.expected}"
    raise Unresolved(problem or f"a profile cannot say {value} for {knob.key} exactly")


def _leads_to(meaning: Meaning, text: Written, value: Value) -> bool:
    """Whether ``text`` in a profile gives the value again. Raises ValueError when the knob's type refuses it."""
    resolved = meaning.knob.type.resolve(text, NO_HOST)
    if isinstance(resolved, Share):
        return True  # spell has seen to it
    return str(meaning.control.canonical(meaning.part, resolved, NO_HOST)) == str(value)
