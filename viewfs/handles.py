"""What an open file shows: snapshots, and which handles may use the kernel's page cache.

A read at offset 0 starts a new snapshot, reads at other offsets continue it: programs such as ``top`` keep a descriptor
and rewind it. Handles are therefore direct: every read comes to us. A program that opens the file again and again
gets a cached handle, whose reads the kernel answers from its page cache. All cached handles of a file show one
snapshot; the page cache is replaced only when none of them is open, by an invalidation before the reply to the open.

The kernel's invalidation waits for pages that are being read. A private mapping of a direct handle reads pages, too,
and its read is ours to answer: while any handle of the file is open, the invalidation is done by another thread, and
handles are direct until it is through.

This module knows nothing of FUSE: the clock and the invalidation are handed in.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import NamedTuple, Protocol

#: Opens of a caller, each closed again soon, before it gets a cached handle; and after it has held one for long, which
#: may be the machine's fault, so many times as often each time.
_REOPENS, _AFTER_HOLD, _EACH_HOLD = 3, 4096, 8
#: Seconds since the last open at which a caller still counts as one that opens again and again.
_OFTEN = 0.02
#: Handles one container may have open; more fail with ENFILE, so that nobody can fill our memory.
MAX_HANDLES = 16384
#: Files of one caller that are told apart.
_HABITS = 1024


class Snapshot(NamedTuple):
    """A rendered view, and until when (``clock`` of the table) it may be handed out."""

    data: bytes
    expires: float


class Subject(Protocol):
    """Whose figures a handle shows. Subjects with the same ``key`` show the same."""

    key: object
    open_handles: int

    def snapshot(self, path: str) -> Snapshot:
        """The view at ``path``, at most its time to live old. Raises OSError, ENOENT for a cgroup that is gone."""
        ...


class File:
    """One inode that shows a view.

    ``shared`` says that containers other than the first one use it, too (the caller tree, bound into several). One
    page cache cannot serve them all, so it then serves none.
    """

    __slots__ = ("cached", "cached_handles", "inode", "open_handles", "owner", "path", "publishing", "shared")

    def __init__(self, inode: int, path: str) -> None:
        self.inode = inode
        self.path = path
        self.owner: object = None
        self.shared = False
        self.cached: Snapshot | None = None
        self.cached_handles = 0
        self.open_handles = 0
        self.publishing = False


class Handle:
    """An open file."""

    __slots__ = ("cached", "file", "habit", "opened", "snapshot", "subject")

    def __init__(
        self, file: File, subject: Subject, snapshot: Snapshot, opened: float, habit: Habit, cached: bool
    ) -> None:
        self.file = file
        self.subject = subject
        self.snapshot = snapshot
        self.opened = opened
        self.habit = habit
        self.cached = cached


class Habit:
    """How a caller treats a file: how often it opened it, when last, how often it has to, and handles it has open."""

    __slots__ = ("last", "needed", "open", "opens")

    def __init__(self) -> None:
        self.opens = 0
        self.last = 0.0
        self.needed = _REOPENS
        self.open = 0

    def held(self) -> None:
        """It kept a handle open for long: to rewind it, or because it reads slowly."""
        self.opens = 0
        self.needed = max(_AFTER_HOLD, self.needed * _EACH_HOLD)

    def join(self, other: Habit) -> None:
        """Take over what another habit of the same caller warns of."""
        if other.open or other.needed > self.needed:
            self.opens = 0
            self.needed = max(_AFTER_HOLD, other.needed)


#: The habits of one caller by inode.
Habits = dict[int, Habit]


def _begin(habits: Habits, inode: int) -> Habit:
    """The habit of a caller that has not opened the file before."""
    if len(habits) >= _HABITS:
        habits.clear()
    habit = habits[inode] = Habit()
    return habit


class Handles:
    """The open files of the mount."""

    def __init__(
        self,
        window: float,
        clock: Callable[[], float],
        invalidate: Callable[[int], None],
        aside: Callable[[Callable[[], None]], object],
    ) -> None:
        """``window`` is in seconds: a handle open for longer is one its caller rewinds, or reads slowly.

        ``invalidate(inode)`` empties the page cache of an inode; ``aside`` does what it is given in another thread.
        """
        self._window = window
        self._clock = clock
        self._invalidate = invalidate
        self._aside = aside
        self._open: dict[int, Handle] = {}
        self._last = 0

    def open(self, file: File, subject: Subject, habits: Habits) -> tuple[int, bool]:
        """Open a file for a caller; returns the handle and whether it is direct. Raises OSError."""
        if subject.open_handles >= MAX_HANDLES:
            raise OSError(errno.ENFILE, "too many open views")
        snapshot = subject.snapshot(file.path)
        now = self._clock()
        habit = habits.get(file.inode) or _begin(habits, file.inode)
        if file.owner != subject.key:
            if file.owner is None:
                file.owner = subject.key
            else:
                file.shared = True
        cached = (
            habit.opens >= habit.needed
            # filling the page cache costs more than one direct read
            and now - habit.last < _OFTEN
            # a second handle beside an open one is no re-opening; the first may yet be kept
            and not habit.open
            and not file.shared
            and not file.publishing
            and (file.cached is snapshot or (not file.cached_handles and self._replace(file, snapshot)))
        )
        habit.opens += 1
        habit.open += 1
        habit.last = now
        file.cached_handles += cached
        file.open_handles += 1
        subject.open_handles += 1
        self._last = number = self._last + 1
        self._open[number] = Handle(file, subject, snapshot, now, habit, cached)
        return number, not cached

    def _replace(self, file: File, snapshot: Snapshot) -> bool:
        """Let the page cache show a snapshot; whether it does already."""
        # from here on the size reported is that of the new snapshot
        file.cached = snapshot
        if file.open_handles:
            file.publishing = True
            self._aside(lambda: self._publish(file))
            return False
        self._publish(file)
        return file.cached is not None

    def _publish(self, file: File) -> None:
        """Empty the page cache, so that it is filled with ``file.cached``; or there is none to use."""
        try:
            self._invalidate(file.inode)
        except OSError:
            file.cached = None
        finally:
            file.publishing = False

    def read(self, number: int, offset: int, size: int) -> bytes:
        """Part of a file. Raises OSError when a new snapshot cannot be had."""
        handle = self._open[number]
        data = handle.snapshot.data
        if not offset and not handle.cached:
            handle.snapshot = handle.subject.snapshot(handle.file.path)
            data = handle.snapshot.data
        return data if not offset and len(data) <= size else data[offset : offset + size]

    def release(self, number: int) -> None:
        """Close a handle."""
        handle = self._open.pop(number)
        habit, file = handle.habit, handle.file
        habit.open -= 1
        if self._clock() - handle.opened > self._window:
            habit.held()
        file.open_handles -= 1
        file.cached_handles -= handle.cached
        handle.subject.open_handles -= 1

    def size(self, file: File, subject: Subject) -> int:
        """The size to report. Raises OSError.

        While cached handles are open it must be that of their snapshot: the kernel cuts the page cache to it.
        """
        if file.cached is not None and (file.cached_handles or file.publishing):
            return len(file.cached.data)
        # a size that differs empties the page cache, so what was in it must be published anew
        file.cached = None
        return len(subject.snapshot(file.path).data)

    def __len__(self) -> int:
        return len(self._open)
