"""Execute: carry out single steps through the Kernel port, and read back what came of them."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterable

from cotune.controls import CONTROLS
from cotune.controls.base import Value
from cotune.controls.memory import WatermarkMinAdj
from cotune.host.facts import Host
from cotune.host.resctrl import POINT, complaint, in_resctrl, is_in_class, last_status, others_in
from cotune.host.tasks import group_of, read_process
from cotune.model import Entry, Key, Move, Step, Target
from cotune.places import OPERATIONS, Places, change_place

VANISHED = (errno.ENOENT, errno.ENODEV)
_RMDIR_PATIENCE = 1.0
_MKDIR_PATIENCE = 3.0
_MKDIR_PAUSE = 0.1
_USAGE_PATIENCE = 10.0
_USAGE_PAUSE = 0.05


class StepFailed(Exception):
    """A step the kernel refused. ``text`` is what was written, ``said`` what the kernel said about it."""

    def __init__(self, step: Step, text: str, error: OSError, said: str = "") -> None:
        super().__init__(step, text, error, said)
        self.step, self.text, self.error, self.said = step, text, error, said

    @property
    def symbol(self) -> str:
        """The errno's name."""
        return errno.errorcode.get(self.error.errno or 0, str(self.error.errno))

    def describe(self) -> str:
        """File, value, errno and the likely cause, in one sentence."""
        cause = CONTROLS[self.step.target.control].causes.get(self.symbol, "") if self.step.target.control else ""
        writes = self.step.op in ("write", "enable", "move")
        what = f"writing {self.text.strip()!r} to" if writes else self.step.op
        where = self.step.target.path + (f" with {self.text!r}" if self.text and not writes else "")
        sentence = f"{what} {where}: {self.symbol} ({self.error.strerror})"
        if self.said:
            return f"{sentence}; the kernel says: {self.said}"
        return sentence + (f"; likely cause: {cause}" if cause else "")


def step_text(step: Step) -> str:
    """What a step writes, as text."""
    if step.op in ("write", "enable"):
        return step.text
    if step.op == "move" and step.move is not None:
        return str(step.move.pid)
    return ",".join(step.words) if step.words else step.text


def perform(host: Host, step: Step, tick: Callable[[int], None] | None = None) -> None:
    """Carry out one step. ``tick`` is told how many files a step through a tree has seen. Raises StepFailed."""
    text = step_text(step)
    before = last_status(host, step.target.path)
    try:
        if step.op in ("write", "enable"):
            if step.waits:
                _wait_for_usage(host, step)
            host.kernel.write(step.target.path, text)
        elif step.op == "mkdir":
            _make_directory(host, step.target.path)
        elif step.op == "mount":
            host.kernel.mount(step.text, step.text, step.target.path, step.words)
        elif step.move is not None:
            move_task(host, step.move.pid, step.target.path, step.move.file)
        else:
            change_place(host.kernel, step, tick)
    except OSError as error:
        if step.op == "move" and error.errno == errno.ESRCH:
            return  # the process ended: nothing left to move
        raise StepFailed(step, text, error, complaint(before, last_status(host, step.target.path))) from None


def _make_directory(host: Host, path: str) -> None:
    """Make a group. In resctrl this can need a monitoring id that a removed group still has: it is given back when
    nothing of that group is cached any more, mostly within two seconds (EBUSY until then)."""
    deadline = time.monotonic() + _MKDIR_PATIENCE
    while True:
        try:
            host.kernel.mkdir(path)
            return
        except OSError as error:
            if error.errno != errno.EBUSY or not in_resctrl(path) or time.monotonic() > deadline:
                raise
        time.sleep(_MKDIR_PAUSE)


def _wait_for_usage(host: Host, step: Step) -> None:
    """Wait until the group uses no more than the limit to be written. Raises EBUSY when it does not come down.

    Writing a version 2 limit below the usage makes the kernel kill inside the write (mm/memcontrol.c
    memory_max_write), so the plan lowers memory.high first, which reclaims and never kills.
    """
    files = CONTROLS[step.target.control].parts["usage"].files
    deadline = time.monotonic() + _USAGE_PATIENCE
    while True:
        usage = int(host.kernel.read(f"{step.target.unit}/{files['v2']}"))
        if not isinstance(step.value, int) or usage <= step.value:
            return
        # in a simulation nothing happens while we wait
        if time.monotonic() > deadline or host.kernel.name.startswith("sim:"):
            raise OSError(errno.EBUSY, f"the group still uses {usage} bytes: the kernel would kill in it")
        time.sleep(_USAGE_PAUSE)


def move_task(host: Host, pid: int, directory: str, file: str = "cgroup.procs") -> None:
    """Put a process with all its threads (or, with resctrl's ``tasks``, one thread) into a group."""
    host.kernel.write(f"{directory}/{file}", str(pid))


def task_is_in(host: Host, move: Move, directory: str) -> bool | None:
    """Whether the process of a move is in a directory; None when it has ended."""
    process = read_process(host.kernel, move.pid)
    if process is None or process.start != move.start:
        return None
    if move.file == "tasks":
        return is_in_class(host, move.pid, directory)
    for hierarchy in host.layout.hierarchies():
        if directory == hierarchy.point or directory.startswith(hierarchy.point + "/"):
            return group_of(host.kernel, host.layout, move.pid, hierarchy) == directory
    return None


class ReadBack:
    """Reads values back after writing; every file and mount is read at most once."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.texts: dict[str, str] = {}
        self.places = Places(host.kernel)

    def value(self, target: Target) -> Value | None:
        """What a target reads now; None when it cannot be read. Raises OSError when its file is gone."""
        control = CONTROLS[target.control]
        if control.scope in OPERATIONS:
            return self.places.values(target).get(target.part)
        try:
            return control.parse(target.part, self.text(target.path), target.row)
        except ValueError:
            return None

    def agrees(self, target: Target, value: Value) -> bool:
        """Whether a target reads what it should after ``value`` was written. Raises OSError."""
        read = self.value(target)
        control = CONTROLS[target.control]
        if target.part in control.hidden:
            return True  # nothing can be said against it
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
    """Remove a cgroup, waiting a little for processes that are just ending. Returns the error when it stays.

    Also removes groups of resctrl, and unmounts it, unless others have groups there: those would be gone with it.
    """
    if others := others_in(host, directory):
        return OSError(errno.EBUSY, f"others have {', '.join(others)} in it")
    remove = host.kernel.unmount if directory == POINT else host.kernel.rmdir
    deadline = time.monotonic() + _RMDIR_PATIENCE
    while True:
        try:
            remove(directory)
            return None
        except OSError as error:
            gone = error.errno in VANISHED and not host.kernel.exists(directory)
            if gone or (directory == POINT and error.errno == errno.EINVAL):
                return None  # somebody else has removed or unmounted it
            if error.errno != errno.EBUSY or time.monotonic() > deadline or _is_used(host, directory):
                return error
        time.sleep(0.02)


def _is_used(host: Host, directory: str) -> bool:
    try:
        return bool(host.kernel.subdirs(directory) or host.kernel.read(f"{directory}/cgroup.procs").strip())
    except OSError:
        return False
