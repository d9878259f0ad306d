"""resctrl on a host: whether it is mounted, what it can allocate, and which classes there are. Never writes.

What a machine can do is in ``info/`` and shows only while resctrl is mounted. The flags of /proc/cpuinfo promise more
than the kernel keeps (errata, ``rdt=`` on the kernel command line), so they only serve to explain what is missing.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from cotune.controls import CONTROLS
from cotune.controls.base import Value
from cotune.controls.resctrl import (
    BANDWIDTH,
    DEFAULT,
    EXCLUSIVE,
    MAX_AMD,
    MAX_MBPS,
    RESERVED,
    CacheLimits,
    RateLimits,
    read_schemata,
)
from cotune.host.facts import Host
from cotune.host.support import Support
from cotune.knobs import section
from cotune.knobs.base import Knob
from cotune.model import Target

POINT = "/sys/fs/resctrl"
OPTIONS = ("cdp", "cdpl2", "mba_MBps")

_STATUS = f"{POINT}/info/last_cmd_status"
_AMD = re.compile(r"^vendor_id\s*:\s*(AuthenticAMD|HygonGenuine)$", re.MULTILINE)
_SPLIT = {"l3": "cdp", "l2": "cdpl2"}


class Resctrl(NamedTuple):
    """A mounted resctrl.

    ``caches`` and ``bandwidth`` have the limits of what can be allocated, by resource name; ``ids`` the caches of
    each, by the ids in schemata, which need not be consecutive; ``closids`` how many classes each resource can tell
    apart; ``classes`` are all but the default; ``monitors`` whether there are monitoring groups.
    """

    options: tuple[str, ...]
    caches: dict[str, CacheLimits]
    bandwidth: RateLimits | None
    ids: dict[str, tuple[int, ...]]
    closids: dict[str, int]
    classes: tuple[str, ...]
    monitors: bool

    @property
    def room(self) -> int:
        """How many classes there can be beside the default one (closid_init: the least any resource has)."""
        return min(self.closids.values(), default=1) - 1


def class_dir(name: str) -> str:
    """The directory of a class."""
    return POINT if name == DEFAULT else f"{POINT}/{name}"


def mount_point(host: Host) -> str | None:
    """Where resctrl is mounted: nowhere else but in one place, since a second mount is refused (EBUSY)."""
    return next((mount.point for mount in host.kernel.mounts() if mount.fstype == "resctrl"), None)


def read_resctrl(host: Host) -> Resctrl | None:
    """What is mounted at /sys/fs/resctrl, or None."""
    mount = next((m for m in host.kernel.mounts() if m.fstype == "resctrl" and m.point == POINT), None)
    if mount is None:
        return None
    schemata = read_schemata(host.text(f"{POINT}/schemata"))
    closids, caches = {}, {}
    for name in schemata:
        closids[name] = _number(host, f"{name}/num_closids", 10)
        if name != "MB" and (mask := _number(host, f"{name}/cbm_mask", 16)):
            caches[name] = CacheLimits(
                mask,
                _number(host, f"{name}/min_cbm_bits", 10),
                _number(host, f"{name}/shareable_bits", 16),
                _number(host, f"{name}/sparse_masks", 10) == 1 or is_amd(host),
            )
    options = tuple(word for word in OPTIONS if word in mount.super_options)
    names = host.kernel.subdirs(POINT)
    return Resctrl(
        options=options,
        caches=caches,
        bandwidth=_rate_limits(host, options, schemata["MB"]) if "MB" in schemata else None,
        ids={name: tuple(sorted(cells)) for name, cells in schemata.items()},
        closids={name: number for name, number in closids.items() if number},
        classes=tuple(name for name in names if name not in RESERVED),
        monitors="mon_groups" in names,
    )


def _number(host: Host, file: str, base: int) -> int:
    try:
        return int(host.text(f"{POINT}/info/{file}"), base)
    except ValueError:
        return 0  # a file that not every kernel has


def _rate_limits(host: Host, options: tuple[str, ...], cells: dict[int, int]) -> RateLimits:
    if "mba_MBps" in options:
        return RateLimits("MBps", 0, 1, MAX_MBPS)
    low, step = _number(host, "MB/min_bandwidth", 10), max(1, _number(host, "MB/bandwidth_gran", 10))
    if is_amd(host):
        # nothing in info/ tells the most it takes; what the default class has is that, unless somebody lowered it
        return RateLimits("GBps", low, step, max(MAX_AMD, *cells.values()) if cells else MAX_AMD)
    return RateLimits("percent", low, step, 100)


def is_amd(host: Host) -> bool:
    """Whether this is a CPU of AMD, or of Hygon, which is built alike."""
    return _AMD.search(host.text("/proc/cpuinfo")) is not None


def fresh_value(host: Host, resctrl: Resctrl, row: str) -> Value | None:
    """What a new class starts with in one row of schemata (rdtgroup_init_alloc); None when that cannot be told."""
    name = row.partition(":")[0]
    if name == "MB":
        return resctrl.bandwidth.high if resctrl.bandwidth and resctrl.bandwidth.unit != "GBps" else None
    if any(host.text(f"{class_dir(one)}/mode") == EXCLUSIVE for one in (DEFAULT, *resctrl.classes)):
        return None  # whatever they leave
    return resctrl.caches[name].mask


def class_targets(host: Host, name: str) -> list[Target]:
    """Every value of a class that a knob can set; none where it does not exist."""
    resctrl = read_resctrl(host)
    if resctrl is None or name not in (DEFAULT, *resctrl.classes):
        return []
    found = []
    for knob in section("resctrl").values():
        rows: list[str | None] = [None]
        if knob.control == "resctrl.schemata":
            rows = [f"{knob.part.upper()}:{number}" for number in resctrl.ids.get(knob.part.upper(), ())]
        found += [class_target(name, knob, row) for row in rows]
    return [target for target in found if host.kernel.exists(target.path)]


def class_target(name: str, knob: Knob, row: str | None = None) -> Target:
    """One value of a class."""
    unit = class_dir(name)
    file = CONTROLS[knob.control].parts[knob.part].files["any"]
    return Target(knob.control, knob.part, f"resctrl:{name}", unit, f"{unit}/{file}", row, knob.key)


def class_of_threads(host: Host, resctrl: Resctrl) -> dict[int, str]:
    """Thread → class, for the threads that are not in the default class."""
    found: dict[int, str] = {}
    for name in resctrl.classes:
        found.update((int(word), name) for word in host.text(f"{class_dir(name)}/tasks").split())
    return found


def is_in_class(host: Host, tid: int, directory: str) -> bool | None:
    """Whether a thread is in the class of a directory; None when that class is gone."""
    # "res:NAME", "res:/" for the default class (proc_resctrl_show); older kernels only have the list of every thread
    line = host.text(f"/proc/{tid}/cpu_resctrl_groups").partition("\n")[0]
    if line.startswith("res:"):
        name = line.removeprefix("res:")
        return directory == class_dir(DEFAULT if name == "/" else name)
    try:
        return str(tid) in host.kernel.read(f"{directory}/tasks").split()
    except OSError:
        return None


def not_mounted(host: Host) -> Support:
    """Why there is no resctrl to set anything in."""
    point = mount_point(host)
    if point is not None:
        reason = f"resctrl is mounted at {point}, and can only be mounted once"
        return Support("no", reason, f"umount {point}, then mount it at {POINT}", "mount")
    if not host.kernel.exists(POINT):
        remedy = "a CPU with Intel RDT or AMD QoS and a kernel built with CONFIG_X86_CPU_RESCTRL"
        off = [word for word in sorted(host.boot_words) if word.startswith("rdt=!")]
        if off:
            remedy = f"the kernel command line without {' '.join(off)}"
        return Support("no", f"this machine or kernel has no resctrl (no {POINT})", remedy, "boot" if off else "device")
    reason = "resctrl is not mounted, and what it can do here shows only then"
    return Support("unknown", reason, "host.resctrl.mount: true in the profile, which mounts it", "mount")


def probe_resctrl(host: Host, knob: Knob) -> Support:
    """Whether a knob of a class works here."""
    resctrl = read_resctrl(host)
    if resctrl is None:
        return not_mounted(host)
    if knob.part == "cpus" and resctrl.closids:
        return Support("yes")
    if knob.part == "mode":
        if resctrl.caches:
            return Support("yes")
        return Support("no", "no cache can be divided here, so no class can be exclusive", "a CPU with CAT")
    if knob.part.upper() in resctrl.ids:
        return Support("yes")
    return _missing(host, resctrl, knob.part)


def _missing(host: Host, resctrl: Resctrl, part: str) -> Support:
    name = part.upper()
    cache = part[:2]
    if not resctrl.closids:
        return Support("no", "resctrl only monitors here: it has nothing to allocate", "a CPU with CAT or MBA")
    if part in _SPLIT and f"{name}CODE" in resctrl.ids:
        reason = f"resctrl is mounted with {_SPLIT[part]}, which splits {name} into code and data"
        remedy = f"{part}code and {part}data, or unmount it and mount it without {_SPLIT[part]}"
        return Support("no", reason, remedy, "mount")
    if cache != part and cache.upper() in resctrl.ids:
        reason = f"resctrl is mounted without {_SPLIT[cache]}"
        remedy = f"umount {POINT}, then host.resctrl.mount: {{{_SPLIT[cache]}: true}} (if the CPU has CDP)"
        return Support("no", reason, remedy, "mount")
    flag = "mba" if part == BANDWIDTH else f"cat_{cache}"
    if flag in host.text("/proc/cpuinfo").split():
        word = "mba" if part == BANDWIDTH else f"{cache}cat"
        return Support(
            "no",
            f"/proc/cpuinfo lists {flag}, but the kernel has no {name} in {POINT}/info",
            f"the kernel switches it off for errata (Intel model 85) or by rdt=!{word}; rdt={word} switches it on",
            "boot",
        )
    what = "memory bandwidth" if part == BANDWIDTH else f"the {cache.upper()} cache"
    return Support("no", f"this CPU cannot divide {what}", f"a CPU whose kernel shows {POINT}/info/{name}")


def in_resctrl(path: str) -> bool:
    """Whether a path is resctrl's mount point or below it."""
    return path == POINT or path.startswith(POINT + "/")


