"""What decides over a value from outside: an ancestor with a tighter one, or a switch that is off. Never writes."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from cotune.controls import CONTROLS
from cotune.controls.base import UNLIMITED, Value
from cotune.controls.cpu import Bandwidth, Cpuset, CpusetV2, Weight
from cotune.controls.io import IoWeight
from cotune.controls.memory import MemoryLimit, MemoryLimitV2, WatermarkMinAdj
from cotune.execute import ReadBack
from cotune.host.facts import Host
from cotune.host.forms import find_form, part_file
from cotune.inventory import parent_target
from cotune.model import Target
from cotune.units import format_cpulist, parse_cpulist

_CPUSETS = ("cpus", "mems")


class Mask(NamedTuple):
    """An ancestor whose value counts instead: its resource, its value for people, and how it comes about."""

    resource: str
    value: str
    why: str


class Switch(NamedTuple):
    """Something that has to be set before a value counts: its name, what it reads, and what that means."""

    name: str
    value: str
    why: str


def find_mask(host: Host, reader: ReadBack, target: Target, now: Value | None, own: Value | None) -> Mask | None:
    """The ancestor that hides a value, if any. ``own`` is the group's own value where the file prints another."""
    control = CONTROLS[target.control]
    if control.scope != "cgroup" or now is None:
        return None
    if isinstance(control, WatermarkMinAdj):
        return _min_adj(reader, target, now, own)
    if isinstance(control, Bandwidth):
        return _quota(reader, target) if target.part == "quota" else None
    if isinstance(control, (MemoryLimit, MemoryLimitV2)):
        why = "an ancestor's smaller limit counts"
        return _smallest(reader, target, now, why, "memory.use_hierarchy") if target.part in _LIMITS else None
    if isinstance(control, CpusetV2):
        return _cpuset(reader, target, str(now)) if target.part in _CPUSETS else None
    return _smallest(reader, target, now, _ABOVE[target.control]) if target.control in _ABOVE else None


_LIMITS = ("limit", "memsw", "high")
#: Controls of which an ancestor's smaller number counts → what that means.
_ABOVE = {
    "memory.high": "an ancestor is throttled earlier",
    "memory.swap_max": "an ancestor may use less swap",
    "memory.min": "an ancestor protects less, and shares that out",
    "memory.low": "an ancestor protects less, and shares that out",
    "pids.max": "an ancestor allows fewer tasks in all",
}


def find_effective(reader: ReadBack, target: Target) -> str:
    """What is in force of a cpuset, which the kernel shows beside what was written; empty for everything else."""
    if not isinstance(CONTROLS[target.control], Cpuset) or target.part not in _CPUSETS:
        return ""
    v2 = _text(reader, target, f"{target.path.rpartition('/')[2]}.effective")
    return v2 or _text(reader, target, f"cpuset.effective_{target.part}")


def find_switches(host: Host, reader: ReadBack, target: Target) -> list[Switch]:
    """Everything outside a value that keeps it from having an effect."""
    found = []
    control = CONTROLS[target.control]
    part = control.parts.get(target.part)
    if part and part.gate and host.kernel.exists(part.gate.path) and host.text(part.gate.path) != part.gate.value:
        found.append(Switch(part.gate.name, host.text(part.gate.path), "the feature is off for the whole host"))
    if isinstance(control, Weight) and target.part == control.number and host.text(f"{target.unit}/cpu.idle") == "1":
        why = f"the group is idle: the kernel ignores its {control.number} and prints {control.while_idle}"
        found.append(Switch("cpu.idle", "1", why))
    if target.control == "memory.priority" and not _priorities_count(reader, target):
        found.append(
            Switch(
                "memory.use_priority_oom", "0", "no group above asks for it, so the priority counts in no shortage here"
            )
        )
    if isinstance(control, IoWeight):
        found += _cost_model(host, reader, target)
    if isinstance(control, CpusetV2):
        found += _cpuset_switches(reader, target)
    return found


def _cost_model(host: Host, reader: ReadBack, target: Target) -> Iterator[Switch]:
    """Weights only count on disks whose cost model is on (block/blk-iocost.c)."""
    form, hierarchy = find_form(host, "io.cost.qos")
    file = part_file(host, hierarchy, form.parts["enable"]) if hierarchy else None
    if hierarchy is None or file is None:
        return
    path = f"{hierarchy.point}/{file}"
    rows = [line.split(" ")[0] for line in host.text(path).splitlines()]
    devices = [target.row] if target.row and ":" in target.row else rows
    model = target._replace(control=form.name, part="enable", unit=hierarchy.point, path=path)
    if not any(_read(reader, model._replace(row=form.row("enable", device))) == 1 for device in devices):
        which = f"of {target.row}" if target.row in devices else "of every disk"
        yield Switch(file, "off", f"the cost model {which} is off, and weights count only with it (host.block iocost)")


