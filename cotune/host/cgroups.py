"""Where cgroups are: hierarchies of version 1, 2 and hybrid hosts, and the groups a pattern matches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import NamedTuple

from cotune.kernel.port import Kernel

_WILD = frozenset("*?[")


class Hierarchy(NamedTuple):
    """One mounted cgroup hierarchy.

    ``version`` is 1 or 2; ``point`` is where ``root`` of it is mounted, which is ``/`` except in a container.
    """

    version: int
    point: str
    root: str = "/"

    def dir(self, group: str) -> str:
        """The directory of a group (a path relative to the hierarchy's root; empty for the root itself)."""
        return f"{self.point}/{group}" if group else self.point


@dataclass(frozen=True)
class CgroupLayout:
    """Controller → hierarchy. Co-mounted controllers share one; ``named`` holds ``name=`` hierarchies of version 1."""

    controllers: dict[str, Hierarchy]
    named: dict[str, Hierarchy] = field(default_factory=dict)
    unified: Hierarchy | None = None

    @property
    def mode(self) -> str:
        """``v1``, ``v2``, ``hybrid`` (version 1 controllers beside a mounted version 2 tree) or ``none``."""
        versions = {h.version for h in self.controllers.values()}
        if versions == {2}:
            return "v2"
        if 1 in versions:
            return "hybrid" if self.unified else "v1"
        return "none"

    def hierarchies(self) -> list[Hierarchy]:
        """Every hierarchy that has a controller, once."""
        return list(dict.fromkeys(self.controllers.values()))


def read_layout(kernel: Kernel) -> CgroupLayout:
    """The cgroup layout of a host, from its mount table (cgroups(7)). Never writes."""
    controllers: dict[str, Hierarchy] = {}
    named: dict[str, Hierarchy] = {}
    unified: Hierarchy | None = None
    # of several mounts of one hierarchy the one that shows most of it counts
    for mount in sorted(kernel.mounts(), key=lambda mount: len(mount.root)):
        if mount.fstype == "cgroup":
            for word in mount.super_options:
                if word.startswith("name="):
                    named.setdefault(word.removeprefix("name="), Hierarchy(1, mount.point, mount.root))
                elif word in V1_CONTROLLERS:
                    controllers.setdefault(word, Hierarchy(1, mount.point, mount.root))
        elif mount.fstype == "cgroup2" and unified is None:
            unified = Hierarchy(2, mount.point, mount.root)
    if unified:
        try:
            names = kernel.read(f"{unified.point}/cgroup.controllers").split()
        except OSError:
            names = []
        for name in names:
            controllers.setdefault(name, unified)
    return CgroupLayout(controllers, named, unified)


V1_CONTROLLERS = frozenset(
    ("cpu", "cpuacct", "cpuset", "memory", "blkio", "devices", "freezer", "net_cls", "net_prio", "perf_event")
    + ("hugetlb", "pids", "rdma", "misc")
)


def cgroup_resource(group: str) -> str:
    """A cgroup (its path in a hierarchy, empty for the root) as plans and reports name it."""
    return f"cgroup:{group or '/'}"


def clean_group(pattern: str) -> str:
    """A group path or pattern without slashes at its ends. ``/`` is the root group (empty string)."""
    return "/".join(part for part in pattern.split("/") if part)


def is_pattern(pattern: str) -> bool:
    """Whether any component has a wildcard."""
    return any(char in _WILD for char in pattern)


def specificity(pattern: str) -> tuple[int, int, int]:
    """How specific a pattern is; the larger tuple wins.

    An exact path beats every pattern; among patterns the one without ``**`` wins, then the one with more literal
    characters.
    """
    literal = sum(char not in "*?[]/" for char in pattern)
    return (not is_pattern(pattern), "**" not in pattern.split("/"), literal)


def find_groups(kernel: Kernel, hierarchies: Iterable[Hierarchy], pattern: str) -> list[str]:
    """Group paths matching ``pattern`` in any of the hierarchies, sorted."""
    parts = clean_group(pattern).split("/") if clean_group(pattern) else []
    found: set[str] = set()
    for hierarchy in hierarchies:
        found.update(_walk(kernel, hierarchy.point, "", parts))
    # the root group is everybody's: a pattern never means it
    return sorted(path for path in found if path or not is_pattern(pattern))


def matches(path: str, pattern: str) -> bool:
    """Whether a group path fits a pattern, as :func:`find_groups` would find it."""
    return _fits(path.split("/"), clean_group(pattern).split("/"))


def _fits(names: list[str], parts: list[str]) -> bool:
    if not parts or not names:
        return not names and all(part == "**" for part in parts)
    if parts[0] == "**":
        return _fits(names, parts[1:]) or _fits(names[1:], parts)
    return fnmatchcase(names[0], parts[0]) and _fits(names[1:], parts[1:])


def descendants(kernel: Kernel, hierarchy: Hierarchy, group: str) -> list[str]:
    """Every group below ``group`` in one hierarchy, parents before children."""
    return [path for path in _walk(kernel, hierarchy.point, group, ["**"]) if path != group]


def _walk(kernel: Kernel, point: str, group: str, parts: list[str]) -> Iterator[str]:
    directory = f"{point}/{group}" if group else point
    if not parts:
        yield group
        return
    part, rest = parts[0], parts[1:]
    if part == "**":
        yield from _walk(kernel, point, group, rest)
        for name in _children(kernel, directory):
            yield from _walk(kernel, point, _join(group, name), parts)
    elif is_pattern(part):
        for name in _children(kernel, directory):
            if fnmatchcase(name, part):
                yield from _walk(kernel, point, _join(group, name), rest)
    elif kernel.exists(f"{directory}/{part}"):
        yield from _walk(kernel, point, _join(group, part), rest)


def _children(kernel: Kernel, directory: str) -> list[str]:
    try:
        return kernel.subdirs(directory)
    except OSError:
        return []  # vanished while we looked, or never there


def _join(group: str, name: str) -> str:
    return f"{group}/{name}" if group else name


def parents(group: str) -> list[str]:
    """The ancestors of a group, outermost first, without the root and the group itself."""
    parts = group.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]
