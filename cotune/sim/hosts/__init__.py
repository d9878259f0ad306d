"""The table of simulated hosts: a module per family of kernels, its tuple of hosts added to :data:`HOSTS`."""

from __future__ import annotations

from cotune.sim.hosts.anck import ANCK_HOSTS
from cotune.sim.hosts.mainline import MAINLINE_HOSTS
from cotune.sim.hosts.mainline_v2 import MAINLINE_V2_HOSTS
from cotune.sim.hosts.openeuler import OPENEULER_HOSTS
from cotune.sim.hosts.specs import (
    Disk,
    Ext4,
    GroupSpec,
    HierarchySpec,
    HostSpec,
    MountSpec,
    Partition,
    ProcessSpec,
)
from cotune.sim.hosts.tencentos import TENCENTOS_HOSTS

__all__ = [
    "HOSTS", "KERNELS", "Disk", "Ext4", "GroupSpec", "HierarchySpec", "HostSpec", "MountSpec", "Partition",
    "ProcessSpec",
]  # fmt: skip

HOSTS: dict[str, HostSpec] = {
    host.name: host
    for host in (
        *ANCK_HOSTS,
        *MAINLINE_HOSTS,
        *MAINLINE_V2_HOSTS,
        *TENCENTOS_HOSTS,
        *OPENEULER_HOSTS,
    )
}
#: Hosts shown to users: all but those that only rebuild a machine a transcript was recorded on.
KERNELS: tuple[str, ...] = tuple(name for name, host in HOSTS.items() if "recorded" not in host.features)
