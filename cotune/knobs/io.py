"""IO knobs of a group. Those below ``throttle``, ``weight`` and ``latency`` stand in lists with a device each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cotune.knobs.base import Knob, ValueContext
from cotune.knobs.types import Duration, Integer, Size, Words

_DOC = (
    "Upper bound per disk. Throttling is per whole disk: a mount point or a partition resolves to its disk. On cgroup "
    "v1 mainline counts each group on its own and ANCK applies the bound to descendants as well, and buffered writes "
    "are bounded only with cgroup writeback. io.max is another name for the list."
)
_SOURCE = "block/blk-throttle.c"
_RUE = "Bound of reads and writes together, beside the single ones. TencentOS RUE only, cgroup v1."
_WEIGHT = "block/blk-iocost.c ioc_weight_write"


@dataclass(frozen=True)
class Throughput(Size):
    """Bytes per second. The kernel takes 2^64 - 1 as "no limit" and cuts what is above."""

    low: int = 1

    @property
    def expected(self) -> str:
        return f"{super().expected}, below 2^64 - 1"

    def resolve(self, value: Any, context: ValueContext) -> int:
        number = super().resolve(value, context)
        if number >= 2**64 - 1:
            raise ValueError(self.expected)
        return number


def _iops() -> Integer:
    # the kernel cuts iops to 32 bits and takes 2^32 - 1 as "no limit"
    return Integer(1, 2**32 - 2, unlimited=True)


KNOBS = (
    Knob(
        "io.throttle.read_bps",
        "throttle",
        "Bytes read per second",
        Throughput(),
        "io.throttle",
        "read_bps",
        _DOC,
        _SOURCE,
        unit="bytes/s",
    ),
    Knob(
        "io.throttle.write_bps",
        "throttle",
        "Bytes written per second",
        Throughput(),
        "io.throttle",
        "write_bps",
        _DOC,
        _SOURCE,
        unit="bytes/s",
    ),
    Knob(
        "io.throttle.read_iops",
        "throttle",
        "Reads per second",
        _iops(),
        "io.throttle",
        "read_iops",
        _DOC,
        _SOURCE,
    ),
    Knob(
        "io.throttle.write_iops",
        "throttle",
        "Writes per second",
        _iops(),
        "io.throttle",
        "write_iops",
        _DOC,
        _SOURCE,
    ),
    Knob(
        "io.throttle.readwrite_bps",
        "throttle",
        "Bytes read and written per second",
        Throughput(),
        "io.throttle",
        "readwrite_bps",
        _RUE,
        "OpenCloudOS RUE QoS guide",
        "docs",
        "bytes/s",
    ),
    Knob(
        "io.throttle.readwrite_iops",
        "throttle",
        "Reads and writes per second",
        _iops(),
        "io.throttle",
        "readwrite_iops",
        _RUE,
        "OpenCloudOS RUE QoS guide",
        "docs",
    ),
    Knob(
        "io.weight",
        "group",
        "IO weight",
        Integer(1, 10000),
        "io.weight",
        "default",
        "Share of disk time against sibling groups, for every disk whose cost model is enabled (host.block iocost); "
        "100 is the default. A list of {device, weight} gives single disks another weight. cgroup v2, and v1 of ANCK "
        "and openEuler kernels.",
        _WEIGHT,
    ),
    Knob(
        "io.weight.weight",
        "weight",
        "IO weight on one disk",
        Integer(1, 10000),
        "io.weight",
        "device",
        "Share of one disk's time; its cost model must be enabled (host.block iocost), which cotune does first.",
        _WEIGHT,
    ),
    Knob(
        "io.bfq_weight",
        "group",
        "IO weight under the bfq scheduler",
        Integer(1, 1000),
        "io.bfq_weight",
        "bfq_weight",
        "Share of disk time against sibling groups on disks that use the bfq scheduler; 100 is the default.",
        "block/bfq-cgroup.c bfq_io_set_weight_legacy",
    ),
    Knob(
        "io.bfq_ioprio_class",
        "group",
        "IO class under the bfq scheduler",
        Words({"rt": 1, "be": 2, "idle": 3}),
        "io.bfq_ioprio_class",
        "bfq_ioprio_class",
        "A sibling group of a higher class goes first on disks that use the bfq scheduler. RUE kernels.",
        "OpenCloudOS RUE QoS guide",
        "docs",
    ),
    Knob(
        "io.latency.target",
        "latency",
        "IO latency target",
        Duration(0, 2**32),
        "io.latency",
        "target",
        "Groups with a looser target, or none, are slowed down while this one misses its own; 0 removes it. cgroup v2 "
        "kernels with CONFIG_BLK_CGROUP_IOLATENCY.",
        "block/blk-iolatency.c iolatency_set_limit",
        "docs",
    ),
)
