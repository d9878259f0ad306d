"""Whether a knob works on this host, and if not, why and what would make it work. Never writes."""

from __future__ import annotations

from typing import NamedTuple

from cotune.controls import CONTROLS
from cotune.controls.base import Control, Part
from cotune.host.cgroups import Hierarchy
from cotune.host.facts import Host
from cotune.knobs.base import Knob
from cotune.knobs.lookup import file_path

_FEATURE_FILES = ("/sys/kernel/debug/sched_features", "/sys/kernel/debug/sched/features")
_ANCK_CONTROLS = ("cpu.identity", "memory.wmark_min_adj", "memory.wmark_ratio", "memory.priority")


class Support(NamedTuple):
    """``state`` is ``yes``, ``gated`` (a switch has to be set first; cotune does), ``no`` or ``unknown``."""

    state: str
    reason: str = ""
    remedy: str = ""


def probe(host: Host, knob: Knob) -> Support:
    """Whether the knob's file exists here; for a cgroup knob, in a group that exists already."""
    control = CONTROLS[knob.control]
    if knob.section in ("mount", "jbd2", "feature", "quota"):
        from cotune.host.support_ext4 import probe_ext4

        return probe_ext4(host, knob)
    if control.scope == "cgroup":
        return _probe_cgroup(host, control, knob)
    if control.scope == "sysctl":
        return _probe_sysctl(host, knob)
    if control.scope == "file":
        return _probe_file(host, control, knob)
    if control.scope == "resctrl":
        from cotune.host.resctrl import probe_resctrl

        return probe_resctrl(host, knob)
    return _probe_block(host, knob)


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
    if hierarchy.version == 2:
        # the files of a controller are only there where the parent enables it
        if file.partition(".")[0] not in host.text(f"{hierarchy.point}/cgroup.subtree_control").split():
            return None
    elif part and (part.at_root or (part.sign and not kernel.exists(f"{hierarchy.point}/{part.sign}"))):
        return False
    lacking = False
    for child in kernel.subdirs(hierarchy.point):
        if kernel.exists(f"{hierarchy.point}/{child}/{file}"):
            return True
        # a group that vanishes in this moment tells nothing, and loses its files before it goes: ask all
        lacking = lacking or kernel.exists(f"{hierarchy.point}/{child}")
    return False if lacking else None


def _probe_cgroup(host: Host, control: Control, knob: Knob) -> Support:
    from cotune.host.forms import find_form, part_file

    form = find_form(host, control.name)
    hierarchy, part = form.hierarchy, form.control.parts.get(knob.part)
    if hierarchy is None:
        return missing_controller(host, control.controller)
    if part is None and not any(knob.part in CONTROLS[name].parts for name in (control.name, control.v2) if name):
        part = next(iter(form.control.parts.values()))  # a knob that is lowered into another part
    file = part_file(host, hierarchy, part)
    if part is None or file is None:
        return no_dialect(control, hierarchy)
    found = sample_file(host, hierarchy, file, part)
    if found is None and knob.confidence != "live":
        return Support("unknown", f"no child group to look for {file} in", "create a group and ask again")
    if found is False:
        return missing_file(host, control, file)
    gate = part.gate
    if gate and host.kernel.exists(gate.path) and host.text(gate.path) != gate.value:
        reason = f"{gate.name} is {host.text(gate.path)}"
        return Support("gated", reason, f"cotune sets it to {gate.value} when a profile uses this knob")
    return Support("yes")


def no_dialect(control: Control, hierarchy: Hierarchy) -> Support:
    """The knob has no file for this cgroup version."""
    other = 3 - hierarchy.version
    return Support(
        "no",
        f"the {control.controller} controller is on cgroup v{hierarchy.version}, where this knob has no form",
        f"a host with cgroup v{other} for this controller",
    )


def _probe_sysctl(host: Host, knob: Knob) -> Support:
    name = knob.key.removeprefix("host.") if knob.section == "sysctl" else knob.part
    if host.kernel.exists("/proc/sys/" + name.replace(".", "/")):
        return Support("yes")
    return Support("no", f"this kernel ({host.release}) has no sysctl {name}", "a kernel that has it")


def feature_file(host: Host) -> str:
    """The list of scheduler features: it moved in Linux 5.13."""
    return next((path for path in _FEATURE_FILES if host.kernel.exists(path)), _FEATURE_FILES[-1])


def _probe_file(host: Host, control: Control, knob: Knob) -> Support:
    if control.name != "sched.feature":
        path = file_path(knob)
        if host.kernel.exists(path):
            return Support("yes")
        return Support("no", f"this kernel ({host.release}) has no {path}", _file_remedy(knob))
    words = host.text(feature_file(host)).split()
    if not words:
        return Support("no", f"{feature_file(host)} cannot be read", "mount -t debugfs none /sys/kernel/debug, as root")
    if knob.part in words or f"NO_{knob.part}" in words:
        return Support("yes")
    return Support("no", f"this kernel ({host.release}) has no scheduler feature {knob.part}", _file_remedy(knob))


def _file_remedy(knob: Knob) -> str:
    return f"a kernel that has it: {knob.source}"


def _probe_block(host: Host, knob: Knob) -> Support:
    from cotune.host.devices import disk_names

    file = knob.key.removeprefix("block.")
    for name in disk_names(host.kernel):
        if host.kernel.exists(f"{host.kernel.realpath(f'/sys/block/{name}')}/queue/{file}"):
            return Support("yes")
    return Support("no", f"no block device here has queue/{file}", "a device whose driver has it")
