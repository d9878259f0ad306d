"""Which groups the kernel would kill in first: siblings that share the lowest OOM priority."""

from __future__ import annotations

from cotune.host.facts import Host
from cotune.plan import Outcome

_FILE = "memory.priority"
_MOST_NAMED = 6


def oom_notes(host: Host, outcome: Outcome) -> list[str]:
    """For each parent of a group whose priority the plan touches: the tied siblings that nobody named.

    Siblings without a priority stand at 0, the lowest; among equals the larger user is killed (mm/oom_kill.c, ANCK).
    """
    planned = {
        entry.target.unit: entry.new
        for entry in outcome.entries
        if entry.target.control == _FILE and entry.new is not None
    }
    notes = []
    for parent in sorted({unit.rpartition("/")[0] for unit in planned}):
        priorities = {unit: int(value) for unit, value in planned.items() if unit.rpartition("/")[0] == parent}
        named = set(priorities)
        for name in _children(host, parent):
            text = host.text(f"{parent}/{name}/{_FILE}")
            if f"{parent}/{name}" not in priorities and text.isdecimal():
                priorities[f"{parent}/{name}"] = int(text)
        lowest = min(priorities.values())
        tied = sorted(unit for unit, value in priorities.items() if value == lowest)
        unnamed = [unit.rpartition("/")[2] for unit in tied if unit not in named]
        if len(tied) > 1 and unnamed:
            shown = ", ".join(unnamed[:_MOST_NAMED]) + (
                f" and {len(unnamed) - _MOST_NAMED} more" if len(unnamed) > _MOST_NAMED else ""
            )
            notes.append(
                f"OOM priority below {_group(host, parent)}: {shown} stand at {lowest} as well, the lowest; of these "
                "the largest user is killed first, and this plan sets none of them"
            )
    return notes


def _children(host: Host, directory: str) -> list[str]:
    try:
        return host.kernel.subdirs(directory)
    except OSError:
        return []  # the parent is only created by this plan


def _group(host: Host, directory: str) -> str:
    memory = host.layout.controllers.get("memory")
    return "cgroup:" + (directory.removeprefix(memory.point if memory else "").strip("/") or "/")
