"""CPU controls: weight, bandwidth, cpuset and group identity."""

from __future__ import annotations

from fractions import Fraction

from cotune.controls.base import UNLIMITED, Control, Gate, Lost, Part, Share, Value, Values, Wanted, Write
from cotune.knobs.base import ValueContext
from cotune.units import format_cpulist, human_duration, parse_cpulist

_DEFAULT_PERIOD = 100_000
_MIN_QUOTA = 1000
_BURST_SWITCH = Gate("/proc/sys/kernel/sched_cfs_bw_burst_enabled")


class Weight(Control):
    """``cpu.shares`` with ``cpu.idle``: entering idle hides the shares, leaving it resets them to 1024."""

    name = "cpu.weight"
    controller = "cpu"
    coupled = True
    owner = "runtime"
    v2 = "cpu.weight.v2"
    causes = {"EINVAL": "cpu.shares cannot be written while cpu.idle is 1, nor in the root cgroup"}
    #: the part beside idle, what it reads while idle is 1 (kernel/sched/sched.h WEIGHT_IDLEPRIO), and its default
    number, while_idle, default = "shares", 3, 1024

    def blocked(self, old: Values, wanted: Wanted) -> dict[str, tuple[str, str]]:
        idle = wanted.get("idle", old.get("idle"))
        if wanted.get(self.number) is None or idle != 1 or self._restoring(wanted):
            return {}
        reason = f"cpu.idle is 1, which takes the place of the {self.number}"
        return {self.number: (reason, f"set cpu.idle: false, or drop cpu.{self.number}")}

    def _restoring(self, wanted: Wanted) -> bool:
        return wanted.get(self.number) == self.while_idle and wanted.get("idle") == 1

    def settle(self, old: Values, wanted: Wanted, context: ValueContext) -> Values:
        new = super().settle(old, wanted, context)
        if new.get("idle") == 1:
            new[self.number] = self.while_idle
        elif old.get("idle") == 1 and wanted.get(self.number) is None:
            new[self.number] = self.default
        return new

    def after(self, state: Values, write: Write) -> Values:
        if write.part == "idle" and write.value != state.get("idle"):
            return {**state, "idle": write.value, self.number: self.while_idle if write.value == 1 else self.default}
        return super().after(state, write)

    def writes(self, old: Values, new: Values) -> list[Write]:
        writes: list[Write] = []
        number = old.get(self.number)
        idle = new.get("idle")
        if idle is not None and idle != old.get("idle"):
            writes.append(Write("idle", idle))
            number = self.while_idle if idle == 1 else self.default
        wanted = new.get(self.number)
        if wanted is not None and wanted != number and idle != 1:
            writes.append(Write(self.number, wanted))
        return writes


class WeightV2(Weight):
    """``cpu.weight`` with ``cpu.idle`` of version 2: entering idle makes the weight read 0."""

    name = "cpu.weight.v2"
    v2 = ""
    causes = {
        "EINVAL": "cpu.weight cannot be written while cpu.idle is 1",
        "ERANGE": "a weight is 1 to 10000",
    }
    number, while_idle, default = "weight", 0, 100


