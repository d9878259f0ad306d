"""Rules of cgroup writeback on version 1: a memory cgroup is tied to one blkio cgroup, for ever.

The kernel links the two when a task sits in both. A memcg that is linked already and is then seen with another blkcg
is linked to the root blkcg instead and stays so: its buffered writes lose their limit without an error
(mm/backing-dev.c of ANCK 4.19).
"""

from __future__ import annotations

from cotune.controls import CONTROLS
from cotune.host.facts import Host
from cotune.host.tasks import group_of
from cotune.model import Refusal, Resolved, Setting

#: ANCK's word and openEuler's; mainline and TencentOS have no cgroup writeback on version 1.
BOOT_WORDS = frozenset(("cgwb_v1", "cgroup1_writeback"))
_SMALLEST = 2**20
_WRITES = ("write_bps", "write_iops")


def check_writeback(host: Host, resolved: Resolved) -> None:
    """Refuse what would lose or stall buffered writes, and say where a limit misses them altogether."""
    limits = [s for s in resolved.settings if s.target.control == "io.throttle" and s.target.part in _WRITES]
    limits = [setting for setting in limits if setting.value != CONTROLS["io.throttle"].parts["write_bps"].fresh]
    if not limits:
        return
    if not BOOT_WORDS & host.boot_words:
        names = ", ".join(sorted({setting.target.resource for setting in limits}))
        resolved.notes.append(
            f"{names}: without cgroup writeback only direct writes are limited on cgroup v1, buffered ones are not "
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
    """Refuse when tasks of the memory cgroup of the same path are in another blkio cgroup."""
    blkio, memory = host.layout.controllers.get("blkio"), host.layout.controllers.get("memory")
    if blkio is None or memory is None:
        return
    group = setting.target.unit.removeprefix(blkio.point + "/")
    moving = {move.pid for move in resolved.moves if move.path == setting.target.unit}
    for pid in host.text(f"{memory.dir(group)}/cgroup.procs").split():
        other = group_of(host.kernel, host.layout, int(pid), blkio)
        if other in (None, setting.target.unit, blkio.point):
            continue
        what = "is moving there only now" if int(pid) in moving else "would have to move"
        resolved.refusals.append(
            Refusal(
                f"{setting.origin}: {setting.target.resource}: its memory cgroup is linked to the blkio cgroup "
                f"{other} already (process {pid} is in it and {what}), and a link cannot be changed: buffered writes "
                "would lose their limit for ever; use a new cgroup, with its tasks in blkio first and memory second"
            )
        )
        return
