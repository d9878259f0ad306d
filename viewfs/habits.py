"""Which habits are whose: how each process treats the files it opens (:mod:`viewfs.handles`).

To tell one process from another with the same number takes a few files of /proc. A thread that is seen for the first
time may be one that reads once and ends, so only its number is noted; it is identified when it comes again. What was
noted may be of another thread by then, and so counts only where it speaks against a cached handle.
"""

from __future__ import annotations

from viewfs.callers import Callers
from viewfs.handles import Habits
from viewfs.recent import Kept

_STRANGERS, _PROCESSES = 1024, 4096


class HabitBook:
    """The habits of all callers."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers
        self._strangers: Kept[int, Habits] = Kept(_STRANGERS)
        self._processes: Kept[int, Habits] = Kept(_PROCESSES)

    def of(self, tid: int) -> Habits:
        """The habits of the process of a thread that asks. Raises Gone."""
        noted: Habits = {}
        if not tid:
            return noted  # of a pid namespace that is none of ours
        caller = self._callers.known(tid)
        if caller is None:
            stranger = self._strangers.get(tid)
            if stranger is None:
                return self._strangers.put(tid, noted)
            caller, noted = self._callers.caller(tid), stranger
            self._strangers.drop(tid)
        habits = self._processes.get(caller.token)
        if habits is None:
            habits = self._processes.put(caller.token, {})
        for inode, habit in noted.items():
            mine = habits.setdefault(inode, habit)
            if mine is habit:
                habit.opens = 0
            else:
                mine.join(habit)
        return habits
