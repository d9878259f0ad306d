"""Files every cgroup of v1 has (kernel/cgroup/cgroup-v1.c), and the pids controller of both versions."""

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
from cotune.sim.release import since

CLONE, NOTIFY = "cgroup.clone_children", "notify_on_release"
PIDS_MAX = "pids.max"
#: PIDS_MAX: PID_MAX_LIMIT + 1 stands for ``max`` (kernel/cgroup/pids.c).
_PID_LIMIT = 4194304
_UNLIMITED = _PID_LIMIT + 1


def core(_spec: HostSpec) -> Controller:
    """The files of cgroup v1 itself."""
    files = (
        CgroupFile("cgroup.procs", show_processes, lambda group, text: _attach(group, text, whole=True)),
        CgroupFile("tasks", show_tasks, lambda group, text: _attach(group, text, whole=False)),
        bool_file(CLONE),
        bool_file(NOTIFY),
        report_file("cgroup.sane_behavior", "0\n", Where.ROOT),
        CgroupFile("release_agent", lambda _group: "\n", _refuse_agent, Where.ROOT),
    )

    def created(group: Group) -> None:
        for name in (CLONE, NOTIFY):
            group.numbers[name] = group.parent.numbers[name] if group.parent is not None else 0

    return Controller("core", files, created)


def show_tasks(group: Group) -> str:
    """Threads, one id per line."""
    return "".join(f"{task.pid}\n" for task in group.tasks())


def show_processes(group: Group) -> str:
    """Processes with a thread in the group, one id per line."""
    return "".join(f"{pid}\n" for pid in sorted({task.tgid for task in group.tasks()}))


def _attach(group: Group, text: str, whole: bool) -> None:
    """cgroup1_procs_write."""
    group.hierarchy.attach(group, movable(group, text, whole))


def movable(group: Group, text: str, whole: bool) -> list[Task]:
    """cgroup_procs_write_start: the one thread that is named, or with ``whole`` every thread of its process.

    0 is the writer itself. EINVAL for what is no pid and for kernel threads, ESRCH when there is no such thread.
    """
    try:
        pid = parse_s64(text.strip())
    except Refusal:
        refuse(errno.EINVAL)
    if not 0 <= pid <= INT_MAX:
        refuse(errno.EINVAL)
    machine = group.machine
    pid = pid or machine.spec.self_pid
    threads = machine.threads(pid)
    if any(task.kernel_thread for task in threads):
        # Threads that must stay in the root group: no_cgroup_migration, PF_NO_SETAFFINITY.
        refuse(errno.EINVAL)
    return threads if whole else [task for task in threads if task.pid == pid]


def _refuse_agent(_group: Group, _text: str) -> None:
    """Nothing in a simulation may be started by the kernel."""
    refuse(errno.EPERM)


def pids(_spec: HostSpec) -> Controller:
    """The pids controller. A limit below the present number is accepted, and so is attaching past the limit."""
    files = (
        CgroupFile(PIDS_MAX, _show_pids_max, _write_pids_max, Where.CHILD),
        report_file("pids.current", lambda group: f"{_count(group)}\n", Where.CHILD),
        report_file("pids.events", "max 0\n", Where.CHILD),
    )
    return Controller("pids", files, lambda group: group.numbers.update({PIDS_MAX: _UNLIMITED}))


def pids_v2(spec: HostSpec) -> Controller:
    """The same on cgroup2; ``pids.peak`` (6.1) is the present number, as no history is kept."""
    peak = report_file("pids.peak", lambda group: f"{_count(group)}\n", Where.CHILD)
    base = pids(spec)
    return base._replace(files=(*base.files, peak) if since(spec, 6, 1) else base.files)


def _count(group: Group) -> int:
    return sum(len(member.tasks()) for member in group.walk())


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
