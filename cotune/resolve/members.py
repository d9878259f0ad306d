"""Which threads a profile puts into resctrl classes: those of every process in the groups that name one."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from cotune.controls.resctrl import DEFAULT
from cotune.errors import Origin, PlanRefused
from cotune.host.cgroups import Hierarchy, cgroup_resource
from cotune.host.facts import Host
from cotune.host.resctrl import Resctrl, class_dir, class_of_threads, not_mounted, read_resctrl
from cotune.host.support import Support
from cotune.host.tasks import processes_in, read_process
from cotune.model import Change, Move, Resolved, Target, UnsupportedKnob
from cotune.profile.load import Profile

_KNOB = "resctrl"


class _Wish(NamedTuple):
    """A group of the profile that names a class, for one cgroup it matches."""

    rank: tuple[int, ...]
    group: str
    name: str
    hierarchies: tuple[Hierarchy, ...]
    origin: Origin

    @property
    def resource(self) -> str:
        return cgroup_resource(self.group)


class MemberResolver:
    """Turns ``groups.NAME.resctrl`` into moves of single threads, leaving out those that are where they should be."""

    def __init__(self, profile: Profile, host: Host, out: Resolved) -> None:
        self.profile, self.host, self.out = profile, host, out
        self.wishes: list[_Wish] = []

    def add(
        self, name: str, data: dict[str, Any], matched: list[tuple[str, tuple[int, ...]]], hierarchies: list[Hierarchy]
    ) -> None:
        """Take note of one group of the profile with the cgroups it matches and how well."""
        if _KNOB in data:
            layout = self.host.layout
            # on cgroup v1 a unit without limits of its own is only in systemd's own tree
            units = (layout.named.get("systemd"), layout.unified) if "systemd" in data["match"] else ()
            everywhere = tuple(dict.fromkeys([*(hierarchies or layout.hierarchies()), *(h for h in units if h)]))
            origin = self.profile.origin("groups", name, _KNOB)
            self.wishes += [_Wish(rank, group, data[_KNOB], everywhere, origin) for group, rank in matched]

    def run(self) -> None:
        """Resolve all of them into ``out``. Call when it is known which processes move."""
        if not self.wishes:
            return
        resctrl = read_resctrl(self.host)
        self.wishes = [wish for wish in self.wishes if self._has_class(resctrl, wish)]
        chosen: dict[int, _Wish] = {}
        for wish in self.wishes:
            for pid in self._processes(wish):
                self._choose(chosen, pid, wish)
        # once mounted, everything starts in the default class
        self._move(chosen, class_of_threads(self.host, resctrl) if resctrl else {})

    def _has_class(self, resctrl: Resctrl | None, wish: _Wish) -> bool:
        coming = {create.path for create in self.out.creates}
        here = (DEFAULT, *resctrl.classes) if resctrl else ()
        if wish.name in here or class_dir(wish.name) in coming:
            return True
        support = Support("no", f"there is no resctrl class {wish.name}", f"host.resctrl.classes.{wish.name}")
        if resctrl is None and class_dir(DEFAULT) not in coming:
            support = not_mounted(self.host)
        self.out.unsupported.append(UnsupportedKnob(wish.resource, _KNOB, support.reason, support.remedy, wish.origin))
        return False

    def _processes(self, wish: _Wish) -> set[int]:
        """Processes in the cgroup and below it once the plan's own moves are done."""
        found: set[int] = set()
        for hierarchy in wish.hierarchies:
            top = hierarchy.dir(wish.group)
            here = set(processes_in(self.host.kernel, top))
            for move in self.out.moves:
                if _below(move.origin_path, top):
                    here.discard(move.pid)
                if _below(move.path, top):
                    here.add(move.pid)
            found |= here
        return found

    def _choose(self, chosen: dict[int, _Wish], pid: int, wish: _Wish) -> None:
        """Keep the more specific of two groups; of equals, the one whose cgroup is nearer to the process."""
        other = chosen.get(pid)
        if other is None or (wish.rank, len(wish.group)) > (other.rank, len(other.group)):
            chosen[pid] = wish
        elif wish.name != other.name and (wish.rank, len(wish.group)) == (other.rank, len(other.group)):
            raise PlanRefused(
                f"{wish.origin}: process {pid} belongs to the resctrl class {wish.name} here and to {other.name} at "
                f"{other.origin}",
                "make one of the patterns more specific, or let one of the groups name a class",
            )

    def _move(self, chosen: dict[int, _Wish], classes: dict[int, str]) -> None:
        inside: dict[_Wish, int] = {}
        outside: dict[_Wish, list[Move]] = {}
        chosen.pop(os.getpid(), None)  # gone before it matters, and there again at every look
        for pid, wish in sorted(chosen.items()):
            for tid in self._threads(pid):
                now = classes.get(tid, DEFAULT)
                thread = read_process(self.host.kernel, tid) if now != wish.name else None
                if now == wish.name:
                    inside[wish] = inside.get(wish, 0) + 1
                elif thread is not None:
                    move = Move(
                        tid,
                        thread.start,
                        thread.comm,
                        wish.resource,
                        class_dir(wish.name),
                        class_dir(now),
                        wish.origin,
                        "tasks",
                    )
                    outside.setdefault(wish, []).append(move)
        for wish, moves in outside.items():
            self.out.moves.extend(moves)
            count = f"{len(moves)} of {len(moves) + inside.get(wish, 0)} threads outside"
            unit = class_dir(wish.name)
            target = Target("", "", wish.resource, unit, f"{unit}/tasks", None, _KNOB)
            self.out.summaries.append(Change(target, count, wish.name, "set", wish.origin))

    def _threads(self, pid: int) -> list[int]:
        try:
            return sorted(int(name) for name in self.host.kernel.listdir(f"/proc/{pid}/task") if name.isdecimal())
        except OSError:
            return []  # it has ended


def _below(path: str, top: str) -> bool:
    return path == top or path.startswith(top + "/")
