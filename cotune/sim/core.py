"""Files every cgroup has (kernel/cgroup/cgroup-v1.c), the pids controller, and the empty cgroup2 tree of a hybrid."""

from __future__ import annotations

import errno

from cotune.sim.files import (
    INT_MAX,
    CgroupFile,
    Controller,
    Refusal,
    Where,
    bool_file,
    parse_s64,
    refuse,
    report_file,
)
from cotune.sim.hosts import HostSpec
from cotune.sim.machine import Group, Task

CLONE, NOTIFY = "cgroup.clone_children", "notify_on_release"
PIDS_MAX = "pids.max"
#: PIDS_MAX: PID_MAX_LIMIT + 1 stands for ``max`` (kernel/cgroup/pids.c).
_PID_LIMIT = 4194304
_UNLIMITED = _PID_LIMIT + 1
_V2_CONTROLLERS = frozenset(("cpu", "cpuset", "io", "memory", "pids", "hugetlb", "rdma", "misc"))


def core(_spec: HostSpec) -> Controller:
    """The files of cgroup v1 itself."""
    files = (
        CgroupFile("cgroup.procs", _show_processes, lambda group, text: _attach(group, text, whole=True)),
        CgroupFile("tasks", _show_tasks, lambda group, text: _attach(group, text, whole=False)),
        bool_file(CLONE),
        bool_file(NOTIFY),
        report_file("cgroup.sane_behavior", "0\n", Where.ROOT),
        CgroupFile("release_agent", lambda _group: "\n", _refuse_agent, Where.ROOT),
    )

    def created(group: Group) -> None:
        for name in (CLONE, NOTIFY):
            group.numbers[name] = group.parent.numbers[name] if group.parent is not None else 0

    return Controller("core", files, created)


def _show_tasks(group: Group) -> str:
    return "".join(f"{task.pid}\n" for task in group.tasks())


def _show_processes(group: Group) -> str:
    return "".join(f"{pid}\n" for pid in sorted({task.tgid for task in group.tasks()}))


def _attach(group: Group, text: str, whole: bool) -> None:
    """cgroup1_procs_write: one thread, or with ``whole`` every thread of its process. 0 is the writer itself."""
    try:
        pid = parse_s64(text.strip())
    except Refusal:
        refuse(errno.EINVAL)
    if not 0 <= pid <= INT_MAX:
        refuse(errno.EINVAL)
    group.hierarchy.attach(group, _movable(group, pid, whole))


def _movable(group: Group, pid: int, whole: bool) -> list[Task]:
    machine = group.machine
    threads = machine.threads(pid or machine.spec.self_pid)
    if any(task.kernel_thread for task in threads):
        # Threads that must stay in the root group: no_cgroup_migration, PF_NO_SETAFFINITY.
        refuse(errno.EINVAL)
    return threads if whole else [task for task in threads if task.pid == (pid or machine.spec.self_pid)]


def _refuse_agent(_group: Group, _text: str) -> None:
    """Nothing in a simulation may be started by the kernel."""
    refuse(errno.EPERM)


def pids(_spec: HostSpec) -> Controller:
    """The pids controller. A limit below the present number is accepted, and so is attaching past the limit."""
    files = (
        CgroupFile(PIDS_MAX, _show_pids_max, _write_pids_max, Where.CHILD),
        report_file("pids.current", lambda group: f"{sum(len(g.tasks()) for g in group.walk())}\n", Where.CHILD),
        report_file("pids.events", "max 0\n", Where.CHILD),
    )
    return Controller("pids", files, lambda group: group.numbers.update({PIDS_MAX: _UNLIMITED}))


def _show_pids_max(group: Group) -> str:
    value = group.numbers[PIDS_MAX]
    return "max\n" if value == _UNLIMITED else f"{value}\n"


def _write_pids_max(group: Group, text: str) -> None:
    """pids_max_write: stripped, any base, no suffix; EINVAL outside 0…4194304."""
    word = text.strip()
    value = _UNLIMITED if word == "max" else parse_s64(word)
    if not 0 <= value <= _PID_LIMIT and word != "max":
        refuse(errno.EINVAL)
    group.numbers[PIDS_MAX] = value


def unified(_spec: HostSpec) -> Controller:
    """The cgroup2 tree of a hybrid host, all of whose controllers live on v1."""
    files = (
        CgroupFile("cgroup.procs", _show_processes, lambda group, text: _attach(group, text, whole=True)),
        report_file("cgroup.controllers", ""),
        CgroupFile("cgroup.subtree_control", lambda _group: "", _write_subtree_control),
        report_file("cgroup.events", _show_events, Where.CHILD),
        report_file("cgroup.type", "domain\n", Where.CHILD),
    )
    return Controller("unified", files, lambda _group: None)


def _show_events(group: Group) -> str:
    return f"populated {int(any(g.tasks() for g in group.walk()))}\nfrozen 0\n"


def _write_subtree_control(_group: Group, text: str) -> None:
    """cgroup_subtree_control_write: unknown words EINVAL; enabling what is not available here ENOENT."""
    for word in text.split():
        if word[0] not in "+-" or word[1:] not in _V2_CONTROLLERS:
            refuse(errno.EINVAL)
        if word[0] == "+":
            refuse(errno.ENOENT)
