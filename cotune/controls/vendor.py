"""Controls that only vendor kernels have: TencentOS, openEuler and ANCK beyond CPU identity and watermarks."""

from __future__ import annotations

from cotune.controls.base import Bound, Control, Gate, Limit, Part, Value, Values, Wanted, Write
from cotune.controls.cpu import CpuNumber, Cpuset
from cotune.controls.memory import MemoryNumber, both_versions
from cotune.knobs.base import ValueContext
from cotune.knobs.mm import PAGECACHE_SWITCH, REAPER
from cotune.units import human_duration, human_size


class QosLevel(CpuNumber):
    """openEuler ``cpu.qos_level``: -1 cannot be left again on 4.19 and 5.10, and the kernel writes the subtree."""

    reversible = "no"
    reach = "subtree"
    covers = True

    def bounds(self, old: Values, new: Values, context: ValueContext) -> list[Bound]:
        level, before = new.get("qos_level"), old.get("qos_level")
        if not isinstance(level, int) or level >= 0 or level == before:
            return []
        text = f"cpu.qos_level {level} cannot be undone before openEuler 6.6: there only a new cgroup is online again"
        return [Bound(text, ("allow-irreversible",))]


class PagecacheLimit(Limit):
    """ANCK page cache limit of a group: a size, kept exactly as written, its switch and its manner.

    The interval of 6.6 is kept in µs here and in ms by the file.
    """

    name = "memory.pagecache_limit"
    controller = "memory"
    causes = {"EINVAL": "the size is above the memory limit or above the parent's size"}

    def parse(self, part: str, text: str, row: str | None) -> Value:
        return int(text) * _MS if part == _INTERVAL else int(text)

    def format(self, part: str, value: Value, row: str | None) -> str:
        return str(int(value) // _MS if part == _INTERVAL else value)

    def canonical(self, part: str, value: Value, context: ValueContext) -> Value:
        return -(-int(value) // _MS) * _MS if part == _INTERVAL else value

    def show(self, part: str, value: Value) -> str:
        if part == _INTERVAL:
            return human_duration(int(value))
        return human_size(int(value)) if part in ("size", "reclaim_bytes") and value else str(value)

    def looser(self, old: Values, new: Values) -> Values:
        wider = super().looser(old, new)
        return {part: wider[part] if part == "size" else value for part, value in new.items()}


_INTERVAL, _MS = "reclaim_interval", 1000
#: part → its file, where that has another name
_PAGECACHE_FILES = {_INTERVAL: "reclaim_interval_ms"}


class CoveringNumber(MemoryNumber):
    """A memory number that the kernel writes to the whole subtree at once."""

    reach = "subtree"
    covers = True


class ReapBackground(CoveringNumber):
    """ANCK ``memory.reap_background``: bit 2 of the host's switch, once set, goes only with a 0 in the root group."""

    reversible = "partial"
    resets = ("host.memory.reaper.reap_background",)


class ReaperSwitch(Control):
    """``memcg_reaper/reap_background``: newer builds print a mask of which bit 1 is the switch."""

    name = "memory.reaper_switch"
    scope = "file"

    def parse(self, part: str, text: str, row: str | None) -> Value:
        return int(text) & 1


class PagecacheRatio(Control):
    """TencentOS ``vm.pagecache_limit_*``: the ratio sets the reclaim ratio, and the others need it to be above 0."""

    name = "vm.pagecache_limit"
    scope = "sysctl"
    coupled = True
    causes = {"EINVAL": "vm.pagecache_limit_ratio is 0, or the reclaim ratio is not at least two more than it"}

    def settle(self, old: Values, wanted: Wanted, context: ValueContext) -> Values:
        new = super().settle(old, wanted, context)
        ratio = new.get("ratio")
        if ratio != old.get("ratio") and wanted.get("reclaim_ratio") is None and isinstance(ratio, int):
            new["reclaim_ratio"] = _reclaim_ratio(ratio)
        return new

    def blocked(self, old: Values, wanted: Wanted) -> dict[str, tuple[str, str]]:
        if wanted.get("ratio", old.get("ratio")) != 0:
            return {}
        # the kernel would refuse the number and keep it all the same
        found = ("vm.pagecache_limit_ratio is 0, without which the kernel refuses it", "set vm.pagecache_limit_ratio")
        return {
            part: found
            for part in ("reclaim_ratio", "async")
            if wanted.get(part) not in (None, 0) and wanted[part] != old.get(part)
        }

    def after(self, state: Values, write: Write) -> Values:
        if write.part == "ratio":
            return {**state, "ratio": write.value, "reclaim_ratio": _reclaim_ratio(int(write.value))}
        return super().after(state, write)

    def writes(self, old: Values, new: Values) -> list[Write]:
        writes = []
        ratio, reclaim, background = new.get("ratio"), new.get("reclaim_ratio"), new.get("async")
        now = old.get("reclaim_ratio")
        if ratio is not None and ratio != old.get("ratio"):
            writes.append(Write("ratio", ratio))
            now = _reclaim_ratio(int(ratio))
        if reclaim is not None and reclaim != now and ratio != 0:
            writes.append(Write("reclaim_ratio", reclaim))
        if background is not None and background != old.get("async"):
            # refused while the ratio is 0: switched off before, switched on after it
            writes.insert(0 if background == 0 else len(writes), Write("async", background))
        return writes


def _reclaim_ratio(ratio: int) -> int:
    """kernel/sysctl.c of TencentOS 5.4: two more than the ratio, at most 100, and 0 with it."""
    return min(ratio + 2, 100) if ratio else 0


class PreferredCpus(Cpuset):
    """openEuler ``cpuset.preferred_cpus``: inside the group's own CPUs; no level is compared with another."""

    name = "cpuset.preferred"
    v2 = ""
    causes = {"EINVAL": "not inside the CPUs of the group's tasks"}

    def looser(self, old: Values, new: Values) -> Values:
        return new


class Offline(CpuNumber):
    """BT scheduler ``cpu.offline``: written to every descendant."""

    reach = "subtree"


_PAGECACHE = Gate(PAGECACHE_SWITCH)
_MEMORY_QOS = Gate("/proc/sys/vm/memory_qos")
_CPU_QOS = Gate("/proc/sys/kernel/cpu_qos")


def _memory(name: str, file: str, fresh: Value | None, gate: Gate | None, causes: dict[str, str]) -> MemoryNumber:
    part = name.partition(".")[2]
    return MemoryNumber(name, Part(part, name, both_versions(file), fresh, gate=gate, at_root=False), causes=causes)


def _cpu(kind: type[CpuNumber], name: str, fresh: Value | None, causes: dict[str, str], file: str = "") -> CpuNumber:
    part = name.partition(".")[2]
    return kind(name, Part(part, name, {"v1": file or name}, fresh, at_root=False), causes=causes)


CONTROLS: tuple[Control, ...] = (
    PagecacheLimit(
        *(
            Part(
                part,
                f"memory.pagecache_limit.{part}",
                both_versions(f"memory.pagecache_limit.{_PAGECACHE_FILES.get(part, part)}"),
                gate=_PAGECACHE,
            )
            for part in ("enable", "size", "sync", "reclaim_bytes", _INTERVAL)
        )
    ),
    ReapBackground(
        "memory.reap_background",
        Part("reap_background", "memory.reap_background", both_versions("memory.reap_background")),
        causes={"EINVAL": "not 0 or 1"},
    ),
    ReaperSwitch(
        Part("reap_background", "host.memory.reaper.reap_background", {"any": f"{REAPER}/reap_background"}),
    ),
    _memory("memory.pagecache_reclaim_ratio", "memory.pagecache.reclaim_ratio", 5, None, {"EINVAL": "1 to 99 percent"}),
    PagecacheRatio(
        *(
            Part(part, f"vm.pagecache_limit_{part}", {"any": f"pagecache_limit_{part}"})
            for part in ("ratio", "reclaim_ratio", "async")
        )
    ),
    CpuNumber(
        "cpu.rue_priority",
        Part("rue_priority", "cpu.rue_priority", {"v1": "cgroup.priority"}, 0, at_root=False, gate=_CPU_QOS),
    ),
    MemoryNumber(
        "memory.rue_priority",
        Part("rue_priority", "memory.rue_priority", {"v1": "cgroup.priority"}, 0, at_root=False, gate=_MEMORY_QOS),
    ),
    _cpu(Offline, "cpu.offline", 0, {"EINVAL": "the offline class is switched off at boot"}),
    _cpu(CpuNumber, "cpu.bt_shares", 1024, {}),
    _cpu(CpuNumber, "cpu.bt_suppress_percent", None, {}),
    _cpu(CpuNumber, "cpu.ht_sensi_type", 0, {}),
    _memory("memory.priority_wmark_ratio", "memory.priority_wmark_ratio", 0, _MEMORY_QOS, {}),
    _memory("memory.async_ratio", "memory.async_ratio", None, _MEMORY_QOS, {}),
    _memory("memory.async_distance_factor", "memory.async_distance_factor", None, _MEMORY_QOS, {}),
    _cpu(
        QosLevel,
        "cpu.qos_level",
        None,
        {"EINVAL": "this kernel knows no such level, has no way back from -1, or an offline parent forbids it"},
    ),
    CoveringNumber(
        "memory.qos_level",
        Part(
            "qos_level",
            "memory.qos_level",
            both_versions("memory.qos_level"),
            at_root=False,
            gate=Gate("/proc/sys/vm/memcg_qos_enable"),
        ),
        causes={"EINVAL": "this kernel knows no such level"},
    ),
    _memory("memory.high_async_ratio", "memory.high_async_ratio", 100, None, {"EINVAL": "a percentage, 11 or more"}),
    _cpu(CpuNumber, "cpu.soft_quota", 0, {}),
    _cpu(CpuNumber, "cpu.dynamic_affinity_mode", 0, {"EPERM": "the smart grid is off, or the group is the root"}),
    PreferredCpus(
        Part("preferred_cpus", "cpu.preferred_cpus", {"v1": "cpuset.preferred_cpus"}, "", at_root=False),
    ),
)
