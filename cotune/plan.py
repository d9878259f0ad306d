"""Plan: from what is wanted and what was read to an ordered list of writes. Pure: no I/O, no clock.

Order (the same for every control):

1. switches that other writes need, then the host's own settings,
2. new cgroups, parents first,
3. parents to children, each control written to the looser of old and new,
4. children to parents, each control written to its new value,
5. processes, last.

With limits raised and lowered at once anywhere in a tree, no write of 3 or 4 then meets a parent that is too tight or
a child that is too loose. Switches are opened first and closed last, when nothing needs them any more. Putting
originals back goes the other way round: cgroups first, then the host's own settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from cotune.controls import CONTROLS
from cotune.controls.base import Control, Value, Values, Write
from cotune.host.support import Support
from cotune.knobs import BY_KEY
from cotune.knobs.base import ValueContext
from cotune.model import Change, Create, Entry, Instance, Move, Step, Target, UnsupportedKnob

_RANK = {name: index for index, name in enumerate(CONTROLS)}


class Outcome(NamedTuple):
    """What planning a set of instances gives; see :class:`cotune.model.Plan`."""

    changes: list[Change]
    entries: list[Entry]
    unsupported: list[UnsupportedKnob]
    refusals: list[str]
    notes: list[str]
    early: list[Step]
    loosen: list[tuple[str, list[Step]]]
    tighten: list[tuple[str, list[Step]]]
    gates: list[Step]
    late: list[Step]


GATES = frozenset(control.gate for control in CONTROLS.values() if control.gate)


def plan_instances(instances: Iterable[Instance], context: ValueContext, explain: Explain) -> Outcome:
    """Plan every instance. ``explain`` gives the reason and remedy for a part that is missing."""
    outcome = Outcome([], [], [], [], [], [], [], [], [], [])
    for instance in sorted(instances, key=lambda i: (i.unit, _RANK[i.control.name])):
        if instance.gone:
            resource = next(iter(instance.targets.values())).resource
            outcome.notes.append(f"{resource} vanished: left out")
            continue
        _plan_instance(instance, context, explain, outcome)
    return outcome


def order_steps(outcome: Outcome, creates: Iterable[Create] = (), moves: Iterable[Move] = ()) -> list[Step]:
    """The steps of an apply."""
    return [
        *outcome.gates,
        *outcome.early,
        *(Step("mkdir", Target("", "", create.resource, create.path, create.path)) for create in creates),
        *_by_depth(outcome.loosen, deepest_first=False),
        *_by_depth(outcome.tighten, deepest_first=True),
        *outcome.late,
        *(Step("move", Target("", "", move.resource, move.path, move.path), move=move) for move in moves),
    ]


def order_undo(outcome: Outcome) -> list[Step]:
    """The steps that put originals back."""
    return [
        *outcome.gates,
        *_by_depth(outcome.loosen, deepest_first=False),
        *_by_depth(outcome.tighten, deepest_first=True),
        *outcome.early,
        *outcome.late,
    ]


def _by_depth(units: list[tuple[str, list[Step]]], deepest_first: bool) -> list[Step]:
    ordered = sorted(units, key=lambda item: item[0].count("/"), reverse=deepest_first)
    return [step for _, steps in ordered for step in steps]


class Explain:
    """Why a part is missing. Replaced by one that knows the host; this one only repeats the errno."""

    def missing(self, instance: Instance, part: str) -> Support:
        """Reason and remedy for a part that could not be read."""
        return Support("no", instance.missing[part], "")


def _plan_instance(instance: Instance, context: ValueContext, explain: Explain, outcome: Outcome) -> None:
    control = instance.control
    wanted = {part: setting.value for part, setting in instance.wanted.items() if part not in instance.missing}
    for part, setting in instance.wanted.items():
        if part in instance.missing and not setting.implied and not setting.release:
            support = explain.missing(instance, part)
            outcome.unsupported.append(
                UnsupportedKnob(
                    setting.target.resource, setting.target.knob, support.reason, support.remedy, setting.origin
                )
            )
    for part in instance.unsure:
        target = instance.targets[part]
        # files that every kernel with the controller has need no remark
        if part in instance.wanted and BY_KEY[target.knob].confidence != "live":
            outcome.notes.append(
                f"{target.resource}: whether this kernel has {target.knob} shows only when the group exists"
            )
    for part, (reason, remedy) in control.blocked(instance.old, wanted).items():
        setting = instance.wanted[part]
        target, value = setting.target, instance.old.get(part)
        if setting.release:
            # what takes its place hides it: only the ownership ends
            outcome.entries.append(Entry(target, value, value, origin=str(setting.origin), released=True))
        else:
            outcome.unsupported.append(UnsupportedKnob(target.resource, target.knob, reason, remedy, setting.origin))
        del wanted[part]
    if not wanted:
        return
    new = control.settle(instance.old, wanted, context)
    new = {part: value for part, value in new.items() if part in instance.old}
    refusal = control.refusal(instance.old, new)
    if refusal:
        first = next(iter(instance.wanted.values()))
        outcome.refusals.append(f"{first.origin}: {first.target.resource}: {refusal}")
    _record(instance, wanted, new, outcome)


def _record(instance: Instance, wanted: Mapping[str, object], new: Values, outcome: Outcome) -> None:
    control, old = instance.control, instance.old
    loose = new if instance.created else control.looser(old, new)
    first, second = control.writes(old, loose), control.writes(loose, new)
    passed = _passed(control, old, [*first, *second])
    for part, target in instance.targets.items():
        if part in instance.missing:
            continue
        setting = instance.wanted.get(part) if part in wanted else None
        changed = part in passed or (part in old and old[part] != new.get(part))
        if setting is None and not changed:
            continue
        outcome.entries.append(
            Entry(
                target,
                old.get(part),
                new.get(part),
                tuple(passed.get(part, ())),
                str(setting.origin) if setting else "",
                instance.reads.get(part),
                bool(setting and setting.implied),
                effect=setting is None,
                released=bool(setting and setting.release),
            )
        )
        if changed and setting is not None:
            current = None if instance.created else instance.reads.get(part, old.get(part))
            action = _action(control.scope, setting.release, new.get(part), control.rows)
            outcome.changes.append(Change(target, current, new.get(part), action, setting.origin, instance.created))
        elif changed and new.get(part) is not None and not instance.created and not _is_derived(instance):
            outcome.notes.append(
                f"{target.resource}: {target.knob} changes with it: {_shown(instance, part, old.get(part))} → "
                f"{_shown(instance, part, new.get(part))}"
            )
    _place(instance, first, second, outcome)


def _passed(control: Control, old: Values, writes: list[Write]) -> dict[str, list[Value | None]]:
    """Every value each part takes on the way, parts that stay as they are left out."""
    passed: dict[str, list[Value | None]] = {}
    state = old
    for write in writes:
        following = control.after(state, write)
        for part, value in following.items():
            touched = part == write.part or value != state.get(part)
            if touched and value not in passed.setdefault(part, []):
                passed[part].append(value)
        state = following
    return passed


def _is_derived(instance: Instance) -> bool:
    """Both parts of the identity are one knob: the flags need no line of their own."""
    return len({part.knob for part in instance.control.parts.values()}) == 1


def _shown(instance: Instance, part: str, value: Value | None) -> str:
    return "unknown" if value is None else instance.control.show(part, value)


def _action(scope: str, release: bool, value: Value | None, rows: bool) -> str:
    if release:
        return "release"
    if scope == "mount":
        return "remount"
    return "remove" if rows and value == 0 else "set"


def _place(instance: Instance, first: list[Write], second: list[Write], outcome: Outcome) -> None:
    """Put the writes of one instance where they belong in the order."""
    if instance.control.scope == "mount":
        if first:
            words = tuple(instance.control.format(write.part, write.value, None) for write in first)
            target = instance.targets[first[0].part]
            outcome.early.append(Step("remount", target, words=words))
        return
    loosen = [Step("write", instance.targets[write.part], write.value) for write in first]
    tighten = [Step("write", instance.targets[write.part], write.value) for write in second]
    if instance.control.scope == "cgroup":
        outcome.loosen.append((instance.unit, loosen))
        outcome.tighten.append((instance.unit, tighten))
    elif any(target.part in GATES for target in instance.targets.values()):
        opening = any(step.value == "1" for step in loosen + tighten)
        (outcome.gates if opening else outcome.late).extend(loosen + tighten)
    else:
        outcome.early.extend(loosen + tighten)
