"""Block devices in sysfs: /sys/block, queue settings and partitions (block/blk-sysfs.c, elevator.c, blk-mq.c, genhd.c).

Queue numbers are decimal, at most 32 bits wide.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator

from cotune.sim.files import HostFile, Refusal, parse_s64, parse_u32_decimal, refuse
from cotune.sim.hosts import Disk
from cotune.sim.machine import Machine
from cotune.sim.release import since

#: nr_requests a scheduler starts with, and the most it may be given (MAX_SCHED_RQ).
_SCHED_REQUESTS, _MAX_SCHED_REQUESTS = 256, 2048
_MIN_REQUESTS = 4
_SCHEDULERS = ("mq-deadline", "kyber", "bfq")
_ALIASES = {"deadline": "mq-deadline"}
#: Tunables below queue/iosched while a scheduler is selected, with their defaults.
_TUNABLES = {
    "none": {},
    "mq-deadline": {"read_expire": 500, "write_expire": 5000, "writes_starved": 2, "fifo_batch": 16, "front_merges": 1},
    "kyber": {"read_lat_nsec": 2000000, "write_lat_nsec": 10000000},
    "bfq": {"slice_idle": 8, "low_latency": 1, "timeout_sync": 125, "back_seek_max": 16384, "strict_guarantees": 0},
}
#: Key of the per-disk weights of a group.
BFQ_ROWS = "blkio.bfq.weight_device"
_BOOLS = ("rotational", "iostats", "add_random")


def boot(machine: Machine) -> None:
    """Set every queue to what the drivers choose."""
    for disk in machine.spec.disks:
        machine.schedulers[disk.name] = disk.scheduler
        machine.texts[_write_cache_key(disk)] = disk.write_cache
        numbers = {
            "rotational": int(disk.rotational),
            "iostats": 1,
            "add_random": 0,
            "nomerges": 0,
            "rq_affinity": 1,
            "io_timeout": 30000,
            "read_ahead_kb": disk.read_ahead_kb,
            "max_sectors_kb": min(1280, disk.max_hw_sectors_kb),
            "wbt_lat_usec": _default_wbt(disk),
        }
        machine.queues[disk.name] = numbers
        _reset_scheduler(machine, disk)


def links(machine: Machine) -> Iterator[tuple[str, str]]:
    """Symbolic links to the device directories."""
    for disk in machine.spec.disks:
        yield f"/sys/block/{disk.name}", disk.device
        devices = [(disk.name, disk.number, disk.device)]
        devices += [(p.name, p.number, f"{disk.device}/{p.name}") for p in disk.partitions]
        for name, number, directory in devices:
            yield f"/sys/class/block/{name}", directory
            yield f"/sys/dev/block/{number}", directory
            yield f"{directory}/subsystem", "/sys/class/block"
        if "/virtual/" not in disk.device:
            yield f"{disk.device}/device", _parent_device(disk)


def _parent_device(disk: Disk) -> str:
    """The controller or unit a disk belongs to: above ``block/NAME``, for NVMe the controller directory itself."""
    return disk.device.rpartition("/block/")[0] or disk.device.rpartition("/")[0]


def files(machine: Machine) -> Iterator[tuple[str, HostFile]]:
    """Files of all disks and partitions, below /sys/devices."""
    for disk in machine.spec.disks:
        constants = {
            "dev": disk.number,
            "size": str(disk.sectors),
            "ro": "0",
            "removable": "0",
            "stat": " ".join(["0"] * 17),
            "queue/max_hw_sectors_kb": str(disk.max_hw_sectors_kb),
            "queue/logical_block_size": "512",
            "queue/physical_block_size": "4096",
            "queue/hw_sector_size": "512",
            "queue/minimum_io_size": "4096",
            "queue/optimal_io_size": "0",
            "queue/io_poll_delay": "-1",
            "queue/zoned": "none",
            "queue/fua": str(int(disk.write_cache == "write back")),
            "uevent": f"MAJOR={disk.number.split(':')[0]}\nMINOR={disk.number.split(':')[1]}\n"
            f"DEVNAME={disk.name}\nDEVTYPE=disk",
        }
        for partition in disk.partitions:
            facts = {"dev": partition.number, "partition": str(partition.ordinal), "size": str(partition.sectors),
                     "start": "2048", "ro": "0"}  # fmt: skip
            constants |= {f"{partition.name}/{name}": text for name, text in facts.items()}
        for name, text in constants.items():
            yield f"{disk.device}/{name}", _constant(text)
        yield from _identity(disk)
        for name, file in _queue(machine, disk):
            yield f"{disk.device}/queue/{name}", file


def _identity(disk: Disk) -> Iterator[tuple[str, HostFile]]:
    for name, text in ((disk.serial_file, disk.serial), ("device/wwid", disk.wwid)):
        if name and text:
            base = _parent_device(disk) if name.startswith("device/") else disk.device
            yield f"{base}/{name.removeprefix('device/')}", _constant(text)


def _constant(text: str) -> HostFile:
    return HostFile(lambda: f"{text}\n", mode=0o444)


def _queue(machine: Machine, disk: Disk) -> Iterator[tuple[str, HostFile]]:
    numbers = machine.queues[disk.name]
    limits: dict[str, Callable[[int], int]] = {
        "nr_requests": lambda n: _requests(machine, disk, n),
        # blk_set_readahead: whole pages.
        "read_ahead_kb": lambda n: n - n % 4,
        "max_sectors_kb": lambda n: n if 4 <= n <= disk.max_hw_sectors_kb else refuse(errno.EINVAL),
        "nomerges": lambda n: n if n in (0, 2) else 1,
        "rq_affinity": lambda n: min(n, 2),
        **dict.fromkeys(_BOOLS, lambda n: int(n != 0)),
    }
    for name, limit in limits.items():
        yield name, _number(numbers, name, limit)
    yield "wbt_lat_usec", HostFile(lambda: _show_wbt(machine, disk), lambda text: _write_wbt(machine, disk, text))
    yield "scheduler", HostFile(lambda: _menu(machine, disk), lambda text: _switch(machine, disk, text))
    yield "write_cache", HostFile(lambda: f"{machine.texts[_write_cache_key(disk)]}\n", _write_cache(machine, disk))
    if since(machine.spec, 5, 0):
        yield "io_timeout", _number(numbers, "io_timeout", lambda n: n or refuse(errno.EINVAL))
    # No poll queues are configured: any write is refused.
    yield "io_poll", HostFile(lambda: "0\n", lambda _text: refuse(errno.EINVAL))
    for name in _TUNABLES[machine.schedulers[disk.name]]:
        yield f"iosched/{name}", _tunable(numbers, f"iosched/{name}")


def _number(numbers: dict[str, int], name: str, limit: Callable[[int], int]) -> HostFile:
    def write(text: str) -> None:
        numbers[name] = limit(parse_u32_decimal(text))

    return HostFile(lambda: f"{numbers[name]}\n", write)


def _tunable(numbers: dict[str, int], name: str) -> HostFile:
    """A scheduler's own number: a negative one is clamped to 0."""

    def write(text: str) -> None:
        try:
            numbers[name] = max(parse_s64(text, 10), 0)
        except Refusal:
            refuse(errno.EINVAL)

    return HostFile(lambda: f"{numbers[name]}\n", write)


