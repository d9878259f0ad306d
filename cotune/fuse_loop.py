"""The event loop for pyfuse3, made for small files that are read often.

trio costs pyfuse3 an ``epoll_ctl``, two ``epoll_wait`` and a task switch for every request. pyfuse3 looks its event
loop up in the module attribute ``pyfuse3.trio``, which ``pyfuse3.asyncio.enable()`` itself replaces; :class:`OwnLoop`
is put in the same place. It polls the FUSE descriptor, spins for a moment while that pays and blocks otherwise, so that
it needs no CPU when nobody reads. Work that may take long goes to a thread, and its request waits parked while others
are served. Operations that can answer at once are not even asked by pyfuse3: see :mod:`cotune.fuse_device`.
"""

from __future__ import annotations

import os
import select
import signal
import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from time import perf_counter
from typing import Any, NamedTuple, TypeVar

from cotune.errors import CotuneError
from cotune.fuse_device import A_WHILE, IN_VAIN, NOT_AT_ALL, Device

T = TypeVar("T")
Task = Coroutine[Any, Any, Any]

#: Seconds to look for the next request before blocking: in a virtual machine a caller whose CPU was halted is back
#: after 50 to 100 µs. A look in vain costs patience and one that was not gives it back, up to so much, so that it goes
#: on only where more than half of them pay; with none left, one wait in so many begins with a look.
_SPIN, _PATIENCE, _PROBE = 100e-6, 8, 64
#: Requests that may wait for slow work at the same time, and the threads that do it.
_MAX_PARKED, _THREADS = 64, 4
#: Seconds. See OwnLoop._park.
_NUDGE = 0.05
#: What ends a service in good order.
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class _Closed(Exception):
    """Stands for ``trio.ClosedResourceError``: the descriptor is about to be closed."""


class _Call(NamedTuple):
    """Yielded by a task that wants ``work`` done in a thread."""

    work: Callable[[], Any]


class _Wait:
    """Yielded by a task that waits for a request, and by pyfuse3's main when it waits for its workers."""

    def __init__(self, what: str) -> None:
        self.what = what


_REQUEST, _WORKERS = _Wait("a request"), _Wait("the workers")


class _Name:
    """Stands for a trio task; pyfuse3 asks for its name only."""

    name = "worker"


class _NoLock:
    """Stands for ``trio.Lock``: this loop wakes one reader at a time, so nothing has to be locked."""

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *exc: object) -> None: ...


class _Nursery:
    """Stands for a trio nursery."""

    def __init__(self, loop: OwnLoop) -> None:
        self._loop = loop

    async def __aenter__(self) -> _Nursery:
        return self

    def start_soon(self, function: Callable[..., Task], *args: object, name: str = "") -> None:
        self._loop.start(function(*args))

    async def __aexit__(self, *exc: object) -> None:
        await self._loop.workers_end()


