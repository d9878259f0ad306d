"""viewfs against lxcfs: the same readers in the same container, in one run. Needs root, gcc and lxcfs, cgroup v1 or v2.

Run with ``python -m bench.views [--quick]``. Everything happens in a mount namespace of its own, with daemons, cgroups
and containers (a cgroup and a pid namespace each) made for the run. Each figure of viewfs follows its rival's.
The caller tree is measured as several containers share it, so without the page cache.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import NamedTuple

from cotune.host.cgroups import read_layout
from cotune.kernel.real import RealKernel
from viewfs.attach import FILES as BOUND

ROOT = Path(__file__).resolve().parent.parent
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "blkio", "pids")
ONLINE = "sys/devices/system/cpu/online"
FILES = (*(f"proc/{name}" for name in ("stat", "meminfo", "cpuinfo", "loadavg", "uptime", "diskstats")), ONLINE)
STATIC = ("proc/cpuinfo", ONLINE)
_MS_BIND, _MNT_DETACH = 4096, 2


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

    def cpu(self) -> float:
        """Seconds of CPU it has used, all threads: utime + stime, but not in whole ticks (clock_getcpuclockid)."""
        return time.clock_gettime_ns(~self.process.pid << 3 | 2) / 1e9

    def share(self, seconds: float) -> float:
        """Per cent of one CPU it uses in the next so many seconds."""
        before = self.cpu()
        time.sleep(seconds)
        return 100 * (self.cpu() - before) / seconds

    def memory(self) -> float:
        """Resident MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024

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


def bind(tree: Path, directory: Path, stack: ExitStack) -> Path:
    """The files of a tree, each bound as attaching and wiring do until ``stack`` is closed."""
    libc = ctypes.CDLL(None, use_errno=True)
    for path in BOUND:
        source, target = f"{tree}{path}", Path(f"{directory}{path}")
        if not os.path.exists(source):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
        if libc.mount(os.fsencode(source), os.fsencode(target), None, _MS_BIND, None) != 0:
            raise SystemExit(f"{source} cannot be bound: {os.strerror(ctypes.get_errno())}")
        stack.callback(libc.umount2, os.fsencode(target), _MNT_DETACH)
    return directory


class Table:
    """The printed table, which counts the aims that were missed."""

    def __init__(self) -> None:
        self.missed: list[str] = []

    def head(self, text: str) -> None:
        """A heading."""
        print(f"\n{text}", flush=True)

    def row(self, what: str, rival: str, ours: str, ratio: float | None = None, aim: str = "") -> None:
        """One comparison; ``aim`` is such as ``>= 4`` and is held against the ratio."""
        verdict = ""
        if aim and ratio is not None:
            sign, number = aim.split()
            met = ratio >= float(number) if sign == ">=" else ratio <= float(number)
            verdict = f"aim {aim}{'' if met else '   MISSED'}"
            if not met:
                self.missed.append(what)
        shown = "" if ratio is None else f"{ratio:8.2f}"
        print(f"{what:<34}{rival:>20}{ours:>20}{shown:>10}  {verdict}", flush=True)