def _requests(machine: Machine, disk: Disk, wanted: int) -> int:
    """queue_requests_store: at least 4; bounded by the tag set, or by MAX_SCHED_RQ under a scheduler.

    EINVAL without a request queue.
    """
    if not disk.queued:
        refuse(errno.EINVAL)
    most = disk.depth if machine.schedulers[disk.name] == "none" else _MAX_SCHED_REQUESTS
    value = max(wanted, _MIN_REQUESTS)
    if value > most:
        refuse(errno.EINVAL)
    return value


def _default_wbt(disk: Disk) -> int:
    """wbt_default_latency_nsec: 2 ms on flash, 75 ms on rotating disks."""
    return 75000 if disk.rotational else 2000


def _show_wbt(machine: Machine, disk: Disk) -> str:
    """queue_wb_lat_show: EINVAL where throttling was never initialised."""
    if not disk.queued:
        refuse(errno.EINVAL)
    return f"{machine.queues[disk.name]['wbt_lat_usec']}\n"


def _write_wbt(machine: Machine, disk: Disk, text: str) -> None:
    """queue_wb_lat_store: -1 restores the default, 0 disables, below -1 is EINVAL, as is all on a queue without it."""
    if not disk.queued:
        refuse(errno.EINVAL)
    try:
        value = parse_s64(text, 10)
    except Refusal:
        refuse(errno.EINVAL)
    if value < -1:
        refuse(errno.EINVAL)
    machine.queues[disk.name]["wbt_lat_usec"] = _default_wbt(disk) if value == -1 else value


def _menu(machine: Machine, disk: Disk) -> str:
    """elv_iosched_show: ``none`` stands first when chosen, and since 6.2 always; before that last.

    A driver without a request queue has nothing to choose from.
    """
    if not disk.queued:
        return "none\n"
    chosen = machine.schedulers[disk.name]
    words = [f"[{name}]" if name == chosen else name for name in _SCHEDULERS]
    none = "[none]" if chosen == "none" else "none"
    if chosen != "none" and not since(machine.spec, 6, 2):
        return " ".join([*words, none]) + "\n"
    return " ".join([none, *words]) + " \n"


def _switch(machine: Machine, disk: Disk, text: str) -> None:
    """elevator_switch: nr_requests and all tunables of the scheduler start anew; choosing the present one does
    nothing, and so does any write where there is no request queue."""
    if not disk.queued:
        return
    name = _ALIASES.get(text.strip(), text.strip())
    if name not in _TUNABLES:
        refuse(errno.EINVAL)
    if name != machine.schedulers[disk.name]:
        _forget_bfq(machine, disk)
        machine.schedulers[disk.name] = name
        _reset_scheduler(machine, disk)


def _forget_bfq(machine: Machine, disk: Disk) -> None:
    """The weights cgroups have on a disk are those of its bfq scheduler, and go with it."""
    for hierarchy in machine.hierarchies:
        for group in hierarchy.root.walk():
            group.rows.get(BFQ_ROWS, {}).pop(disk.number, None)


def _reset_scheduler(machine: Machine, disk: Disk) -> None:
    scheduler = machine.schedulers[disk.name]
    kept = {k: v for k, v in machine.queues[disk.name].items() if not k.startswith("iosched/")}
    kept["nr_requests"] = disk.depth if scheduler == "none" else _SCHED_REQUESTS
    kept |= {f"iosched/{key}": value for key, value in _TUNABLES[scheduler].items()}
    machine.queues[disk.name] = kept
    machine.layout += 1


def _write_cache_key(disk: Disk) -> str:
    return f"{disk.device}/queue/write_cache"


def _write_cache(machine: Machine, disk: Disk) -> Callable[[str], None]:
    def write(text: str) -> None:
        if text.strip() not in ("write back", "write through"):
            refuse(errno.EINVAL)
        machine.texts[_write_cache_key(disk)] = text.strip()

    return write
