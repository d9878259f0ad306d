"""What excludes group identity: core scheduling that is on, and builds that are known to crash with it."""

from __future__ import annotations

import re
from typing import NamedTuple

from cotune.errors import PlanRefused
from cotune.host.facts import Host
from cotune.model import Resolved, Setting


class Quirk(NamedTuple):
    """Builds on which a control must not be used. ``low`` and ``high`` are inclusive; such an entry only forbids."""

    control: str
    branch: str
    low: tuple[int, ...]
    high: tuple[int, ...]
    why: str
    source: str


QUIRKS = (
    Quirk(
        "cpu.identity",
        "4.19.91",
        (25, 1),
        (25, 5),
        "group identity can crash this build",
        "Alibaba Cloud help 338407",
    ),
)
_SCHED_CORE = "/proc/sys/kernel/sched_core"
_FEATURES = ("/sys/kernel/debug/sched_features", "/sys/kernel/debug/sched/features")


def check_exclusions(host: Host, resolved: Resolved) -> None:
    """Raise PlanRefused when the profile asks for something this host must not get."""
    for setting in resolved.settings:
        quirk = find_quirk(host.release, setting.target.control)
        if quirk is not None:
            raise PlanRefused(
                f"{setting.origin}: {setting.target.knob} must not be used on {host.release}: {quirk.why} "
                f"({quirk.source})",
                "update the kernel, or drop the knob",
            )
    identity = [s for s in resolved.settings if s.target.control == "cpu.identity" and s.value != 0]
    wants_core = [s for s in resolved.settings if s.target.path == _SCHED_CORE and str(s.value) == "1"]
    if identity and wants_core:
        raise PlanRefused(
            f"{identity[0].origin}: group identity and core scheduling ({wants_core[0].origin}) exclude each other: "
            "together they can lock the machine up",
            "keep one of the two",
        )
    switched_off = any(s.target.path == _SCHED_CORE and str(s.value) == "0" for s in resolved.settings)
    live = "" if switched_off else core_scheduling(host)
    if identity and live:
        raise PlanRefused(_text(identity[0], live), _remedy(live))


def _text(setting: Setting, live: str) -> str:
    return (
        f"{setting.origin}: {setting.target.knob} cannot be used while core scheduling is on ({live}): together they "
        "can lock the machine up (koordinator pull request 1829)"
    )


def _remedy(live: str) -> str:
    return f"switch core scheduling off first ({live}), or drop the knob"


def core_scheduling(host: Host) -> str:
    """Where core scheduling is seen to be on, or nothing."""
    if host.text(_SCHED_CORE) == "1":
        return "kernel.sched_core is 1"
    for path in _FEATURES:
        if "CORE_SCHED" in host.text(path).split():
            return "the scheduler feature CORE_SCHED is set"
    return ""


def find_quirk(release: str, control: str) -> Quirk | None:
    """The quirk of a kernel release such as 4.19.91-25.3.al7.x86_64 that forbids a control, or None."""
    match = re.match(r"(\d+\.\d+\.\d+)-(\d+(?:\.\d+)*)", release)
    if match is None:
        return None
    build = tuple(int(word) for word in match[2].split("."))
    for quirk in QUIRKS:
        if (
            quirk.control == control
            and quirk.branch == match[1]
            and quirk.low <= build[: len(quirk.high)] <= quirk.high
        ):
            return quirk
    return None
