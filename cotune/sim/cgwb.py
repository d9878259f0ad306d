"""cgroup writeback on v1: which blkio group the buffered writes of a memory group are charged to.

Boot word ``cgwb_v1`` (ANCK, from 4.19.36-12.al7 on). mm/backing-dev.c and block/blk-cgroup.c of ANCK, read and not run.

- A task that sits in a memory group and a blkio group, neither of them the root, links the former to the latter.
- A memory group already linked that is seen with another blkio group is linked to the root, and stays so.
- A link ends with either group.
"""

from __future__ import annotations

from collections.abc import Iterator

from cotune.sim.files import HostFile
from cotune.sim.hosts.specs import HostSpec
from cotune.sim.machine import Group, Machine, Task

#: Key in a memory group: the number of the blkio group it is linked to, and key in a blkio group: its own number.
_LINK, _NUMBER = "cgwb.link", "cgwb.number"
_ROOT = 0
_NEXT = "cgwb"
_FILE = "/sys/kernel/debug/bdi/bdi_wb_link"


def enabled(spec: HostSpec) -> bool:
    """Whether the kernel was booted with it."""
    return spec.anck and "cgwb_v1" in spec.command_line.split()


def boot(machine: Machine) -> None:
    """Watch tasks being moved."""
    if enabled(machine.spec):
        machine.on_attach.append(lambda tasks: _attached(machine, tasks))


def _attached(machine: Machine, tasks: list[Task]) -> None:
    """insert_memcg_blkcg_link for each task that moved."""
    for task in tasks:
        memory = task.groups[machine.hierarchy("memory").key]
        blkio = task.groups[machine.hierarchy("blkio").key]
        if memory.parent is not None and blkio.parent is not None:
            _link(machine, memory, blkio)


def _link(machine: Machine, memory: Group, blkio: Group) -> None:
    if _NUMBER not in blkio.numbers:
        machine.extra[_NEXT] = blkio.numbers[_NUMBER] = int(machine.extra.get(_NEXT, _ROOT)) + 1
    present = memory.numbers.get(_LINK)
    if present is not None and present != _ROOT and present not in _numbered(machine):
        present = None  # that group is gone, and the link with it
    if present is None:
        memory.numbers[_LINK] = blkio.numbers[_NUMBER]
    elif present != blkio.numbers[_NUMBER]:
        memory.numbers[_LINK] = _ROOT


def _numbered(machine: Machine) -> dict[int, Group]:
    root = machine.hierarchy("blkio").root
    return {_ROOT: root} | {g.numbers[_NUMBER]: g for g in root.walk() if _NUMBER in g.numbers}


def files(machine: Machine) -> Iterator[tuple[str, HostFile]]:
    """The links in debugfs."""
    if enabled(machine.spec):
        yield _FILE, HostFile(lambda: _show(machine), mode=0o444)


def _show(machine: Machine) -> str:
    """The format is documented nowhere: this one, a header and the two paths of each link, is ours."""
    numbered = _numbered(machine)
    rows = [
        f"{memory.path} {numbered[memory.numbers[_LINK]].path}\n"
        for memory in machine.hierarchy("memory").root.walk()
        if memory.numbers.get(_LINK) in numbered
    ]
    return "memcg blkcg\n" + "".join(sorted(rows))