class Bench:
    """One run."""

    def __init__(self, options: argparse.Namespace, directory: Path, stack: ExitStack) -> None:
        self.options = options
        self.table = Table()
        self.reader = directory / "reader"
        subprocess.run(["gcc", "-O2", "-pthread", "-o", self.reader, ROOT / "bench/reader.c"], check=True)
        self.name = f"cotune-bench-views-{os.getpid()}"
        self.points = hierarchies()
        tops = stack.enter_context(groups(self.name, 0, self.points))
        self.lxcfs = start_lxcfs(directory)
        stack.callback(self.lxcfs.close)
        self.viewfs = start_viewfs(directory, options.viewfs_option)
        stack.callback(self.viewfs.close)
        self.container = Container(self.reader, tops)
        stack.callback(self.container.close)
        for file in FILES:  # several containers share the caller tree
            (self.viewfs.mount / file).read_bytes()
            self.container.ask("single", 1, 0, self.viewfs.mount / file)
        self.trees = {
            "lxcfs": self.lxcfs.mount,
            "caller": self.viewfs.mount,
            "attached": bind(self.viewfs.mount / "pid" / str(self.container.init), directory / "attached", stack),
            "wired": bind(self.viewfs.mount / "cgroup" / self.name, directory / "wired", stack),
        }

    def measure(self, kind: str, readers: int, tree: str, file: str) -> tuple[Answer, float]:
        """An answer, and microseconds of the daemon's CPU per read."""
        daemon = self.lxcfs if tree == "lxcfs" else self.viewfs
        before = daemon.cpu()
        answer = self.container.ask(kind, readers, self.options.seconds, self.trees[tree] / file)
        return answer, 1e6 * (daemon.cpu() - before) / answer.reads

    def hot(self) -> None:
        """Callers that re-open the file again and again."""
        for readers in (1, 2, 16):
            self.table.head(f"hot, {readers} readers            reads/s, p50/p99 µs, daemon µs of CPU a read")
            for file in FILES:
                rival = self.measure("hot", readers, "lxcfs", file)
                for tree in self.options.trees:
                    self._hot_row(file, tree, rival, self.measure("hot", readers, tree, file))

    def _hot_row(self, file: str, tree: str, rival: tuple[Answer, float], ours: tuple[Answer, float]) -> None:
        aims = ("", "", "") if tree == "caller" else (">= 30" if file in STATIC else ">= 4", "<= 0.4", "<= 0.4")
        what, (theirs, their_cpu), (our, our_cpu) = f"{file.rpartition('/')[2]} {tree}", rival, ours
        rate_aim = ">= 1" if tree == "caller" else aims[0]
        self.table.row(f"{what} reads/s", f"{theirs.rate:.0f}", f"{our.rate:.0f}", our.rate / theirs.rate, rate_aim)
        before, after = (f"{a.p50 / 1e3:.0f}/{a.p99 / 1e3:.0f}" for a in (theirs, our))
        self.table.row(f"{what} p99", before, after, our.p99 / theirs.p99, aims[1])
        self.table.row(f"{what} CPU", f"{their_cpu:.1f}", f"{our_cpu:.1f}", our_cpu / their_cpu, aims[2])

    def once(self) -> None:
        """Callers that read once and end."""
        self.table.head("one-shot callers            reads/s of reading time")
        for file in FILES:
            rival, _ = self.measure("once", 1, "lxcfs", file)
            for tree in self.options.trees:
                ours, _ = self.measure("once", 1, tree, file)
                what = f"{file.rpartition('/')[2]} {tree} once"
                aim = ">= 1" if tree == "caller" else ">= 1.5"
                self.table.row(what, f"{rival.rate:.0f}", f"{ours.rate:.0f}", ours.rate / rival.rate, aim)

    def cold(self) -> None:
        """Reads after a pause of a second, which every snapshot has outlived."""
        self.table.head("cold            p50 µs")
        trees = ["lxcfs", *self.options.trees]
        for file in self.options.cold_files:
            seen: dict[str, list[int]] = {tree: [] for tree in trees}
            for turn in range(self.options.cold * len(trees)):
                time.sleep(1.05 / len(trees))  # so each tree is read every 1.05 s
                tree = trees[turn % len(trees)]
                seen[tree].append(self.container.ask("single", 1, 0, self.trees[tree] / file).p50)
            rival = median(seen["lxcfs"])
            for tree in self.options.trees:
                ours = median(seen[tree])
                what = f"{file.rpartition('/')[2]} {tree} cold"
                self.table.row(what, f"{rival / 1e3:.0f}", f"{ours / 1e3:.0f}", ours / rival, "<= 1")

    def crowd(self, count: int, threads: int, files: tuple[str, ...], measure: Callable[[Daemon], str]) -> list[str]:
        """What ``measure`` says of each daemon while so many containers read its files once a second."""
        found = []
        for daemon in (self.lxcfs, self.viewfs):
            with groups(f"{self.name}-{daemon.name}", count, self.points) as tops:
                paths = [daemon.mount / file for file in files]
                command = [self.reader, "crowd", count, threads, ",".join(map(str, tops)), *paths]
                process = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                assert process.stdout is not None
                process.stdout.readline()
                time.sleep(2.5)
                found.append(measure(daemon))
                process.communicate()
        return found

    def load(self) -> None:
        """Many containers, and none."""
        self.table.head("idle, and many containers")
        time.sleep(1)
        for daemon in (self.lxcfs, self.viewfs):
            before = daemon.share(self.options.idle)
            print(f"{daemon.name} idle: {before:.2f} % of a CPU with {daemon.memory():.0f} MiB resident", flush=True)
        count, wait = self.options.containers, self.options.crowd_seconds
        files = ("proc/stat", "proc/meminfo")
        answers = self.crowd(count, 1, files, lambda d: f"{d.share(wait):.2f} {d.memory():.0f}")
        (their_cpu, theirs), (our_cpu, ours) = (map(float, answer.split()) for answer in answers)
        self.table.row(f"{count} read 2 files each s, CPU %", f"{their_cpu}", f"{our_cpu}", our_cpu / their_cpu)
        self.table.row(f"{count} read, MiB resident", f"{theirs:.0f}", f"{ours:.0f}", ours / theirs)
        if self.options.sampler:
            self._sampler()

    def _sampler(self) -> None:
        """Load averages of 200 containers with 12 threads each, most of all without a read: less the reading."""
        with_load = self.crowd(200, 12, ("proc/uptime", "proc/loadavg"), lambda d: f"{d.share(self.options.sampler)}")
        without = self.crowd(200, 12, ("proc/uptime", "proc/uptime"), lambda d: f"{d.share(self.options.sampler)}")
        theirs, ours = (float(a) - float(b) for a, b in zip(with_load, without, strict=True))
        ratio = ours / theirs if theirs > 0 else None
        self.table.row("load sampler, 200 x 12, CPU %", f"{theirs:.2f}", f"{ours:.2f}", ratio, "<= 0.5")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under a minute, with noisier figures")
    parser.add_argument("--seconds", type=float, help="of each hot measurement")
    parser.add_argument("--trees", nargs="+", default=None, choices=["attached", "wired", "caller"])
    parser.add_argument("--only", nargs="+", default=["hot", "once", "cold", "load"])
    parser.add_argument("--viewfs-option", action="append", default=[], help="handed to viewfs mount")
    options = parser.parse_args()
    quick = options.quick
    options.seconds = options.seconds or (0.15 if quick else 1.0)
    options.trees = options.trees or (["attached", "caller"] if quick else ["attached", "wired", "caller"])
    options.cold, options.cold_files = (5, FILES[:2]) if quick else (15, FILES)
    options.idle, options.containers, options.crowd_seconds = (1.0, 500, 3.0) if quick else (10.0, 500, 10.0)
    options.sampler = 0.0 if quick else 15.0
    return options


def main() -> None:
    """Run it; exits 1 when an aim was missed."""
    options = arguments()
    if "BENCH_VIEWS_INSIDE" not in os.environ:
        os.environ["BENCH_VIEWS_INSIDE"] = "1"
        command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-m", "bench.views"]
        os.execvp("unshare", [*command, *sys.argv[1:]])
    with tempfile.TemporaryDirectory(prefix="bench-views-", ignore_cleanup_errors=True) as place, ExitStack() as stack:
        bench = Bench(options, Path(place), stack)
        print(f"{'':<34}{'lxcfs':>20}{'viewfs':>20}{'ratio':>10}")
        for part in options.only:
            getattr(bench, part)()
        missed = bench.table.missed
        print(f"\n{len(missed)} aims missed" + "".join(f"\n  {what}" for what in missed))
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
