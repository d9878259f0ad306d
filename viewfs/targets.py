"""Which process stands for a container: by pid, or by the id a container runtime knows it under."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cotune.errors import UsageError
from viewfs.processes import Gone, start_time, still_runs
from viewfs.views.records import TICKS
from viewfs.views.uptime import boot_offset

#: Where runtimes keep the state of containers, with {} for the id: runc by itself and under docker, containerd and
#: podman, then crun.
_STATES = (
    ("runc", "runc/{}/state.json"),
    ("docker", "docker/runtime-runc/moby/{}/state.json"),
    ("containerd", "containerd/runc/*/{}/state.json"),
    ("crun", "crun/{}/status"),
)
#: Programs that turn a name into a process.
_PROGRAMS = ("docker", "podman")


class Target(NamedTuple):
    """A container's first process. ``id`` is the runtime's id, empty when it was named by pid."""

    pid: int
    starttime: int
    runtime: str = ""
    id: str = ""

    def __str__(self) -> str:
        return f"{self.runtime}:{self.id}" if self.id else str(self.pid)


def find_target(word: str, run: Path = Path("/run")) -> Target:
    """The container a word means: a pid, an id or the beginning of one, or ``RUNTIME:ID``.

    ``run`` is where runtimes keep their state. Raises UsageError when there is none, or more than one.
    """
    if word.isdecimal() and len(word) < 8:
        return _process(int(word))
    runtime, colon, name = word.partition(":")
    if not colon:
        runtime, name = "", word
    if not name or not all(character.isalnum() or character in "-_.+" for character in name):
        raise UsageError(
            f"{word!r} is no pid and no container id", "a pid, an id, or runc:ID, docker:NAME, podman:NAME"
        )
    found = {(kind, path.parent.name): path for kind, path in _states(runtime, name, run)}
    exact = {key: path for key, path in found.items() if key[1] == name} or found
    if len(exact) > 1:
        raise UsageError(f"{word} may be any of {', '.join(f'{kind}:{name}' for kind, name in sorted(exact))}")
    for (kind, container), path in exact.items():
        return _of_state(kind, container, path)
    for program in _PROGRAMS:
        if runtime in ("", program) and (pid := _inspect(program, name)):
            return _process(pid)._replace(runtime=program, id=name)
    raise UsageError(f"no running container {word}", "runc list, docker ps or podman ps say what runs; a pid works too")


def _states(runtime: str, name: str, run: Path) -> Iterator[tuple[str, Path]]:
    for kind, pattern in _STATES:
        if runtime in ("", kind):
            yield from ((kind, path) for path in run.glob(pattern.format(f"{name}*")))


def _of_state(kind: str, name: str, path: Path) -> Target:
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        pid = int(state.get("init_process_pid") or state.get("pid") or 0)
        start = int(state.get("init_process_start") or 0)
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    target = _process(pid)._replace(runtime=kind, id=name) if pid else None
    # a runtime in a time namespace of its own, where the container then is as well, writes what it sees there
    known = target is not None and (not start or start - target.starttime in (0, _offset(pid)))
    if target is None or not known or not still_runs(target.pid, target.starttime):
        raise UsageError(f"container {name} does not run")
    return target


def _offset(pid: int) -> int:
    """By how many clock ticks start times are shifted in the time namespace of a process."""
    try:
        return boot_offset(Path(f"/proc/{pid}/timens_offsets").read_bytes()) * TICKS
    except OSError:
        return 0


def _process(pid: int) -> Target:
    try:
        return Target(pid, start_time(pid))
    except Gone:
        raise UsageError(f"there is no process {pid}") from None


def _inspect(program: str, name: str) -> int:
    if shutil.which(program) is None:
        return 0
    command = [program, "inspect", "--format", "{{.State.Pid}}", "--", name]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return int(answer.stdout) if answer.returncode == 0 and answer.stdout.strip().isdecimal() else 0
