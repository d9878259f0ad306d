"""A simulated host that is really mounted, and the command line on it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cotune.cli.app import run
from cotune.kernel import admin
from cotune.kernel.real import RealKernel

REPOSITORY = Path(__file__).resolve().parents[2]
COTUNE = [sys.executable, "-B", "-m", "cotune.cli"]
SECONDS = 60


def need_fuse() -> None:
    """Skip where nothing can be mounted."""
    if not os.path.exists("/dev/fuse"):
        pytest.skip("needs /dev/fuse")
    pytest.importorskip("pyfuse3", reason="needs the views extra")
    if os.geteuid() != 0 and shutil.which("fusermount3") is None:
        pytest.skip("needs root, or fusermount3")


class Answer(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def cotune(*words: str) -> Answer:
    """Run a command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(list(words))
    return Answer(code, out.getvalue(), err.getvalue())


class SimMount:
    """``cotune sim mount`` in a process of its own, once the mount is there."""

    def __init__(self, directory: Path, kernel: str, *options: str) -> None:
        self.root, self.state, self.kernel = directory / "host", directory / "state", kernel
        self.root.mkdir(exist_ok=True)
        words = ["sim", "mount", str(self.root), "--kernel", kernel, "--state-dir", str(self.state), "--json", *options]
        self.process = subprocess.Popen(
            [*COTUNE, *words], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.told: dict[str, Any] = json.loads(line) if line.startswith('{"schema": "cotune.sim/v1", "pid"') else {}
        if not self.told:
            self.close()
            pytest.fail(f"not mounted: {line}{self.process.communicate()}")

    def cotune(self, *words: str) -> Answer:
        """Run a command line on the mount, in this process."""
        return cotune("--root", str(self.root), *words)

    def path(self, name: str) -> Path:
        """A file of the host."""
        return self.root / name.lstrip("/")

    def read(self, name: str) -> str:
        """The text of a file, without the newline at its end."""
        return self.path(name).read_text().rstrip("\n")

    def write(self, name: str, text: str) -> None:
        """One write(2) to a file that is there."""
        fd = os.open(self.path(name), os.O_WRONLY)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)

    def shell(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a script in the root of the mount."""
        return subprocess.run(["sh", "-c", script], cwd=self.root, capture_output=True, text=True, timeout=SECONDS)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it; returns its exit code."""
        self.process.send_signal(number)
        return self.process.wait(SECONDS)

    def close(self) -> None:
        """End it, whatever happened, and leave no mount."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(SECONDS)
            self.process.kill()
            self.process.wait()
        while self.mounted():
            if os.geteuid() == 0:
                admin.unmount(str(self.root), detach=True)
            else:
                admin.run_tool("fusermount3", ["-u", "-z", str(self.root)])

    def mounted(self) -> bool:
        """Whether something is mounted there, dead or alive."""
        return any(mount.point == str(self.root) for mount in RealKernel().mounts())


@contextlib.contextmanager
def mounted(directory: Path, kernel: str, *options: str) -> Iterator[SimMount]:
    """A simulated host that is mounted for the time of a block."""
    made = SimMount(directory, kernel, *options)
    try:
        yield made
    finally:
        made.close()
