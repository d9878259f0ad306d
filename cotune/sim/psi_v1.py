"""Pressure files on cgroup v1, which ANCK and openEuler show in the cpuacct tree with the boot word ``psi_v1=1``."""

from __future__ import annotations

from cotune.sim.files import Controller
from cotune.sim.hosts.specs import HostSpec
from cotune.sim.psi import pressure_files


def additions(name: str, spec: HostSpec) -> Controller | None:
    """``cpu.pressure``, ``memory.pressure`` and ``io.pressure``; nothing can hide them here."""
    if name != "cpuacct" or "psi_v1=1" not in spec.command_line.split():
        return None
    files = tuple(file._replace(shown=lambda _group: True) for file in pressure_files(spec))
    return Controller("cpuacct", files, lambda _group: None)
