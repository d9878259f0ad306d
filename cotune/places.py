"""Places: kernel state that is no file, read as a whole and changed through the other operations of the port."""

from __future__ import annotations

import errno
from collections.abc import Callable

from cotune.controls import CONTROLS
from cotune.controls.base import Value
from cotune.controls.mounts import LIMITS, project_value, value_project
from cotune.host.features import change_features, feature_values
from cotune.host.mounts import find_mount, mount_values
from cotune.host.projects import assign_tree
from cotune.kernel.port import Kernel
from cotune.model import Step, Target

#: Scope of a control → the operation that changes what it stands for.
OPERATIONS = {"mount": "remount", "feature": "tune2fs", "quota": "quotactl", "project": "project"}
#: That which goes through a whole tree.
TREE = "project tree"
_KIB = 1024


def operation(control: str) -> str:
    """The operation of a control that is no file; empty for all others."""
    return TREE if control == "quota.tree" else OPERATIONS.get(CONTROLS[control].scope, "")


class Places:
    """Reads places, each at most once."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self._read: dict[tuple[str, str, str], dict[str, Value] | OSError] = {}

    def values(self, target: Target) -> dict[str, Value]:
        """Every part of the place a target belongs to. Raises OSError."""
        scope = CONTROLS[target.control].scope
        key = (scope, target.unit, (target.row or "").partition(" ")[0] if scope == "quota" else "")
        if key not in self._read:
            try:
                self._read[key] = self._values(*key)
            except OSError as error:
                self._read[key] = error
        found = self._read[key]
        if isinstance(found, OSError):
            raise found
        return found

    def _values(self, scope: str, unit: str, row: str) -> dict[str, Value]:
        if scope == "feature":
            return feature_values(self.kernel, unit)
        if scope == "project":
            return {"id": project_value(self.kernel.project(unit))}
        if scope == "quota":
            limits = self.kernel.quota(unit, int(row))
            return dict(zip(LIMITS, (limits.hard // _KIB, limits.soft // _KIB, *limits[2:]), strict=True))
        mount = find_mount(self.kernel, unit)
        if mount is None:
            raise OSError(errno.ENOENT, "no longer mounted", unit)
        return mount_values(self.kernel, mount)


def change_place(kernel: Kernel, step: Step, tick: Callable[[int], None] | None = None) -> None:
    """Carry out a step on a place; ``step.words`` are what its control wrote. Raises OSError."""
    unit = step.target.unit
    if step.op == "remount":
        kernel.remount(unit, step.words)
    elif step.op == "tune2fs":
        change_features(kernel, unit, step.words)
    elif step.op == "quotactl":
        _change_limits(kernel, step)
    elif step.value is not None:
        project = value_project(step.value)
        if step.op == TREE:
            assign_tree(kernel, unit, project, tick)
        else:
            kernel.set_project(unit, project)


def _change_limits(kernel: Kernel, step: Step) -> None:
    """Set the limits that are named, and keep the others."""
    project = int((step.target.row or "").partition(" ")[0])
    limits = kernel.quota(step.target.unit, project)
    for word in step.words:
        part, _, value = word.partition("=")
        limits = limits._replace(**{part: int(value) * (1 if part.startswith("inodes") else _KIB)})
    kernel.set_quota(step.target.unit, project, limits)
