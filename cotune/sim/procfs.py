"""/proc and the topology files of sysfs, in the formats of proc(5)."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator

from cotune.sim.files import HostFile, format_ids
from cotune.sim.machine import USER_HZ, Machine, Task
from cotune.sim.memory import usage
from cotune.sim.mounts import mountinfo, mounts

_UPTIME = 100000
_BOOT_TIME = 1700000000
_CPU = "/sys/devices/system/cpu"
_NODE = "/sys/devices/system/node"
_SUBSYSTEMS = ("cpuset", "cpu", "cpuacct", "blkio", "memory", "devices", "freezer", "net_cls", "perf_event",
               "net_prio", "hugetlb", "pids")  # fmt: skip
_FILESYSTEMS = ("sysfs", "tmpfs", "bdev", "proc", "cgroup", "cgroup2", "cpuset", "devtmpfs", "debugfs", "securityfs",
                "sockfs", "pipefs", "ramfs", "hugetlbfs", "devpts", "mqueue", "overlay")  # fmt: skip
_DISK_FILESYSTEMS = ("ext3", "ext2", "ext4", "xfs", "fuseblk")


def files(machine: Machine) -> Iterator[tuple[str, HostFile]]:
    """Files of the host and of every process."""
    spec = machine.spec
    build = f"Linux version {spec.release} {spec.builder} {spec.version}\n"
    texts: dict[str, Callable[[], str]] = {
        "/proc/version": lambda: build,
        "/proc/cmdline": lambda: f"{spec.command_line}\n",
        "/proc/uptime": lambda: f"{_UPTIME}.00 {_UPTIME * spec.cpus}.00\n",
        "/proc/loadavg": lambda: f"0.50 0.40 0.30 1/{len(machine.tasks)} {max(machine.tasks)}\n",
        "/proc/meminfo": lambda: _meminfo(machine),
        "/proc/stat": lambda: _stat(machine),
        "/proc/cpuinfo": lambda: _cpuinfo(machine),
        "/proc/cgroups": lambda: _cgroups(machine),
        "/proc/filesystems": _filesystems,
        "/proc/partitions": lambda: _partitions(machine),
    }
    for path, text in texts.items():
        yield path, _report(text)
    yield from _topology(machine)
    for task in machine.tasks.values():
        yield from _task_files(machine, task)


def links(machine: Machine) -> Iterator[tuple[str, str]]:
    """/proc/self and /proc/mounts."""
    yield "/proc/self", f"/proc/{machine.spec.self_pid}"
    yield "/proc/thread-self", f"/proc/{machine.spec.self_pid}/task/{machine.spec.self_pid}"
    yield "/proc/mounts", "/proc/self/mounts"


def _report(text: Callable[[], str]) -> HostFile:
    return HostFile(text, mode=0o444, no_write=errno.EIO)


# --- host -----------------------------------------------------------------------------------------------------------


def _meminfo(machine: Machine) -> str:
    """kB. What is in use is what the memory cgroups are charged, plus a fixed part for the kernel and caches."""
    total = machine.spec.memory_kb
    used = usage(machine.hierarchy("memory").root) // 1024
    cached, kernel = 4 * 2**20, 2**20
    free = max(total - used - cached - kernel, 0)
    rows = {
        "MemTotal": total,
        "MemFree": free,
        "MemAvailable": min(free + cached, total),
        "Buffers": 131072,
        "Cached": cached - 131072,
        "SwapCached": 0,
        "Active": used,
        "Inactive": cached,
        "SwapTotal": 0,
        "SwapFree": 0,
        "Dirty": 0,
        "Writeback": 0,
        "AnonPages": used,
        "Mapped": 262144,
        "Shmem": 16384,
        "Slab": 524288,
        "SReclaimable": 393216,
        "SUnreclaim": 131072,
    }
    return "".join(f"{name + ':':<16}{size:8d} kB\n" for name, size in rows.items())


def _stat(machine: Machine) -> str:
    zero = " 0 0 0 {idle} 0 0 0 0 0 0\n"
    cpus = range(machine.spec.cpus)
    idle = _UPTIME * USER_HZ
    text = "cpu " + zero.format(idle=idle * len(cpus)) + "".join(f"cpu{i}" + zero.format(idle=idle) for i in cpus)
    return (
        text + f"intr 0\nctxt 0\nbtime {_BOOT_TIME}\nprocesses {len(machine.tasks)}\nprocs_running 1\nprocs_blocked 0\n"
    )


def _cpuinfo(machine: Machine) -> str:
    return "".join(
        f"processor\t: {i}\nvendor_id\t: GenuineIntel\nmodel name\t: Simulated CPU @ 2.50GHz\n"
        f"physical id\t: {node}\ncpu cores\t: {len(ids)}\nflags\t\t: fpu tsc ht constant_tsc\n\n"
        for node, ids in enumerate(machine.spec.nodes)
        for i in ids
    )


def _cgroups(machine: Machine) -> str:
    """cgroup2 is hierarchy 0; so are controllers that are not mounted, which have one cgroup. ``io`` is ``blkio``."""
    lines = ["#subsys_name\thierarchy\tnum_cgroups\tenabled\n"]
    for name in _SUBSYSTEMS:
        number, cgroups = 0, 1
        for hierarchy in machine.hierarchies:
            if ("io" if name == "blkio" and hierarchy.version == 2 else name) in hierarchy.names:
                number = hierarchy.number if hierarchy.version == 1 else 0
                cgroups = len(list(hierarchy.root.walk()))
        lines.append(f"{name}\t{number}\t{cgroups}\t1\n")
    return "".join(lines)


def _filesystems() -> str:
    return "".join(f"nodev\t{name}\n" for name in _FILESYSTEMS) + "".join(f"\t{n}\n" for n in _DISK_FILESYSTEMS)


def _partitions(machine: Machine) -> str:
    lines = ["major minor  #blocks  name\n\n"]
    for disk in machine.spec.disks:
        devices = [(disk.number, disk.sectors, disk.name)]
        devices += [(p.number, p.sectors, p.name) for p in disk.partitions]
        for number, sectors, name in devices:
            major, minor = number.split(":")
            lines.append(f"{major:>4} {minor:>8} {sectors // 2:>10} {name}\n")
    return "".join(lines)


def _topology(machine: Machine) -> Iterator[tuple[str, HostFile]]:
    spec = machine.spec
    cpus, nodes = format_ids(range(spec.cpus)), format_ids(range(len(spec.nodes)))
    texts = {f"{_CPU}/{name}": cpus for name in ("online", "possible", "present")}
    texts |= {f"{_CPU}/offline": "", f"{_CPU}/kernel_max": "8191"}
    texts |= {f"{_NODE}/{name}": nodes for name in ("online", "possible", "has_memory", "has_cpu")}
    for node, ids in enumerate(spec.nodes):
        texts[f"{_NODE}/node{node}/cpulist"] = format_ids(ids)
        for i in ids:
            texts[f"{_CPU}/cpu{i}/topology/physical_package_id"] = str(node)
            texts[f"{_CPU}/cpu{i}/topology/core_id"] = str(i - ids[0])
            texts[f"{_CPU}/cpu{i}/topology/thread_siblings_list"] = str(i)
    for path, text in texts.items():
        yield path, HostFile(lambda text=text: f"{text}\n", mode=0o444)  # type: ignore[misc]


# --- processes ------------------------------------------------------------------------------------------------------


def _task_files(machine: Machine, task: Task) -> Iterator[tuple[str, HostFile]]:
    texts: dict[str, Callable[[], str]] = {
        "comm": lambda: f"{task.comm}\n",
        "cmdline": lambda: task.command.replace(" ", "\0") + "\0" if task.command else "",
        "stat": lambda: _task_stat(machine, task),
        "status": lambda: _task_status(machine, task),
        "cgroup": lambda: _task_cgroup(machine, task),
        "mountinfo": lambda: mountinfo(machine),
        "mounts": lambda: _task_mounts(machine),
    }
    roots = [f"/proc/{task.tgid}/task/{task.pid}"]
    if task.pid == task.tgid:
        roots.append(f"/proc/{task.pid}")
    for root in roots:
        for name, text in texts.items():
            yield f"{root}/{name}", _report(text)


def _threads(machine: Machine, task: Task) -> int:
    return sum(t.tgid == task.tgid for t in machine.tasks.values())


def _task_stat(machine: Machine, task: Task) -> str:
    """52 fields; the name stands in parentheses and may hold blanks, field 20 is num_threads, 22 starttime."""
    fields = ["0"] * 52
    fields[0:5] = [str(task.pid), f"({task.comm})", "S", str(task.ppid), str(task.tgid)]
    fields[5] = str(task.tgid)
    fields[7] = "-1"
    fields[17], fields[19], fields[21] = "20", str(_threads(machine, task)), str(task.start)
    return " ".join(fields) + "\n"


def _task_status(machine: Machine, task: Task) -> str:
    rows = {
        "Name": task.comm,
        "Umask": "0022",
        "State": "S (sleeping)",
        "Tgid": str(task.tgid),
        "Ngid": "0",
        "Pid": str(task.pid),
        "PPid": str(task.ppid),
        "TracerPid": "0",
        "Uid": "0\t0\t0\t0",
        "Gid": "0\t0\t0\t0",
        "NSpid": str(task.pid),
        "Threads": str(_threads(machine, task)),
        "Cpus_allowed_list": format_ids(range(machine.spec.cpus)),
        "Mems_allowed_list": format_ids(range(len(machine.spec.nodes))),
    }
    return "".join(f"{name}:\t{value}\n" for name, value in rows.items())


def _task_cgroup(machine: Machine, task: Task) -> str:
    """``N:CONTROLLERS:PATH``, newest hierarchy first; the cgroup2 tree of a hybrid is hierarchy 0, last."""
    lines = []
    for hierarchy in sorted(machine.hierarchies, key=lambda h: (h.key != "", h.number), reverse=True):
        number = hierarchy.number if hierarchy.key else 0
        lines.append(f"{number}:{hierarchy.key}:{task.groups[hierarchy.key].path}\n")
    return "".join(lines)


#: What show_vfsmnt prints before the flags of the mount.
_SUPERBLOCK_FLAGS = ("rw", "ro", "sync", "dirsync", "mand", "lazytime")


def _task_mounts(machine: Machine) -> str:
    lines = []
    for mount in mounts(machine):
        flags = [word for word in mount.options if word not in ("rw", "ro")]
        first = [word for word in mount.super_options if word in _SUPERBLOCK_FLAGS]
        options = [*first, *flags, *(word for word in mount.super_options if word not in first)]
        lines.append(f"{mount.source} {mount.point} {mount.fstype} {','.join(options)} 0 0\n")
    return "".join(lines)
