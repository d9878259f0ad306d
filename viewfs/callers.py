"""Who asks: from the thread id of a request to the first process of the container.

A request carries the caller's thread id in our pid namespace. Its container is that of the first process (pid 1) of
its pid namespace: all processes in there get one answer, whatever group below the container's they are in. Nothing is
forked for a new caller.
"""

from __future__ import annotations

import os

from viewfs.processes import Checked, Gone, Process, ask_namespace, climb, field_of, read_status, space_of, start_time
from viewfs.recent import Kept, file_room

_CALLERS = 1024


class NotFoundYet(LookupError):
    """The first process of a namespace has to be searched in all of /proc; that takes a thread."""

    def __init__(self, space: int) -> None:
        super().__init__(space)
        self.space = space


class Caller(Checked):
    """A thread that asks, with its start time, its process, and its pid namespace (inode).

    ``token`` stands for the process among all that ever asked.
    """

    __slots__ = ("space", "starttime", "tgid", "tid", "token")

    def __init__(self, tid: int) -> None:
        """Raises OSError."""
        super().__init__(f"/proc/{tid}/comm")
        self.tid = tid
        try:
            self.tgid = int(field_of(read_status(tid), "Tgid")[0])
            self.space = space_of(tid)
            self.starttime = start_time(tid)
        except BaseException:
            self.close()
            raise
        self.token = 0


class Callers:
    """Threads → callers → first processes of their pid namespaces."""

    def __init__(self) -> None:
        self.own_space = os.stat("/proc/self/ns/pid").st_ino
        self._threads: Kept[int, Caller] = Kept(file_room(32, _CALLERS), Caller.close)
        self._processes: Kept[tuple[int, int], int] = Kept(4 * _CALLERS)
        self._spaces: Kept[int, Process] = Kept(file_room(32, _CALLERS), Process.close)
        self._tokens = 0

    def known(self, tid: int) -> Caller | None:
        """The caller behind a thread id, if it has been asked for before."""
        known = self._threads.get(tid)
        if known is not None and not known.alive():
            self._threads.drop(tid)
            return None
        return known

    def caller(self, tid: int) -> Caller:
        """The caller behind a thread id. Raises Gone."""
        known = self.known(tid)
        if known is not None:
            return known
        try:
            caller = Caller(tid)
            started = caller.starttime if tid == caller.tgid else start_time(caller.tgid)
        except OSError:
            raise Gone(f"thread {tid} has ended") from None
        key = (caller.tgid, started)
        token = self._processes.get(key)
        if token is None:
            self._tokens += 1
            token = self._processes.put(key, self._tokens)
        caller.token = token
        return self._threads.put(tid, caller)

    def init_of(self, tid: int) -> Process | None:
        """:meth:`init` for a thread that waits for our answer, so that its number is its own."""
        known = self.known(tid)
        space = space_of(tid) if known is None else known.space
        return None if space == self.own_space else self._first(space, tid)

    def init(self, caller: Caller) -> Process | None:
        """The first process of the caller's pid namespace; None for the host's own.

        Raises Gone, and NotFoundYet when :meth:`search` has to be called, in a thread.
        """
        return None if caller.space == self.own_space else self._first(caller.space, caller.tgid)

    def _first(self, space: int, pid: int) -> Process:
        """The first process of the namespace that ``pid`` is in."""
        known = self._spaces.get(space)
        if known is not None:
            if known.alive():
                return known
            self._spaces.drop(space)
        found = ask_namespace(pid) or climb(pid, space)
        if not found:
            raise NotFoundYet(space)
        return self.learn(space, found)

    def learn(self, space: int, pid: int) -> Process:
        """Keep the first process of a namespace. Raises Gone."""
        process = Process(pid)
        if space_of(pid) != space:
            process.close()
            raise Gone(f"process {pid} is another one now")
        return self._spaces.put(space, process)

    def close(self) -> None:
        """Close what is kept."""
        self._threads.clear()
        self._spaces.clear()
