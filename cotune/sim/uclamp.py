"""Utilisation clamps on cgroup v1, where the legacy table of the cpu controller has the files too (feature ``uclamp``).

kernel/sched/core.c with CONFIG_UCLAMP_TASK_GROUP; from documentation.
"""

from __future__ import annotations

from cotune.sim.cpu_v2 import clamp_defaults, clamp_files
from cotune.sim.files import Controller
from cotune.sim.hosts.specs import HostSpec


def additions(name: str, spec: HostSpec) -> Controller | None:
    """The files of the cpu controller of v1; those of v2 stand in its own table."""
    if name != "cpu" or "uclamp" not in spec.features:
        return None
    return Controller("cpu", clamp_files(), lambda group: group.numbers.update(clamp_defaults()))
