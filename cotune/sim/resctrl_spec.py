"""What a simulated machine has for resctrl: cache and bandwidth allocation, monitoring, and the domains they are in.

A domain is one cache (or the memory behind it) with the CPUs that share it. Values are those of info/, from recorded
machines and Documentation/arch/x86/resctrl.rst.
"""

from __future__ import annotations

from typing import NamedTuple

MIB = 1024 * 1024


class Domain(NamedTuple):
    """One instance of a resource: the id of its cache, which need not follow the previous one's, and its CPUs."""

    id: int
    cpus: tuple[int, ...]


class Cache(NamedTuple):
    """Cache allocation. ``bits`` is the width of a mask, ``size`` bytes per domain, ``shareable`` the mask of bits
    other hardware uses; ``sparse`` allows holes in masks, ``cdp`` splitting into code and data."""

    name: str
    domains: tuple[Domain, ...]
    bits: int
    size: int
    closids: int
    shareable: int = 0
    min_bits: int = 1
    sparse: bool = False
    cdp: bool = False

    @property
    def mask(self) -> int:
        """All bits, the default of a group."""
        return (1 << self.bits) - 1

    @property
    def digits(self) -> int:
        """Width of a mask in schemata (rdt_get_cache_alloc_cfg)."""
        return (self.bits + 3) // 4


class Bandwidth(NamedTuple):
    """Memory bandwidth allocation: percent in steps of ``step`` where ``linear``, units of 1/8 GB/s on AMD."""

    domains: tuple[Domain, ...]
    closids: int
    low: int = 10
    step: int = 10
    high: int = 100
    linear: bool = True
    digits: int = 3

    @property
    def name(self) -> str:
        """Its name in schemata."""
        return "MB"


class Monitoring(NamedTuple):
    """L3 monitoring. ``scale`` is bytes per counter unit; ``idle`` the llc_occupancy of an RMID nothing was set for."""

    domains: tuple[Domain, ...]
    rmids: int
    cache_size: int
    scale: int = 65536
    events: tuple[str, ...] = ("llc_occupancy", "mbm_total_bytes", "mbm_local_bytes")
    idle: int = 0


class ResctrlSpec(NamedTuple):
    """One machine. ``mounted`` says whether resctrl is mounted at boot."""

    l3: Cache | None = None
    l2: Cache | None = None
    bandwidth: Bandwidth | None = None
    monitoring: Monitoring | None = None
    mounted: bool = False

    @property
    def resources(self) -> list[Bandwidth | Cache]:
        """What can be allocated, in the order of schemata."""
        return [resource for resource in (self.bandwidth, self.l2, self.l3) if resource is not None]

    @property
    def cpus(self) -> set[int]:
        """All CPUs."""
        tables = [resource.domains for resource in self.resources]
        if self.monitoring is not None:
            tables.append(self.monitoring.domains)
        return {cpu for domains in tables for domain in domains for cpu in domain.cpus}


class Age(NamedTuple):
    """What depends on the kernel's release. Messages and formats are those of 6.1 throughout."""

    #: Since 5.12 CPU lists know ``all`` and ``N``, and info/MB has thread_throttle_mode.
    modern: bool
    #: Since 6.6 several tasks can be written at once, separated by commas.
    task_lists: bool
    #: Since 6.7 info has sparse_masks.
    sparse_masks: bool


def intel(domains: tuple[Domain, ...], *, mounted: bool = False) -> ResctrlSpec:
    """An Intel Xeon: 11 bits of L3 of which the upper two are shared with IO, percent of bandwidth, CDP."""
    return ResctrlSpec(
        l3=Cache("L3", domains, bits=11, size=16 * MIB, closids=16, shareable=0x600, cdp=True),
        bandwidth=Bandwidth(domains, closids=8),
        monitoring=Monitoring(domains, rmids=64, cache_size=16 * MIB),
        mounted=mounted,
    )


def amd(domains: tuple[Domain, ...], *, mounted: bool = False) -> ResctrlSpec:
    """An AMD EPYC, from documentation and source only (resctrl.rst; rdt_init_res_defs_amd, __rdt_get_mem_config_amd).

    Masks may be empty or have holes; MB is in 1/8 GB/s, 2048 meaning no limit.
    """
    return ResctrlSpec(
        l3=Cache("L3", domains, bits=16, size=16 * MIB, closids=16, min_bits=0, sparse=True, cdp=True),
        bandwidth=Bandwidth(domains, closids=16, low=0, step=1, high=2048, linear=False, digits=4),
        monitoring=Monitoring(domains, rmids=256, cache_size=16 * MIB, scale=64),
        mounted=mounted,
    )


def halves(cpus: int, ids: tuple[int, int] = (0, 1)) -> tuple[Domain, ...]:
    """Two caches with half of the CPUs each."""
    middle = cpus // 2
    return Domain(ids[0], tuple(range(middle))), Domain(ids[1], tuple(range(middle, cpus)))


#: By the name of the simulated host; a host that is not listed has no resctrl hardware.
MACHINES: dict[str, ResctrlSpec] = {
    "anck-4.19": intel(halves(16), mounted=True),
    "mainline-v2": intel(halves(8)),
}
