"""Whether a knob works on this host, and if not, why and what would make it work. Never writes."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, NamedTuple

from cotune.approximate import APPROXIMATIONS
from cotune.controls import CONTROLS
from cotune.controls.base import Control, Part
from cotune.controls.block import TUNABLES
from cotune.host.cgroups import Hierarchy
from cotune.host.facts import Host
from cotune.host.needs import COMMON, CONTROLLERS, OTHER_NAME, SCHEDULERS, need_of
from cotune.knobs import BY_KEY
from cotune.knobs.base import Knob
from cotune.knobs.lookup import file_path, knob_forms
from cotune.model import Target

if TYPE_CHECKING:
    from cotune.host.forms import Form

_DEBUG = "/sys/kernel/debug"
_FEATURE_FILES = (f"{_DEBUG}/sched_features", f"{_DEBUG}/sched/features")
_ADD_WORD = "add {word} to the kernel command line and reboot"
#: Family → the boot word with which cgroup v1 limits buffered writes, too. Mainline and TencentOS have none.
WRITEBACK_WORDS = {"anck": "cgwb_v1", "openeuler": "cgroup1_writeback"}
_FAMILIES = {"anck": "ANCK", "openeuler": "openEuler"}


class Support(NamedTuple):
    """``state`` is ``yes``, ``gated`` (a switch has to be set first; cotune does), ``no`` or ``unknown``.

    A ``yes`` with a reason works in part. ``kind`` says what the reason is about: ``file`` (this kernel lacks it),
    ``switch`` (off), ``boot`` (a word of the kernel command line), ``version`` (of cgroups), ``controller``,
    ``mount``, ``device`` or ``access``.
    """

    state: str
    reason: str = ""
    remedy: str = ""
    kind: str = ""


def probe(host: Host, knob: Knob) -> Support:
    """Whether the knob's file exists here; for a cgroup knob, in a group that exists already."""
    control = CONTROLS[knob.control]
    if knob.section in ("mount", "jbd2", "feature", "quota"):
        from cotune.host.support_ext4 import probe_ext4

        return _of_kind(probe_ext4(host, knob), "file" if knob.section == "jbd2" else "device")
    if control.scope == "cgroup":
        return _probe_cgroup(host, control, knob)
    if control.scope == "sysctl":
        name = knob.key if knob.section == "sysctl" else knob.part
        path = "/proc/sys/" + name.replace(".", "/")
        return Support("yes") if host.kernel.exists(path) else _missing_path(host, knob.key, path)
    if control.scope == "file":
        return _probe_file(host, knob)
    if control.scope == "resctrl":
        from cotune.host.resctrl import probe_resctrl

        return _of_kind(probe_resctrl(host, knob), "device")
    return _probe_block(host, control, knob)


def missing(host: Host, control: Control, target: Target, symbol: str) -> Support:
    """Why a value could not be read that a plan needs; ``symbol`` is the errno, or ``unreadable``."""
    if symbol in ("EACCES", "EPERM"):
        return Support("no", f"{target.path} may not be read", "run as root", "access")
    if control.name == "sched.feature":
        return _missing_feature(host, target.knob, target.part)
    if symbol in control.absent:
        return Support("no", *control.absent[symbol], kind="device")
    file = target.path.rpartition("/")[2]
    if symbol == "ENOENT" and control.scope == "cgroup":
        return missing_file(host, control, file)
    if symbol == "ENOENT" and control.scope == "block":
        return _missing_queue_file(host, target.knob, target.part, target.unit)
    if symbol == "ENOENT":
        return _missing_path(host, target.knob, target.path)
    if symbol == "EINVAL" and file == "wbt_lat_usec":
        return _no_throttling(target.knob)
    return Support("no", f"{target.path} cannot be read ({symbol})", need_of(target.knob).kernel, "file")


def _of_kind(support: Support, kind: str) -> Support:
    """A verdict of a scope's own module, which need not name its kind."""
    return support if support.state == "yes" or support.kind else support._replace(kind=kind)


# --- cgroups --------------------------------------------------------------------------------------------------------


