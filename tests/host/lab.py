"""A laboratory for one test: cgroups, processes, a state directory and the command line, all its own.

Everything a test makes on the running kernel goes through a :class:`Lab`, which takes it away again, whatever happened.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from cotune.kernel.mountinfo import parse_mountinfo

REPOSITORY = Path(__file__).resolve().parents[2]
CONTROLLERS = ("cpu", "cpuset", "memory", "blkio", "pids")
TIMEOUT = 90.0
#: files that count or list what happens; all others change only when somebody writes them
_COUNTERS = re.compile(r"stat|usage|failcnt|pressure|slabinfo|io_service|current|events|peak|force_empty")
_numbers = itertools.count(1)

Snapshot = dict[str, bytes]


class Run(NamedTuple):
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)

    def expect(self, code: int) -> Run:
        """This run, when it ended with ``code``; otherwise the test fails and shows what was printed."""
        if self.code != code:
            pytest.fail(f"exit {self.code} instead of {code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}")
        return self


class Call(NamedTuple):
    """One system call of a trace: its name, how many of that name came before it plus one, and its text."""

    name: str
    number: int
    text: str


def controller_points() -> dict[str, str]:
    """Controller → mount point of its v1 hierarchy on this machine."""
    points: dict[str, str] = {}
    for mount in parse_mountinfo(Path("/proc/self/mountinfo").read_text()):
        if mount.fstype == "cgroup":
            for word in mount.super_options:
                points.setdefault(word, mount.point)
    return points


def unique() -> str:
    """A name no other test uses, in this process or another."""
    return f"cotune-test-{os.getpid()}-{next(_numbers)}"


class Lab:
    """What one test needs of the machine."""

    def __init__(self, directory: Path, cache: Path) -> None:
        """``directory`` takes files; ``cache`` keeps compiled modules, since every command is a new process."""
        self.points = controller_points()
        missing = [name for name in CONTROLLERS if name not in self.points]
        if missing:
            pytest.skip(f"needs cgroup v1 controllers that are not mounted here: {', '.join(missing)}")
        self.name = unique()
        self.directory = directory
        self.cache = cache
        self.state = directory / "state"
        self.processes: list[subprocess.Popen[bytes]] = []
        self._closing = contextlib.ExitStack()

    def close(self) -> None:
        """End every process and remove every cgroup of this laboratory."""
        for process in self.processes:
            end(process)
        self._closing.close()
        for controller in CONTROLLERS:
            remove_tree(self.dir(controller))

    def defer(self, action: Callable[[], object]) -> None:
        """Call something at the end, the last one first, before the cgroups are removed."""
        self._closing.callback(action)

    # cgroups

    def dir(self, controller: str, group: str = "") -> Path:
        """The directory of a group of this laboratory in one hierarchy."""
        return Path(self.points[controller]) / self.name / group

    def file(self, group: str, name: str) -> Path:
        """A control file of a group, found by the file's own prefix (``cpu.shares`` lies in ``cpu``)."""
        return self.dir(name.partition(".")[0], group) / name

    def read(self, group: str, name: str) -> str:
        """What a control file reads."""
        return self.file(group, name).read_text().strip()

    def write(self, group: str, name: str, value: object) -> None:
        """Write a control file, as an administrator would by hand."""
        put(self.file(group, name), value)

    def make(self, group: str = "", controllers: Sequence[str] = CONTROLLERS) -> str:
        """Make a group and its parents, ready for tasks; returns its path below the root as profiles name it."""
        for controller in controllers:
            parts = Path(group).parts
            for depth in range(len(parts) + 1):
                directory = self.dir(controller, "/".join(parts[:depth]))
                if directory.is_dir():
                    continue
                directory.mkdir()
                if controller == "cpuset":
                    for name in ("cpuset.cpus", "cpuset.mems"):
                        put(directory / name, (directory.parent / name).read_text().strip())
        return self.path(group)

    def path(self, group: str = "") -> str:
        """The group as profiles name it."""
        return f"{self.name}/{group}" if group else self.name

    def snapshot(self) -> Snapshot:
        """Path → bytes of every control file of this laboratory's groups; directories have a trailing slash."""
        found: Snapshot = {}
        for controller in CONTROLLERS:
            for directory, _, files in os.walk(self.dir(controller)):
                found[directory + "/"] = b""
                for name in files:
                    if not _COUNTERS.search(name):
                        with contextlib.suppress(OSError):
                            found[f"{directory}/{name}"] = Path(directory, name).read_bytes()
        return found

    # processes

    def spawn(self, *command: str, group: str | None = None) -> subprocess.Popen[bytes]:
        """Start a process (one that sleeps, unless told), in a group of every hierarchy when one is named."""
        process = subprocess.Popen(command or ("sleep", "600"), stdin=subprocess.DEVNULL, start_new_session=True)
        self.processes.append(process)
        if group is not None:
            for controller in CONTROLLERS:
                put(self.dir(controller, group) / "cgroup.procs", process.pid)
        return process

    def groups_of(self, pid: int) -> dict[str, str]:
        """Controller → cgroup of a process."""
        found = {}
        for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
            _, names, path = line.split(":", 2)
            found.update({name: path.strip("/") for name in names.split(",") if name in CONTROLLERS})
        return found

    # the command line

    def profile(self, name: str = "test", file: str = "", **sections: Any) -> Path:
        """Write a profile; ``groups`` and ``host`` are its sections."""
        path = self.directory / f"{file or name}.yaml"
        data = {
            "apiVersion": "cotune/v1",
            "kind": "IsolationProfile",
            "metadata": {"name": f"{self.name}-{name}"},
            **sections,
        }
        path.write_text(yaml.safe_dump(data, sort_keys=False))
        return path

    def command(self, *arguments: object) -> list[str]:
        """A command line of cotune with this laboratory's state directory."""
        start = [sys.executable, "-m", "cotune.cli.__main__", "--state-dir", str(self.state)]
        return start + [str(argument) for argument in arguments]

    def environment(self) -> dict[str, str]:
        """The environment of commands: this source tree, and one cache of compiled modules for all of them."""
        keep = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COTUNE"))}
        return {**keep, "PYTHONPATH": str(REPOSITORY), "PYTHONPYCACHEPREFIX": str(self.cache), "NO_COLOR": "1"}

    def start(self, command: Sequence[str]) -> subprocess.Popen[str]:
        """Start a command with its output kept."""
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.directory,
            env=self.environment(),
        )

    def run(self, *arguments: object) -> Run:
        """Run cotune to its end."""
        return finish(self.start(self.command(*arguments)))

    def traced(self, arguments: Sequence[object], *options: str) -> tuple[Run, list[Call]]:
        """Run cotune under strace; returns the run and its trace."""
        trace = self.directory / f"{unique()}.trace"
        run = finish(self.start_traced(arguments, *options, output=trace))
        return run, parse_trace(trace.read_text(errors="replace"))

    def start_traced(self, arguments: Sequence[object], *options: str, output: Path | None = None) -> Any:
        """Start cotune under strace with further options of strace. No compiled modules are written meanwhile."""
        needs_strace()
        to = str(output or os.devnull)
        strace = ["strace", "-f", "-y", "-o", to, "-E", "PYTHONDONTWRITEBYTECODE=1", *options, "--"]
        return self.start([*strace, *self.command(*arguments)])


