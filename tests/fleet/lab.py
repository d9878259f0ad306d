"""A fleet on one machine: hosts behind real SSH servers, each with a simulated kernel of its own as files."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.fleet.controller import Controller, Play
from tests.fleet.ssh import Server, make_key
from tests.host.lab import Run, finish

COTUNE = Path(sys.executable).with_name("cotune")
_START = 60.0


class Mount:
    """``cotune sim mount`` in the foreground: a simulated host as files."""

    def __init__(self, directory: Path, kernel: str, fault: str = "") -> None:
        self.root = directory / "root"
        self.root.mkdir(exist_ok=True)
        self._log = directory / "mount.log"
        options = ["--fault", fault] if fault else []
        command = [str(COTUNE), "--state-dir", str(directory / "sim"), "sim", "mount", str(self.root)]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--kernel", kernel, *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def ready(self) -> None:
        """Wait until it is mounted."""
        end = time.monotonic() + _START
        while not os.path.ismount(self.root):
            assert self.process.poll() is None and time.monotonic() < end, self._log.read_text()
            time.sleep(0.02)

    def close(self, sign: int = signal.SIGTERM) -> None:
        """End it and leave no mount."""
        self.process.send_signal(sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        self.process.kill()
        self.process.wait()
        while os.path.ismount(self.root):
            subprocess.run(["umount", "--lazy", self.root], check=True)


class Host:
    """One machine of the fleet: an SSH server, and the simulated kernel behind it."""

    def __init__(self, name: str, directory: Path, address: str, key: Path, kernel: str) -> None:
        self.name = name
        self.directory = directory
        self.kernel = kernel
        directory.mkdir()
        self.server = Server(directory / "ssh", address, key)
        self.mount: Mount | None = None

    @property
    def root(self) -> Path:
        """The simulated host's files."""
        return self.directory / "root"

    def boot(self, fault: str = "") -> None:
        """A new host from nothing, maybe with a kernel that fails; :meth:`ready` waits for it."""
        self.shut()
        shutil.rmtree(self.directory / "sim", ignore_errors=True)
        self.mount = Mount(self.directory, self.kernel, fault)

    def ready(self) -> None:
        """Wait until it is there."""
        assert self.mount is not None
        self.mount.ready()

    def shut(self) -> None:
        """End the kernel."""
        if self.mount is not None:
            self.mount.close()
            self.mount = None

    def close(self) -> None:
        """End everything of it."""
        self.server.stop()
        self.shut()

    def variables(self) -> dict[str, Any]:
        """What the inventory says about it."""
        return {"ansible_host": self.server.address, "ansible_port": self.server.port, "cotune_root": str(self.root)}

    def read(self, path: str) -> str:
        """What a file of the simulated host reads."""
        return (self.root / path.lstrip("/")).read_text().strip()

    def write(self, path: str, text: str) -> None:
        """Write one, as somebody would by hand."""
        fd = os.open(self.root / path.lstrip("/"), os.O_WRONLY)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)

    def snapshot(self) -> dict[str, bytes]:
        """The kernel as it is saved after each change, and all ordinary files; locks are no change."""
        files = (path for path in (self.directory / "sim").rglob("*") if path.is_file())
        return {str(path): path.read_bytes() for path in files if "lock" not in path.name}

    def transactions(self) -> list[dict[str, Any]]:
        """What ``history`` knows, the newest first."""
        found: list[dict[str, Any]] = self.cotune("history", "--json").expect(0).json["transactions"]
        return found

    def cotune(self, *words: object) -> Run:
        """Run cotune for this host without Ansible."""
        command = [str(COTUNE), "--root", str(self.root), *(str(word) for word in words)]
        pipe = subprocess.PIPE
        return finish(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True))


#: Two of five hosts have the same kernel.
KERNELS = ("anck-4.19", "anck-5.10", "anck-6.6", "anck-6.6-v2", "anck-seed")
GROUP = "fleet-offline"
PROFILE: dict[str, Any] = {
    "apiVersion": "cotune/v1",
    "kind": "IsolationProfile",
    "metadata": {"name": "fleet-test", "version": "1.0.0"},
    "host": {"sysctl": {"vm.watermark_scale_factor": 50}},
    "groups": {
        "offline": {
            "match": {"cgroup": GROUP},
            "create": True,
            "cpu": {"identity": "low", "quota": "150ms"},
            "memory": {"limit": "1GiB", "wmark_ratio": 80, "priority": 2},
            "pids": {"max": 512},
        }
    },
}
#: A fault: this kernel has the file and takes no value in it.
REFUSES = "errno=EINVAL,write=1+,path=*/memory.wmark_ratio"
SYSCTL = "/proc/sys/vm/watermark_scale_factor"


class Fleet:
    """A controller and eight hosts."""

    def __init__(self, directory: Path, stack: contextlib.ExitStack, count: int = 8) -> None:
        self.directory = directory
        self.controller = stack.enter_context(contextlib.closing(Controller(directory / "controller")))
        self.key = make_key(directory / "key")
        self.hosts: dict[str, Host] = {}
        for number in range(1, count + 1):
            kernel = KERNELS[(number - 1) % len(KERNELS)]
            host = Host(f"h{number}", directory / f"h{number}", f"127.0.1.{number}", self.key, kernel)
            stack.callback(host.close)
            self.hosts[host.name] = host
        self.tarball = self.controller.install_collection()

    def fresh(self, *names: str, faults: Mapping[str, str] | None = None) -> None:
        """New hosts in the place of these, or of all; ``faults`` says whose kernel fails in what way."""
        for name in names or self.hosts:
            self.hosts[name].boot((faults or {}).get(name, ""))
        for name in names or self.hosts:
            self.hosts[name].ready()
        self.write_inventory(*names)

    def write_inventory(self, *names: str, more: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """These hosts, or all, as the inventory of the next runs; and ``more``, with the variables of each."""
        hosts = {name: self.hosts[name].variables() for name in names or self.hosts}
        self.controller.write_inventory({**hosts, **(more or {})}, self.variables())

    def variables(self) -> dict[str, Any]:
        """What holds for every host."""
        return {
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.key),
            "ansible_python_interpreter": "/usr/bin/python3",
            "cotune_install": False,
            "cotune_units": False,
            "cotune_executable": str(COTUNE),
            "cotune_profiles": [PROFILE],
        }

    def play(self, playbook: str, *words: object, **extra: Any) -> Play:
        """Run a playbook of the collection."""
        return self.controller.play(f"cotune.host.{playbook}", *words, **extra)

    def snapshots(self) -> dict[str, dict[str, bytes]]:
        """The snapshot of every host that runs."""
        return {name: host.snapshot() for name, host in self.hosts.items() if host.mount is not None}