class _Place(NamedTuple):
    """Where a cgroup knob is on this host: None for what this host has no form of."""

    form: Form
    part: Part | None
    file: str | None


def _locate(host: Host, knob: Knob) -> _Place:
    from cotune.host.forms import find_form, part_file

    form = find_form(host, knob.control)
    part = form.control.parts.get(knob.part)
    if part is None and all(knob.part not in one.parts for one in knob_forms(knob)):
        part = next(iter(form.control.parts.values()))  # a knob that is lowered into another part
    return _Place(form, part, part_file(host, form.hierarchy, part) if form.hierarchy else None)


def _probe_cgroup(host: Host, control: Control, knob: Knob) -> Support:
    form, part, file = _locate(host, knob)
    if form.hierarchy is None:
        return missing_controller(host, control)
    if part is None or file is None:
        return no_dialect(host, knob, form.hierarchy)
    found = sample_file(host, form.hierarchy, file, part)
    if found is False:
        return missing_file(host, form.control, file, knob.key)
    if found is None and (hidden := _hidden(host, form.hierarchy, file, knob)):
        return hidden
    lost = _missing_word(host, knob) or _lost(form.control, part, file, knob)
    return lost or _gated(host, part) or _limited(host, knob)


def _hidden(host: Host, hierarchy: Hierarchy, file: str, knob: Knob) -> Support | None:
    """A file that no existing group can show. Those that every kernel with the controller has need no proof."""
    kernel = need_of(knob.key).kernel
    sure = knob.confidence == "live" and (hierarchy.version == 2 or kernel in COMMON)
    controller = CONTROLS[knob.control].controller
    if hierarchy.version == 2 and not _enabled(host, hierarchy, controller):
        name, file = _named(host, controller), f"{hierarchy.point}/cgroup.subtree_control"
        reason, remedy = f"the {name} controller is not enabled for child groups ({file})", "cotune enables it"
        if sure:
            return Support("gated", reason, f"{remedy} when a profile uses this knob", "controller")
        return Support("unknown", reason, f"{remedy}; the file itself is on {kernel}", "controller")
    if sure:
        return None
    reason = f"no child group to look for {file} in"
    return Support("unknown", reason, f"create a group and ask again; it is on {kernel}", "file")


def _enabled(host: Host, hierarchy: Hierarchy, controller: str) -> bool:
    return _named(host, controller) in host.text(f"{hierarchy.point}/cgroup.subtree_control").split()


def _named(host: Host, controller: str) -> str:
    """The name a controller has on this host: io is blkio on version 1."""
    other = OTHER_NAME.get(controller, controller)
    return other if controller not in host.layout.controllers and other in host.layout.controllers else controller


def _missing_word(host: Host, knob: Knob) -> Support | None:
    """The file is there, but does nothing without a word of the kernel command line."""
    word = need_of(knob.key).works_with
    if not word or word in host.boot_words:
        return None
    reason = f"the kernel was not booted with {word}, without which this has no effect"
    return Support("no", reason, _ADD_WORD.format(word=word), "boot")


def _lost(control: Control, part: Part, file: str, knob: Knob) -> Support | None:
    """A file by another name may not know all that the knobs lowered into it can say."""
    wanted = control.lower({part.name: 1, knob.part: 1}).get(part.name)
    lost = control.narrowed(part.name, wanted, file) if isinstance(wanted, int) else None
    return Support("no", lost.reason, lost.remedy, "file") if lost and lost.knob == knob.key else None


def _gated(host: Host, part: Part) -> Support | None:
    gate = part.gate
    if gate is None or not host.kernel.exists(gate.path) or host.text(gate.path) == gate.value:
        return None
    reason = f"{gate.name} is {host.text(gate.path)}"
    return Support("gated", reason, f"cotune sets it to {gate.value} when a profile uses this knob", "switch")