def finish(process: subprocess.Popen[str], timeout: float = TIMEOUT) -> Run:
    """Wait for a command."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        pytest.fail(f"{process.args!r} did not end within {timeout} s\n{out}\n{err}")
    return Run(process.returncode, out, err)


def end(process: subprocess.Popen[Any]) -> None:
    """End a process and wait for it."""
    if process.poll() is None:
        process.kill()
    process.wait()


def put(path: Path, value: object) -> None:
    """Write a control file in one write, without creating it."""
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, str(value).encode())
    finally:
        os.close(fd)


def remove_tree(directory: Path, patience: float = 5.0) -> None:
    """Remove a cgroup and all below it; processes that are just ending get a moment."""
    deadline = time.monotonic() + patience
    for path, _, _ in os.walk(directory, topdown=False):
        while True:
            try:
                os.rmdir(path)
            except OSError as error:
                if error.errno == errno.ENOENT:
                    break
                if error.errno != errno.EBUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                break


def wait_for(condition: Callable[[], Any], what: str, timeout: float = 30.0) -> Any:
    """Wait until a condition holds; returns what it gave."""
    deadline = time.monotonic() + timeout
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: did not happen within {timeout} s")
        time.sleep(0.01)


def needs_strace() -> None:
    """Skip where strace is missing or may not trace."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    if subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs strace, which may not trace here")


_CALL = re.compile(r"^\d+ +(\w+)\((.*)$")


def parse_trace(text: str) -> list[Call]:
    """The system calls of a trace in their order; resumed ones once."""
    counts: dict[str, int] = {}
    calls = []
    for line in text.splitlines():
        match = _CALL.match(line)
        if match:
            counts[match[1]] = counts.get(match[1], 0) + 1
            calls.append(Call(match[1], counts[match[1]], match[2]))
    return calls


_DIRFD = re.compile(r'^(?:\w+<([^>]*)>, )?"([^"]*)", ([^,)]*)')


def kernel_writes(calls: Sequence[Call]) -> list[str]:
    """Paths below /sys and /proc that a trace opened for writing, or where it made, removed or mounted something."""
    found = []
    for call in calls:
        match = _DIRFD.match(call.text)
        if match is None:
            continue
        if call.name in ("mount", "umount2"):
            found.append(f"{call.name}({call.text}")
            continue
        path = os.path.join(match[1] or "/", match[2])
        opens = call.name in ("open", "openat", "openat2")
        if opens and not re.search(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC", call.text):
            continue
        if path.startswith(("/sys/", "/proc/")):
            found.append(path)
    return found


@contextlib.contextmanager
def exclusive(name: str) -> Iterator[None]:
    """Hold a lock that all test processes of this machine share: for the few things that exist only once."""
    import fcntl
    import tempfile

    with open(Path(tempfile.gettempdir(), f"cotune-test-{name}.lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
