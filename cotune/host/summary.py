"""A host in brief: what ``facts``, ``doctor`` and ``knobs`` tell of it. Never writes."""

from __future__ import annotations

from typing import NamedTuple

from cotune.controls import CONTROLS
from cotune.controls.mounts import EXT4_DEFAULTS
from cotune.host.devices import NoSuchDevice, disk_names, find_disks
from cotune.host.facts import Host
from cotune.host.mounts import ext4_options
from cotune.host.support import Support, probe
from cotune.knobs import KNOBS

#: Words of the kernel command line that decide over knobs; with ``=`` any value counts.
BOOT_WORDS = {
    "cgwb_v1": "cgroup writeback on cgroup v1 (ANCK): buffered writes are throttled, too",
    "cgroup1_writeback": "the same on openEuler",
    "psi=": "pressure stall information",
    "psi_v1=": "pressure stall information on cgroup v1 (ANCK)",
    "cgroup_disable=": "controllers that are off",
    "cgroup_no_v1=": "controllers that only cgroup v2 may have",
    "swapaccount=": "memory.memsw, the limit of memory and swap together",
    "systemd.unified_cgroup_hierarchy=": "whether systemd mounts cgroup v2 only",
    "isolcpus=": "CPUs the scheduler leaves alone",
    "dynamic_affinity=": "cpu.dynamic_affinity_mode and cpu.preferred_cpus (openEuler)",
    "pagecache_limit=": "the switch of memory.pagecache_limit (ANCK 6.6)",
    "rdt=": "which features of resctrl are on or off against the kernel's own choice",
}


class DiskFact(NamedTuple):
    """A whole disk: ``MAJ:MIN``, active scheduler (empty when it has none), size in bytes, rotational or not."""

    name: str
    device: str
    scheduler: str
    size: int
    rotational: bool


class MountFact(NamedTuple):
    """An ext4 mount: its block device, the options in force that a profile can set, and which are not the default."""

    point: str
    source: str
    options: dict[str, str]
    unusual: list[str]


def controllers(host: Host) -> dict[str, dict[str, object]]:
    """Controller → ``version`` of its hierarchy and ``mount``, where that is.

    For version 2 also ``enabled``: whether the root group hands it to its child groups (cgroup.subtree_control).
    """
    facts: dict[str, dict[str, object]] = {}
    for name, (version, point, _) in sorted(host.layout.controllers.items()):
        facts[name] = {"version": version, "mount": point}
        if version == 2:
            facts[name]["enabled"] = name in host.text(f"{point}/cgroup.subtree_control").split()
    return facts


def boot_words(host: Host) -> dict[str, str | None]:
    """Word of interest → as it was given on the kernel command line, or None."""
    given = sorted(host.boot_words)
    return {
        word.rstrip("="): next((g for g in given if g == word or (word.endswith("=") and g.startswith(word))), None)
        for word in BOOT_WORDS
    }


def pressure(host: Host) -> dict[str, bool]:
    """Whether pressure stall information can be read: of the ``host``, and of single ``cgroups``."""
    points = {hierarchy.point for name, hierarchy in host.layout.controllers.items() if name in ("cpu", "cpuacct")}
    # the root group of version 2 has no such file
    groups = [*points, *(f"{point}/{name}" for point in points for name in host.kernel.subdirs(point))]
    return {
        "host": bool(host.text("/proc/pressure/cpu")),
        "cgroups": any(host.text(f"{group}/cpu.pressure") for group in groups),
    }


def disks(host: Host) -> list[DiskFact]:
    """Whole disks that have a size: unused loop devices are left out."""
    found = []
    for name in disk_names(host.kernel):
        try:
            disk = find_disks(host.kernel, {"device": name})[0]
        except NoSuchDevice:
            continue
        sectors = host.text(f"{disk.sysfs}/size")
        size = int(sectors) * 512 if sectors.isdecimal() else 0
        if not size:
            continue
        menu = host.text(f"{disk.sysfs}/queue/scheduler")
        active = CONTROLS["block.queue"].parse("scheduler", menu, None) if menu else ""
        rotational = host.text(f"{disk.sysfs}/queue/rotational") == "1"
        found.append(DiskFact(disk.name, disk.device, str(active), size, rotational))
    return found


def ext4_mounts(host: Host) -> list[MountFact]:
    """ext4 file systems, each where it is mounted first."""
    found: dict[str, MountFact] = {}
    show = CONTROLS["mount.ext4"].show
    for mount in host.kernel.mounts():
        if mount.fstype == "ext4" and mount.device not in found:
            options = ext4_options(host.kernel, mount)
            shown = {name: show(name, value) for name, value in options.items()}
            unusual = [name for name, value in options.items() if value != EXT4_DEFAULTS[name]]
            found[mount.device] = MountFact(mount.point, mount.source, shown, unusual)
    return list(found.values())


def support_table(host: Host) -> dict[str, Support]:
    """Every knob with whether it works here."""
    return {knob.key: probe(host, knob) for knob in KNOBS}
