"""Report: plans and results as lines for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from cotune.cli.context import Line
from cotune.knobs import BY_KEY
from cotune.model import Change, Plan, UnsupportedKnob
from cotune.planning import show_value

_MARKS = {"create": "+", "set": "~", "remove": "-", "move": ">", "remount": "~", "release": "<", "enable": "+"}
_STYLES = {
    "create": "green",
    "set": "yellow",
    "remove": "red",
    "move": "cyan",
    "remount": "yellow",
    "release": "magenta",
    "enable": "green",
}


def plan_json(plan: Plan, transaction: str | None = None, strict: bool = False) -> dict[str, Any]:
    """The body of the JSON object of ``diff`` and ``apply``."""
    return {
        "changed": bool(plan.changes) or (strict and bool(plan.pending)),
        "changes": [change_json(change) for change in plan.changes],
        "unsupported": [_unsupported_json(item) for item in plan.unsupported],
        "pending": [_unsupported_json(item) for item in plan.pending],
        "takes_over": [item._asdict() for item in plan.takes_over],
        "notes": list(plan.notes),
        "errors": [],
        "transaction": transaction,
    }


def change_json(change: Change) -> dict[str, Any]:
    """One change; values are canonical: numbers in the kernel file's unit, or text."""
    target = change.target
    return {
        "resource": target.resource,
        "knob": target.knob,
        "path": target.path,
        **({"row": target.row} if target.row else {}),
        "current": change.current,
        "desired": change.desired,
        "action": change.action,
        "origin": str(change.origin),
        **({"approximates": change.approximates} if change.approximates else {}),
    }


def _unsupported_json(item: UnsupportedKnob) -> dict[str, Any]:
    return {
        "resource": item.resource,
        "knob": item.knob,
        "reason": item.reason,
        "remedy": item.remedy,
        "origin": str(item.origin),
    }


def plan_lines(plan: Plan, explain: bool = False, done: bool = False) -> Iterator[Line]:
    """A plan for people: changes by resource, what is not available and why, and one summary line."""
    for resource, changes in _by_resource(plan.changes):
        yield [("bold", resource)]
        creates = [change for change in changes if change.action == "create"]
        if creates and resource.startswith("cgroup:"):
            yield [("green", f"  + create in {', '.join(_hierarchy(change) for change in creates)}")]
        elif creates:
            yield [("green", f"  + {_label(creates[0])}")]
            yield from ([("green", f"  + create {change.target.path}")] for change in creates[1:])
        values = [change for change in changes if change.action != "create"]
        width = max((len(_label(change)) for change in values), default=0)
        for change in values:
            yield from _change_lines(change, width, explain)
    yield from _unsupported_lines("Not available here:", plan.unsupported, explain)
    yield from _unsupported_lines("Pending until an unmount or reboot:", plan.pending, explain)
    for item in plan.takes_over:
        yield [("magenta", f"takes over {item.resource} {item.knob} from profile {item.owner}")]
    for note in plan.notes:
        yield [("dim", f"note: {note}")]
    yield [("bold", summary(plan, done))]


def unified_lines(plan: Plan, name: str) -> Iterator[Line]:
    """The changes in the manner of ``diff -u``."""
    if not plan.changes:
        return
    yield [("bold", "--- host")]
    yield [("bold", f"+++ {name}")]
    for resource, changes in _by_resource(plan.changes):
        yield [("cyan", f"@@ {resource} @@")]
        for change in changes:
            if change.action != "create" and not change.created:
                yield [("red", f"-{_label(change)} = {show_value(change.target, change.current)}")]
            yield [("green", f"+{_label(change)} = {show_value(change.target, change.desired)}")]


