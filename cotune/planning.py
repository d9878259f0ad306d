"""From a profile and a host to a plan: resolve, add what the profile gave up, observe, plan, find other owners."""

from __future__ import annotations

from typing import NamedTuple

from cotune.controls import CONTROLS
from cotune.controls.base import Value
from cotune.errors import Origin, PlanRefused, Unsupported
from cotune.execute import ReadBack
from cotune.host.cgroups import descendants
from cotune.host.facts import Host
from cotune.host.support import Support, missing
from cotune.knobs import BY_KEY
from cotune.ledger import Ledger, Owned
from cotune.model import Change, Create, Entry, Instance, Key, Plan, Resolved, Setting, Step, Takeover, Target
from cotune.observe import observe
from cotune.oom import oom_notes
from cotune.plan import Explain, Outcome, order_steps, plan_instances
from cotune.profile.load import Profile
from cotune.resolve import resolve, selected
from cotune.resolve.exclusions import check_exclusions
from cotune.units import human_size


class Options(NamedTuple):
    """What the command line adds to a profile.

    ``pids`` is group name → processes to move there; ``flags`` are the consents given: ``force``, ``allow-oom``,
    ``allow-irreversible``.
    """

    only: tuple[str, ...] = ()
    pids: dict[str, list[int]] = {}
    strict: bool = False
    takeover: bool = True
    label: str = ""
    flags: frozenset[str] = frozenset()


