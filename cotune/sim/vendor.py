"""What vendors and build options add to the controllers, on top of the files every kernel has."""

from __future__ import annotations

from collections.abc import Callable

from cotune.sim import anck_cpu, memory_anck, openeuler, psi_v1, tencentos, uclamp
from cotune.sim.files import Controller
from cotune.sim.hosts.specs import HostSpec
from cotune.sim.machine import Group

#: Each answers with its additions to a controller of a host, by the name of its file table (``memory``, ``cpu.v2``).
_SOURCES: tuple[Callable[[str, HostSpec], Controller | None], ...] = (
    anck_cpu.additions,
    memory_anck.additions,
    uclamp.additions,
    psi_v1.additions,
    tencentos.additions,
    openeuler.additions,
)


def extended(name: str, controller: Controller, spec: HostSpec) -> Controller:
    """The controller with all additions; a file of the same name replaces the generic one."""
    for source in _SOURCES:
        added = source(name, spec)
        if added is not None:
            controller = _joined(controller, added)
    return controller


def _joined(base: Controller, added: Controller) -> Controller:
    files = {file.name: file for file in (*base.files, *added.files)}

    def created(group: Group) -> None:
        base.created(group)
        added.created(group)

    def attach(group: Group) -> None:
        base.attach(group)
        added.attach(group)

    return base._replace(files=tuple(files.values()), created=created, attach=attach)
