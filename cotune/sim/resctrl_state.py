"""State of a simulated resctrl file system: groups, ids, tasks and the text of last_cmd_status.

Everything is plain JSON, so that the host's state can be saved. Rules: arch/x86/kernel/cpu/resctrl/rdtgroup.c and
monitor.c of Linux 6.1, checked against recorded operations of that kernel.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import TypedDict

from cotune.sim.files import refuse
from cotune.sim.resctrl_spec import Domain, Monitoring, ResctrlSpec

ROOT = ""
SHAREABLE, EXCLUSIVE = "shareable", "exclusive"
OCCUPANCY = "llc_occupancy"
#: Size of the buffer behind last_cmd_status, with the closing NUL (last_cmd_status_buf).
_BUFFER = 512


class Group(TypedDict):
    """A control group, or a monitoring group inside one (struct rdtgroup).

    The default control group is called :data:`ROOT` and has the ids 0. A monitoring group has its parent's CLOSID.
    """

    control: bool
    closid: int
    rmid: int
    cpus: list[int]
    mode: str
    monitors: dict[str, Group]


class State(TypedDict):
    """All of it. ``options`` is None while not mounted; ids that are keys are written in decimal."""

    options: list[str] | None
    status: str
    #: The text did not fit: nothing is appended any more.
    overflow: bool
    groups: dict[str, Group]
    #: Schema name -> domain id -> value per CLOSID.
    controls: dict[str, dict[str, list[int]]]
    #: Thread id -> CLOSID and RMID.
    tasks: dict[str, list[int]]
    offline: list[int]
    free_rmids: list[int]
    #: Freed RMIDs whose cache lines may still be there -> domains not yet checked.
    limbo: dict[str, list[int]]
    threshold: int
    #: RMID -> domain id -> event -> value, where set; a word is what the kernel prints for a failed read.
    counters: dict[str, dict[str, dict[str, int | str]]]


def control_group(closid: int, rmid: int) -> Group:
    """A control group without CPUs."""
    return Group(control=True, closid=closid, rmid=rmid, cpus=[], mode=SHAREABLE, monitors={})


def fresh(spec: ResctrlSpec) -> State:
    """The state at boot, not mounted."""
    monitoring = spec.monitoring
    root = control_group(0, 0)
    root["cpus"] = sorted(spec.cpus)
    return State(
        options=None, status="", overflow=False, groups={ROOT: root}, controls={}, tasks={}, offline=[],
        free_rmids=list(range(1, monitoring.rmids)) if monitoring is not None else [], limbo={},
        threshold=initial_threshold(monitoring) if monitoring is not None else 0, counters={},
    )  # fmt: skip


def initial_threshold(monitoring: Monitoring) -> int:
    """An equal share of the cache, in whole counter units (rdt_get_mon_l3_config)."""
    return monitoring.cache_size // monitoring.rmids // monitoring.scale * monitoring.scale


def online(state: State, domains: tuple[Domain, ...]) -> list[Domain]:
    """Domains with a CPU that is online, by id; the others do not exist."""
    return sorted(domain for domain in domains if not set(domain.cpus) <= set(state["offline"]))


# --- last_cmd_status ------------------------------------------------------------------------------------------------


def clear(state: State) -> None:
    """rdt_last_cmd_clear."""
    state["status"], state["overflow"] = "", False


def say(state: State, text: str) -> None:
    """seq_buf_printf: append to last_cmd_status, cut where the buffer ends."""
    if state["overflow"]:
        return
    text = state["status"] + text
    state["overflow"] = len(text) >= _BUFFER
    state["status"] = text[: _BUFFER - 1]


# --- monitoring ids -------------------------------------------------------------------------------------------------


def allocate_rmid(spec: ResctrlSpec, state: State) -> int:
    """alloc_rmid: EBUSY when all that are free are in limbo, ENOSPC when none is. 0 without monitoring."""
    if spec.monitoring is None:
        return 0
    if state["free_rmids"]:
        return state["free_rmids"].pop(0)
    say(state, "Out of RMIDs\n")
    if not state["limbo"]:
        refuse(errno.ENOSPC)
    # There is no clock: the worker that runs every second has run when the caller tries again.
    check_limbo(spec.monitoring, state)
    return refuse(errno.EBUSY)


def free_rmid(spec: ResctrlSpec, state: State, rmid: int) -> None:
    """add_rmid_to_limbo: reusable at once only when the cache is the writer's and its occupancy is low."""
    monitoring = spec.monitoring
    if monitoring is None:
        return
    state["counters"].pop(str(rmid), None)
    busy = []
    if OCCUPANCY in monitoring.events:
        here = min(spec.cpus - set(state["offline"]))
        low = monitoring.idle <= state["threshold"]
        busy = [d.id for d in online(state, monitoring.domains) if here not in d.cpus or not low]
    if busy:
        state["limbo"][str(rmid)] = busy
    else:
        state["free_rmids"].append(rmid)


def check_limbo(monitoring: Monitoring, state: State) -> None:
    """__check_limbo: an RMID is free again once its occupancy is low in every domain."""
    present = {domain.id for domain in online(state, monitoring.domains)}
    for rmid, busy in list(state["limbo"].items()):
        left = [d for d in busy if d in present and monitoring.idle > state["threshold"]]
        if left:
            state["limbo"][rmid] = left
        else:
            del state["limbo"][rmid]
            state["free_rmids"].append(int(rmid))


def show_event(monitoring: Monitoring, state: State, rmids: list[int], domain: int, event: str) -> str:
    """The sum over a group's RMIDs; the word of a failed read only when all of them failed (mon_event_count)."""
    default = monitoring.idle if event == OCCUPANCY else 0
    values = [state["counters"].get(str(r), {}).get(str(domain), {}).get(event, default) for r in rmids]
    numbers = [value for value in values if isinstance(value, int)]
    return f"{sum(numbers) if numbers else values[0]}\n"


# --- tasks ----------------------------------------------------------------------------------------------------------


def follow_tasks(state: State, parents: Mapping[int, int]) -> None:
    """Give new threads the ids of the thread they were cloned from, and forget those that ended.

    ``parents`` has the threads that exist. Done before every operation that reads or changes ids, so the outcome is
    that of copying them at fork.
    """
    known = state["tasks"]
    for tid in parents:
        line = [tid]
        while str(line[-1]) not in known and line[-1] in parents and parents[line[-1]] not in line:
            line.append(parents[line[-1]])
        ids = known.get(str(line[-1]), [0, 0])
        for new in line:
            known.setdefault(str(new), list(ids))
    for gone in [tid for tid in known if int(tid) not in parents]:
        del known[gone]


def contains(spec: ResctrlSpec, group: Group, ids: list[int]) -> bool:
    """is_closid_match and is_rmid_match: a control group has the tasks of its monitoring groups too."""
    if group["control"]:
        return bool(spec.resources) and ids[0] == group["closid"]
    return ids[1] == group["rmid"]


def tasks_of(spec: ResctrlSpec, state: State, group: Group) -> list[int]:
    """show_rdt_tasks: its thread ids."""
    return sorted(int(tid) for tid, ids in state["tasks"].items() if contains(spec, group, ids))


def move_tasks(spec: ResctrlSpec, state: State, source: Group, target: Group) -> None:
    """rdt_move_group_tasks: the tasks of a group that goes away."""
    for ids in state["tasks"].values():
        if contains(spec, source, ids):
            ids[:] = [target["closid"], target["rmid"]]
