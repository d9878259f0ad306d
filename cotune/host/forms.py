"""Which form of a control this host has: version 1 and 2 of cgroups keep the same thing in different files."""

from __future__ import annotations

from typing import NamedTuple

from cotune.controls import CONTROLS
from cotune.controls.base import Control, Part
from cotune.host.cgroups import Hierarchy
from cotune.host.facts import Host
from cotune.host.needs import OTHER_NAME
from cotune.host.support import sample_file


class Form(NamedTuple):
    """A cgroup control as this host has it. ``hierarchy`` is None when its controller is not mounted anywhere."""

    control: Control
    hierarchy: Hierarchy | None


def find_form(host: Host, name: str) -> Form:
    """The form of the control ``name``: that of the cgroup version its controller is on."""
    control = CONTROLS[name]
    forms = [control, CONTROLS[control.v2]] if control.v2 else [control]
    found = [Form(form, hierarchy) for form in forms if (hierarchy := host.layout.controllers.get(form.controller))]
    fitting = [form for form in found if form.hierarchy and has_version(form.control, form.hierarchy.version)]
    # blkio and io are one controller by two names: where only the other is there, the knob has no form here
    other = host.layout.controllers.get(OTHER_NAME.get(control.controller, ""))
    return (fitting or found or [Form(control, other)])[0]


def has_version(control: Control, version: int) -> bool:
    """Whether a control has a file on this cgroup version."""
    return any(f"v{version}" in part.files for part in control.parts.values())


def part_file(host: Host, hierarchy: Hierarchy, part: Part | None) -> str | None:
    """The name a part's file has in a hierarchy; None when the part has no form on that cgroup version.

    Of several names the first that exists counts, or the first of all when none can be seen.
    """
    file = part.files.get(f"v{hierarchy.version}") if part else None
    if part is None or file is None or not part.also:
        return file
    names = (file, *part.also)
    return next((name for name in names if sample_file(host, hierarchy, name, part)), file)
