"""Whose habits are whose: threads are noted first and identified when they come again."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from viewfs.callers import Callers
from viewfs.habits import HabitBook
from viewfs.handles import Habit
from viewfs.processes import Gone


@pytest.fixture
def callers() -> Iterator[Callers]:
    with contextlib.closing(Callers()) as made:
        yield made


def test_who_comes_once_is_not_identified(callers: Callers) -> None:
    book, me = HabitBook(callers), os.getpid()
    noted = book.of(me)
    assert callers.known(me) is None
    known = book.of(me)
    assert callers.known(me) is not None
    assert known is not noted
    assert book.of(me) is known


def test_what_was_noted_counts_only_against_a_cached_handle(callers: Callers) -> None:
    """The number may have been another thread's."""
    book, me = HabitBook(callers), os.getpid()
    noted = book.of(me)
    often, held = noted[1], noted[2] = Habit(), Habit()
    often.opens = 10
    held.held()
    needed = held.needed
    known = book.of(me)
    assert known[1].opens == 0
    assert known[2].needed == needed > known[1].needed


def test_threads_of_a_process_share_their_habits(callers: Callers) -> None:
    book = HabitBook(callers)
    noted: list[int] = []
    looked, end = threading.Event(), threading.Event()

    def other() -> None:
        noted.append(threading.get_native_id())
        looked.set()
        end.wait(30)

    thread = threading.Thread(target=other)
    thread.start()
    try:
        assert looked.wait(30)
        for tid in (os.getpid(), noted[0]):
            book.of(tid)
        mine = book.of(os.getpid())
        mine[1] = Habit()
        # its first open is still open when it is identified
        book._strangers.put(noted[0], {1: Habit()})
        book._strangers.get(noted[0])[1].open = 1  # type: ignore[index]
        assert book.of(noted[0]) is mine
        assert mine[1].needed > Habit().needed
    finally:
        end.set()
        thread.join()


def test_threads_without_a_number_here_have_no_habits(callers: Callers) -> None:
    book = HabitBook(callers)
    assert book.of(0) == book.of(0) == {}


def test_a_thread_that_is_gone(callers: Callers) -> None:
    book = HabitBook(callers)
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    book.of(process.pid)
    with pytest.raises(Gone):
        book.of(process.pid)