class HostExplain(Explain):
    """Reasons and remedies for missing files on a host."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def missing(self, instance: Instance, part: str) -> Support:
        return missing(self.host, instance.control, instance.targets[part], instance.missing[part])


def make_plan(profile: Profile, host: Host, ledger: Ledger, options: Options) -> Plan:
    """The plan for a profile on a host as it is now. Raises Unsupported and PlanRefused."""
    resolved = resolve(profile, host, options.pids, options.only)
    check_exclusions(host, resolved)
    resolved.settings.extend(_following(resolved, host, ledger, profile.name))
    wanted = {setting.target.key for setting in resolved.settings}
    releases, abandoned = _releases(profile, host, ledger, wanted, options)
    settings = [*resolved.settings, *releases]
    instances = observe(host, settings, resolved.creates, ledger.known(), resolved.enables)
    outcome = plan_instances(instances, host.context, HostExplain(host))
    unsupported = (*resolved.unsupported, *outcome.unsupported)
    found = [*resolved.refusals, *outcome.refusals]
    allowed = [refusal for refusal in found if options.flags & set(refusal.flags)]
    refusals = [refusal for refusal in found if refusal not in allowed]
    plan = Plan(
        changes=(*_structure(resolved), *_with_idle_releases(outcome), *abandoned.changes),
        steps=tuple(_steps(resolved, outcome, options)),
        entries=(*(e for e in outcome.entries if _is_news(e, ledger, profile.name)), *abandoned.entries),
        creates=tuple(resolved.creates),
        moves=tuple(resolved.moves),
        unsupported=unsupported,
        pending=(*resolved.pending, *outcome.pending),
        takes_over=tuple(_takeovers(outcome, ledger, profile.name)),
        refusals=tuple(refusals),
        notes=(
            *_only_note(resolved, options),
            *(f"allowed all the same: {refusal.text}" for refusal in allowed),
            *resolved.notes,
            *outcome.notes,
            *abandoned.notes,
            *oom_notes(host, outcome),
        ),
        witnessed=tuple(_witness(host, outcome, ledger)),
        enables=tuple(resolved.enables),
    )
    _check(plan, profile, options)
    return plan


def _steps(resolved: Resolved, outcome: Outcome, options: Options) -> list[Step]:
    steps = order_steps(outcome, resolved.creates, resolved.moves, resolved.enables)
    if "allow-oom" in options.flags:
        steps = [step._replace(waits=False) for step in steps]
    return steps


def _following(resolved: Resolved, host: Host, ledger: Ledger, profile: str) -> list[Setting]:
    """cpusets that cotune filled in when it created a group go on following the parent's, once that is set.

    A child would otherwise keep its parent from being narrowed (EBUSY).
    """
    wanted = {s.target.key: s for s in resolved.settings if s.target.control == "cpuset"}
    filled = [o.entry.target for o in ledger.held_by(profile).values() if o.entry.implied]
    found: list[Setting] = []
    for target in sorted(filled, key=lambda target: target.path.count("/")):
        file = target.path.rpartition("/")[2]
        parent = wanted.get((f"{target.unit.rpartition('/')[0]}/{file}", None))
        if target.control == "cpuset" and target.key not in wanted and parent and host.kernel.exists(target.unit):
            wanted[target.key] = Setting(target, parent.value, parent.origin, implied=True)
            found.append(wanted[target.key])
    return found


def _only_note(resolved: Resolved, options: Options) -> list[str]:
    if not options.only or resolved.settings or resolved.creates or resolved.moves:
        return []
    return [f"nothing the profile sets matches --only {' '.join(options.only)}; diff shows the names of resources"]


def fails_when_unsupported(profile: Profile) -> bool:
    """Whether the profile says ``defaults: {unsupported: fail}``."""
    return bool(profile.data.get("defaults", {}).get("unsupported") == "fail")


def _check(plan: Plan, profile: Profile, options: Options) -> None:
    if plan.refusals:
        flags = sorted({f"--{flag}" for refusal in plan.refusals for flag in refusal.flags})
        hint = "mend the profile; nothing was written"
        if flags and all(refusal.flags for refusal in plan.refusals):
            hint = f"mend the profile, or allow it with {' or '.join(flags)}; nothing was written"
        raise PlanRefused("\n".join(refusal.text for refusal in plan.refusals), hint)
    missing = (*plan.unsupported, *(plan.pending if options.strict else ()))
    if missing and (options.strict or fails_when_unsupported(profile)):
        lines = [f"{item.origin}: {item.resource} {item.knob}: {item.reason}" for item in missing]
        why = "--strict" if options.strict else "defaults.unsupported: fail"
        raise Unsupported("\n".join(lines), f"nothing was written, because of {why}")
    if plan.takes_over and not options.takeover:
        lines = [f"{item.resource} {item.knob} belongs to profile {item.owner}" for item in plan.takes_over]
        raise PlanRefused("\n".join(lines), "roll that profile back first, or leave out --no-takeover")


class _Abandoned(NamedTuple):
    """Values given up without a write: somebody else changed them, or their original is not known."""

    changes: list[Change]
    entries: list[Entry]
    notes: list[str]


def _releases(
    profile: Profile, host: Host, ledger: Ledger, wanted: set[Key], options: Options
) -> tuple[list[Setting], _Abandoned]:
    """Originals of the values this profile held and no longer names.

    Parts of one control change each other, so with one part the others that this profile changed go back too.
    """
    settings: list[Setting] = []
    abandoned = _Abandoned([], [], [])
    reader = ReadBack(host)
    mine = ledger.held_by(profile.name)
    given_up = {
        _place(owned.entry.target)
        for key, owned in mine.items()
        if key not in wanted and not owned.entry.effect and not owned.entry.implied
    }
    kept = {_place(owned.entry.target) for key, owned in mine.items() if key in wanted}
    for key, owned in mine.items():
        target = owned.entry.target
        if key in wanted or _place(target) not in given_up or not selected(target.resource, options.only):
            continue
        if owned.entry.implied or (owned.entry.effect and _place(target) in kept):
            continue  # follows what is still wanted
        try:
            now = reader.value(target)
        except OSError:
            continue  # the group or mount is gone, and the value with it
        origin = Origin(f"transaction {owned.transaction}")
        why = _why_kept(reader, owned, now)
        if owned.original is None or why:
            _abandon(abandoned, target, now, origin, why or "its original is not known", owned.entry.effect)
        else:
            settings.append(Setting(target, owned.original, origin, release=True))
    return settings, abandoned


def _place(target: Target) -> tuple[str, str, str | None]:
    return CONTROLS[target.control].place(target.unit, target.row)


def _why_kept(reader: ReadBack, owned: Owned, now: Value | None) -> str:
    """Why a value that is given up must not be written, or nothing."""
    if owned.entry.new is not None and not _is_ours(reader, owned, now):
        return "somebody else has changed it"
    target = owned.entry.target
    if target.control == "cpuset" and owned.original == "":
        return "an empty cpuset takes no tasks"
    if target.control == "cpuset.v2" and owned.original == "" and reader.host.text(f"{target.unit}/cgroup.procs"):
        return "the kernel does not empty a set while the group has tasks"
    return ""


def _is_ours(reader: ReadBack, owned: Owned, now: Value | None) -> bool:
    ours = [v for v in (owned.entry.new, owned.original, *owned.entry.ours) if v is not None]
    return now in ours or any(reader.agrees(owned.entry.target, value) for value in ours)


def _abandon(out: _Abandoned, target: Target, now: Value | None, origin: Origin, why: str, effect: bool) -> None:
    if not effect:
        out.notes.append(f"{target.resource} {target.knob}: given up as it is, since {why}")
        out.changes.append(Change(target, now, now, "release", origin))
    out.entries.append(Entry(target, now, now, effect=effect, released=True))


def _made(create: Create) -> str:
    """What a creation makes: a mount, a cgroup or a class of resctrl."""
    return f"{create.fstype} mount" if create.fstype else create.resource.partition(":")[0]


def _structure(resolved: Resolved) -> list[Change]:
    """Groups to create, controllers to enable and processes to move, as changes."""
    changes = [
        Change(Target("", "", c.resource, c.path, c.path, None, _made(c)), None, c.path, "create", c.origin)
        for c in resolved.creates
    ]
    for enable in resolved.enables:
        path = f"{enable.path}/cgroup.subtree_control"
        target = Target("", "", enable.resource, enable.path, path, None, "cgroup.subtree_control")
        changes.append(Change(target, None, " ".join(f"+{c}" for c in enable.controllers), "enable", enable.origin))
    for m in resolved.moves:
        if m.file == "cgroup.procs":
            target = Target("", "", m.resource, m.path, m.path, None, f"task {m.pid} ({m.comm})")
            changes.append(Change(target, m.origin_path, m.path, "move", m.origin))
    return [*changes, *resolved.summaries]


def _with_idle_releases(outcome: Outcome) -> list[Change]:
    """All changes, with the releases of values that read their original already: ownership still changes."""
    changed = {change.target.key for change in outcome.changes}
    idle = [
        Change(entry.target, entry.old, entry.new, "release", Origin(entry.origin))
        for entry in outcome.entries
        if entry.released and not entry.effect and entry.target.key not in changed
    ]
    return [*outcome.changes, *idle]


def _witness(host: Host, outcome: Outcome, ledger: Ledger) -> list[tuple[str, Value]]:
    """Own watermark adjustments of the groups below one that is about to change.

    They can be read now; a larger value above will hide them, and nothing but this record could then restore them.
    """
    memory = host.layout.controllers.get("memory")
    targets = [e.target for e in outcome.entries if e.ours and e.target.control == "memory.wmark_min_adj"]
    if memory is None or not targets:
        return []
    reader = ReadBack(host)
    found: dict[str, Value] = {}
    for target in targets:
        file = target.path.rpartition("/")[2]
        for group in descendants(host.kernel, memory, target.unit.removeprefix(memory.point + "/")):
            path = f"{memory.dir(group)}/{file}"
            own = reader.own_watermark(path, ledger.known().get((path, None)))
            if own is not None:
                found[path] = own
    return list(found.items())


def _is_news(entry: Entry, ledger: Ledger, profile: str) -> bool:
    """Whether the journal has to keep an entry: it changes, or the profile did not hold it before."""
    if entry.ours or entry.effect or entry.released or entry.old != entry.new:
        return True
    owner = ledger.owner(entry.target.key)
    if owner is None or owner.profile != profile:
        return True
    return owner.entry.new != entry.new or owner.entry.effect


def _takeovers(outcome: Outcome, ledger: Ledger, profile: str) -> list[Takeover]:
    """Values of other profiles that this plan sets, finds right, or changes as a side effect."""
    targets = {entry.target.key: entry.target for entry in outcome.entries if not entry.released}
    found = []
    for key, target in targets.items():
        owner = ledger.owner(key)
        if owner is not None and owner.profile != profile and not owner.entry.effect:
            found.append(Takeover(target.resource, target.knob, owner.profile))
    return found


def show_value(target: Target, value: Value | None) -> str:
    """A value for people."""
    if value is None:
        return "unknown"
    if not target.control:
        return str(value)
    knob = BY_KEY.get(target.knob)
    if knob is not None and knob.unit == "KiB" and str(value).isdecimal():
        return human_size(int(value) * 1024)
    return CONTROLS[target.control].show(target.part, value)
