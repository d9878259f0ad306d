"""Containers for the tests: namespaces made by unshare, real ones made by runc, and a stand-in for the service."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cotune.units import parse_cpulist
from tests.views.lab import Service, serving
from viewfs.targets import Target, find_target

if TYPE_CHECKING:
    from tests.containers.bundle import Bundle

#: What the stand-in for the service holds.
VIEWS = ("/proc/cpuinfo", "/proc/meminfo", "/proc/loadavg", "/sys/devices/system/cpu/online")
_WAIT = 20.0


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Everything here enters namespaces."""
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("needs root on a real Linux host")


class Views:
    """A file system whose source is called viewfs, with files that say which tree they are of."""

    def __init__(self, point: Path) -> None:
        self.point = point
        point.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "viewfs", point], check=True)

    def add(self, tree: str, text: str) -> None:
        """Put the files of one tree there: '' for the caller's, cgroup/PATH, pid/PID."""
        for path in VIEWS:
            file = self.point / tree / path[1:]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{text} {path}\n")

    def close(self) -> None:
        subprocess.run(["umount", "--lazy", self.point], check=True)


@pytest.fixture
def views(tmp_path: Path) -> Iterator[Views]:
    with contextlib.closing(Views(tmp_path / "views")) as made:
        made.add("", "caller")
        yield made


class Namespaces:
    """Processes in mount namespaces of their own."""

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[str]] = []

    def start(self, *options: str, script: str = "") -> Target:
        """A shell inside namespaces as ``unshare`` makes them, after ``script``; found by its pid on the host."""
        command = ["unshare", *options, "--kill-child", "sh", "-c", f"{script}\necho ready; exec sleep 600"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        end = time.monotonic() + _WAIT
        while not (children := Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()):
            assert time.monotonic() < end
        return find_target(children[0])

    def close(self) -> None:
        while self._running:
            process = self._running.pop()
            process.kill()
            process.communicate()


@pytest.fixture
def namespaces() -> Iterator[Namespaces]:
    with contextlib.closing(Namespaces()) as made:
        yield made


def inside(target: Target, *command: str) -> str:
    """What a command prints inside a container."""
    enter = ["nsenter", "--target", str(target.pid), "--mount", "--pid", "--root", "--wd=/", "--"]
    return subprocess.run([*enter, *command], capture_output=True, text=True, check=True).stdout


class Runc:
    """A runc of its own, with a root directory of busybox and a group below ``cotune-test``."""

    #: The command, which is also the name of the directory with its state.
    runtime = "runc"

    def __init__(self, directory: Path, run: Path | None = None) -> None:
        """``run`` is where it keeps its state: the default, or ``/run`` for containers that a service has to find.

        ``launcher`` is a command that starts runc.
        """
        self._directory = directory
        self.run = run or directory / "run"
        self.launcher: list[str] = []
        self.id = f"cotune-{uuid.uuid4().hex[:8]}"
        self.cgroup = f"/{self.id}"
        rootfs = directory / "bundle" / "rootfs"
        for name in ("bin", "proc", "sys", "dev", "tmp", "etc"):
            (rootfs / name).mkdir(parents=True)
        busybox = shutil.which("busybox")
        assert busybox is not None
        shutil.copy(busybox, rootfs / "bin" / "busybox")
        for name in ("sh", "cat", "sleep"):
            (rootfs / "bin" / name).symlink_to("busybox")
        subprocess.run(["runc", "spec"], cwd=directory / "bundle", check=True)
        config = self.config()
        config["process"].update(terminal=False, args=["sleep", "600"])
        config["linux"]["cgroupsPath"] = self.cgroup
        self.configure(config)

    @property
    def _config(self) -> Path:
        return self._directory / "bundle" / "config.json"

    def config(self) -> dict[str, Any]:
        """The configuration of the bundle."""
        config: dict[str, Any] = json.loads(self._config.read_text())
        return config

    def configure(self, config: dict[str, Any]) -> None:
        """Replace it."""
        self._config.write_text(json.dumps(config))

    def command(self, *words: str) -> list[str]:
        """A command line of the runtime.

        runc before 1.2 hands the signals of its own scheduler on to the program inside, and any signal ends top:
        https://github.com/opencontainers/runc/pull/3368.
        """
        quiet = ["env", "GODEBUG=asyncpreemptoff=1"]
        return [*quiet, *self.launcher, self.runtime, "--root", str(self.run / self.runtime), *words]

    def __call__(self, *words: str) -> str:
        command = self.command(*words)
        # a file, because the container's process keeps the standard output of `runc run`
        with open(self._directory / "output", "w+") as output:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False)
            output.seek(0)
            text = output.read()
        assert done.returncode == 0, text
        return text

    def start(self) -> Target:
        """Run the container and return its process."""
        self("run", "--detach", "--bundle", str(self._directory / "bundle"), self.id)
        return find_target(self.id, self.run)

    def stop(self) -> None:
        """End the container; it can be started again."""
        self("delete", "--force", self.id)

    def close(self) -> None:
        if (self.run / self.runtime / self.id).exists():
            self.stop()


@pytest.fixture
def runc(tmp_path: Path) -> Iterator[Runc]:
    if shutil.which("runc") is None or shutil.which("busybox") is None:
        pytest.skip("needs runc and a static busybox")
    with contextlib.closing(Runc(tmp_path / "runc")) as made:
        yield made


@pytest.fixture(scope="session")
def views_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for the containers below."""
    pytest.importorskip("pyfuse3", reason="needs the views extra")
    if shutil.which("runc") is None or shutil.which("busybox") is None or not os.path.exists("/dev/fuse"):
        pytest.skip("needs runc, a static busybox and /dev/fuse")
    with serving(tmp_path_factory.mktemp("service")) as made:
        yield made


@pytest.fixture(scope="session", params=["attached", "wired", "hooked", "two", "nested"])
def box(
    request: pytest.FixtureRequest, views_service: Service, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bundle]:
    """A container with limits and views."""
    from tests.containers.bundle import SHAPES, Bundle

    shape = SHAPES[request.param]
    if not parse_cpulist(shape.cpus) <= os.sched_getaffinity(0):
        pytest.skip("needs two CPUs")
    with contextlib.closing(Bundle(tmp_path_factory.mktemp("box"), shape)) as made:
        made.begin(views_service)
        yield made