def _cpuset_switches(reader: ReadBack, target: Target) -> Iterator[Switch]:
    """A partition that is not in force, and CPUs that are gone for another reason than an ancestor."""
    word, _, reason = _text(reader, target, "cpuset.cpus.partition").partition(" ")
    if target.part == "partition" and reason:
        yield Switch("cpuset.cpus.partition", f"{word} {reason}", "the kernel keeps the wish; it is no partition now")
    if target.part not in _CPUSETS:
        return
    own, effective = str(_read(reader, target) or ""), find_effective(reader, target)
    if own and effective != own and _cpuset(reader, target, own) is None:
        why = "the rest is offline or missing, or belongs to a partition beside or below it"
        yield Switch(f"{target.path.rpartition('/')[2]}.effective", effective or "(none)", why)


def _cpuset(reader: ReadBack, target: Target, own: str) -> Mask | None:
    """The topmost ancestor in a row that has not all of the CPUs or nodes that were written."""
    wanted, effective = parse_cpulist(own), find_effective(reader, target)
    if not own or effective == own:
        return None
    source = None
    for ancestor in _ancestors(target):
        above = find_effective(reader, ancestor)
        if not above or wanted <= parse_cpulist(above):
            break
        source = (ancestor, above)
    if source is None:
        return None
    lost = format_cpulist(wanted - parse_cpulist(effective))
    why = f"in force are {effective or 'none'}: " + (
        f"{lost} are not its to give" if wanted & parse_cpulist(source[1]) else "it has none of them, so its own count"
    )
    return Mask(source[0].resource, source[1], why)


def _ancestors(target: Target) -> Iterator[Target]:
    """The same value of every ancestor, nearest first, root last."""
    above = parent_target(target)
    while above is not None:
        yield above
        above = parent_target(above)


def _read(reader: ReadBack, target: Target) -> Value | None:
    try:
        return reader.value(target)
    except OSError:
        return None  # the root has few of these files


def _min_adj(reader: ReadBack, target: Target, now: Value, own: Value | None) -> Mask | None:
    """The effective value comes down from the topmost ancestor that reads the same."""
    chain = list(_ancestors(target))
    above = _read(reader, chain[0]) if chain else None
    if above in (None, 0) or above != now or own == now:
        return None
    source = chain[0]
    for ancestor in chain[1:]:
        if _read(reader, ancestor) != now:
            break
        source = ancestor
    hidden = f"the own value {own} is hidden" if own is not None else "the own value, not above it, cannot be known"
    return Mask(source.resource, str(now), f"the larger value of an ancestor counts; {hidden}")


def _quota(reader: ReadBack, target: Target) -> Mask | None:
    """The tightest quota per period above, the nearest of equals."""
    own = _ratio(reader, target)
    best: tuple[Fraction, Target] | None = None
    for ancestor in _ancestors(target):
        ratio = _ratio(reader, ancestor)
        if ratio is not None and (own is None or ratio < own) and (best is None or ratio < best[0]):
            best = (ratio, ancestor)
    if best is None:
        return None
    return Mask(best[1].resource, f"{float(best[0]):g} CPUs", "an ancestor's quota is tighter")


def _ratio(reader: ReadBack, target: Target) -> Fraction | None:
    """Quota per period in CPUs; None for unlimited and unreadable."""
    quota = _read(reader, target)
    control = CONTROLS[target.control]
    file = next(iter(control.parts["period"].files.values()))
    row = control.row("period", None)
    period = _read(reader, target._replace(part="period", path=f"{target.unit}/{file}", row=row))
    if not isinstance(quota, int) or not isinstance(period, int) or quota < 0 or period <= 0:
        return None
    return Fraction(quota, period)


def _smallest(reader: ReadBack, target: Target, now: Value, why: str, needs: str = "") -> Mask | None:
    """The smallest limit above that is below the own one, the nearest of equals.

    Where the ancestor's file ``needs`` reads 0, its limit does not count for descendants.
    """
    best: tuple[int, Target] | None = None
    for ancestor in _ancestors(target):
        value = _read(reader, ancestor)
        if not isinstance(value, int) or value == UNLIMITED:
            continue
        if needs and _text(reader, ancestor, needs) == "0":
            continue
        if (now == UNLIMITED or value < int(now)) and (best is None or value < best[0]):
            best = (value, ancestor)
    if best is None:
        return None
    return Mask(best[1].resource, CONTROLS[target.control].show(target.part, best[0]), why)


def _text(reader: ReadBack, target: Target, file: str) -> str:
    """The stripped text of another file beside a target's; empty when there is none."""
    try:
        return reader.text(f"{target.unit}/{file}").strip()
    except OSError:
        return ""


def _priorities_count(reader: ReadBack, target: Target) -> bool:
    return any(_text(reader, above, "memory.use_priority_oom") == "1" for above in _ancestors(target))
