"""What the replays of recorded operations on cgroup files share."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any, NamedTuple

from cotune.sim.kernel import SimKernel

FIRST_PID = 9000


class Outcome(NamedTuple):
    """What an operation gave: errno by number (0 for success), and the texts before and after it."""

    errno: int
    before: str | None
    readback: str | None


class FileReplay:
    """One pass over records. The process of record ``i`` has the pid ``FIRST_PID + i``.

    ``dead`` is the recorder's word for a process the kernel has killed; ``unopened`` are the errnos of a failed open.
    """

    dead = "killed"
    unopened: tuple[int, ...] = (errno.ENOENT,)

    def __init__(self, sim: SimKernel) -> None:
        self.sim = sim
        self.alive: int | None = None
        self.operations: dict[str, Callable[[dict[str, Any]], Outcome]] = {
            "read": self.read,
            "write": self.write,
            "stat": lambda r: Outcome(0, None, f"mode={self.sim.mode(r['file']):o}"),
            "mkdir": lambda r: self.call(self.sim.mkdir, r["file"]),
            "rmdir": lambda r: self.call(self.sim.rmdir, r["file"]),
            "attach": self.attach,
            "alloc": self.allocate,
            "alive": lambda r: Outcome(0, None, "alive" if self.alive in self.sim.pids() else self.dead),
        }

    def call(self, operation: Callable[..., None], *arguments: object) -> Outcome:
        try:
            operation(*arguments)
        except OSError as error:
            return Outcome(error.errno or 0, None, None)
        return Outcome(0, None, None)

    def text(self, path: str) -> str:
        """The text of a file, or the recorder's words for a read that failed."""
        try:
            return self.sim.read(path)
        except OSError as error:
            stage = "open" if error.errno in self.unopened else "read"
            return f"<{stage} {errno.errorcode[error.errno or 0]}>"

    def read(self, record: dict[str, Any]) -> Outcome:
        """The recorder gives errno OK for reads and puts a failure into the read-back."""
        return Outcome(0, None, self.text(record["file"]))

    def write(self, record: dict[str, Any]) -> Outcome:
        before = self.text(record["file"])
        result = self.call(self.sim.write, record["file"], record["input"])
        return Outcome(result.errno, before, self.text(record["file"]))

    def attach(self, record: dict[str, Any]) -> Outcome:
        pid = FIRST_PID + record["i"]
        self.sim.spawn(pid, "probe")
        return self.call(self.sim.write, record["file"], str(pid))

    def allocate(self, record: dict[str, Any]) -> Outcome:
        """A process enters the cgroup and touches memory there."""
        result = self.attach(record)
        self.alive = FIRST_PID + record["i"]
        self.sim.set_usage(record["file"].removesuffix("/cgroup.procs"), int(record["input"]))
        return result