class Bandwidth(Control):
    """``cpu.cfs_quota_us`` with its period and burst.

    The kernel compares quota/period with the nearest limited ancestor and with every descendant
    (kernel/sched/core.c tg_cfs_schedulable_down), and on mainline keeps burst at or below a finite quota.
    """

    name = "cpu.bandwidth"
    controller = "cpu"
    coupled = True
    owner = "runtime"
    v2 = "cpu.bandwidth.v2"
    causes = {
        "EINVAL": "the share of the period is above that of a limited ancestor or below that of a child, the burst is "
        "above the quota, or the group is the root"
    }

    def show(self, part: str, value: Value) -> str:
        if part == "quota" and value == UNLIMITED:
            return "max"
        return human_duration(int(value))

    def parse(self, part: str, text: str, row: str | None) -> Value:
        return max(int(text), UNLIMITED)

    def settle(self, old: Values, wanted: Wanted, context: ValueContext) -> Values:
        new = super().settle(old, wanted, context)
        period = new.get("period")
        quota, burst = wanted.get("quota"), wanted.get("burst")
        if isinstance(quota, Share):
            new["quota"] = max(
                _MIN_QUOTA, round(quota.amount * (period if isinstance(period, int) else _DEFAULT_PERIOD))
            )
        if isinstance(burst, Share):
            base = new.get("quota")
            new["burst"] = int(base * burst.amount / 100) if isinstance(base, int) and base > 0 else 0
        return new

    def refusal(self, old: Values, new: Values, context: ValueContext) -> str | None:
        quota, burst = new.get("quota"), new.get("burst")
        if context.free_burst or not isinstance(quota, int) or not isinstance(burst, int) or not 0 < quota < burst:
            return None
        return f"cpu.burst {self.show('burst', burst)} is above the quota {self.show('quota', quota)}"

    def looser(self, old: Values, new: Values) -> Values:
        before, after = _ratio(old), _ratio(new)
        return new if before is None or (after is not None and after >= before) else old

    def writes(self, old: Values, new: Values) -> list[Write]:
        burst_old, burst_new = old.get("burst"), new.get("burst")
        bandwidth = self._bandwidth(old, new)
        if burst_new is None or burst_new == burst_old:
            return bandwidth
        burst = [Write("burst", burst_new)]
        # raising: quota then burst; lowering: burst then quota
        lowering = isinstance(burst_old, int) and isinstance(burst_new, int) and burst_new < burst_old
        return burst + bandwidth if lowering else bandwidth + burst

    def _bandwidth(self, old: Values, new: Values) -> list[Write]:
        changed = [
            Write(part, value)
            for part in ("quota", "period")
            if (value := new.get(part)) is not None and value != old.get(part)
        ]
        before, after = _ratio(old), _ratio(new)
        if len(changed) < 2 or before is None or after is None:
            return changed
        low, high = min(before, after), max(before, after)
        for first, second in (changed, changed[::-1]):
            between = _ratio({**old, first.part: first.value})
            burst = min(_int(old.get("burst")), _int(new.get("burst")))
            quota = _int(new["quota"] if first.part == "quota" else old["quota"])
            if between is not None and low <= between <= high and (quota < 0 or quota >= burst):
                return [first, second]
        # no order keeps the ratio between old and new, which tight neighbours would refuse; unlimited always passes
        quota_write, period_write = changed
        return [Write("quota", UNLIMITED), period_write, quota_write]


class BandwidthV2(Bandwidth):
    """``cpu.max`` (quota and period in one line) with ``cpu.max.burst``; no level is compared with another.

    kernel/sched/core.c cpu_max_write: a line of one number keeps the period, so both are always written.
    """

    name = "cpu.bandwidth.v2"
    v2 = ""
    causes = {"EINVAL": "the burst is above the quota, or a number is outside 1ms to 1s (period) and 2^44us (quota)"}

    def row(self, part: str, device: str | None) -> str | None:
        return None if part == "burst" else part

    def parse(self, part: str, text: str, row: str | None) -> Value:
        if part == "burst":
            return int(text)
        quota, period = text.split()
        return int(period) if part == "period" else UNLIMITED if quota == "max" else int(quota)

    def text(self, write: Write, row: str | None) -> str:
        if write.part == "burst":
            return str(write.value)
        values = {write.part: write.value, **dict(write.beside)}
        quota = "max" if values["quota"] == UNLIMITED else values["quota"]
        return f"{quota} {values['period']}"

    def looser(self, old: Values, new: Values) -> Values:
        return new

    def _bandwidth(self, old: Values, new: Values) -> list[Write]:
        changed = [part for part in ("quota", "period") if new.get(part) is not None and new[part] != old.get(part)]
        if not changed:
            return []
        first, other = changed[0], "period" if changed[0] == "quota" else "quota"
        value, beside = new[first], new.get(other)
        if value is None or beside is None:
            return []
        return [Write(first, value, ((other, beside),))]


def _int(value: Value | None) -> int:
    return value if isinstance(value, int) else 0


def _ratio(values: Values) -> Fraction | None:
    """Share of the period: unlimited is larger than all; None when unknown."""
    quota, period = values.get("quota"), values.get("period")
    if not isinstance(quota, int):
        return None
    if quota < 0:
        return Fraction(2**64)
    return Fraction(quota, period) if isinstance(period, int) and period > 0 else None


class Cpuset(Control):
    """``cpuset.cpus`` and ``cpuset.mems`` of version 1: inside the parent, and never narrower than a child."""

    name = "cpuset"
    controller = "cpuset"
    v2 = "cpuset.v2"
    causes = {
        "EACCES": "not inside the parent's set",
        "EBUSY": "a child uses more than this",
        "ENOSPC": "a set with tasks in it cannot be emptied",
        "EINVAL": "offline CPU, missing NUMA node, or overlap with an exclusive sibling",
        "ERANGE": "a CPU number this machine cannot have",
    }

    def parse(self, part: str, text: str, row: str | None) -> Value:
        return format_cpulist(parse_cpulist(text))

    def format(self, part: str, value: Value, row: str | None) -> str:
        return str(value) or "\n"  # writing nothing at all changes nothing

    def show(self, part: str, value: Value) -> str:
        return str(value) or "(none)"

    def looser(self, old: Values, new: Values) -> Values:
        return {part: _union(old.get(part), value) for part, value in new.items()}


