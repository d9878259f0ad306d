"""IO knobs of a group."""

from __future__ import annotations

from cotune.knobs.base import Knob
from cotune.knobs.types import Integer, Size

_DOC = (
    "Upper bound per disk. Throttling is per whole disk: a mount point or a partition resolves to its disk. Mainline "
    "counts each cgroup v1 group on its own; ANCK applies the bound to descendants as well. On cgroup v1 buffered "
    "writes are bounded only with cgroup writeback."
)
_SOURCE = "block/blk-throttle.c"

KNOBS = (
    Knob(
        "io.throttle.read_bps",
        "throttle",
        "Bytes read per second",
        Size(low=1),
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
        Size(low=1),
        "io.throttle",
        "write_bps",
        _DOC,
        _SOURCE,
        unit="bytes/s",
    ),
    # the kernel cuts iops to 32 bits and takes 2^32 - 1 as "no limit"
    Knob(
        "io.throttle.read_iops",
        "throttle",
        "Reads per second",
        Integer(1, 2**32 - 2, unlimited=True),
        "io.throttle",
        "read_iops",
        _DOC,
        _SOURCE,
    ),
    Knob(
        "io.throttle.write_iops",
        "throttle",
        "Writes per second",
        Integer(1, 2**32 - 2, unlimited=True),
        "io.throttle",
        "write_iops",
        _DOC,
        _SOURCE,
    ),
)
