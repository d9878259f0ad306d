"""viewfs against lxcfs: the same readers in the same container, in one run. Needs root, gcc and lxcfs, cgroup v1 or v2.

Run with ``python -m bench.views [--quick]``. Everything happens in a mount namespace of its own, with daemons, cgroups
and containers (a cgroup and a pid namespace each) made for the run. Rival and viewfs take turns, and each figure is the
median of the turns. The caller tree is measured as several containers share it, so without the page cache.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench.views_lab import (
    ROOT,
    Answer,
    Container,
    Daemon,
    Table,
    bind,
    groups,
    hierarchies,
    start_lxcfs,
    start_viewfs,
    take_precedence,
)
from viewfs.policy import choose_policies
from viewfs.static import StaticFiles

ONLINE = "sys/devices/system/cpu/online"
FILES = (*(f"proc/{name}" for name in ("stat", "meminfo", "loadavg", "uptime", "diskstats", "cpuinfo")), ONLINE)
_EVER = 10**6
STATIC = ("proc/cpuinfo", ONLINE)


class Figures(NamedTuple):
    """Medians over the turns of one measurement: reads a second, latencies in ns, µs of the daemon's CPU a read."""

    rate: float
    p50: float
    p99: float
    cpu: float


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
        if options.precedence:
            take_precedence(tops)
        self.lxcfs = start_lxcfs(directory)
        stack.callback(self.lxcfs.close)
        self.viewfs = start_viewfs(directory, options.viewfs_option)
        stack.callback(self.viewfs.close)
        self.container = Container(self.reader, tops)
        stack.callback(self.container.close)
        time.sleep(2.5)  # nothing is kept of a container that has only started
        for file in FILES:  # several containers share the caller tree
            (self.viewfs.mount / file).read_bytes()
            self.container.ask("single", 1, 0, self.viewfs.mount / file)
        static = StaticFiles(directory / "state", choose_policies().of)
        init, views = self.container.init, self.viewfs.mount
        self.trees = {
            "lxcfs": self.lxcfs.mount,
            "caller": views,
            "attached": bind(views / "pid" / str(init), static.of_process(init), directory / "attached", stack),
            "wired": bind(views / "cgroup" / self.name, static.of_group(self.name), directory / "wired", stack),
        }

    def measure(self, kind: str, readers: int, file: str) -> dict[str, Figures]:
        """Figures of each tree, the rival's included."""
        trees = ["lxcfs", *self.options.trees]
        seen: dict[str, list[tuple[Answer, float]]] = {tree: [] for tree in trees}
        for turn in range(self.options.turns * len(trees)):
            tree = trees[turn % len(trees)]
            daemon = self.lxcfs if tree == "lxcfs" else self.viewfs
            before = daemon.cpu()
            answer = self.container.ask(kind, readers, self.options.seconds, self.trees[tree] / file)
            seen[tree].append((answer, 1e6 * (daemon.cpu() - before) / answer.reads))
        return {
            tree: Figures(
                median(answer.rate for answer, _ in answers),
                median(answer.p50 for answer, _ in answers),
                median(answer.p99 for answer, _ in answers),
                median(cpu for _, cpu in answers),
            )
            for tree, answers in seen.items()
        }

    def hot(self) -> None:
        """Callers that re-open the file again and again."""
        for readers in self.options.readers:
            self.table.head(f"hot, {readers} readers            reads/s, p50/p99 µs, daemon µs of CPU a read")
            for file in self.options.files:
                figures = self.measure("hot", readers, file)
                for tree in self.options.trees:
                    what = f"{file.rpartition('/')[2]} {tree} {readers}"
                    self._hot_rows(what, tree == "caller", file in STATIC, figures["lxcfs"], figures[tree])

    def _hot_rows(self, what: str, caller: bool, static: bool, theirs: Figures, ours: Figures) -> None:
        rate_aim = ">= 1" if caller else ">= 30" if static else ">= 4"
        other_aim = "" if caller else "<= 0.4"
        self.table.row(f"{what} reads/s", f"{theirs.rate:.0f}", f"{ours.rate:.0f}", ours.rate / theirs.rate, rate_aim)
        before, after = (f"{figures.p50 / 1e3:.0f}/{figures.p99 / 1e3:.0f}" for figures in (theirs, ours))
        self.table.row(f"{what} p99", before, after, ours.p99 / theirs.p99, other_aim)
        self.table.row(f"{what} CPU", f"{theirs.cpu:.1f}", f"{ours.cpu:.1f}", ours.cpu / theirs.cpu, other_aim)

    def once(self) -> None:
        """Callers that read once and end."""
        self.table.head("one-shot callers            reads/s of reading time")
        for file in self.options.files:
            figures = self.measure("once", 1, file)
            for tree in self.options.trees:
                theirs, ours = figures["lxcfs"], figures[tree]
                what = f"{file.rpartition('/')[2]} {tree} once"
                aim = ">= 1" if tree == "caller" else ">= 1.5"
                self.table.row(what, f"{theirs.rate:.0f}", f"{ours.rate:.0f}", ours.rate / theirs.rate, aim)

    def cold(self) -> None:
        """Reads after a pause of a second, which every snapshot has outlived, and in which nobody asked the daemon."""
        self.table.head("cold            p50 µs")
        for file in self.options.files:
            seen: dict[str, list[int]] = {tree: [] for tree in self.trees}
            for _ in range(self.options.cold):
                for tree in self.options.trees:
                    time.sleep(1.05)
                    for one in ("lxcfs", tree):
                        seen[one].append(self.container.ask("single", 1, 0, self.trees[one] / file).p50)
            rival = median(seen["lxcfs"])
            for tree in self.options.trees:
                ours = median(seen[tree])
                what = f"{file.rpartition('/')[2]} {tree} cold"
                self.table.row(what, f"{rival / 1e3:.0f}", f"{ours / 1e3:.0f}", ours / rival, "<= 1")

    def crowd(
        self, count: int, threads: int, rounds: int, files: tuple[str, ...], measure: Callable[[Daemon], float]
    ) -> list[float]:
        """What ``measure`` says of each daemon while so many containers read its files once a second, or have done."""
        found = []
        for daemon in (self.lxcfs, self.viewfs):
            with groups(f"{self.name}-{daemon.name}", count, self.points) as tops:
                paths = [daemon.mount / file for file in files]
                # its groups have no share of the real-time bandwidth
                command = ["chrt", "--other", "0", self.reader, "crowd", count, threads, rounds]
                command += [",".join(map(str, tops)), *paths]
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
        options = self.options
        time.sleep(1)
        idle = [daemon.share(options.idle) for daemon in (self.lxcfs, self.viewfs)]
        self.table.row("idle, CPU %", f"{idle[0]:.2f}", f"{idle[1]:.2f}", idle[1], "< 0.05")
        self._memory_row("idle", [self.lxcfs.memory(), self.viewfs.memory()])
        memory: list[float] = []

        def share(daemon: Daemon) -> float:
            found = daemon.share(options.crowd_seconds)
            memory.append(daemon.memory())
            return found

        count = options.containers
        theirs, ours = self.crowd(count, 1, _EVER, ("proc/stat", "proc/meminfo"), share)
        self.table.row(f"{count} read 2 files each s, CPU %", f"{theirs:.1f}", f"{ours:.1f}", ours / theirs)
        self._memory_row(f"{count} containers", memory)
        # load averages of containers that have read theirs once, less what the daemons do anyway
        sampling = self.crowd(200, 12, 1, ("proc/loadavg",), lambda daemon: daemon.share(options.sampler))
        theirs, ours = (max(0.0, share - rest) for share, rest in zip(sampling, idle, strict=True))
        ratio = ours / theirs if theirs > 0 else None
        self.table.row("load sampler, 200 x 12, CPU %", f"{theirs:.2f}", f"{ours:.2f}", ratio, "<= 0.5")

    def _memory_row(self, what: str, memory: list[float]) -> None:
        theirs, ours = memory
        self.table.row(f"{what}, MiB resident", f"{theirs:.0f}", f"{ours:.0f}", ours / theirs)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="in a minute and a half, with noisier figures")
    parser.add_argument("--seconds", type=float, help="of each turn of a measurement")
    parser.add_argument("--turns", type=int, help="of each measurement")
    parser.add_argument("--trees", nargs="+", default=None, choices=["attached", "wired", "caller"])
    parser.add_argument("--readers", nargs="+", type=int, default=[1, 2, 16])
    parser.add_argument("--files", nargs="+", default=FILES, choices=FILES)
    parser.add_argument("--only", nargs="+", default=["hot", "once", "cold", "load"])
    parser.add_argument("--viewfs-option", action="append", default=[], help="handed to viewfs mount")
    parser.add_argument(
        "--precedence", action="store_true", help="give all of it real-time priority, on a machine that has other work"
    )
    options = parser.parse_args()
    quick = options.quick
    options.seconds = options.seconds or (0.05 if quick else 0.2)
    options.turns = options.turns or (3 if quick else 5)
    options.trees = options.trees or (["attached", "caller"] if quick else ["attached", "wired", "caller"])
    options.cold = 2 if quick else 7
    options.idle, options.containers, options.crowd_seconds = (1.0, 500, 3.0) if quick else (10.0, 500, 10.0)
    options.sampler = 5.0 if quick else 15.0
    return options


def main() -> None:
    """Run it; exits 1 when an aim was missed."""
    options = arguments()
    missing = [program for program in ("gcc", "lxcfs", "unshare", "chrt") if shutil.which(program) is None]
    if missing or os.geteuid() != 0:
        raise SystemExit(f"bench.views needs root and {', '.join(missing) or 'nothing else'}")
    if "BENCH_VIEWS_INSIDE" not in os.environ:
        os.environ["BENCH_VIEWS_INSIDE"] = "1"
        command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-m", "bench.views"]
        os.execvp("unshare", [*command, *sys.argv[1:]])
    with tempfile.TemporaryDirectory(prefix="bench-views-", ignore_cleanup_errors=True) as place, ExitStack() as stack:
        bench = Bench(options, Path(place), stack)
        print(f"{'':<34}{'lxcfs':>20}{'viewfs':>20}{'ratio':>10}")
        for part in options.only:
            getattr(bench, part)()
        table = bench.table
        print(f"\n{len(table.missed)} of {table.aims} aims missed" + "".join(f"\n  {what}" for what in table.missed))
    sys.exit(bool(bench.table.missed))


if __name__ == "__main__":
    main()