class CpusetV2(Cpuset):
    """``cpuset.cpus`` and ``cpuset.mems`` of version 2, with ``cpuset.cpus.partition``.

    An empty set inherits, and no level is compared with another. A partition needs CPUs of its own, so they are
    written first; the kernel takes the word even when the partition is invalid, and then reads ``root invalid (…)``.
    """

    name = "cpuset.v2"
    coupled = True
    v2 = ""
    causes = {
        "ENOSPC": "a set with tasks in it cannot be emptied",
        "EINVAL": "a missing NUMA node, or CPUs that overlap those a sibling has exclusively",
        "ERANGE": "a CPU number this machine cannot have",
    }

    def parse(self, part: str, text: str, row: str | None) -> Value:
        return text.strip() if part == "partition" else super().parse(part, text, row)

    def format(self, part: str, value: Value, row: str | None) -> str:
        return str(value) if part == "partition" else super().format(part, value, row)

    def show(self, part: str, value: Value) -> str:
        return str(value) or "(inherited)"

    def looser(self, old: Values, new: Values) -> Values:
        return new

    def writes(self, old: Values, new: Values) -> list[Write]:
        writes = super().writes(old, new)
        leaving = new.get("partition") == "member"
        return sorted(writes, key=lambda write: (write.part == "partition") != leaving)


def _union(first: Value | None, second: Value | None) -> Value | None:
    if not isinstance(first, str) or not isinstance(second, str):
        return second
    if not first or not second:
        return first or second  # an empty set cannot be passed through while tasks are inside
    return format_cpulist(parse_cpulist(first) | parse_cpulist(second))


#: bvt value → flags the kernel derives from it (kernel/sched/core.c, ANCK 5.10)
_FLAGS = {-2: 9, -1: 9, 0: 0, 1: 18, 2: 22}


#: the name of the identity file on ANCK 6.6, version 1; it takes 1, 0 and -1 only
_PRIORITY = "cpu.priority"


class Identity(Control):
    """ANCK group identity: ``cpu.bvt_warp_ns``, and the flags that came of it in ``cpu.identity``.

    Writing the number that is there already does nothing, not even repair the flags; so a repair goes through
    another number. Children copy the identity only when they are created, hence the reach over the subtree.
    """

    name = "cpu.identity"
    controller = "cpu"
    coupled = True
    reach = "subtree"
    causes = {
        "EINVAL": "group identity is switched off (kernel.sched_group_identity_enabled), or the group is the root",
        "ERANGE": "this kernel does not know that identity",
    }
    _words = {-2: "low (-2)", -1: "low", 0: "normal", 1: "high", 2: "high + smt_expeller"}

    def show(self, part: str, value: Value) -> str:
        if part == "flags":
            return f"{value:#x}" if isinstance(value, int) else str(value)
        return self._words.get(int(value), str(value))

    def narrowed(self, part: str, value: Value, file: str) -> Lost | None:
        if file != _PRIORITY or value != 2:
            return None
        reason = "cpu.priority, which this kernel has in place of cpu.bvt_warp_ns, knows no expeller"
        return Lost(1, "cpu.smt_expeller", reason, "ANCK 4.19 or 5.10, or ANCK 6.6 on cgroup v2")

    def lower(self, wanted: Wanted) -> Wanted:
        bvt, expeller = wanted.get("bvt"), wanted.get("expeller")
        lowered = {part: value for part, value in wanted.items() if part != "expeller"}
        if bvt == 1 and expeller == 1:
            lowered["bvt"] = 2
        return lowered

    def settle(self, old: Values, wanted: Wanted, context: ValueContext) -> Values:
        new = super().settle(old, wanted, context)
        bvt = new.get("bvt")
        if "flags" in old and wanted.get("flags") is None and isinstance(bvt, int):
            new["flags"] = _FLAGS.get(bvt)
        return new

    def after(self, state: Values, write: Write) -> Values:
        if write.part == "bvt" and "flags" in state and write.value != state.get("bvt"):
            return {**state, "bvt": write.value, "flags": _FLAGS.get(int(write.value))}
        return super().after(state, write)

    def writes(self, old: Values, new: Values) -> list[Write]:
        bvt, flags = new.get("bvt"), new.get("flags")
        if not isinstance(bvt, int):
            return []
        writes: list[Write] = []
        current = old.get("flags")
        if bvt != old.get("bvt"):
            writes.append(Write("bvt", bvt))
            current = _FLAGS.get(bvt)
        elif flags is not None and flags != current and flags == _FLAGS.get(bvt):
            writes += [Write("bvt", 0 if bvt else 1), Write("bvt", bvt)]
            current = flags
        if flags is not None and "flags" in old and flags != current:
            writes.append(Write("flags", flags))
        return writes


