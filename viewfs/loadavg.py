"""Load averages per container, by the kernel's own arithmetic (kernel/sched/loadavg.c).

The kernel keeps load averages of the whole host only. The sampler counts the active threads of each container every
five seconds and folds them into three decaying averages as the kernel does with all threads.

- A container is sampled from its first read on and until nobody has read for ``keep`` seconds. The first read counts at
  once and answers as if the count had been the same since the container started; the kernel's averages likewise
  start at 0 at boot.
- Every container has a schedule of its own, counted from its first read in whole steps of five seconds: the work of
  hundreds is spread over time, a late wake-up is made up by folding the missed steps (calc_load_n), and nothing drifts.
- A container that takes long to count (ten thousand threads) is counted less often, so that it costs no more than
  ``SHARE`` of a CPU and holds up the others only that long.
"""

from __future__ import annotations

import heapq
import itertools
import os
import threading
import time
from collections.abc import Callable
from functools import lru_cache

from viewfs.tasks import Counter, Counts, Tally, TaskCounter
from viewfs.types import Container
from viewfs.views.records import Load

FSHIFT = 11
FIXED_1 = 1 << FSHIFT
#: FIXED_1 / e^(5 s / 1, 5, 15 min) (include/linux/sched/loadavg.h).
EXP = (1884, 2014, 2037)
#: Seconds between two samples (LOAD_FREQ).
STEP = 5.0
#: Seconds a step may be late, so that one awakening serves several containers.
SLACK = 0.2
#: What counting one container may cost, as a fraction of one CPU.
SHARE = 0.01
#: Seconds for which counts answer further reads without counting again.
FRESH = 1.0
#: Seconds a count may take when a reader waits for it; slower ones are left to the sampler.
QUICK = 0.002
#: Seconds without a read after which a container is sampled no more: when the longest average has largely forgotten.
KEEP = 1800.0
#: Hierarchies in which to look for a container's threads; one in which it has a group of its own wins.
_PREFERRED = ("cpuacct", "cpu", "pids", "memory")

Averages = tuple[int, int, int]


def calc_load(load: int, exp: int, active: int) -> int:
    """One step: ``load`` and ``active`` in units of 1/FIXED_1. Rounds up while rising, so that it gets there."""
    new = load * exp + active * (FIXED_1 - exp)
    if active >= load:
        new += FIXED_1 - 1
    return new >> FSHIFT


def fixed_power(x: int, bits: int, n: int) -> int:
    """``x`` to the n-th power, in fixed point with ``bits`` fractional bits (fixed_power_int)."""
    result = 1 << bits
    while n:
        if n & 1:
            result = (result * x + (1 << (bits - 1))) >> bits
        n >>= 1
        x = (x * x + (1 << (bits - 1))) >> bits
    return result


def advance(loads: Averages, active: int, steps: int) -> Averages:
    """The three averages after ``steps`` steps with ``active`` threads (calc_load, and calc_load_n for several)."""
    fixed = active << FSHIFT
    one, five, fifteen = (
        calc_load(load, exp if steps == 1 else fixed_power(exp, FSHIFT, steps), fixed)
        for load, exp in zip(loads, EXP, strict=True)
    )
    return one, five, fifteen


