"""CPU times of a container, shared out over the CPUs it sees.

The kernel counts a group's time by physical CPU (version 1) or only in all (version 2), and a container may see fewer
CPUs than it ran on. :func:`advance` turns what was used since the last look into counters of the visible CPUs:

- in every interval each visible CPU gets exactly the interval, busy or idle, so busy + idle = uptime × CPUs;
- time goes to the CPU it was used on while that is visible; the rest goes to the visible CPUs in proportion to
  ``weights`` (how busy the host's CPUs were), then to those with room;
- what does not fit (bursts beyond a quota) waits for the next interval, so no CPU shows more than 100 %;
- counters never go back. A CPU that leaves the view keeps its counters for its return, as an unplugged one does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from viewfs.views.records import Busy, GroupTimes

_NONE = Busy()


class Slot(NamedTuple):
    """The counters of one visible CPU in seconds."""

    busy: Busy = _NONE
    idle: float = 0.0


class Clock(NamedTuple):
    """Counters of a container at uptime ``at`` (seconds), and what is needed to go on from there.

    ``shown`` are the CPUs in view, ``slots`` the counters of all that ever were; ``waiting`` was used and is not shown
    yet; ``times`` and ``weights`` are the last figures of the kernel, ``busier`` the last growth of the weights.
    """

    at: float
    shown: tuple[int, ...]
    slots: Mapping[int, Slot]
    waiting: Busy
    times: GroupTimes
    weights: Mapping[int, float]
    busier: Mapping[int, float]

    @property
    def total(self) -> Slot:
        """The sum over all CPUs that ever were in view: it must not fall when one leaves."""
        busy, idle = _NONE, 0.0
        for slot in self.slots.values():
            busy, idle = _plus(busy, slot.busy), idle + slot.idle
        return Slot(busy, idle)


_START = Clock(0.0, (), {}, _NONE, GroupTimes({}, _NONE), {}, {})


def advance(
    last: Clock | None, uptime: float, shown: tuple[int, ...], times: GroupTimes, weights: Mapping[int, float]
) -> Clock:
    """The counters at ``uptime`` (seconds since the container began).

    ``weights`` are seconds each CPU of the host was busy since boot. At the first look what does not fit is dropped:
    it was used before the container began, or on more CPUs than it has now.
    """
    clock = last or _START
    uptime = max(uptime, clock.at)
    interval = uptime - clock.at
    own, pool = _used(clock, shown, times, interval)
    busier = _busier(clock, shown, weights)
    rooms = {cpu: max(0.0, interval - own[cpu].total) for cpu in shown}
    shares = _shares(min(pool.total, sum(rooms.values())), rooms, busier)
    slots = dict(clock.slots)
    given = 0.0
    for cpu in shown:
        slot = slots.get(cpu, Slot())
        busy = _plus(own[cpu], _scaled(pool, shares[cpu]))
        given += shares[cpu]
        slots[cpu] = Slot(_plus(slot.busy, busy), slot.idle + max(0.0, interval - busy.total))
    waiting = _scaled(pool, max(0.0, pool.total - given)) if last else _NONE
    return Clock(uptime, shown, slots, waiting, times, weights, busier)


def _used(clock: Clock, shown: tuple[int, ...], times: GroupTimes, interval: float) -> tuple[dict[int, Busy], Busy]:
    """What each visible CPU was used since the last look, at most ``interval``, and everything else."""
    own = dict.fromkeys(shown, _NONE)
    pool = clock.waiting
    if not times.by_cpu:
        return own, _plus(pool, _since(clock.times.total, times.total))
    for cpu, now in times.by_cpu.items():
        used = _since(clock.times.by_cpu.get(cpu, _NONE), now)
        if cpu in own:
            own[cpu] = _scaled(used, min(used.total, interval))
            used = _scaled(used, max(0.0, used.total - interval))
        pool = _plus(pool, used)
    return own, pool


def _busier(clock: Clock, shown: tuple[int, ...], weights: Mapping[int, float]) -> dict[int, float]:
    gone = {cpu: max(0.0, weights.get(cpu, 0.0) - clock.weights.get(cpu, 0.0)) for cpu in shown}
    if not any(gone.values()):
        # the host's figures are those of the last look: as it was busy then
        gone = {cpu: clock.busier.get(cpu, 0.0) for cpu in shown}
    return gone if any(gone.values()) else dict.fromkeys(shown, 1.0)


def _shares(amount: float, rooms: Mapping[int, float], weights: Mapping[int, float]) -> dict[int, float]:
    """``amount`` by ``weights``, none above its room; the rest in proportion to the room left."""
    whole = sum(weights.values())
    shares = {cpu: min(room, amount * weights[cpu] / whole) for cpu, room in rooms.items()}
    rest = amount - sum(shares.values())
    left = sum(rooms.values()) - sum(shares.values())
    if rest > 0 and left > 0:
        part = min(1.0, rest / left)
        shares = {cpu: share + (rooms[cpu] - share) * part for cpu, share in shares.items()}
    return shares


def _since(before: Busy, now: Busy) -> Busy:
    # a group that was made anew counts from 0 again: nothing is taken back
    return Busy(max(0.0, now[0] - before[0]), max(0.0, now[1] - before[1]), max(0.0, now[2] - before[2]))


def _plus(one: Busy, other: Busy) -> Busy:
    return Busy(one[0] + other[0], one[1] + other[1], one[2] + other[2])


def _scaled(busy: Busy, total: float) -> Busy:
    """``busy`` in the same proportions with another sum."""
    whole = busy[0] + busy[1] + busy[2]
    if whole <= 0:
        return _NONE
    factor = total / whole
    return Busy(busy[0] * factor, busy[1] * factor, busy[2] * factor)
