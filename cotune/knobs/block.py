"""Knobs of a block device queue."""

from __future__ import annotations

from cotune.knobs.base import Knob
from cotune.knobs.types import Integer, Text

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
)
