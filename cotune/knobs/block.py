"""Knobs of a block device queue."""

from __future__ import annotations

from cotune.knobs.base import Knob, ValueType
from cotune.knobs.types import Boolean, Duration, Integer, Percent, Size, Text, Words

_COST = "block/blk-iocost.c ioc_qos_write; Documentation/admin-guide/cgroup-v2.rst"
_MODEL = "block/blk-iocost.c ioc_cost_model_write; tools/cgroup/iocost_coef_gen.py measures a disk"
_SYSFS = "block/blk-sysfs.c"
_ELEVATORS = "block/mq-deadline.c, block/kyber-iosched.c, block/bfq-iosched.c"


def _cost(key: str, title: str, kind: ValueType, doc: str, unit: str = "") -> Knob:
    return Knob(f"block.iocost.{key}", "block", title, kind, "io.cost.qos", key, doc, _COST, unit=unit)


def _model(key: str, title: str, unit: str = "") -> Knob:
    doc = "Naming any number of the model makes it the user's; the kernel's own comes back with ctrl: auto."
    kind = Size(unlimited=False) if key.endswith("bps") else Integer(0, 2**63 - 1)
    return Knob(f"block.iocost.model.{key}", "block", title, kind, "io.cost.model", key, doc, _MODEL, unit=unit)


def _queue(key: str, title: str, high: int, doc: str, unit: str = "", low: int = 0) -> Knob:
    return Knob(f"block.{key}", "block", title, Integer(low, high), f"block.{key}", key, doc, _SYSFS, unit=unit)


def _iosched(key: str, title: str, elevator: str, unit: str = "", high: int = 2**31 - 1) -> Knob:
    doc = f"Tunable of {elevator}; there only while that is the scheduler. A change of the scheduler resets it."
    kind = Integer(0, high)
    return Knob(
        f"block.iosched.{key}", "block", title, kind, "block.queue", f"iosched/{key}", doc, _ELEVATORS, unit=unit
    )


KNOBS = (
    Knob(
        "block.scheduler",
        "block",
        "IO scheduler",
        Text("[a-z0-9][a-z0-9-]{0,15}", "a scheduler name such as mq-deadline, bfq, kyber or none"),
        "block.queue",
        "scheduler",
        "The elevator of the queue. Changing it resets nr_requests and every iosched tunable.",
        "block/elevator.c",
    ),
    Knob(
        "block.nr_requests",
        "block",
        "Queue depth",
        Integer(4, 65536),
        "block.queue",
        "nr_requests",
        "Requests the queue may hold. The kernel raises numbers below 4 and refuses more than its tag set has.",
        "block/blk-sysfs.c queue_requests_store",
    ),
    Knob(
        "block.wbt_lat_usec",
        "block",
        "Writeback throttling target",
        Integer(0, 2**31 - 1),
        "block.wbt",
        "wbt_lat_usec",
        "Read latency in µs that background writeback is throttled to protect; 0 is off.",
        "block/blk-wbt.c",
        unit="µs",
    ),
    Knob(
        "block.read_ahead_kb",
        "block",
        "Read-ahead",
        Integer(0, 2**20),
        "block.read_ahead",
        "read_ahead_kb",
        "Read-ahead window in KiB; rounded down to whole pages.",
        "block/blk-sysfs.c queue_ra_store",
        unit="KiB",
    ),
    _queue("rq_affinity", "CPU that completes requests", 2, "0: any, 1: the group of the CPU that asked, 2: that CPU."),
    _queue("nomerges", "Merging of requests", 2, "0: all merges, 1: simple ones only, 2: none."),
    _queue(
        "max_sectors_kb",
        "Largest request",
        2**20,
        "At least one page, and at most what the hardware takes (max_hw_sectors_kb).",
        "KiB",
        low=4,
    ),
    _queue("iostats", "Statistics of the disk", 1, "1 counts for /proc/diskstats."),
    _queue("add_random", "Entropy from the disk", 1, "1 feeds the timing of requests to the random number generator."),
    _iosched("read_expire", "Deadline of reads", "mq-deadline", "ms"),
    _iosched("write_expire", "Deadline of writes", "mq-deadline", "ms"),
    _iosched("writes_starved", "Reads preferred before a write", "mq-deadline"),
    _iosched("front_merges", "Merging at the front", "mq-deadline", high=1),
    _iosched("fifo_batch", "Requests per batch", "mq-deadline"),
    _iosched("low_latency", "Low latency", "bfq", high=1),
    _iosched("slice_idle", "Wait for further requests", "bfq", "ms"),
    _iosched("strict_guarantees", "Strict guarantees", "bfq", high=1),
    _iosched("read_lat_nsec", "Latency target of reads", "kyber", "ns"),
    _iosched("write_lat_nsec", "Latency target of writes", "kyber", "ns"),
    _cost(
        "enable",
        "IO cost control of the disk",
        Boolean(),
        "Shares the disk by io.weight. Set before any weight of the disk is.",
    ),
    _cost(
        "ctrl",
        "Who chooses the quality of service",
        Words({"auto": "auto", "user": "user"}),
        "auto lets the kernel choose the numbers below; naming one of them makes it user.",
    ),
    _cost("rpct", "Percentile of reads", Percent(), "Percentile of read latency that rlat is compared with.", "%"),
    _cost("rlat", "Read latency", Duration(0, 2**32), "Read latency above which the disk counts as saturated."),
    _cost("wpct", "Percentile of writes", Percent(), "Percentile of write latency that wlat is compared with.", "%"),
    _cost("wlat", "Write latency", Duration(0, 2**32), "Write latency above which the disk counts as saturated."),
    _cost("min", "Slowest pace", Percent(1, 10000), "Least share of the model's pace the disk is slowed to.", "%"),
    _cost("max", "Fastest pace", Percent(1, 10000), "Largest share of the model's pace the disk is run at.", "%"),
    Knob(
        "block.iocost.model.ctrl",
        "block",
        "Who chooses the cost model",
        Words({"auto": "auto", "user": "user"}),
        "io.cost.model",
        "ctrl",
        "auto takes the kernel's model for the kind of disk; naming a number makes it user.",
        _MODEL,
    ),
    _model("rbps", "Bytes read per second", "bytes/s"),
    _model("rseqiops", "Sequential reads per second"),
    _model("rrandiops", "Random reads per second"),
    _model("wbps", "Bytes written per second", "bytes/s"),
    _model("wseqiops", "Sequential writes per second"),
    _model("wrandiops", "Random writes per second"),
)