class Uclamp(Control):
    """``cpu.uclamp.min`` and ``cpu.uclamp.max``: percent with two decimals; 100 reads ``max``.

    Kept in hundredths of a percent (Documentation/admin-guide/cgroup-v2.rst).
    """

    name = "cpu.uclamp"
    controller = "cpu"
    causes = {"ERANGE": "a utilisation is 0 to 100 percent"}

    def parse(self, part: str, text: str, row: str | None) -> Value:
        word = text.strip()
        return _HUNDRED if word == "max" else round(float(word) * 100)

    def format(self, part: str, value: Value, row: str | None) -> str:
        return "max" if value == _HUNDRED else f"{int(value) / 100:.2f}"

    def show(self, part: str, value: Value) -> str:
        return f"{int(value) / 100:g}%"


class CpuNumber(Control):
    """A cpu file that holds one small number."""

    controller = "cpu"

    def __init__(self, name: str, *parts: Part, causes: dict[str, str] | None = None) -> None:
        super().__init__(*parts)
        self.name = name
        self.causes = causes or {}


_HUNDRED = 10_000
_BOTH_BVT = {"v1": "cpu.bvt_warp_ns", "v2": "cpu.bvt_warp_ns"}
_IDENTITY = Gate("/proc/sys/kernel/sched_group_identity_enabled")

CONTROLS = (
    Weight(
        Part("idle", "cpu.idle", {"v1": "cpu.idle"}, 0),
        Part("shares", "cpu.shares", {"v1": "cpu.shares"}, Weight.default),
    ),
    WeightV2(
        Part("idle", "cpu.idle", {"v2": "cpu.idle"}, 0, at_root=False),
        Part("weight", "cpu.weight", {"v2": "cpu.weight"}, WeightV2.default, at_root=False),
    ),
    Bandwidth(
        Part("quota", "cpu.quota", {"v1": "cpu.cfs_quota_us"}, UNLIMITED),
        Part("period", "cpu.period", {"v1": "cpu.cfs_period_us"}, _DEFAULT_PERIOD),
        Part("burst", "cpu.burst", {"v1": "cpu.cfs_burst_us"}, 0, gate=_BURST_SWITCH),
    ),
    BandwidthV2(
        Part("quota", "cpu.quota", {"v2": "cpu.max"}, UNLIMITED, at_root=False),
        Part("period", "cpu.period", {"v2": "cpu.max"}, _DEFAULT_PERIOD, at_root=False),
        Part("burst", "cpu.burst", {"v2": "cpu.max.burst"}, 0, at_root=False, gate=_BURST_SWITCH),
    ),
    Cpuset(
        Part("cpus", "cpu.cpus", {"v1": "cpuset.cpus"}, ""),
        Part("mems", "cpu.mems", {"v1": "cpuset.mems"}, ""),
    ),
    CpusetV2(
        Part("cpus", "cpu.cpus", {"v2": "cpuset.cpus"}, "", at_root=False),
        Part("mems", "cpu.mems", {"v2": "cpuset.mems"}, "", at_root=False),
        Part("partition", "cpu.partition", {"v2": "cpuset.cpus.partition"}, "member", at_root=False),
    ),
    Uclamp(
        Part("min", "cpu.uclamp.min", {"v1": "cpu.uclamp.min", "v2": "cpu.uclamp.min"}, 0, at_root=False),
        Part("max", "cpu.uclamp.max", {"v1": "cpu.uclamp.max", "v2": "cpu.uclamp.max"}, _HUNDRED, at_root=False),
    ),
    Identity(
        Part("bvt", "cpu.identity", _BOTH_BVT, also=(_PRIORITY,), gate=_IDENTITY),
        Part("flags", "cpu.identity", {"v1": "cpu.identity", "v2": "cpu.identity"}, gate=_IDENTITY),
    ),
    CpuNumber(
        "cpu.init_buffer",
        Part("init_buffer", "cpu.init_buffer", {"v1": "cpu.cfs_init_buffer_us", "v2": "cpu.max.init_buffer"}, 0),
        causes={"EINVAL": "negative, above the bandwidth maximum, or the group is the root"},
    ),
    CpuNumber(
        "cpu.ht_ratio",
        Part("ht_ratio", "cpu.ht_ratio", {"v1": "cpu.ht_ratio", "v2": "cpu.ht_ratio"}, 100),
        causes={"EPERM": "the ratio is 100 to 200, and the root group has none"},
    ),
)
