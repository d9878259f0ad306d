"""Resolve: a profile and a host → which values are wanted where.

Reads names only (directories, mounts, devices, processes) and, for a group that has to be created, the cpuset of its
parent. What is missing on the host is collected, never raised, except what a profile requires.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

from cotune.controls import CONTROLS
from cotune.errors import PlanRefused, Unsupported
from cotune.host.facts import Host
from cotune.host.support import probe
from cotune.knobs import BY_KEY
from cotune.model import Resolved, Setting
from cotune.profile.load import Profile
from cotune.resolve.controllers import add_enables
from cotune.resolve.costs import check_costs
from cotune.resolve.groups import GroupResolver
from cotune.resolve.host import HostResolver, gate_target
from cotune.resolve.resctrl import ResctrlResolver
from cotune.resolve.writeback import check_writeback


def resolve(profile: Profile, host: Host, pids: dict[str, list[int]], only: Iterable[str] = ()) -> Resolved:
    """Everything ``profile`` wants on ``host``.

    ``pids`` is group name → further processes to move; ``only`` keeps the resources that match one of its globs.
    Raises Unsupported when a requirement is not met, PlanRefused for contradictions.
    """
    check_requirements(profile, host)
    resolved = Resolved([], [], [], [], [], [], [], [], [])
    HostResolver(profile, host, resolved).run()
    ResctrlResolver(profile, host, resolved).run()
    GroupResolver(profile, host, resolved, pids).run()
    resolved = _select(resolved, list(only))
    check_costs(host, resolved)
    _add_gates(host, resolved)
    add_enables(host, resolved)
    check_writeback(host, resolved)
    return resolved


def check_requirements(profile: Profile, host: Host) -> None:
    """Raise Unsupported when a feature or boot word of ``requires`` is missing."""
    requires = profile.data.get("requires", {})
    for index, key in enumerate(requires.get("features", [])):
        support = probe(host, BY_KEY[key])
        if support.state == "no":
            origin = profile.origin("requires", "features", index)
            raise Unsupported(f"{origin}: {key} is required but not available here: {support.reason}", support.remedy)
    for index, word in enumerate(requires.get("boot", [])):
        if word not in host.boot_words:
            origin = profile.origin("requires", "boot", index)
            raise Unsupported(
                f"{origin}: the kernel was not booted with {word}, which the profile requires",
                f"add {word} to the kernel command line and reboot",
            )


def _add_gates(host: Host, resolved: Resolved) -> None:
    """Put the global switch of a feature among the wanted values when a part that needs it is used."""
    named = {setting.target.path: setting for setting in resolved.settings}
    for setting in list(resolved.settings):
        part = CONTROLS[setting.target.control].parts.get(setting.target.part)
        gate = part.gate if part else None
        if gate is None:
            continue
        switch = named.get(gate.path)
        if switch is not None and str(switch.value) != gate.value:
            raise PlanRefused(
                f"{switch.origin}: {gate.name} is switched off (not {gate.value}), but {setting.target.knob} at "
                f"{setting.origin} needs it",
                "leave the switch to cotune, or drop the knob",
            )
        if gate.path not in named and host.kernel.exists(gate.path):
            named[gate.path] = Setting(gate_target(gate), gate.value, setting.origin, implied=True)
            resolved.settings.append(named[gate.path])


def selected(resource: str, only: Iterable[str]) -> bool:
    """Whether a resource name matches one of the globs; no globs select everything."""
    globs = list(only)
    return not globs or any(fnmatch.fnmatchcase(resource, glob) for glob in globs)


def _select(resolved: Resolved, only: list[str]) -> Resolved:
    if not only:
        return resolved

    def wanted(resource: str) -> bool:
        return selected(resource, only)

    creates = [c for c in resolved.creates if wanted(c.resource)]
    parents = [c for c in resolved.creates if any(o.path.startswith(c.path + "/") for o in creates)]
    kept = {c.path for c in parents}
    left_out = {c.path for c in resolved.creates if c not in creates and c not in parents}
    settings = [
        s
        for s in resolved.settings
        if wanted(s.target.resource) or (s.target.control == "cpuset" and s.target.unit in kept)
    ]
    names = {s.target.resource for s in settings} | {c.resource for c in creates}
    return Resolved(
        settings,
        [c for c in resolved.creates if c in creates or c in parents],
        [m for m in resolved.moves if wanted(m.resource) and m.path not in left_out],
        [u for u in resolved.unsupported if wanted(u.resource)],
        resolved.notes,
        [p for p in resolved.pending if wanted(p.resource)],
        [r for r in resolved.refusals if any(name.startswith(r.resource) for name in names)],
        [],
        [c for c in resolved.summaries if wanted(c.target.resource) and c.target.unit not in left_out],
    )
