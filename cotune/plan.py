"""Plan: from what is wanted and what was read to an ordered list of writes. Pure: no I/O, no clock.

Order (the same for every control):

1. switches that other writes need, then the host's own settings,
2. new cgroups, parents first, each after its controllers are enabled in its parent,
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
from cotune.knobs.types import Share
from cotune.model import Change, Create, Enable, Entry, Instance, Move, Refusal, Step, Target, UnsupportedKnob
from cotune.places import operation

_RANK = {name: index for index, name in enumerate(CONTROLS)}


class Outcome(NamedTuple):
    """What planning a set of instances gives; see :class:`cotune.model.Plan`."""

    changes: list[Change]
    entries: list[Entry]
    unsupported: list[UnsupportedKnob]
    refusals: list[Refusal]
    notes: list[str]
    early: list[Step]
    loosen: list[tuple[str, list[Step]]]
    tighten: list[tuple[str, list[Step]]]
    gates: list[Step]
    late: list[Step]
    pending: list[UnsupportedKnob]


#: Path of every switch that some control needs → the value that opens it.
GATES = {
    part.gate.path: part.gate.value for control in CONTROLS.values() for part in control.parts.values() if part.gate
}


def plan_instances(instances: Iterable[Instance], context: ValueContext, explain: Explain) -> Outcome:
    """Plan every instance. ``explain`` gives the reason and remedy for a part that is missing."""
    outcome = Outcome([], [], [], [], [], [], [], [], [], [], [])
    covered: dict[str, dict[str, Values]] = {}
    for instance in sorted(instances, key=lambda i: (i.unit, _RANK[i.control.name])):
        if instance.gone:
            resource = next(iter(instance.targets.values())).resource
            outcome.notes.append(f"{resource} vanished: left out")
            continue
        _plan_instance(instance, context, explain, outcome, covered.setdefault(instance.control.name, {}))
    return outcome


def _cover(instance: Instance, covered: Mapping[str, Values]) -> Values:
    """What a write to the nearest ancestor makes of this instance before its own turn comes; nothing mostly."""
    unit = instance.unit
    while instance.control.covers and "/" in unit:
        unit = unit.rpartition("/")[0]
        if unit in covered:
            return covered[unit]
    return {}


def order_steps(
    outcome: Outcome, creates: Iterable[Create] = (), moves: Iterable[Move] = (), enables: Iterable[Enable] = ()
) -> list[Step]:
    """The steps of an apply."""
    return [
        *outcome.gates,
        *outcome.early,
        *_structure(creates, enables),
        *_by_depth(outcome.loosen, deepest_first=False),
        *_by_depth(outcome.tighten, deepest_first=True),
        *outcome.late,
        *(Step("move", Target("", "", move.resource, move.path, move.path), move=move) for move in moves),
    ]


def _structure(creates: Iterable[Create], enables: Iterable[Enable]) -> list[Step]:
    """Groups made and controllers enabled, parents first; a group is made before anything is enabled in it."""
    steps = [(create.path.count("/"), 0, _create(create)) for create in creates]
    for enable in enables:
        path = f"{enable.path}/cgroup.subtree_control"
        text = " ".join(f"+{controller}" for controller in enable.controllers)
        step = Step("enable", Target("", "", enable.resource, enable.path, path), text=text)
        steps.append((enable.path.count("/"), 1, step))
    return [step for *_, step in sorted(steps, key=lambda item: item[:2])]


def _create(create: Create) -> Step:
    target = Target("", "", create.resource, create.path, create.path)
    if create.fstype:
        return Step("mount", target, words=create.options, text=create.fstype)
    return Step("mkdir", target)


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


def _plan_instance(
    instance: Instance, context: ValueContext, explain: Explain, outcome: Outcome, covered: dict[str, Values]
) -> None:
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
        elif any(other.approximates for other in instance.wanted.values()):
            outcome.notes.append(f"{target.resource}: {target.knob} is subsumed: {reason}")
        else:
            outcome.unsupported.append(UnsupportedKnob(target.resource, target.knob, reason, remedy, setting.origin))
        del wanted[part]
    _set_pending_aside(instance, wanted, outcome)
    if not wanted:
        return
    new = _settle(instance, wanted, context)
    if control.refusal(instance.old, new, context) and _give_up(instance, wanted, outcome):
        new = _settle(instance, wanted, context)
    first = next(iter(instance.wanted.values()))
    where = f"{first.origin}: {first.target.resource}: "
    refusal = control.refusal(instance.old, new, context)
    if refusal:
        outcome.refusals.append(Refusal(where + refusal))
    outcome.refusals.extend(Refusal(where + b.text, b.flags) for b in control.bounds(instance.old, new, context))
    _record(instance, wanted, new, outcome, covered)


def _set_pending_aside(instance: Instance, wanted: dict[str, Value | Share], outcome: Outcome) -> None:
    """List what only an unmount or a reboot can bring there, and plan the rest."""
    for part, (reason, remedy) in instance.control.pending(instance.old, wanted).items():
        setting, value = instance.wanted[part], instance.old.get(part)
        target = setting.target
        if setting.release:
            outcome.notes.append(f"{target.resource} {target.knob}: given up as it is: {reason}")
            outcome.entries.append(Entry(target, value, value, origin=str(setting.origin), released=True))
        else:
            outcome.pending.append(UnsupportedKnob(target.resource, target.knob, reason, remedy, setting.origin))
        del wanted[part]


def _settle(instance: Instance, wanted: Mapping[str, Value | Share], context: ValueContext) -> Values:
    new = instance.control.settle(instance.old, wanted, context)
    return {part: value for part, value in new.items() if part in instance.old}


def _give_up(instance: Instance, wanted: dict[str, Value | Share], outcome: Outcome) -> bool:
    """Leave originals where they are that the kernel would not take beside what is still wanted."""
    released = [part for part in wanted if instance.wanted[part].release]
    if len(released) == len(wanted):
        return False
    for part in released:
        target, value = instance.wanted[part].target, instance.old.get(part)
        del wanted[part]
        origin = str(instance.wanted[part].origin)
        outcome.entries.append(Entry(target, value, value, origin=origin, released=True))
        outcome.notes.append(
            f"{target.resource} {target.knob}: given up as it is: its original does not fit what is set beside it"
        )
    return bool(released)


def _record(
    instance: Instance, wanted: Mapping[str, object], new: Values, outcome: Outcome, covered: dict[str, Values]
) -> None:
    control, old = instance.control, instance.old
    cover = _cover(instance, covered)
    start = {**old, **cover}
    loose = new if instance.created and control.scope == "cgroup" else control.looser(start, new)
    first, second = control.writes(start, loose), control.writes(loose, new)
    passed = _passed(control, start, [*first, *second])
    for part, value in cover.items():
        passed[part] = [value, *(later for later in passed.get(part, []) if later != value)]
    if control.covers and passed:
        covered[instance.unit] = {part: new.get(part) for part in passed}
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
        if changed and part in control.hidden:
            outcome.notes.append(f"{target.resource}: {target.knob} is shown nowhere: written, but never verified")
        if setting is not None and changed and not (cover and old.get(part) == new.get(part)):
            current = None if instance.created else instance.reads.get(part, old.get(part))
            action = _action(control.scope, setting.release, new.get(part), control.rows)
            outcome.changes.append(
                Change(target, current, new.get(part), action, setting.origin, instance.created, setting.approximates)
            )
        elif setting is None and new.get(part) not in (None, old.get(part)) and not _is_quiet(instance):
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
            # a value that the kernel chooses may differ from the one before, though neither is known
            touched = part in control.touches(write) or value is None or value != state.get(part)
            if touched and value not in passed.setdefault(part, []):
                passed[part].append(value)
        state = following
    return passed


def _is_quiet(instance: Instance) -> bool:
    """Whether side effects need no line of their own: in a new group, and where all parts are one knob (identity)."""
    return instance.created or len({part.knob for part in instance.control.parts.values()}) == 1


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
    change = operation(instance.control.name)
    if change:
        if first:
            # all of them in one operation
            words = tuple(instance.control.format(write.part, write.value, None) for write in first)
            target = instance.targets[first[0].part]
            outcome.early.append(Step(change, target, first[0].value, words=words))
        return
    loosen = [_write(instance, write) for write in first]
    tighten = [_write(instance, write) for write in second]
    if instance.control.scope in ("cgroup", "resctrl"):
        last = instance.control.last
        outcome.loosen.append((instance.unit, [step for step in loosen if step.value not in last]))
        outcome.tighten.append((instance.unit, [step for step in tighten if step.value not in last]))
        outcome.late.extend(step for step in loosen + tighten if step.value in last)
    elif any(target.path in GATES for target in instance.targets.values()):
        opening = any(step.value == GATES[step.target.path] for step in loosen + tighten)
        (outcome.gates if opening else outcome.late).extend(loosen + tighten)
    else:
        outcome.early.extend(loosen + tighten)


def _write(instance: Instance, write: Write) -> Step:
    target = instance.targets[write.part]
    return Step("write", target, write.value, text=instance.control.text(write, target.row), waits=write.waits)