def _limited(host: Host, knob: Knob) -> Support:
    """Works; on cgroup v1 buffered writes escape their limit unless the kernel was booted for it."""
    blkio = host.layout.controllers.get("blkio")
    if not knob.key.startswith("io.throttle.write_") or blkio is None or blkio.version != 1:
        return Support("yes")
    if host.boot_words & set(WRITEBACK_WORDS.values()):
        return Support("yes")
    from cotune.host.dialect import find_dialect

    family, direct = find_dialect(host).name, "only direct writes are limited: "
    v2 = "io on cgroup v2 (boot with systemd.unified_cgroup_hierarchy=1)"
    for name, word in WRITEBACK_WORDS.items():
        if family.startswith(name):
            reason = f"{direct}on cgroup v1, buffered ones need the boot word {word}"
            return Support("yes", reason, f"{_ADD_WORD.format(word=word)}, or {v2}", "boot")
    others = " or ".join(f"{word} on {_FAMILIES[name]}" for name, word in WRITEBACK_WORDS.items())
    reason = f"{direct}for buffered ones this kernel has no cgroup writeback on cgroup v1"
    return Support("yes", reason, f"{v2}, or a kernel with a boot word for it ({others})", "boot")


def missing_controller(host: Host, control: Control) -> Support:
    """Why a controller cannot be used: off at boot, not mounted, or not in the kernel."""
    controller = control.controller
    known = {line.split()[0]: line.split()[-1] for line in host.text("/proc/cgroups").splitlines()[1:]}
    word = f"cgroup_disable={controller}"
    if known.get(controller) == "0" or word in host.boot_words:
        return Support("no", f"the {controller} controller is off ({word})", f"boot without {word}", "boot")
    if controller in known:
        reason = f"the {controller} controller is not mounted"
        remedy = f"mount -t cgroup -o {controller} {controller} /sys/fs/cgroup/{controller}, or boot with cgroup v2"
        return Support("no", reason, remedy, "mount")
    reason = f"this kernel ({host.release}) has no {controller} controller"
    return Support("no", reason, f"a kernel built with {CONTROLLERS[controller]}", "controller")


def missing_file(host: Host, control: Control, file: str, key: str = "") -> Support:
    """Why a file is not in a cgroup that exists; ``key`` is the knob that is asked for, if not the file's own."""
    reason = f"this kernel ({host.release}) has no {file}"
    parts = control.parts.values()
    key = key or next((part.knob for part in parts if file in (*part.files.values(), *part.also) and part.knob), "")
    need, instead = need_of(key), _instead(host, key)
    word = need.appears_with
    if word and word not in host.boot_words:
        remedy = f"{_ADD_WORD.format(word=word)}; {need.kernel}"
        return Support("no", f"{reason}, and was not booted with {word}", remedy, "boot")
    return Support("no", reason, f"{need.kernel}; or here {instead}" if instead else need.kernel, "file")


def no_dialect(host: Host, knob: Knob, hierarchy: Hierarchy) -> Support:
    """The knob has no file for this cgroup version: what stands for it here, or how to have the other version."""
    controller, kernel = _named(host, CONTROLS[knob.control].controller), need_of(knob.key).kernel
    other = 3 - hierarchy.version
    reason = f"the {controller} controller is on cgroup v{hierarchy.version}, where this knob has no form"
    word = "systemd.unified_cgroup_hierarchy=" + ("1" if other == 2 else "0")
    change = f"the {controller} controller on cgroup v{other} (boot with {word})"
    if kernel not in COMMON:
        change = f"{kernel}, with {change}"
    instead = _instead(host, knob.key)
    return Support("no", reason, f"{instead}; or {change}" if instead else change, "version")


def _instead(host: Host, key: str) -> str:
    """The knob to use here in place of one that is missing, if this host has it."""
    need, approximation = need_of(key), APPROXIMATIONS.get(key)
    if approximation is not None and _has(host, approximation.knob):
        return f"{approximation.knob}, which defaults: {{unsupported: approximate}} sets in its place"
    if not need.instead or not _has(host, need.instead):
        return ""
    return f"{need.instead} ({need.remark})" if need.remark else need.instead


