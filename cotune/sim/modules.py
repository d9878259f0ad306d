"""The parts of a simulated host outside the cgroup trees, one line per module."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from cotune.sim import ancksys, block, cgwb, hotplug, mmsys, mounts, procfs, psi, resctrl, schedfeat, sysctl, tencentos
from cotune.sim.files import HostFile
from cotune.sim.machine import Machine
from cotune.sim.trees import Tree


def _no_files(_machine: Machine) -> Iterable[tuple[str, HostFile]]:
    return ()


def _no_links(_machine: Machine) -> Iterable[tuple[str, str]]:
    return ()


class Module(NamedTuple):
    """What a module adds to a host. All are asked again whenever ``Machine.layout`` has changed, but for ``boot``.

    ``boot`` sets defaults; a saved host is booted first, then its saved values replace them. ``files`` and ``links``
    give absolute paths, ``trees`` the :class:`Tree` below each absolute path.
    """

    files: Callable[[Machine], Iterable[tuple[str, HostFile]]] = _no_files
    boot: Callable[[Machine], None] = lambda _machine: None
    links: Callable[[Machine], Iterable[tuple[str, str]]] = _no_links
    trees: Callable[[Machine], Mapping[str, Tree]] = lambda _machine: {}


#: A later module's file replaces an earlier one's of the same path.
MODULES = (
    Module(sysctl.files, sysctl.boot),
    Module(block.files, block.boot, block.links),
    Module(mounts.files, mounts.boot),
    Module(ancksys.files, ancksys.boot),
    Module(mmsys.files, mmsys.boot),
    Module(schedfeat.files, schedfeat.boot),
    Module(cgwb.files, cgwb.boot),
    Module(tencentos.files),
    Module(procfs.files, links=procfs.links),
    Module(psi.files),
    Module(hotplug.files, hotplug.boot),
    Module(resctrl.files, resctrl.boot, trees=resctrl.trees),
)
