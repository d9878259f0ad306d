"""Containers that share the pid namespace of another one, as those of a Kubernetes pod may (shareProcessNamespace)."""

from __future__ import annotations

from viewfs.callers import Callers, NotFoundYet
from viewfs.container import Groups
from viewfs.processes import Process, search


def first_process(pid: int) -> Process:
    """The first process of the pid namespace a process is in; the process itself in the host's. Raises Gone."""
    callers = Callers()
    try:
        caller = callers.caller(pid)
        try:
            found = callers.init(caller)
        except NotFoundYet:
            found = callers.learn(caller.space, search(caller.space))
        return Process(pid if found is None else found.pid)
    finally:
        callers.close()


def guest_group(groups: Groups, pid: int) -> str:
    """The group of a process whose container shares the pid namespace of another one; empty for all others.

    Whoever reads is taken for the other one then. Raises Gone.
    """
    first, own = first_process(pid), Process(pid)
    try:
        theirs, mine = (groups.of_process(process).id for process in (first, own))
    finally:
        first.close()
        own.close()
    return "" if not theirs or f"{mine}/".startswith(f"{theirs}/") else mine
