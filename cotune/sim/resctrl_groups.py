"""Groups of a simulated resctrl: making and removing them, their CPUs, tasks and modes, and CPU hotplug.

Rules: arch/x86/kernel/cpu/resctrl/rdtgroup.c of Linux 6.1, checked against recorded operations. Texts that are written
come without what follows a NUL, which the kernel does not see either.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Collection, Mapping
from typing import NoReturn

from cotune.sim.files import U32_MAX, Refusal, format_ids, parse_ids, parse_s32, parse_u64, refuse
from cotune.sim.resctrl_schemata import BLANKS, Schemata
from cotune.sim.resctrl_spec import Age, ResctrlSpec
from cotune.sim.resctrl_state import (
    EXCLUSIVE,
    ROOT,
    SHAREABLE,
    Group,
    State,
    allocate_rmid,
    clear,
    control_group,
    follow_tasks,
    free_rmid,
    move_tasks,
    say,
    tasks_of,
)

_CHUNK = 32


class Groups:
    """The groups of one mounted resctrl.

    ``parents`` gives the threads that exist and which thread each was cloned from; ``self_tid`` is the writer, the
    thread 0 stands for.
    """

    def __init__(
        self, spec: ResctrlSpec, state: State, parents: Callable[[], Mapping[int, int]], self_tid: int, age: Age
    ) -> None:
        self._spec = spec
        self.state = state
        self._parents = parents
        self._self_tid = self_tid
        self.age = age
        self.schemata = Schemata(spec, state)

    @property
    def root(self) -> Group:
        """The default group."""
        return self.state["groups"][ROOT]

    def _deny(self, number: int, reason: str) -> NoReturn:
        say(self.state, reason)
        refuse(number)

    # --- making and removing ----------------------------------------------------------------------------------------

    def make(self, name: str) -> None:
        """rdtgroup_mkdir_ctrl_mon: ENOSPC without a CLOSID, an RMID or free cache bits, EBUSY with RMIDs in limbo."""
        rmid = allocate_rmid(self._spec, self.state)
        taken = {group["closid"] for group in self.state["groups"].values()}
        free = [closid for closid in range(self.schemata.closids) if closid not in taken]
        try:
            if not free:
                self._deny(errno.ENOSPC, "Out of CLOSIDs\n")
            self.schemata.initialise(free[0])
        except Refusal:
            free_rmid(self._spec, self.state, rmid)
            raise
        self.state["groups"][name] = control_group(free[0], rmid)

    def make_monitor(self, parent: Group, name: str) -> None:
        """rdtgroup_mkdir_mon."""
        group = control_group(parent["closid"], allocate_rmid(self._spec, self.state))
        group["control"] = False
        parent["monitors"][name] = group

    def remove(self, name: str) -> None:
        """rdtgroup_rmdir_ctrl: tasks and CPUs go to the default group."""
        self.follow()
        group = self.state["groups"].pop(name)
        move_tasks(self._spec, self.state, group, self.root)
        self.root["cpus"] = sorted({*self.root["cpus"], *group["cpus"]})
        for member in (group, *group["monitors"].values()):
            free_rmid(self._spec, self.state, member["rmid"])

    def remove_monitor(self, parent: Group, name: str) -> None:
        """rdtgroup_rmdir_mon: tasks stay in the control group."""
        self.follow()
        group = parent["monitors"].pop(name)
        move_tasks(self._spec, self.state, group, parent)
        free_rmid(self._spec, self.state, group["rmid"])

    # --- tasks ------------------------------------------------------------------------------------------------------

    def follow(self) -> None:
        """Take note of threads that began or ended."""
        follow_tasks(self.state, self._parents())

    def show_tasks(self, group: Group) -> str:
        """rdtgroup_tasks_show."""
        self.follow()
        return "".join(f"{tid}\n" for tid in tasks_of(self._spec, self.state, group))

    def write_tasks(self, group: Group, text: str) -> None:
        """rdtgroup_tasks_write. Up to 6.5 one thread, and text that is no number leaves last_cmd_status alone."""
        if self.age.task_lists:
            clear(self.state)
            self._write_task_list(group, text)
            return
        try:
            tid = parse_s32(text.strip(BLANKS))
        except Refusal:
            tid = -1
        if tid < 0:
            refuse(errno.EINVAL)
        clear(self.state)
        self._move(group, tid)

    def _write_task_list(self, group: Group, text: str) -> None:
        """Threads before the first bad one have moved."""
        while text and not text.startswith("\n"):
            word, _, text = text.partition(",")
            word = word.strip(BLANKS)
            try:
                tid = parse_s32(word)
            except Refusal:
                self._deny(errno.EINVAL, f"Task list parsing error pid {word}\n")
            if tid < 0:
                self._deny(errno.EINVAL, f"Invalid pid {tid}\n")
            try:
                self._move(group, tid)
            except Refusal:
                say(self.state, f"Error while processing task {tid}\n")
                raise

    def _move(self, group: Group, tid: int) -> None:
        """rdtgroup_move_task."""
        self.follow()
        ids = self.state["tasks"].get(str(tid or self._self_tid))
        if ids is None:
            self._deny(errno.ESRCH, f"No task {tid}\n")
        if not group["control"] and ids[0] != group["closid"]:
            self._deny(errno.EINVAL, "Can't move task to different control group\n")
        ids[:] = [group["closid"], group["rmid"]]

    def of_task(self, tid: int) -> str:
        """/proc/PID/cpu_resctrl_groups (proc_resctrl_show)."""
        if self.state["options"] is None:
            return "res:\nmon:\n"
        self.follow()
        closid, rmid = self.state["tasks"][str(tid)]
        name, group = next((n, g) for n, g in self.state["groups"].items() if g["closid"] == closid)
        monitor = next((n for n, g in group["monitors"].items() if g["rmid"] == rmid), "")
        return f"res:{name or '/'}\nmon:{monitor}\n"

    # --- CPUs -------------------------------------------------------------------------------------------------------

    def show_cpus(self, group: Group) -> str:
        """``%*pb``: hexadecimal, in chunks of 32 bits from the highest CPU on."""
        bits = sum(1 << cpu for cpu in group["cpus"])
        count = max(self._spec.cpus) + 1
        chunks = []
        for at in reversed(range(0, count, _CHUNK)):
            width = (min(_CHUNK, count - at) + 3) // 4
            chunks.append(f"{bits >> at & U32_MAX:0{width}x}")
        return ",".join(chunks) + "\n"

    def show_cpus_list(self, group: Group) -> str:
        """``%*pbl``."""
        return format_ids(group["cpus"]) + "\n"

    def write_cpus(self, group: Group, parent: Group, text: str) -> None:
        """rdtgroup_cpus_write of a mask."""
        self._assign(group, parent, lambda: _parse_mask(text, max(self._spec.cpus) + 1))

    def write_cpus_list(self, group: Group, parent: Group, text: str) -> None:
        """rdtgroup_cpus_write of a list."""
        self._assign(group, parent, lambda: parse_ids(text, max(self._spec.cpus) + 1, self.age.modern))

    def _assign(self, group: Group, parent: Group, parse: Callable[[], list[int]]) -> None:
        """``parent`` is the control group of a monitoring group, and the group itself otherwise."""
        try:
            cpus = set(parse())
        except Refusal:
            say(self.state, "Bad CPU list/mask\n")
            raise
        if cpus & set(self.state["offline"]):
            self._deny(errno.EINVAL, "Can only assign online CPUs\n")
        if group["control"]:
            self._assign_control(group, cpus)
        else:
            self._assign_monitor(group, parent, cpus)

    def _assign_control(self, group: Group, cpus: set[int]) -> None:
        """cpus_ctrl_write: dropped CPUs go to the default group, added ones leave theirs."""
        dropped = set(group["cpus"]) - cpus
        if dropped and group is self.root:
            self._deny(errno.EINVAL, "Can't drop CPUs from default group\n")
        self.root["cpus"] = sorted({*self.root["cpus"], *dropped})
        for other in self.state["groups"].values():
            if other is not group:
                _take(other, cpus - set(group["cpus"]))
        group["cpus"] = sorted(cpus)
        for monitor in group["monitors"].values():
            monitor["cpus"] = []

    def _assign_monitor(self, group: Group, parent: Group, cpus: set[int]) -> None:
        """cpus_mon_write: only CPUs of its control group."""
        if cpus - set(parent["cpus"]):
            self._deny(errno.EINVAL, "Can only add CPUs to mongroup that belong to parent\n")
        for other in parent["monitors"].values():
            if other is not group:
                other["cpus"] = [cpu for cpu in other["cpus"] if cpu not in cpus]
        group["cpus"] = sorted(cpus)

    def follow_cpus(self, online: Collection[int]) -> None:
        """Take note of CPUs that were switched on or off since the last time."""
        offline = set(self.state["offline"])
        for cpu in sorted(self._spec.cpus):
            if cpu in online and cpu in offline:
                self._set_online(cpu)
            elif cpu not in online and cpu not in offline:
                self._set_offline(cpu)

    def _set_offline(self, cpu: int) -> None:
        """resctrl_offline_cpu: the CPU leaves its group, and with the last of a cache go its values."""
        self.state["offline"] = sorted({*self.state["offline"], cpu})
        for group in self.state["groups"].values():
            _take(group, {cpu})
        if self.state["options"] is not None:
            self.schemata.add_domains()

    def _set_online(self, cpu: int) -> None:
        """resctrl_online_cpu: it comes back in the default group, a cache with default values."""
        self.state["offline"].remove(cpu)
        self.root["cpus"] = sorted({*self.root["cpus"], cpu})
        if self.state["options"] is not None:
            self.schemata.add_domains()

    # --- schemata and mode ------------------------------------------------------------------------------------------

    def write_schemata(self, group: Group, text: str) -> None:
        """rdtgroup_schemata_write."""
        clear(self.state)
        self.schemata.write(group, text)

    def write_mode(self, group: Group, text: str) -> None:
        """rdtgroup_mode_write. Pseudo-locking needs one of three old processors."""
        clear(self.state)
        if text == group["mode"]:
            return
        if text == EXCLUSIVE:
            self.schemata.check_exclusive(group)
        elif text == "pseudo-locksetup":
            self._deny_locking(group)
        elif text != SHAREABLE:
            self._deny(errno.EINVAL, "Unknown or unsupported mode\n")
        group["mode"] = text

    def _deny_locking(self, group: Group) -> NoReturn:
        """rdtgroup_locksetup_enter."""
        if group is self.root:
            self._deny(errno.EINVAL, "Cannot pseudo-lock default group\n")
        if any(schema.peer for schema in self.schemata.lines):
            self._deny(errno.EINVAL, "CDP enabled\n")
        self._deny(errno.EINVAL, "Pseudo-locking not supported\n")

    def write_threshold(self, text: str) -> None:
        """max_threshold_occupancy_write: whole counter units, at most the cache."""
        monitoring = self._spec.monitoring
        assert monitoring is not None
        size = parse_u64(text)
        if size > U32_MAX:
            refuse(errno.ERANGE)
        if size > monitoring.cache_size:
            refuse(errno.EINVAL)
        self.state["threshold"] = size // monitoring.scale * monitoring.scale


def _take(group: Group, cpus: set[int]) -> None:
    """cpumask_rdtgrp_clear: from a control group and the monitoring groups in it."""
    for member in (group, *group["monitors"].values()):
        member["cpus"] = [cpu for cpu in member["cpus"] if cpu not in cpus]


def _parse_mask(text: str, count: int) -> list[int]:
    """bitmap_parse: hexadecimal chunks of 32 bits, from the last one on; EOVERFLOW past ``count`` bits."""
    chunks = [chunk for chunk in re.split(rf"[,{BLANKS}]+", text.split("\n")[0]) if chunk]
    bits = 0
    room = (count + _CHUNK - 1) // _CHUNK
    for position, chunk in enumerate(reversed(chunks)):
        if position >= room:
            refuse(errno.EOVERFLOW)
        if not re.fullmatch("[0-9a-fA-F]+", chunk[-8:]):
            refuse(errno.EINVAL)
        if len(chunk) > 8:
            refuse(errno.EOVERFLOW if chunk[-9] in "0123456789abcdefABCDEF" else errno.EINVAL)
        bits |= int(chunk, 16) << _CHUNK * position
    if bits >> count:
        refuse(errno.EOVERFLOW)
    return [cpu for cpu in range(count) if bits >> cpu & 1]
