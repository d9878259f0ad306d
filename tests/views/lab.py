"""A mounted service of a test's own, and processes that live in containers as far as pid namespace and cgroup go."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.host.lab import CONTROLLERS, REPOSITORY, Lab

SERVE = [sys.executable, "-X", "faulthandler", "-B", "-m", "viewfs", "mount", "--foreground"]
_MNT_DETACH = 2


class Service:
    """A service in the foreground, mounted in a directory of its own."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.mount = directory / "views"
        self.state = directory / "views-state"
        self.log = directory / "views.log"
        command = [*SERVE, "--state-dir", str(self.state), *options, str(self.mount)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=REPOSITORY, stdout=log, stderr=log)
        ended = self.process.poll
        # a guest on a busy machine takes its time to start Python
        if not soon(lambda: self.recorded() or ended() is not None, 300.0) or ended() is not None:
            if ended() is None:
                self.process.send_signal(signal.SIGABRT)  # it then tells where it is
                self.process.wait()
            self.close()
            pytest.fail(f"the service did not start: {self.log.read_text()}")

    def recorded(self) -> bool:
        """Whether it says that it is mounted."""
        return any(self.state.glob("viewfs-*.json"))

    def path(self, name: str) -> Path:
        """A file of the mount."""
        return self.mount / name

    def ticks(self) -> int:
        """CPU time it has used, in clock ticks."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def reads(self) -> int:
        """System calls with which it has read something; each request takes one."""
        fields = dict(line.split(": ") for line in Path(f"/proc/{self.process.pid}/io").read_text().splitlines())
        return int(fields["syscr"])

    def stop(self) -> int:
        """Ask it to end as an init system would; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def close(self) -> None:
        """End it, whatever happened, and leave no mount."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
            self.process.kill()
            self.process.wait()
        for point in (self.mount, self.state / "static"):
            while mounted(point):
                detach(point)


@contextlib.contextmanager
def serving(directory: Path, *options: str) -> Iterator[Service]:
    """A service for the time of a block."""
    service = Service(directory, *options)
    try:
        yield service
    finally:
        service.close()


def mounted(point: Path) -> bool:
    """Whether something is mounted there."""
    return f" {point} " in Path("/proc/self/mountinfo").read_text()


def detach(point: Path) -> None:
    """Unmount, even when nobody answers there any more."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(os.fsencode(point), _MNT_DETACH) != 0:
        raise OSError(ctypes.get_errno(), str(point))


def soon(condition: Callable[[], object], seconds: float = 60.0) -> bool:
    """Whether ``condition`` came true in time; asked ever more rarely, as what it waits for may need the CPU."""
    end, pause = time.monotonic() + seconds, 0.01
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
        pause = min(1.2 * pause, 0.3)
    return True


class Contained:
    """Runs commands as processes of a container: in a group of the lab and a pid namespace of its own."""

    def __init__(self, lab: Lab, group: str) -> None:
        self._lab = lab
        self.group = lab.make(group)
        self._procs = [str(lab.dir(controller, group) / "cgroup.procs") for controller in CONTROLLERS]

    def command(self, *words: str) -> list[str]:
        """The command line that runs ``words`` inside."""
        enter = "".join(f"echo $$ > {path} && " for path in self._procs)
        return ["sh", "-c", f'{enter}exec unshare --pid --fork --kill-child -- "$@"', "sh", *words]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(self.command(*words), capture_output=True, text=True, timeout=60)

    def python(self, code: str, *arguments: object) -> object:
        """Run Python code that prints JSON; returns that."""
        run = self.run(sys.executable, "-c", code, *map(str, arguments))
        if run.returncode:
            pytest.fail(f"inside the container: {run.stderr}")
        return json.loads(run.stdout)

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a command, which the lab ends; its own number inside is 1."""
        process = subprocess.Popen(self.command(*words), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._lab.processes.append(process)
        return process
