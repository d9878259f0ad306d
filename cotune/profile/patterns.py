"""The forms of names in a profile: cgroup patterns, systemd units, device numbers."""

from __future__ import annotations

import re

WILDCARDS = "*?["
UNIT_SUFFIXES = (".service", ".slice", ".scope", ".socket", ".mount", ".swap", ".automount", ".path", ".timer")
#: Units that have a cgroup of their own.
CGROUP_UNITS = (".service", ".slice", ".scope", ".socket", ".mount", ".swap")

# a bracket may hold ] only as its first member
_BRACKET = re.compile(r"\[[!^]?\]?[^\]/]*\]")
_MAJMIN = re.compile(r"(\d{1,4}):(\d{1,7})")
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]{1,255}")
_NAME_MAX = 255
_PATH_MAX = 4096


def has_wildcard(pattern: str) -> bool:
    """Whether ``pattern`` can match more than one path."""
    return any(sign in pattern for sign in WILDCARDS)


def cgroup_problem(pattern: str) -> tuple[str, str] | None:
    """What is wrong with a cgroup pattern, as (message, hint), or None."""
    if any(sign in pattern for sign in "\0\n\r"):
        return "a cgroup path is one line", "remove the line break or NUL"
    if pattern.startswith("/sys/fs/cgroup"):
        return "the path begins below the cgroup root", "leave out /sys/fs/cgroup and the controller"
    if not pattern.strip("/"):
        return "the root cgroup cannot be a group", "name a cgroup below it; host settings go under host"
    if len(pattern) > _PATH_MAX:
        return f"a cgroup path has at most {_PATH_MAX} characters", ""
    for part in pattern.removeprefix("/").split("/"):
        if problem := _component_problem(part):
            return problem
    return None


def _component_problem(part: str) -> tuple[str, str] | None:
    if part == "..":
        return "the pattern leaves the cgroup tree with ..", "write the path from the cgroup root"
    if part in ("", "."):
        return "the path has an empty component", "write single slashes, none at the end, and no '.'"
    if "**" in part and part != "**":
        return "** must be a whole component", "write /**/ or a single *"
    if len(part.encode("utf-8", "replace")) > _NAME_MAX:
        return f"a cgroup name has at most {_NAME_MAX} bytes", ""
    if "[" in _BRACKET.sub("", part):
        return "a '[' is not closed", "write [...] with its members, or [[] for a literal '['"
    if "{" in part and "}" in part:
        return "{a,b} is not supported in patterns", "write a list of patterns"
    return None


def unit_problem(unit: str) -> tuple[str, str] | None:
    """What is wrong with the name of a systemd unit, as (message, hint), or None."""
    if has_wildcard(unit):
        return "the name of a unit cannot be a pattern", "use match: {cgroup: …} for patterns"
    if not _UNIT.fullmatch(unit):
        return "this is not the name of a systemd unit", "write it as `systemctl` prints it, such as nginx.service"
    if unit.endswith(CGROUP_UNITS) and not unit.startswith("."):
        return None
    if unit.endswith(UNIT_SUFFIXES):
        return "units of this type have no cgroup", "name a .service, .slice or .scope"
    return "the name of a unit ends in its type", f"write {unit}.service" if len(unit) < 60 else ""


def majmin_problem(text: str) -> tuple[str, str] | None:
    """What is wrong with a device number, as (message, hint), or None."""
    match = _MAJMIN.fullmatch(text)
    # include/linux/kdev_t.h: 12 bits of major, 20 bits of minor
    if match is None or int(match[1]) >= 2**12 or int(match[2]) >= 2**20:
        return "a device number is MAJOR:MINOR", 'such as "8:32", as `lsblk` prints it'
    return None


def runtime_owner(pattern: str) -> str | None:
    """Who rewrites CPU and memory limits of the cgroups ``pattern`` matches, or None."""
    first = pattern.removeprefix("/").split("/", 1)[0]
    if first in ("system.slice", "user.slice"):
        return "systemd"
    if first.startswith("kubepods"):
        return "the kubelet and runc"
    return None
