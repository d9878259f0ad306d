"""A container with the host's programs, which run unchanged inside: ``/usr`` and ``/etc`` are bound read-only."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cotune.units import parse_cpulist
from tests.containers.conftest import Runc
from tests.host.lab import REPOSITORY, put, remove_tree
from tests.views.lab import Service
from viewfs.targets import Target

MEBIBYTE = 1 << 20
PERIOD = 100_000
HIERARCHIES = Path("/sys/fs/cgroup")
CPU = "/sys/devices/system/cpu"


class Shape(NamedTuple):
    """Limits of a container: MiB of memory, a list of CPUs, µs of CPU time in each period.

    ``way`` is how it gets its views; ``above`` says that the limits are those of the group above its own. ``clock``
    puts it into a time namespace whose clocks begin at so many seconds.
    """

    way: str = ""
    memory: int | None = None
    cpus: str = ""
    quota: int | None = None
    above: bool = False
    clock: int | None = None

    @property
    def shown(self) -> list[int]:
        """The CPUs in view."""
        number = None if self.quota is None else -(-self.quota // PERIOD)
        return sorted(parse_cpulist(self.cpus))[:number]

    @property
    def kilobytes(self) -> int:
        """The memory in kB."""
        return (self.memory or 0) * 1024

    def resources(self) -> dict[str, Any]:
        """The limits as a configuration states them."""
        cpu: dict[str, Any] = {"cpus": self.cpus, "period": PERIOD}
        if self.quota is not None:
            cpu["quota"] = self.quota
        return {"memory": {"limit": self.memory * MEBIBYTE} if self.memory else {}, "cpu": cpu}


class Bundle(Runc):
    """A container of runc with limits. Its groups are below one that is made for it alone, ``top``."""

    def __init__(self, directory: Path, shape: Shape) -> None:
        super().__init__(directory)
        self.shape = shape
        self._clocks: int | None = None
        rootfs = directory / "bundle" / "rootfs"
        for name in ("lib", "lib64"):
            (rootfs / name).symlink_to(f"usr/{name}")
        self.top = self.cgroup
        config = self.config()
        config["linux"]["cgroupsPath"] = self.cgroup = f"{self.top}/pod/ct"
        if shape.above:
            self._limit(f"{self.top}/pod")
        else:
            config["linux"]["resources"].update(shape.resources())
        config["process"]["env"] += ["LC_ALL=C", "TERM=dumb"]
        for path in dict.fromkeys(("/usr", "/etc", sys.base_prefix, sys.prefix)):
            self.bind(config, path, path)
        self.configure(config)

    @staticmethod
    def bind(config: dict[str, Any], source: str, destination: str, access: str = "ro") -> None:
        """Add a mount to a configuration."""
        config["mounts"].append(
            {"destination": destination, "source": source, "type": "bind", "options": ["rbind", access]}
        )

    def _limit(self, group: str) -> None:
        """Make a group with the limits, before runc makes the container's below it."""
        for controller in ("cpuset", "memory", "cpu"):
            folder = HIERARCHIES / controller / group.strip("/")
            folder.mkdir(parents=True)
            if controller == "cpuset":
                for made in (folder.parent, folder):
                    for name in ("cpuset.cpus", "cpuset.mems"):
                        put(made / name, (made.parent / name).read_text().strip())
                put(folder / "cpuset.cpus", self.shape.cpus)
        put(HIERARCHIES / f"memory{group}/memory.limit_in_bytes", self.shape.kilobytes * 1024)
        if self.shape.quota is not None:
            put(HIERARCHIES / f"cpu{group}/cpu.cfs_quota_us", self.shape.quota)

    def viewfs(self, service: Service, *words: str, text: str | None = None) -> str:
        """Run the command line of the views; returns what it prints."""
        command = [*VIEWFS, "--state-dir", str(service.state), *words]
        done = subprocess.run(command, cwd=REPOSITORY, input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def begin(self, service: Service) -> Target:
        """Start it with views, which come by its way; returns its process."""
        at = ("--mount", str(service.mount))
        config = self.config()
        if self.shape.way == "wire":
            self.configure(json.loads(self.viewfs(service, "wire", *at, text=json.dumps(config))))
        elif self.shape.way == "hook":
            words = [*VIEWFS, "--state-dir", str(service.state), "hook", *at]
            environment = [f"PYTHONPATH={REPOSITORY}", f"PATH={os.environ['PATH']}"]
            config["hooks"] = {"createContainer": [{"path": sys.executable, "args": words, "env": environment}]}
            self.configure(config)
        target = self.start()
        if self.shape.way == "attach":
            self.viewfs(service, "attach", *at, str(target.pid))
        return target

    def start(self) -> Target:
        """Run the container and return its process."""
        if self.shape.clock is None:
            return super().start()
        # runc knows time namespaces from 1.2 on; a container of an older one is in that of runc itself
        clocks = {"monotonic": time.CLOCK_MONOTONIC, "boottime": time.CLOCK_BOOTTIME}
        now = {name: int(time.clock_gettime(clock)) for name, clock in clocks.items()}
        offsets = [f"--{name}={self.shape.clock - seconds}" for name, seconds in now.items()]
        self.launcher = ["unshare", "--time", *offsets]
        target = super().start()
        # which goes by the start time it sees, so it has to see the same one always
        self._clocks = os.open(f"/proc/{target.pid}/ns/time", os.O_RDONLY)
        self.launcher = ["nsenter", f"--time=/proc/{os.getpid()}/fd/{self._clocks}"]
        return target

    def exec(self, *words: str) -> str:
        """What a program prints inside."""
        return self("exec", self.id, *words)

    def open(self, *words: str) -> subprocess.Popen[str]:
        """Start a program inside whose output is read later."""
        command = self.command("exec", self.id, *words)
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)

    @contextlib.contextmanager
    def running(self, *words: str) -> Iterator[None]:
        """A program that runs inside for the time of a block, and is ended by a signal then."""
        file = self._directory / "running.pid"
        self("exec", "--detach", "--pid-file", str(file), self.id, *words)
        try:
            yield
        finally:
            os.kill(int(file.read_text()), 9)

    def close(self) -> None:
        """Remove the container and its groups in every hierarchy."""
        with contextlib.ExitStack() as closing:
            if self._clocks is not None:
                closing.callback(os.close, self._clocks)
            for point in HIERARCHIES.iterdir():
                if os.path.isdir(f"{point}{self.top}"):
                    closing.callback(remove_tree, Path(f"{point}{self.top}"))
            closing.callback(super().close)


VIEWFS = [sys.executable, "-B", "-m", "viewfs"]
#: Half a CPU of one of two, two CPUs without a quota, the other CPU alone, and limits of a group above.
SHAPES = {
    "attached": Shape("attach", 256, "0", PERIOD // 2),
    "wired": Shape("wire", 256, "0", PERIOD // 2),
    "hooked": Shape("hook", 192, "1", PERIOD // 2),
    "two": Shape("attach", 320, "0-1"),
    "nested": Shape("wire", 256, "0", PERIOD // 2, above=True),
}
