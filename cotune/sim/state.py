"""Saving and loading a simulated host as JSON, so that separate commands see one host.

The format is private to one version: a file with another number is refused, not converted.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from cotune.errors import UsageError
from cotune.sim.boot import bare_machine, booted_machine, host_spec
from cotune.sim.hosts import MountSpec
from cotune.sim.machine import Group, Machine, MountPoint, Task
from cotune.state import replace_file

FORMAT = 2
_V = TypeVar("_V")


def save(machine: Machine, path: Path, sync: bool = True) -> None:
    """Replace the file in one step, readable for its owner only; ``sync`` as for replace_file."""
    text = json.dumps(_dump(machine), separators=(",", ":"), sort_keys=True)
    replace_file(path, text, sync)


def load(kernel: str, path: Path) -> Machine:
    """The host saved at ``path``, or a freshly booted one when there is no such file."""
    spec = host_spec(kernel)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return booted_machine(spec)
    except UnicodeDecodeError:
        text = ""
    hint = f"delete {path} to start over with a fresh simulated host"
    try:
        data = json.loads(text)
        found = (data["format"], data["kernel"])
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{path}: not the state of a simulated host", hint) from None
    if found[0] != FORMAT:
        raise UsageError(f"{path}: written by another version (format {found[0]}, expected {FORMAT})", hint)
    if found[1] != kernel:
        raise UsageError(f"{path}: is the state of {found[1]}, not of {kernel}", hint)
    try:
        return _restore(data, bare_machine(spec))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UsageError(f"{path}: damaged state of a simulated host", hint) from None


def _dump(machine: Machine) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "kernel": machine.spec.name,
        "boot_id": machine.boot_id,
        "numbers": machine.numbers,
        "texts": machine.texts,
        "queues": machine.queues,
        "schedulers": machine.schedulers,
        "plain": machine.plain,
        "extra": machine.extra,
        "mounts": [_dump_mount(mount) for mount in machine.mount_points],
        "filesystems": {
            device: {"ro": fs.read_only, "lazytime": fs.lazytime, "numbers": fs.numbers, "words": fs.words}
            for device, fs in machine.filesystems.items()
        },
        "groups": {hierarchy.key: _dump_group(hierarchy.root) for hierarchy in machine.hierarchies},
        "tasks": [_dump_task(task) for task in machine.tasks.values()],
    }


def _dump_mount(mount: MountPoint) -> dict[str, Any]:
    spec = mount.spec
    return {
        "point": spec.point,
        "device": spec.device,
        "source": spec.source,
        "fstype": spec.fstype,
        "options": mount.options,
        "super": spec.super_options,
    }


def _dump_group(group: Group) -> dict[str, Any]:
    children = {name: _dump_group(child) for name, child in group.children.items()}
    return {"numbers": group.numbers, "lists": group.lists, "rows": group.rows, "children": children}


def _dump_task(task: Task) -> dict[str, Any]:
    return {
        "pid": task.pid,
        "tgid": task.tgid,
        "ppid": task.ppid,
        "comm": task.comm,
        "command": task.command,
        "start": task.start,
        "kernel": task.kernel_thread,
        "groups": {key: group.path for key, group in task.groups.items()},
    }


def _restore(data: dict[str, Any], machine: Machine) -> Machine:
    machine.boot_id = str(data["boot_id"])
    machine.numbers = _same_keys(_numbers(data["numbers"]), machine.numbers)
    machine.texts.update(_texts(data["texts"]))
    machine.queues = _same_keys({k: _ints(v) for k, v in data["queues"].items()}, machine.queues)
    machine.schedulers = _same_keys(_texts(data["schedulers"]), machine.schedulers)
    machine.plain = {str(path): None if text is None else str(text) for path, text in data["plain"].items()}
    machine.extra.update(data["extra"])
    if not data["mounts"]:
        raise ValueError("nothing is mounted, not even the root")
    machine.mount_points = [_restore_mount(machine, mount) for mount in data["mounts"]]
    for device, fs in machine.filesystems.items():
        saved = data["filesystems"][device]
        fs.read_only, fs.lazytime = bool(saved["ro"]), bool(saved["lazytime"])
        fs.numbers = _same_keys(_ints(saved["numbers"]), fs.numbers)
        fs.words = _same_keys(_texts(saved["words"]), fs.words)
    for hierarchy in machine.hierarchies:
        _restore_group(data["groups"][hierarchy.key], hierarchy.root)
    for saved in data["tasks"]:
        _restore_task(machine, saved)
    machine.layout += 1
    return machine


def _restore_mount(machine: Machine, data: dict[str, Any]) -> MountPoint:
    """The ext4 part of a description is that of the device's superblock, which outlives its mounts."""
    device = str(data["device"])
    fs = machine.filesystems.get(device)
    options, super_options = tuple(map(str, data["options"])), tuple(map(str, data["super"]))
    spec = MountSpec(
        str(data["point"]), device, str(data["source"]), str(data["fstype"]), options, super_options,
        None if fs is None else fs.spec,
    )  # fmt: skip
    return MountPoint(spec)


def _restore_group(data: dict[str, Any], group: Group) -> None:
    for name, child in data["children"].items():
        _restore_group(child, group.hierarchy.mkdir(group, str(name)))
    group.numbers = _same_keys(_ints(data["numbers"]), group.numbers)
    group.lists = _same_keys(_numbers(data["lists"]), group.lists)
    group.rows = _same_keys({k: _ints(v) for k, v in data["rows"].items()}, group.rows)


def _restore_task(machine: Machine, data: dict[str, Any]) -> None:
    task = Task(
        int(data["pid"]), int(data["tgid"]), int(data["ppid"]), str(data["comm"]), str(data["command"]),
        int(data["start"]), bool(data["kernel"]),
    )  # fmt: skip
    for hierarchy in machine.hierarchies:
        group = hierarchy.find(data["groups"][hierarchy.key])
        if group is None:
            raise ValueError("a task in a group that does not exist")
        task.groups[hierarchy.key] = group
    machine.tasks[task.pid] = task


def _same_keys(found: dict[str, _V], expected: dict[str, _V]) -> dict[str, _V]:
    """``found``, provided it holds all the keys of a fresh host."""
    if not expected.keys() <= found.keys():
        raise ValueError("keys are missing")
    return found


def _ints(data: dict[str, Any]) -> dict[str, int]:
    return {str(key): int(value) for key, value in data.items()}


def _numbers(data: dict[str, Any]) -> dict[str, list[int]]:
    return {str(key): [int(value) for value in values] for key, values in data.items()}


def _texts(data: dict[str, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in data.items()}
