"""Execute: carry out single steps through the Kernel port, and read back what came of them."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterable

from cotune.controls import CONTROLS
from cotune.controls.base import Value
from cotune.controls.memory import WatermarkMinAdj
from cotune.host.facts import Host
from cotune.host.mounts import ext4_options, find_mount
from cotune.host.tasks import group_of, read_process
from cotune.model import Entry, Key, Move, Step, Target

VANISHED = (errno.ENOENT, errno.ENODEV)
_RMDIR_PATIENCE = 1.0


class StepFailed(Exception):
    """A step the kernel refused. ``text`` is what was written."""

    def __init__(self, step: Step, text: str, error: OSError) -> None:
        super().__init__(step, text, error)
        self.step, self.text, self.error = step, text, error

    @property
    def symbol(self) -> str:
        """The errno's name."""
        return errno.errorcode.get(self.error.errno or 0, str(self.error.errno))

    def describe(self) -> str:
        """File, value, errno and the likely cause, in one sentence."""
        cause = CONTROLS[self.step.target.control].causes.get(self.symbol, "") if self.step.target.control else ""
        what = f"writing {self.text.strip()!r} to" if self.step.op in ("write", "move") else self.step.op
        where = self.step.target.path + (f" with {self.text!r}" if self.step.op == "remount" else "")
        sentence = f"{what} {where}: {self.symbol} ({self.error.strerror})"
        return sentence + (f"; likely cause: {cause}" if cause else "")


def step_text(step: Step) -> str:
    """What a step writes, as text."""
    if step.op == "write" and step.value is not None:
        return CONTROLS[step.target.control].format(step.target.part, step.value, step.target.row)
    if step.op == "move" and step.move is not None:
        return str(step.move.pid)
    return ",".join(step.words)


def perform(host: Host, step: Step) -> None:
    """Carry out one step. Raises StepFailed."""
    text = step_text(step)
    try:
        if step.op == "write":
            host.kernel.write(step.target.path, text)
        elif step.op == "mkdir":
            host.kernel.mkdir(step.target.path)
        elif step.op == "remount":
            host.kernel.remount(step.target.path, step.words)
        elif step.move is not None:
            move_task(host, step.move.pid, step.target.path)
    except OSError as error:
        if step.op == "move" and error.errno == errno.ESRCH:
            return  # the process ended: nothing left to move
        raise StepFailed(step, text, error) from None


def move_task(host: Host, pid: int, directory: str) -> None:
    """Put a process with all its threads into a cgroup."""
    host.kernel.write(f"{directory}/cgroup.procs", str(pid))


def task_is_in(host: Host, move: Move, directory: str) -> bool | None:
    """Whether the process of a move is in a directory; None when it has ended."""
    process = read_process(host.kernel, move.pid)
    if process is None or process.start != move.start:
        return None
    for hierarchy in host.layout.hierarchies():
        if directory == hierarchy.point or directory.startswith(hierarchy.point + "/"):
            return group_of(host.kernel, host.layout, move.pid, hierarchy) == directory
    return None


class ReadBack:
    """Reads values back after writing; every file and mount is read at most once."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.texts: dict[str, str] = {}
        self.options: dict[str, dict[str, Value]] = {}

    def value(self, target: Target) -> Value | None:
        """What a target reads now; None when it cannot be read. Raises OSError when its file is gone."""
        control = CONTROLS[target.control]
        if control.scope == "mount":
            return self._mount(target)
        try:
            return control.parse(target.part, self.text(target.path), target.row)
        except ValueError:
            return None

    def agrees(self, target: Target, value: Value) -> bool:
        """Whether a target reads what it should after ``value`` was written. Raises OSError."""
        read = self.value(target)
        control = CONTROLS[target.control]
        if isinstance(control, WatermarkMinAdj) and isinstance(value, int):
            return read == control.effective(self._parent(target), value)
        return read == value

    def own_watermark(self, path: str, known: Value | None) -> int | None:
        """The own value behind a memory.wmark_min_adj file, None when it is hidden or the file is gone."""
        control = CONTROLS["memory.wmark_min_adj"]
        target = Target(control.name, "wmark_min_adj", "", path.rpartition("/")[0], path)
        try:
            read = self.value(target)
        except OSError:
            return None
        if not isinstance(control, WatermarkMinAdj) or not isinstance(read, int):
            return None
        return control.own(read, self._parent(target), known if isinstance(known, int) else None)

    def text(self, path: str) -> str:
        """The text of a file, read once."""
        if path not in self.texts:
            self.texts[path] = self.host.kernel.read(path)
        return self.texts[path]

    def _parent(self, target: Target) -> int:
        directory, _, file = target.path.rpartition("/")
        try:
            return int(self.text(f"{directory.rpartition('/')[0]}/{file}"))
        except (OSError, ValueError):
            return 0

    def _mount(self, target: Target) -> Value | None:
        if target.unit not in self.options:
            mount = find_mount(self.host.kernel, target.unit)
            if mount is None:
                raise OSError(errno.ENOENT, "no longer mounted", target.unit)
            self.options[target.unit] = ext4_options(self.host.kernel, mount)
        return self.options[target.unit].get(target.part)


def mismatches(host: Host, entries: Iterable[Entry], skipped: set[Key]) -> list[tuple[Entry, Value | None]]:
    """Entries whose value does not read back as written, with what it reads. Vanished cgroups are left out."""
    reader = ReadBack(host)
    wrong = []
    for entry in entries:
        if entry.new is None or entry.target.key in skipped:
            continue
        try:
            if not reader.agrees(entry.target, entry.new):
                wrong.append((entry, reader.value(entry.target)))
        except OSError as error:
            if error.errno not in VANISHED or host.kernel.exists(entry.target.unit):
                wrong.append((entry, None))
    return wrong


def remove_group(host: Host, directory: str) -> OSError | None:
    """Remove a cgroup, waiting a little for processes that are just ending. Returns the error when it stays."""
    deadline = time.monotonic() + _RMDIR_PATIENCE
    while True:
        try:
            host.kernel.rmdir(directory)
            return None
        except OSError as error:
            if error.errno in VANISHED:
                return None
            if error.errno != errno.EBUSY or time.monotonic() > deadline or _is_used(host, directory):
                return error
        time.sleep(0.02)


def _is_used(host: Host, directory: str) -> bool:
    try:
        return bool(host.kernel.subdirs(directory) or host.kernel.read(f"{directory}/cgroup.procs").strip())
    except OSError:
        return False
