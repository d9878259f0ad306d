"""The laboratory of tests/host on cgroup v2: one tree; commands run in this process, since Python starts slowly."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from cotune.cli.app import run
from tests.host.lab import Call, Lab, Run, Snapshot, end, finish, needs_strace, parse_trace, put, remove_tree, unique

ROOT = Path("/sys/fs/cgroup")
#: MAJ:MIN of a disk on which no test makes a file system
DISK = Path("/sys/block/vdc/dev").read_text().strip()
#: files that count or list what happens; all others change only when somebody writes them
COUNTERS = re.compile(r"stat|current|events|peak|pressure")
CONTROLLERS = ("cpuset", "cpu", "io", "memory", "pids")


class GuestLab(Lab):
    """What one test needs of the guest. Tests in the guest run one after the other."""

    def __init__(self, directory: Path) -> None:
        """``directory`` takes files."""
        self.points = dict.fromkeys(CONTROLLERS, str(ROOT))
        self.name = unique()
        self.directory = directory
        self.cache = directory
        self.state = directory / "state"
        self.processes = []
        self._closing = contextlib.ExitStack()

    def close(self) -> None:
        """End every process and remove every cgroup of this laboratory."""
        for process in self.processes:
            end(process)
        self._closing.close()
        remove_tree(self.group())

    # cgroups

    def group(self, path: str = "") -> Path:
        """The directory of a group of this laboratory."""
        return ROOT / self.path(path)

    def file(self, group: str, name: str) -> Path:
        """A control file of a group."""
        return self.group(group) / name

    def make(self, group: str = "", controllers: Sequence[str] = CONTROLLERS) -> str:
        """Make a group and its parents, which enable ``controllers`` for their children."""
        directory = ROOT / self.name
        directory.mkdir(exist_ok=True)
        for part in Path(group).parts:
            put(directory / "cgroup.subtree_control", " ".join(f"+{name}" for name in controllers))
            directory /= part
            directory.mkdir(exist_ok=True)
        return self.path(group)

    def snapshot(self) -> Snapshot:
        """Path → bytes of every control file of this laboratory's groups; directories have a trailing slash."""
        found: Snapshot = {}
        for directory, _, files in os.walk(self.group()):
            found[directory + "/"] = b""
            for name in files:
                if not COUNTERS.search(name):
                    with contextlib.suppress(OSError):  # some files are for writing only
                        found[f"{directory}/{name}"] = Path(directory, name).read_bytes()
        return found

    # processes

    def spawn(self, *command: str, group: str | None = None) -> subprocess.Popen[bytes]:
        """Start a process (one that sleeps, unless told), in a group when one is named."""
        process = super().spawn(*command)
        if group is not None:
            put(self.group(group) / "cgroup.procs", process.pid)
        return process

    def group_of(self, pid: int) -> str:
        """The cgroup of a process."""
        return Path(f"/proc/{pid}/cgroup").read_text().strip().removeprefix("0::/")

    # the command line

    def environment(self) -> dict[str, str]:
        """Modules are compiled already."""
        environment = super().environment()
        del environment["PYTHONPYCACHEPREFIX"]
        return environment

    def run(self, *arguments: object) -> Run:
        """Run cotune in this process."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run(["--state-dir", str(self.state), *map(str, arguments)])
        return Run(code, out.getvalue(), err.getvalue())

    def traced_here(self, arguments: Sequence[object], *options: str) -> tuple[Run, list[Call]]:
        """Run cotune in this process while strace looks on; starting Python under it would take most of a minute."""
        needs_strace()
        trace = self.directory / f"{unique()}.trace"
        command = ["strace", "-f", "-y", "-o", str(trace), *options, "-p", str(os.getpid())]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as strace:
            assert strace.stderr is not None
            assert b" attached" in strace.stderr.readline()
            run = self.run(*arguments)
            strace.terminate()
        return run, parse_trace(trace.read_text(errors="replace"))

    def run_apart(self, *arguments: object) -> Run:
        """Run cotune in a process of its own, as people do."""
        return finish(self.start(self.command(*arguments)))