class OwnLoop:
    """The loop described at the top of this module. Signals need it to run in the main thread."""

    name = "own"
    ended_by = 0

    def __init__(self) -> None:
        self._ready: deque[tuple[Task, Future[Any] | None]] = deque()
        self._finished: deque[tuple[Task, Future[Any]]] = deque()
        self._idle: list[Task] = []  # tasks that wait for a request, the last one the warmest
        self._joining: Task | None = None
        self._workers = 0
        self._parked = 0
        self._error: BaseException | None = None
        self._closing = False
        #: Where requests come from, unless pyfuse3 reads them itself.
        self.device: Device | None = None
        self._fuse = select.poll()
        self._all = select.poll()
        self._fuse_fd = -1
        self._wake, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._patience = _PATIENCE
        self._waits = 0
        self._pool: ThreadPoolExecutor | None = None

    def run(self) -> None:
        """See :class:`Loop`."""
        import pyfuse3

        lowlevel = types.SimpleNamespace(
            current_task=_Name,
            current_trio_token=lambda: self,
            notify_closing=lambda fd: self.close(),
            wait_readable=self._wait_readable,
        )
        before = pyfuse3.trio  # type: ignore[attr-defined]
        pyfuse3.trio = types.SimpleNamespace(  # type: ignore[attr-defined]
            lowlevel=lowlevel, Lock=_NoLock, ClosedResourceError=_Closed, open_nursery=lambda: _Nursery(self)
        )
        handlers = {number: signal.signal(number, self._on_signal) for number in ENDING}
        handlers[signal.SIGALRM] = signal.signal(signal.SIGALRM, lambda number, frame: None)
        old_waker = signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        self._all.register(self._wake, select.POLLIN)
        try:
            self._run(pyfuse3.main(1, _MAX_PARKED))
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.set_wakeup_fd(old_waker)
            for number, handler in handlers.items():
                signal.signal(number, handler)
            if self._pool is not None:
                self._pool.shutdown(wait=False, cancel_futures=True)
            pyfuse3.trio = before  # type: ignore[attr-defined]

    async def in_thread(self, function: Callable[..., T], *args: object) -> T:
        """See :class:`Loop`."""
        result: T = await _ask(_Call(lambda: function(*args)))
        return result

    def invalidate(self, inode: int) -> None:
        """See :class:`Loop`."""
        (invalidate_inode if self.device is None else self.device.invalidate)(inode)

    def start(self, task: Task) -> None:
        """Run a worker."""
        self._workers += 1
        self._ready.append((task, None))

    async def workers_end(self) -> None:
        """Wait until every worker has ended. Raises what ended one of them."""
        while self._workers:
            await _ask(_WORKERS)
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Let every worker end once it has answered the request it has."""
        self._closing = True
        with suppress(BlockingIOError):  # a full pipe wakes the loop just as well
            os.write(self._waker, b"\0")

    def _on_signal(self, number: int, frame: types.FrameType | None) -> None:
        self.ended_by = number
        self.close()

    @types.coroutine
    def _wait_readable(self, fd: int) -> Generator[_Wait, None, None]:
        """Return when there is a request for pyfuse3 at ``fd``; those that need not go there are answered meanwhile."""
        if self._fuse_fd < 0:
            self._fuse_fd = fd if self.device is None else self.device.fd
            self._fuse.register(self._fuse_fd, select.POLLIN)
            self._all.register(self._fuse_fd, select.POLLIN)
        if self.device is not None:
            self.device.carry_back()
        while not self._closing:
            if self._ready or self._finished:
                yield _REQUEST
            elif self._take():
                return
        raise _Closed

    def _take(self) -> bool:
        """Wait for a request for pyfuse3; False when there is something else to do."""
        if self.device is None:
            return self._wait() != IN_VAIN
        try:
            request = self.device.serve(self._wait)
        except OSError:
            self._closing = True  # unmounted (ENODEV), or aborted
            return False
        if request is not None:
            self.device.hand_over(request)
        return request is not None

    def _wait(self) -> int:
        """Wait for a request, the end of slow work or a signal; how that was (cotune.fuse_device).

        Where a caller answers from another CPU, looking for its next request for a moment is cheaper than to sleep and
        be woken. Where it waits for this CPU, or does not come back, it is lost time.
        """
        if self._finished or self._closing:
            return IN_VAIN
        poll = self._fuse.poll
        if poll(0):
            return NOT_AT_ALL
        self._waits += 1
        if self._patience > 0 or self._waits % _PROBE == 0:
            end = perf_counter() + _SPIN
            while perf_counter() < end:
                if poll(0):
                    self._patience = min(self._patience + 1, _PATIENCE)
                    return A_WHILE
            self._patience = max(self._patience - 1, 0)
        waited = A_WHILE
        for fd, _ in self._all.poll():
            if fd == self._wake:
                os.read(self._wake, 4096)
                waited = IN_VAIN
        return waited

    def _run(self, main: Task) -> None:
        self._ready.append((main, None))
        while True:
            while self._finished:
                self._unpark()
            if self._ready:
                task, done = self._ready.popleft()
                if self._step(task, done):
                    if task is main:
                        break
                    self._workers -= 1
            elif not self._workers and self._joining is not None:
                self._ready.append((self._joining, None))
                self._joining = None
            elif self._idle and self._closing:
                self._ready.append((self._idle.pop(), None))
            else:
                self._block()
        if self._error is not None:
            raise self._error

    def _block(self) -> None:
        """Wait for a request, the end of slow work or a signal."""
        # with all workers parked, a request waiting in the kernel must not keep us awake
        events = self._all.poll() if self._idle else select.select([self._wake], [], []) and [(self._wake, 0)]
        for fd, _ in events:
            if fd == self._wake:
                os.read(self._wake, 4096)
            else:
                self._ready.append((self._idle.pop(), None))

    def _step(self, task: Task, done: Future[Any] | None) -> bool:
        """Run a task until it waits again; True when it has ended."""
        try:
            if done is None:
                wish = task.send(None)
            elif (error := done.exception()) is not None:
                wish = task.throw(error)
            else:
                wish = task.send(done.result())
        except StopIteration:
            return True
        except BaseException as error:
            # a broken worker or a lost session: stop in good order, then report it
            self._error = self._error or error
            self._closing = True
            return True
        finally:
            if self.device is not None:
                self.device.carry_back()
        if wish is _REQUEST:
            self._idle.append(task)
        elif wish is _WORKERS:
            self._joining = task
        elif isinstance(wish, _Call):
            self._park(task, wish)
        else:
            raise CotuneError(f"a task waits for something this event loop does not know: {wish!r}")
        return False

    def _park(self, task: Task, call: _Call) -> None:
        """Start slow work. Its request waits; the worker's place is taken by another one.

        Without a device of ours pyfuse3 reads requests from a blocking descriptor with the interpreter lock held. When
        the caller of a pending request is killed between our poll and that read, the read would wait and stop the
        threads, too. A timer interrupts it while there are any.
        """
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_THREADS, "slow")
        if not self._parked and self.device is None:
            signal.setitimer(signal.ITIMER_REAL, _NUDGE, _NUDGE)
        self._parked += 1
        self._pool.submit(call.work).add_done_callback(lambda done: self._done(task, done))

    def _done(self, task: Task, done: Future[Any]) -> None:
        """In the thread: hand the result over and wake the loop."""
        self._finished.append((task, done))
        with suppress(OSError):  # full is as good; closed means that nobody waits any more
            os.write(self._waker, b"\0")

    def _unpark(self) -> None:
        self._ready.append(self._finished.popleft())
        self._parked -= 1
        if not self._parked:
            signal.setitimer(signal.ITIMER_REAL, 0)


def invalidate_inode(inode: int) -> None:
    import pyfuse3

    pyfuse3.invalidate_inode(pyfuse3.InodeT(inode))


@types.coroutine
def _ask(wish: object) -> Generator[object, Any, Any]:
    """Hand a wish to the loop; returns its answer."""
    return (yield wish)