def _has(host: Host, key: str) -> bool:
    """Whether a host has a knob's file, as far as can be told without a reason."""
    knob = BY_KEY[key]
    if CONTROLS[knob.control].scope != "cgroup":
        return host.kernel.exists("/proc/sys/" + key.replace(".", "/"))
    form, part, file = _locate(host, knob)
    return bool(form.hierarchy and file and sample_file(host, form.hierarchy, file, part) is not False)


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
    try:
        children = kernel.subdirs(hierarchy.point)
    except OSError:
        return None
    for child in children:
        if kernel.exists(f"{hierarchy.point}/{child}/{file}"):
            return True
        # a group that vanishes in this moment tells nothing, and loses its files before it goes: ask all
        lacking = lacking or kernel.exists(f"{hierarchy.point}/{child}")
    return False if lacking else None


# --- files of the host ----------------------------------------------------------------------------------------------


def _missing_path(host: Host, key: str, path: str) -> Support:
    """Why there is no such sysctl or other file of the whole host."""
    name = f"sysctl {path.removeprefix('/proc/sys/').replace('/', '.')}" if path.startswith("/proc/sys/") else path
    return Support("no", f"this kernel ({host.release}) has no {name}", need_of(key).kernel, "file")


def feature_file(host: Host) -> str:
    """The list of scheduler features: it moved in Linux 5.13."""
    return next((path for path in _FEATURE_FILES if host.kernel.exists(path)), _FEATURE_FILES[-1])


def _probe_file(host: Host, knob: Knob) -> Support:
    if knob.control == "sched.feature":
        words = host.text(feature_file(host)).split()
        there = knob.part in words or f"NO_{knob.part}" in words
        return Support("yes") if there else _missing_feature(host, knob.key, knob.part)
    path = file_path(knob)
    return Support("yes") if host.kernel.exists(path) else _missing_path(host, knob.key, path)


def _missing_feature(host: Host, key: str, name: str) -> Support:
    need = need_of(key).kernel
    if any(host.kernel.exists(path) for path in _FEATURE_FILES):
        return Support("no", f"this kernel ({host.release}) has no such scheduler feature: {name}", need, "file")
    if any(mount.point == _DEBUG for mount in host.kernel.mounts()):
        reason = f"this kernel ({host.release}) lists no scheduler features in {_DEBUG}"
        return Support("no", reason, f"{need}, built with CONFIG_SCHED_DEBUG", "file")
    remedy = f"mount -t debugfs none {_DEBUG}; the feature itself needs {need}"
    return Support("no", f"debugfs is not mounted, and scheduler features are listed in {_DEBUG} only", remedy, "mount")


# --- block queues ---------------------------------------------------------------------------------------------------


def _probe_block(host: Host, control: Control, knob: Knob) -> Support:
    """One disk with the file is enough; reading it tells whether its feature is set up there."""
    from cotune.host.devices import disk_names

    file = control.parts[knob.part].files["any"]
    refused = False
    for name in disk_names(host.kernel):
        try:
            host.kernel.read(f"{host.kernel.realpath(f'/sys/block/{name}')}/queue/{file}")
        except OSError as error:
            refused = refused or error.errno == errno.EINVAL
        else:
            return Support("yes")
    return _no_throttling(knob.key) if refused else _missing_queue_file(host, knob.key, knob.part, "")


def _no_throttling(key: str) -> Support:
    return Support("no", "writeback throttling is not set up on this queue", need_of(key).kernel, "device")


def _missing_queue_file(host: Host, key: str, part: str, queue: str) -> Support:
    """Why a file is not in a disk's ``queue`` directory; without one, in that of no disk."""
    name = part.removeprefix("iosched/")
    scheduler = next((one for one, names in TUNABLES.items() if name in names), "")
    if not scheduler:
        reason = f"{'this disk' if queue else 'no disk here'} has {'no ' if queue else ''}queue/{name}"
        return Support("no", reason, need_of(key).kernel, "device")
    menu = host.text(f"{queue}/scheduler").split() if queue else []
    active = next((word.strip("[]") for word in menu if word.startswith("[")), "none")
    uses = f"this disk uses {active}" if queue else f"no disk here uses {scheduler}"
    reason = f"{uses}, and only the scheduler {scheduler} has this tunable"
    remedy = f"scheduler: {scheduler} in the same entry of host.block ({SCHEDULERS[scheduler]}, or its module)"
    return Support("no", reason, remedy, "device")
