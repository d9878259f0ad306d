"""Views for containers that are still to be made: bind mounts in the OCI configuration (runtime-spec config.md).

The mounts come from ``MNT/cgroup/PATH``, where PATH is the container's ``linux.cgroupsPath``: it is known before there
is a process. A time namespace whose clocks start at zero makes uptime, boot time and ``ps`` right in the kernel itself.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cotune.errors import UsageError

if TYPE_CHECKING:
    from viewfs.static import StaticFiles

#: Files a runtime lets a configuration mount over below /proc (runc: rootfs_linux.go checkProcMount) and our views of
#: /sys; /proc/pressure is refused there.
WIRED = (
    *(f"/proc/{name}" for name in ("cpuinfo", "stat", "meminfo", "loadavg", "uptime", "diskstats", "swaps")),
    *(f"/sys/devices/system/cpu/{name}" for name in ("online", "offline", "possible", "present")),
)
_OPTIONS = ["bind", "ro", "nosuid", "nodev", "noexec"]


def wire(
    config: dict[str, Any],
    mount: str,
    cgroup: str = "",
    timens: bool = False,
    clock: Callable[[int], float] = time.clock_gettime,
    static: StaticFiles | None = None,
) -> dict[str, Any]:
    """A copy of an OCI configuration with the views of the service at ``mount``.

    ``cgroup`` is used where the configuration has no cgroupsPath, and written into it. Mounts that are there already
    for the same files are replaced, so wiring twice changes nothing. Views that change only with configuration come
    from ``static``, when it is given; those files go with the container's group. Raises UsageError, ApplyFailed.
    """
    if not isinstance(config, dict) or "ociVersion" not in config:
        raise UsageError("this is no OCI configuration: it has no ociVersion", "viewfs wire < config.json")
    linux = dict(config.get("linux") or {})
    given = linux.get("cgroupsPath") or cgroup
    if not given:
        raise UsageError("the configuration has no linux.cgroupsPath", "add it, or pass --cgroup PATH")
    linux["cgroupsPath"] = given
    group = cgroup_path(given)
    sources = dict.fromkeys(WIRED, f"{mount}/cgroup{group}")
    if static is not None:
        limits = (linux.get("resources") or {}).get("cpu") or {}
        kept = static.of_group(group, limits)
        sources |= {path: str(kept) for path in WIRED if os.path.exists(f"{kept}{path}")}
    mounts = [entry for entry in config.get("mounts") or [] if entry.get("destination") not in WIRED]
    mounts += [
        {"destination": path, "type": "bind", "source": f"{base}{path}", "options": list(_OPTIONS)}
        for path, base in sources.items()
    ]
    if timens:
        namespaces = [entry for entry in linux.get("namespaces") or [] if entry.get("type") != "time"]
        linux["namespaces"] = namespaces + [{"type": "time"}]
        linux["timeOffsets"] = {
            name: {"secs": -int(clock(number)), "nanosecs": 0}
            for name, number in (("monotonic", time.CLOCK_MONOTONIC), ("boottime", time.CLOCK_BOOTTIME))
        }
    return {**config, "mounts": mounts, "linux": linux}


def cgroup_path(given: str) -> str:
    """The cgroup a cgroupsPath names: a path, or ``SLICE:PREFIX:NAME`` for the systemd driver (runc docs/systemd.md).

    Raises UsageError for one that leads upwards.
    """
    if given.count(":") == 2 and "/" not in given:
        unit_slice, prefix, name = given.split(":")
        unit = name if name.endswith(".slice") else f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
        return f"{_slice_path(unit_slice or 'system.slice')}/{unit}"
    parts = [part for part in given.split("/") if part not in ("", ".")]
    if ".." in parts or not parts:
        raise UsageError(f"cgroupsPath {given!r} is no path below the root group")
    return "/" + "/".join(parts)


def _slice_path(name: str) -> str:
    """a-b.slice lies in a.slice (systemd.slice(5)); -.slice is the root."""
    words = name.removesuffix(".slice").split("-")
    if not any(words):
        return ""
    return "".join(f"/{'-'.join(words[: number + 1])}.slice" for number in range(len(words)))
