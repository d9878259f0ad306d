"""Which handles may use the page cache, and what each of them shows. Times are seconds of a clock moved by hand."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from viewfs.handles import MAX_HANDLES, File, Habits, Handles, Snapshot

TTL = 0.05


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


class Counting:
    """A subject whose view is the number of its snapshot."""

    def __init__(self, key: str, clock: Clock) -> None:
        self.key: object = key
        self.open_handles = 0
        self._clock = clock
        self._last: dict[str, Snapshot] = {}
        self.number = 0
        self.gone = False

    def snapshot(self, path: str) -> Snapshot:
        if self.gone:
            raise FileNotFoundError(errno.ENOENT, path)
        last = self._last.get(path)
        if last is None or self._clock.time >= last.expires:
            self.number += 1
            last = self._last[path] = Snapshot(
                b"%s %d\n" % (str(self.key).encode(), self.number), self._clock.time + TTL
            )
        return last


class Desk:
    """A table of handles with one file, and two subjects."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.invalidated = 0
        self.refuses = False
        #: what was left to another thread
        self.aside: list[Callable[[], None]] = []
        self.handles = Handles(TTL, self.clock, self._invalidate, self.aside.append)
        self.file = File(7, "proc/meminfo")
        self.one, self.two = Counting("one", self.clock), Counting("two", self.clock)
        self.habits: dict[int, Habits] = {}

    def _invalidate(self, inode: int) -> None:
        assert inode == 7
        if self.refuses:
            raise OSError(errno.ENOSYS, "no such notification")
        self.invalidated += 1

    def open(self, caller: int = 1, subject: Counting | None = None) -> tuple[int, bool]:
        return self.handles.open(self.file, subject or self.one, self.habits.setdefault(caller, {}))

    def reopen(self, times: int, caller: int = 1) -> None:
        for _ in range(times):
            self.handles.release(self.open(caller)[0])


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_offset_zero_renews_and_others_continue(desk: Desk) -> None:
    number, direct = desk.open()
    assert direct
    assert desk.handles.read(number, 0, 3) == b"one"
    desk.clock.time += 1
    assert desk.handles.read(number, 3, 100) == b" 1\n"
    assert desk.handles.read(number, 6, 100) == b""
    assert desk.handles.read(number, 0, 100) == b"one 2\n"


def test_the_fourth_open_is_cached(desk: Desk) -> None:
    desk.reopen(3)
    assert desk.invalidated == 0
    assert not desk.open()[1]
    assert desk.invalidated == 1


def test_callers_are_told_apart(desk: Desk) -> None:
    desk.reopen(10, caller=1)
    assert desk.open(caller=2)[1]


def test_page_cache_is_used_again_while_fresh(desk: Desk) -> None:
    desk.reopen(20)
    assert desk.invalidated == 1
    desk.clock.time += 1
    desk.reopen(2)
    assert desk.invalidated == 2


def test_page_cache_is_not_replaced_under_an_open_handle(desk: Desk) -> None:
    desk.reopen(3, caller=1)
    desk.reopen(3, caller=2)
    first, direct = desk.open(caller=1)
    assert not direct
    desk.clock.time += TTL
    second, direct = desk.open(caller=2)
    assert direct, "a newer snapshot must not change what the first handle shows"
    desk.handles.release(second)
    assert desk.handles.read(first, 0, 100) == b"one 1\n"
    assert desk.handles.size(desk.file, desk.one) == 6
    desk.handles.release(first)


def test_a_fresh_snapshot_is_shared(desk: Desk) -> None:
    desk.reopen(3, caller=1)
    desk.reopen(3, caller=2)
    assert [desk.open(caller)[1] for caller in (1, 2)] == [False, False]
    assert desk.invalidated == 1


def test_who_holds_a_handle_gets_no_cached_one_for_long(desk: Desk) -> None:
    for needed in (4096, 8 * 4096):
        number, _ = desk.open()
        desk.clock.time += TTL + 0.01
        desk.handles.release(number)
        desk.invalidated = 0
        desk.reopen(needed)
        assert desk.invalidated == 0
        number, direct = desk.open()
        assert not direct, "a machine that stood still may be to blame"
        desk.handles.release(number)


def test_a_second_handle_beside_an_open_one_is_direct(desk: Desk) -> None:
    desk.reopen(10)
    first, direct = desk.open()
    assert not direct
    assert desk.open()[1]
    desk.handles.release(first)


def test_invalidation_is_left_to_others_while_the_file_is_open(desk: Desk) -> None:
    """They may have mapped it, and the kernel waits for pages that only we can deliver."""
    desk.reopen(3)
    desk.open(caller=2)
    number, direct = desk.open(caller=1)
    assert direct
    desk.handles.release(number)
    assert (len(desk.aside), desk.invalidated) == (1, 0)
    assert desk.handles.size(desk.file, desk.one) == 6, "the size is already that of the new snapshot"
    number, direct = desk.open(caller=1)
    assert direct, "old pages may still be there"
    desk.handles.release(number)
    desk.aside.pop()()
    assert not desk.open(caller=1)[1]
    assert (len(desk.aside), desk.invalidated) == (0, 1)


def test_files_that_several_containers_use_are_never_cached(desk: Desk) -> None:
    desk.reopen(10)
    number, direct = desk.open(caller=2, subject=desk.two)
    assert direct
    assert desk.handles.read(number, 0, 100) == b"two 1\n"
    desk.handles.release(number)
    desk.invalidated = 0
    desk.reopen(10)
    assert desk.open()[1]
    assert desk.invalidated == 0


def test_a_failed_invalidation_leaves_no_cached_handle(desk: Desk) -> None:
    desk.reopen(3)
    desk.refuses = True
    assert desk.open()[1]
    assert (desk.file.cached, desk.file.cached_handles) == (None, 0)
    desk.reopen(3, caller=2)
    assert desk.open(caller=2)[1]
    desk.aside.pop()()
    assert (desk.file.cached, desk.file.cached_handles, desk.file.publishing) == (None, 0, False)


def test_size_without_cached_handles_is_current_and_unpublishes(desk: Desk) -> None:
    desk.reopen(4)
    assert desk.file.cached is not None
    assert desk.handles.size(desk.file, desk.one) == 6
    assert desk.file.cached is None, "the kernel drops pages when the size changes"


def test_gone_while_open(desk: Desk) -> None:
    number, _ = desk.open()
    assert desk.handles.read(number, 0, 2) == b"on"
    desk.one.gone = True
    assert desk.handles.read(number, 2, 100) == b"e 1\n"
    with pytest.raises(FileNotFoundError):
        desk.handles.read(number, 0, 100)
    with pytest.raises(FileNotFoundError):
        desk.open()
    desk.handles.release(number)
    assert (desk.one.open_handles, desk.file.open_handles, len(desk.handles)) == (0, 0, 0)


def test_handles_per_container_are_bounded(desk: Desk) -> None:
    desk.one.open_handles = MAX_HANDLES
    with pytest.raises(OSError) as caught:
        desk.open()
    assert caught.value.errno == errno.ENFILE
    desk.open(caller=2, subject=desk.two)
