"""What bench.views is made of: the daemons, cgroups, containers and bound files of a run, and its table."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from cotune.host.cgroups import read_layout
from cotune.kernel.real import RealKernel
from viewfs.attach import FILES, bind_views
from viewfs.mountapi import unmount

ROOT = Path(__file__).resolve().parent.parent
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "blkio", "pids")
#: Of a group's real-time bandwidth, in µs a second.
_REALTIME = "800000"


class Answer(NamedTuple):
    """What reader.c says: reads, the seconds they took together, and latencies in nanoseconds."""

    reads: int
    seconds: float
    p50: int
    p99: int

    @property
    def rate(self) -> float:
        """Reads per second."""
        return self.reads / self.seconds


class Daemon:
    """A view service that was started for the run."""

    def __init__(self, name: str, mount: Path, command: list[str]) -> None:
        self.name = name
        self.mount = mount
        mount.mkdir()
        self._log = mount.with_suffix(".log")
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        for _ in range(200):
            with suppress(OSError):
                if (mount / "proc/uptime").read_text():
                    return
            time.sleep(0.05)
        self.close()
        raise SystemExit(f"{name} does not start: {self._log.read_text()}")

    def _processes(self) -> list[int]:
        """It and its helpers."""
        pid = self.process.pid
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]

    def cpu(self) -> float:
        """Seconds of CPU used by all of its threads: utime + stime, but not in whole ticks (clock_getcpuclockid)."""
        return sum(time.clock_gettime_ns(~pid << 3 | 2) for pid in self._processes()) / 1e9

    def share(self, seconds: float) -> float:
        """Per cent of one CPU it uses in the next so many seconds."""
        before = self.cpu()
        time.sleep(seconds)
        return 100 * (self.cpu() - before) / seconds

    def memory(self) -> float:
        """Resident MiB; pages that its processes share count once (proc_pid_smaps(5), Pss)."""
        total = 0
        for pid in self._processes():
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return total / 1024

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start_lxcfs(directory: Path) -> Daemon:
    """lxcfs as a distribution ships it, with load averages."""
    return Daemon("lxcfs", directory / "lxcfs", ["lxcfs", "-f", "-l", "-p", f"{directory}/pid", f"{directory}/lxcfs"])


def start_viewfs(directory: Path, options: list[str]) -> Daemon:
    """viewfs as its unit starts it."""
    profiled = os.environ.get("BENCH_VIEWS_PROFILE")
    python = [sys.executable, *(["-m", "cProfile", "-o", profiled] if profiled else [])]
    command = [*python, "-m", "viewfs", "mount", "--foreground", *options, f"{directory}/views"]
    return Daemon("viewfs", directory / "views", [*command, "--state-dir", f"{directory}/state"])


def hierarchies() -> list[str]:
    """Where groups are made: the hierarchies of the controllers that views show, one on cgroup v2."""
    controllers = read_layout(RealKernel()).controllers
    return list(dict.fromkeys(controllers[name].point for name in CONTROLLERS if name in controllers))


@contextmanager
def groups(name: str, numbers: int, points: list[str]) -> Iterator[list[Path]]:
    """A cgroup with ``numbers`` below it, in every hierarchy; gone afterwards."""
    tops = [Path(point) / name for point in points]
    made: list[Path] = []
    try:
        for top in tops:
            for path in [top, *(top / str(number) for number in range(numbers))]:
                path.mkdir()
                made.append(path)
                for file in ("cpuset.cpus", "cpuset.mems"):
                    if (path / file).exists() and not (path / file).read_text().strip():
                        (path / file).write_text((path.parent / file).read_text())
        yield tops
    finally:
        for path in reversed(made):
            _remove(path)


def _remove(path: Path) -> None:
    for _ in range(200):  # processes that were killed leave a little later
        with suppress(OSError):
            path.rmdir()
            return
        time.sleep(0.02)


def take_precedence(tops: list[Path]) -> None:
    """Give this process, all it starts and what will be in the groups ``tops`` precedence over the rest of the host."""
    for top in tops:
        if (budget := top / "cpu.rt_runtime_us").exists():
            budget.write_text(_REALTIME)  # without it, version 1 lets no such process in
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


class Container:
    """A process in a cgroup and a pid namespace of its own that reads what it is told to."""

    def __init__(self, reader: Path, tops: list[Path]) -> None:
        enter = "".join(f"echo $$ > {top}/cgroup.procs && " for top in tops)
        command = ["sh", "-c", f"{enter}exec unshare --pid --fork --kill-child {reader} serve"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ask("hot", 1, 0.01, "/proc/uptime")
        self.init = int(Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text())

    def ask(self, kind: str, readers: int, seconds: float, file: Path | str) -> Answer:
        """Run readers; see reader.c."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{kind} {readers} {seconds} {file}\n")
        self._process.stdin.flush()
        words = self._process.stdout.readline().split()
        if len(words) != 4:
            raise SystemExit(f"{file}: the reader failed")
        return Answer(int(words[0]), float(words[1]), int(words[2]), int(words[3]))

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def bind(base: Path, static: Path, directory: Path, stack: ExitStack) -> Path:
    """The files of a tree, and plain ones, each bound as attaching and wiring do until ``stack`` is closed."""
    for path in FILES:
        target = Path(f"{directory}{path}")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    for path in bind_views(str(base), str(directory), static):
        stack.callback(unmount, f"{directory}{path}")
    return directory


class Table:
    """The printed table, which counts the aims that were missed."""

    def __init__(self) -> None:
        self.aims = 0
        self.missed: list[str] = []

    def head(self, text: str) -> None:
        """A heading."""
        print(f"\n{text}", flush=True)

    def row(self, what: str, rival: str, ours: str, ratio: float | None = None, aim: str = "") -> None:
        """One comparison; ``aim`` is such as ``>= 4`` and is held against the ratio."""
        verdict = ""
        if aim and ratio is not None:
            sign, number = aim.split()
            met = {">=": ratio >= float(number), "<=": ratio <= float(number), "<": ratio < float(number)}[sign]
            verdict = f"aim {aim}{'' if met else '   MISSED'}"
            self.aims += 1
            if not met:
                self.missed.append(f"{what}: {ratio:.2f}, aim {aim}")
        shown = "" if ratio is None else f"{ratio:8.2f}"
        print(f"{what:<34}{rival:>20}{ours:>20}{shown:>10}  {verdict}", flush=True)