def shown(load: int) -> float:
    """A load as /proc/loadavg prints it: rounded to hundredths by adding FIXED_1/200 and cutting off."""
    return ((load + FIXED_1 // 200) * 100 >> FSHIFT) / 100


def age(container: Container) -> float:
    """Seconds since the first process of a container started, 0 when it has none."""
    if not container.init_pid:
        return 0.0
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - container.starttime / os.sysconf("SC_CLK_TCK"))


class _Sampled:
    """A container under way: its averages, when its next step is, and what the last count took."""

    __slots__ = (
        *("busy", "cost", "counted", "counts", "directory", "due", "inode", "last_pid", "loads", "newest", "read"),
        "tally",
    )

    def __init__(self, directory: str, inode: int, tally: Tally, now: float) -> None:
        self.directory = directory
        self.tally = tally
        #: Held while counting: the sampler and a reader may want to at the same time.
        self.busy = threading.Lock()
        self.inode = inode
        self.loads: Averages = (0, 0, 0)
        self.due = now
        self.read = now
        self.counted = now
        self.cost = 0.0
        self.counts = Counts(0, 0, 0, 0)
        #: the newest thread in our numbers, and as its own namespace numbers it
        self.newest = self.last_pid = 0


class Sampler:
    """Keeps the load averages of the containers that are read.

    ``clock`` is monotonic, in seconds. After :meth:`start` a thread of its own does what is due and sleeps in between,
    without end when nobody reads; without it :meth:`run_due` is called by hand. Any thread may call any method.
    """

    def __init__(
        self, counter: Counter | None = None, clock: Callable[[], float] = time.monotonic, keep: float = KEEP
    ) -> None:
        self._counter: Counter = TaskCounter() if counter is None else counter
        self._clock = clock
        self._keep = keep
        self._groups: dict[str, _Sampled] = {}
        self._queue: list[tuple[float, int, _Sampled]] = []
        self._order = itertools.count()
        self._changed = threading.Condition(threading.Lock())
        self._stopped = False
        self._thread: threading.Thread | None = None

    def get(self, container: Container) -> Load:
        """The averages and counts of a container. Raises FileNotFoundError when its cgroup is gone.

        ``running`` and ``total`` are at most a second old, or of the last step where counting is slow. ``last_pid`` is
        the highest thread id in use, as the container's pid namespace numbers it: the kernel shows the id it gave out
        last there, which can be read inside that namespace only. Never a number of the host's.
        """
        directory = group_directory(container)
        inode = os.stat(directory).st_ino
        now = self._clock()
        with self._changed:
            group = self._groups.get(directory)
        if group is None or group.inode != inode:
            group = self._begin(container, directory, inode, now)
        elif now - group.counted >= FRESH and group.cost <= QUICK and group.busy.acquire(blocking=False):
            try:
                self._count(group)
            finally:
                group.busy.release()
        group.read = now
        one, five, fifteen = map(shown, group.loads)
        counts = group.counts
        if counts.newest != group.newest:
            group.newest = counts.newest
            # one that has ended since tells nothing any more
            group.last_pid = (self._counter.inner_pid(counts.newest) if counts.newest else 0) or group.last_pid
        return Load(one, five, fifteen, counts.running, counts.total, group.last_pid)

    def run_due(self) -> None:
        """Take the steps that are due."""
        while True:
            now = self._clock()
            with self._changed:
                if not self._queue or self._queue[0][0] > now:
                    return
                group = heapq.heappop(self._queue)[2]
            if now - group.read > self._keep or self._groups.get(group.directory) is not group:
                self._drop(group)
            else:
                self._step(group, now)

    def sampled(self) -> int:
        """How many containers are being sampled."""
        with self._changed:
            return len(self._groups)

    def start(self) -> None:
        """Start the thread that does what is due."""
        self._thread = threading.Thread(target=self._run, name="loadavg", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread and give back what is held open."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        for group in list(self._groups.values()):
            self._drop(group)
        self._counter.close()

    def _run(self) -> None:
        while True:
            self.run_due()
            with self._changed:
                if self._stopped:
                    return
                wait = self._queue[0][0] - self._clock() if self._queue else None
                if wait is None or wait > 0:
                    self._changed.wait(None if wait is None else max(wait, SLACK))

    def _begin(self, container: Container, directory: str, inode: int, now: float) -> _Sampled:
        group = _Sampled(directory, inode, self._counter.open(directory), now)
        self._count(group)
        steps = max(1, int(age(container) // STEP))
        group.loads = advance(group.loads, group.counts.active, steps)
        with self._changed:
            # a group that was made anew under the same path takes the place of the old one, whose next step drops it
            self._groups[directory] = group
            self._schedule(group, now)
            self._changed.notify_all()
        return group

    def _step(self, group: _Sampled, now: float) -> None:
        try:
            with group.busy:
                self._count(group)
        except FileNotFoundError:
            self._drop(group)
            return
        except OSError:
            # no descriptors left, for example: the averages go on with the last counts rather than stand still
            group.cost = 0.0
        steps = 1 + int((now - group.due) // STEP)
        group.loads = advance(group.loads, group.counts.active, steps)
        with self._changed:
            self._schedule(group, group.due + (steps - 1) * STEP)

    def _schedule(self, group: _Sampled, base: float) -> None:
        """Queue the next step: one step after ``base``. The lock is held."""
        group.due = base + STEP
        # the steps passed over for the sake of the others are folded in when it is counted again
        wait = STEP * int(group.cost / (SHARE * STEP))
        heapq.heappush(self._queue, (group.due + wait, next(self._order), group))

    def _count(self, group: _Sampled) -> None:
        start = self._clock()
        group.counts = group.tally.count()
        group.counted = self._clock()
        group.cost = group.counted - start

    def _drop(self, group: _Sampled) -> None:
        with self._changed:
            if self._groups.get(group.directory) is group:
                del self._groups[group.directory]
        with group.busy:
            group.tally.close()


def group_directory(container: Container) -> str:
    """The cgroup directory whose threads are the container's."""
    found = container.cgroups
    keys = [key for key in _PREFERRED if key in found] + [key for key in found if key not in _PREFERRED]
    directories = list(dict.fromkeys(found[key] for key in keys))
    # a hierarchy in which it sits in the root group would count the whole host
    return next((path for path in directories if not _is_mount(path)), directories[0])


@lru_cache(4096)
def _is_mount(path: str) -> bool:
    """Whether a hierarchy is mounted there; they stay where they are as long as the service runs."""
    return os.path.ismount(path)
