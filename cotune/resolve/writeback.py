"""Rules of cgroup writeback on version 1: a memory cgroup is tied to one blkio cgroup, for ever.

The kernel links the two when a task sits in both. A memcg that is linked already and is then seen with another blkcg
is linked to the root blkcg instead and stays so: its buffered writes lose their limit without an error
(mm/backing-dev.c of ANCK 4.19).
"""

from __future__ import annotations

from cotune.controls import CONTROLS
from cotune.host.facts import Host
from cotune.host.support import WRITEBACK_WORDS
from cotune.host.tasks import group_of
from cotune.model import Refusal, Resolved, Setting

BOOT_WORDS = frozenset(WRITEBACK_WORDS.values())
_SMALLEST = 2**20
_WRITES = ("write_bps", "write_iops")


def check_writeback(host: Host, resolved: Resolved) -> None:
    """Refuse what would lose or stall buffered writes, and say where a limit misses them altogether."""
    if BOOT_WORDS & host.boot_words:
        _note_lone_moves(host, resolved)
        _note_left_groups(host, resolved)
    limits = [s for s in resolved.settings if s.target.control == "io.throttle" and s.target.part in _WRITES]
    limits = [setting for setting in limits if setting.value != CONTROLS["io.throttle"].parts["write_bps"].fresh]
    if not limits:
        return
    if not BOOT_WORDS & host.boot_words:
        names = sorted({setting.target.resource for setting in limits})
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        resolved.notes.append(
            f"{shown}: without cgroup writeback only direct writes are limited on cgroup v1, buffered ones are not "
            f"(boot word {' on ANCK, '.join(sorted(BOOT_WORDS, reverse=True))} on openEuler)"
        )
        return
    for setting in limits:
        if setting.target.part == "write_bps" and isinstance(setting.value, int) and 0 < setting.value < _SMALLEST:
            text = "write_bps is under 1MiB/s: with cgroup writeback that can stall IO (Alibaba Cloud help)"
            resolved.refusals.append(Refusal(f"{setting.origin}: {setting.target.resource}: {text}", ("force",)))
    for unit in {setting.target.unit: setting for setting in limits}.values():
        _check_link(host, resolved, unit)


def _check_link(host: Host, resolved: Resolved, setting: Setting) -> None:
    """Refuse when tasks of the memory cgroup of the same path are, or will be, in another blkio cgroup."""
    blkio, memory = host.layout.controllers.get("blkio"), host.layout.controllers.get("memory")
    if blkio is None or memory is None:
        return
    group = setting.target.unit.removeprefix(blkio.point + "/")
    moved = {(move.pid, move.origin_path): move.path for move in resolved.moves}
    pids = {int(pid) for pid in host.text(f"{memory.dir(group)}/cgroup.procs").split()}
    pids = {pid for pid in pids if (pid, memory.dir(group)) not in moved}
    for pid in sorted(pids):
        now = group_of(host.kernel, host.layout, pid, blkio)
        then = moved.get((pid, now or ""), now)
        for other, when in ((now, "is in it"), (then, "is to go there")):
            if other not in (None, setting.target.unit, blkio.point):
                resolved.refusals.append(Refusal(_linked(setting, str(other), f"process {pid} {when}")))
                return


def _linked(setting: Setting, other: str, why: str) -> str:
    return (
        f"{setting.origin}: {setting.target.resource}: its memory cgroup is linked to the blkio cgroup {other} "
        f"({why}), and a link cannot be changed: buffered writes would lose their limit for ever; use a new cgroup, "
        "with its tasks in blkio first and memory second"
    )


def _note_lone_moves(host: Host, resolved: Resolved) -> None:
    """Say where a process is moved in one of the two hierarchies only, which links its memory cgroup anew."""
    points = {name: h.point for name in ("blkio", "memory") if (h := host.layout.controllers.get(name))}
    places: dict[int, set[str]] = {}
    for move in resolved.moves:
        places.setdefault(move.pid, set()).update(n for n, point in points.items() if move.path.startswith(point + "/"))
    lone = sorted(pid for pid, names in places.items() if len(names) == 1)
    if lone:
        shown = ", ".join(map(str, lone[:5])) + (f" and {len(lone) - 5} more" if len(lone) > 5 else "")
        resolved.notes.append(
            f"process {shown} moves in one of blkio and memory only: the kernel links a memory cgroup to the blkio "
            "cgroup of its tasks for ever, so buffered writes may lose their limit; set a memory and an io value in "
            "the group to move both"
        )


def _note_left_groups(host: Host, resolved: Resolved) -> None:
    """Say which memory cgroups are linked anew because processes go from them to another blkio cgroup.

    Blkio is joined first, so for a moment the memory cgroup that is left is seen with the new blkio cgroup.
    """
    blkio, memory = host.layout.controllers.get("blkio"), host.layout.controllers.get("memory")
    if blkio is None or memory is None:
        return
    leaving = {move.pid for move in resolved.moves if move.path.startswith(blkio.point + "/")}
    left = {m.origin_path for m in resolved.moves if m.pid in leaving and m.origin_path.startswith(memory.point + "/")}
    if left:
        names = sorted(path.removeprefix(memory.point + "/") for path in left)
        shown = ", ".join(f"cgroup:{name}" for name in names[:3])
        shown += f" and {len(names) - 3} more" if len(names) > 3 else ""
        resolved.notes.append(
            f"{shown}: processes leave for another blkio cgroup, "
            "and with cgroup writeback the kernel then links the memory cgroup they leave to that one, or if it has a "
            "link already to the root one: buffered writes of what stays there have the other limit or none, and no "
            "rollback mends that"
        )