def others_in(host: Host, directory: str) -> list[str]:
    """Groups that would be removed with a class, or with resctrl when it is unmounted; none for other directories."""
    if not in_resctrl(directory):
        return []
    places = (
        {directory: RESERVED, f"{directory}/mon_groups": ()} if directory == POINT else {f"{directory}/mon_groups": ()}
    )
    found = []
    for place, besides in places.items():
        try:
            found += [name for name in host.kernel.subdirs(place) if name not in besides]
        except OSError:
            continue  # not mounted, or nothing to monitor
    return found


def last_status(host: Host, path: str) -> str:
    """What info/last_cmd_status says, for a path in resctrl; empty for other paths."""
    return host.text(_STATUS) if in_resctrl(path) else ""


def complaint(before: str, after: str) -> str:
    """What the kernel said about an operation that failed, or nothing.

    Not every failure touches info/last_cmd_status, and kernels before 6.13 append to what stands there: so only a
    text that changed counts, and of it the last line.
    """
    line = after.rpartition("\n")[2].strip()
    return "" if after == before or line == "ok" else line


def resctrl_facts(host: Host) -> dict[str, object]:
    """The ``resctrl`` section of ``cotune facts``: what info/ says, or why there is none."""
    resctrl = read_resctrl(host)
    if resctrl is None:
        return {"mounted": False, "reason": not_mounted(host).reason}
    resources: dict[str, dict[str, object]] = {}
    for name, ids in resctrl.ids.items():
        resources[name] = {"caches": list(ids), "num_closids": resctrl.closids.get(name, 0)}
        if name in resctrl.caches:
            limits = resctrl.caches[name]
            resources[name] |= {
                "cbm_mask": f"{limits.mask:x}",
                "min_cbm_bits": limits.min_bits,
                "shareable_bits": f"{limits.shareable:x}",
                "sparse_masks": limits.sparse,
            }
        elif name == "MB" and resctrl.bandwidth is not None:
            rate = resctrl.bandwidth
            resources[name] |= {"unit": rate.unit, "min_bandwidth": rate.low, "bandwidth_gran": rate.step}
    return {
        "mounted": True,
        "options": list(resctrl.options),
        "resources": resources,
        "classes": list(resctrl.classes),
        "classes_at_most": resctrl.room,
        "monitoring": resctrl.monitors,
    }