def summary(plan: Plan, done: bool) -> str:
    """One line that says it all."""
    counts: dict[str, int] = {}
    for change in plan.changes:
        made = change.target.knob if change.action == "create" else change.action
        counts[made] = counts.get(made, 0) + 1
    parts = []
    for action, count in counts.items():
        noun, verb = _WORDS[action]
        parts.append(f"{count} {noun}{'s' if count > 1 else ''} {'' if done else 'to be '}{verb}")
    if not parts:
        parts = ["nothing to do: the host is as the profile wants it"]
    if plan.unsupported:
        parts.append(f"{len(plan.unsupported)} not available here")
    if plan.pending:
        parts.append(f"{len(plan.pending)} pending")
    return ", ".join(parts)


_WORDS = {
    "cgroup": ("cgroup", "created"),
    "resctrl": ("resctrl group", "created"),
    "resctrl mount": ("file system", "mounted"),
    "set": ("value", "set"),
    "remove": ("limit", "removed"),
    "move": ("process move", "made"),
    "remount": ("mount option", "changed"),
    "release": ("value", "released"),
    "enable": ("controller set", "enabled"),
}
_KINDS = ("sysctl", "host", "block", "mount", "quota", "resctrl", "cgroup")


def _by_resource(changes: Iterable[Change]) -> list[tuple[str, list[Change]]]:
    """Changes by resource: the host's first, then cgroups by path; within one, in the order of the catalogue."""
    groups: dict[str, list[Change]] = {}
    for change in changes:
        groups.setdefault(change.target.resource, []).append(change)
    order = {key: index for index, key in enumerate(BY_KEY)}
    for found in groups.values():
        found.sort(key=lambda change: order.get(change.target.knob, len(order)))
    return sorted(groups.items(), key=lambda item: (_KINDS.index(item[0].partition(":")[0]), item[0]))


def _hierarchy(change: Change) -> str:
    """The name of the hierarchy a cgroup directory is in: the directory name its mount point ends in."""
    group = change.target.resource.removeprefix("cgroup:")
    return change.target.path.removesuffix(f"/{group}").rpartition("/")[2]


def _label(change: Change) -> str:
    target = change.target
    if change.action == "create":
        verb = {"resctrl": "create ", "resctrl mount": "mount "}.get(target.knob, "cgroup ")
        return verb + target.path
    device = (target.row or "").partition(" ")[0]
    # the row of a disk is its number, and that of a resctrl cache its name and id: what tells equal knobs apart
    return f"{target.knob} [{device}]" if ":" in device else target.knob


def _change_lines(change: Change, width: int, explain: bool) -> Iterator[Line]:
    style, mark = ("green", "+") if change.created else (_STYLES[change.action], _MARKS[change.action])
    label = _label(change)
    line: Line = [(style, f"  {mark} {label}"), ("", " " * (width - len(label) + 2))]
    if not change.created and change.action != "enable":
        line += [("dim", show_value(change.target, change.current)), ("", " → ")]
    line.append((style, show_value(change.target, change.desired)))
    if change.action == "release":
        line.append(("dim", "  (no longer in the profile)"))
    if change.approximates:
        line.append(("dim", f"  (approximates {change.approximates})"))
    yield line
    if explain:
        yield [("dim", f"      from {change.origin}" + (f", file {change.target.path}" if change.target.part else ""))]


def _unsupported_lines(title: str, items: Iterable[UnsupportedKnob], explain: bool) -> Iterator[Line]:
    rows = list(items)
    if not rows:
        return
    yield [("bold", title)]
    seen: dict[tuple[str, str, str], list[UnsupportedKnob]] = {}
    for item in rows:
        seen.setdefault((item.knob, item.reason, item.remedy), []).append(item)
    for (knob, reason, remedy), where in seen.items():
        names = list(dict.fromkeys(item.resource for item in where))
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        yield [("yellow", f"  ! {knob}"), ("", f" ({shown}): {reason}")]
        if remedy:
            yield [("dim", f"      needs: {remedy}")]
        if explain:
            yield [("dim", f"      from {item.origin}") for item in where[:1]]
