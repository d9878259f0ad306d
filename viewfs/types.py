"""What the parts of viewfs hand to each other: plain records."""

from __future__ import annotations

from typing import NamedTuple


class Policy(NamedTuple):
    """How a container sees the host.

    ``cpu`` is what limits its CPUs: ``quota``, ``cpuset``, the smaller of both (``min``) or nothing (``host``).
    ``topology`` ``view`` hides the CPUs it cannot use. ``uptime`` is the container's or the host's. ``loadavg`` and
    ``swap`` switch those views on. ``compat`` ``lxcfs`` prints what lxcfs would.
    """

    cpu: str = "min"
    topology: str = "host"
    uptime: str = "container"
    loadavg: bool = True
    swap: bool = True
    compat: str = ""


class Container(NamedTuple):
    """A container: the cgroup it is in and its first process.

    ``id`` names it in messages; ``cgroups`` is controller → absolute directory (version 2: one for all);
    ``version`` is 1 or 2; ``init_pid`` is in the host's pid namespace (0 before there is a process), ``starttime``
    field 22 of its stat in clock ticks.
    """

    id: str
    cgroups: dict[str, str]
    version: int
    init_pid: int
    starttime: int
    policy: Policy
