"""Which processes a profile puts into its groups."""

from __future__ import annotations

import os
from typing import Any

from cotune.errors import Origin, PlanRefused, UsageError
from cotune.host.cgroups import Hierarchy, find_groups
from cotune.host.facts import Host
from cotune.host.tasks import group_of, processes_in, processes_named, read_process
from cotune.model import Move, Resolved
from cotune.profile.load import Profile


class MoveResolver:
    """Turns ``tasks`` and ``--pid`` into moves, leaving out processes that are where they should be."""

    def __init__(self, profile: Profile, host: Host, out: Resolved) -> None:
        self.profile, self.host, self.out = profile, host, out
        #: process and hierarchy → the group of it that wants the process
        self.places: dict[tuple[int, Hierarchy], str] = {}

    def run(
        self, name: str, tasks: dict[str, Any], pids: list[int], groups: list[str], hierarchies: list[Hierarchy]
    ) -> None:
        """Moves for one group of the profile, which must match exactly one cgroup."""
        if not tasks and not pids:
            return
        origin = self.profile.origin("groups", name, "tasks")
        if len(groups) != 1:
            if groups:
                raise PlanRefused(
                    f"{origin}: group {name} matches {len(groups)} cgroups; tasks need exactly one to go to",
                    "give the tasks a group of their own with an exact path",
                )
            return
        self._check_literal(pids)
        found = sorted({*self._named(name, tasks, origin), *pids} - {os.getpid()})
        for hierarchy in _ordered(self.host, hierarchies):
            for pid in found:
                self._move(pid, groups[0], hierarchy, origin)

    def _named(self, name: str, tasks: dict[str, Any], origin: Origin) -> list[int]:
        if "comm" in tasks:
            names = tasks["comm"] if isinstance(tasks["comm"], list) else [tasks["comm"]]
            pids = processes_named(self.host.kernel, names)
            missing = f"no process is called {' or '.join(names)}"
        elif "pidfile" in tasks:
            pids, missing = self._pidfile(tasks["pidfile"])
        elif "unit" in tasks:
            pids, missing = self._unit(tasks["unit"])
        else:
            return []
        if not pids:
            self.out.notes.append(f"{origin}: group {name}: {missing}")
        return pids

    def _pidfile(self, path: str) -> tuple[list[int], str]:
        text = self.host.text(self.host.kernel.realpath(path))
        if not text.isdecimal():
            return [], f"{path} holds no process number"
        return [int(text)], ""

    def _unit(self, unit: str) -> tuple[list[int], str]:
        layout = self.host.layout
        trees = [h for h in (layout.named.get("systemd"), layout.unified, *layout.hierarchies()) if h]
        for tree in trees:
            pids = {
                pid
                for path in find_groups(self.host.kernel, [tree], f"**/{unit}")
                for pid in processes_in(self.host.kernel, tree.dir(path))
            }
            if pids:
                return sorted(pids), ""
        return [], f"systemd unit {unit} has no process"

    def _check_literal(self, pids: list[int]) -> None:
        for pid in pids:
            if read_process(self.host.kernel, pid) is None:
                raise UsageError(f"--pid: there is no process {pid}", "pass the number of a running process")

    def _move(self, pid: int, group: str, hierarchy: Hierarchy, origin: Origin) -> None:
        process = read_process(self.host.kernel, pid)
        now = group_of(self.host.kernel, self.host.layout, pid, hierarchy)
        path = hierarchy.dir(group)
        if process is None or now is None:
            return
        other = self.places.setdefault((pid, hierarchy), path)
        if other != path:
            raise PlanRefused(
                f"process {pid} ({process.comm}) is to be in both {other} and {path}", "let one group have it"
            )
        if now == path or any(move.pid == pid and move.path == path for move in self.out.moves):
            return
        self.out.moves.append(Move(pid, process.start, process.comm, f"cgroup:{group}", path, now, origin))


def _ordered(host: Host, hierarchies: list[Hierarchy]) -> list[Hierarchy]:
    """blkio before memory: cgroup writeback links a memcg to the blkcg its tasks are in at that moment."""
    blkio = host.layout.controllers.get("blkio")
    return sorted(hierarchies, key=lambda h: h != blkio)
