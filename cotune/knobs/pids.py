"""Process number knobs of a group."""

from __future__ import annotations

from cotune.knobs.base import Knob
from cotune.knobs.types import Integer

KNOBS = (
    # include/linux/threads.h: PID_MAX_LIMIT is 4 * 1024 * 1024 on 64 bit
    Knob(
        "pids.max",
        "group",
        "Most tasks in the group",
        Integer(0, 4194304, unlimited=True),
        "pids.max",
        "max",
        "Tasks (threads count) in the group and its descendants; fork fails with EAGAIN beyond it. A number below "
        "the present count is accepted and stops new tasks only.",
        "kernel/cgroup/pids.c",
    ),
)
