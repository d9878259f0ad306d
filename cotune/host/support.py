"""Whether a knob works on this host, and if not, why and what would make it work. Never writes."""

from __future__ import annotations

from typing import NamedTuple

from cotune.controls import CONTROLS
from cotune.controls.base import Control, Part
from cotune.host.cgroups import Hierarchy
from cotune.host.facts import Host
from cotune.knobs.base import Knob

_ANCK_CONTROLS = ("cpu.identity", "memory.wmark_min_adj", "memory.wmark_ratio", "memory.priority")


class Support(NamedTuple):
    """``state`` is ``yes``, ``gated`` (a switch has to be set first; cotune does), ``no`` or ``unknown``."""

    state: str
    reason: str = ""
    remedy: str = ""


def probe(host: Host, knob: Knob) -> Support:
    """Whether the knob's file exists here; for a cgroup knob, in a group that exists already."""
    control = CONTROLS[knob.control]
    if control.scope == "cgroup":
        return _probe_cgroup(host, control, knob)
    if control.scope == "sysctl":
        return _probe_sysctl(host, knob)
    return _probe_mount(host) if control.scope == "mount" else _probe_block(host, knob)


def missing_controller(host: Host, controller: str) -> Support:
    """Why a controller cannot be used: not mounted, or not in the kernel."""
    known = {line.split("\t")[0] for line in host.text("/proc/cgroups").splitlines()[1:]}
    if controller in known:
        return Support(
            "no", f"the {controller} controller is not mounted", f"mount -t cgroup -o {controller} …, or boot with it"
        )
    return Support(
        "no", f"this kernel has no {controller} controller", "a kernel built with it, or without cgroup_disable="
    )


def missing_file(host: Host, control: Control, file: str) -> Support:
    """Why a file is not in a cgroup that exists."""
    reason = f"this kernel ({host.release}) has no {file}"
    if control.name == "cpu.identity":
        return Support("no", reason, "an ANCK kernel with group identity (4.19.91-24 or 5.10.46-7 and later)")
    if control.name in _ANCK_CONTROLS or file.endswith("use_priority_oom"):
        return Support("no", reason, "an ANCK kernel (Alibaba Cloud Linux or Anolis, 4.19 or 5.10)")
    if control.name.startswith("memory.dirty"):
        remedy = "a kernel with per-memcg dirty limits; elsewhere use vm.dirty_* or io.throttle with cgroup writeback"
        return Support("no", reason, remedy)
    if file == "cpu.idle":
        return Support("no", reason, "Linux 5.15 or later")
    if file == "cpu.cfs_burst_us":
        return Support("no", reason, "Linux 5.14 or later, or ANCK 4.19")
    if "memsw" in file:
        return Support("no", reason, "a kernel with swap accounting (boot with swapaccount=1)")
    return Support("no", reason, "a kernel built with it")


def sample_file(host: Host, hierarchy: Hierarchy, file: str, part: Part | None = None) -> bool | None:
    """Whether the groups of a hierarchy have a file; None when there is no group to look at.

    ``part`` tells when the root group alone decides. Other files are looked for in a child group.
    """
    kernel = host.kernel
    if kernel.exists(f"{hierarchy.point}/{file}"):
        return True
    if part and (part.at_root or (part.sign and not kernel.exists(f"{hierarchy.point}/{part.sign}"))):
        return False
    lacking = False
    for child in kernel.subdirs(hierarchy.point):
        if kernel.exists(f"{hierarchy.point}/{child}/{file}"):
            return True
        # a group that vanishes in this moment tells nothing, and loses its files before it goes: ask all
        lacking = lacking or kernel.exists(f"{hierarchy.point}/{child}")
    return False if lacking else None


def _probe_cgroup(host: Host, control: Control, knob: Knob) -> Support:
    hierarchy = host.layout.controllers.get(control.controller)
    if hierarchy is None:
        return missing_controller(host, control.controller)
    part = control.parts.get(knob.part) or next(iter(control.parts.values()))
    file = part.files.get(f"v{hierarchy.version}")
    if file is None:
        return no_dialect(control, hierarchy)
    found = sample_file(host, hierarchy, file, part)
    if found is None and knob.confidence != "live":
        return Support("unknown", f"no child group to look for {file} in", "create a group and ask again")
    if found is False:
        return missing_file(host, control, file)
    if control.gate and host.text("/proc/sys/" + control.gate.replace(".", "/")) == "0":
        return Support("gated", f"{control.gate} is 0", "cotune sets it to 1 when a profile uses this knob")
    return Support("yes")


def no_dialect(control: Control, hierarchy: Hierarchy) -> Support:
    """The knob has no file for this cgroup version."""
    return Support(
        "no",
        f"the {control.controller} controller is on cgroup v{hierarchy.version}, where this knob has no form yet",
        "a host with cgroup v1 for this controller",
    )


def _probe_sysctl(host: Host, knob: Knob) -> Support:
    name = knob.key.removeprefix("host.") if knob.section == "sysctl" else knob.part
    if host.kernel.exists("/proc/sys/" + name.replace(".", "/")):
        return Support("yes")
    return Support("no", f"this kernel ({host.release}) has no sysctl {name}", "a kernel that has it")


def _probe_mount(host: Host) -> Support:
    """Options need a mounted ext4 file system and mount(2), which only acts on the running host."""
    if not any(mount.fstype == "ext4" for mount in host.kernel.mounts()):
        return Support("no", "no ext4 file system is mounted", "mount one; other file systems are left alone")
    if host.kernel.name != "/" and not host.kernel.name.startswith("sim:"):
        return Support("no", "file systems below another root cannot be remounted", "run cotune on that host")
    return Support("yes")


def _probe_block(host: Host, knob: Knob) -> Support:
    from cotune.host.devices import disk_names

    file = knob.key.removeprefix("block.")
    for name in disk_names(host.kernel):
        if host.kernel.exists(f"{host.kernel.realpath(f'/sys/block/{name}')}/queue/{file}"):
            return Support("yes")
    return Support("no", f"no block device here has queue/{file}", "a device whose driver has it")
