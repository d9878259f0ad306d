"""SSH servers on loopback addresses, each with keys and a configuration of its own; shared by tests and benchmark."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

#: sshd wants to be called by its absolute path, because it executes itself again for each connection.
SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
#: sshd refuses to start without this directory, which the service of a distribution makes.
_SEPARATION = Path("/run/sshd")
_START = 15.0

_CONFIG = """\
ListenAddress {address}:{port}
HostKey {directory}/host_key
AuthorizedKeysFile {key}.pub
PidFile {directory}/sshd.pid
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM {pam}
StrictModes no
UseDNS no
MaxStartups 100
Subsystem sftp internal-sftp
{environment}"""


def make_key(path: Path) -> Path:
    """A key pair without a passphrase; returns the private one."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path], check=True)
    return path


class Server:
    """One sshd that lets root in with one key. It can be ended and started again at the same address."""

    def __init__(self, directory: Path, address: str, key: Path, prefix: Sequence[str] = ()) -> None:
        """``prefix`` starts its command."""
        directory.mkdir()
        self._prefix = tuple(prefix)
        self.address = address
        self.key = key
        self.directory = directory
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        make_key(directory / "host_key")
        self.start()

    def start(self) -> None:
        """Start it: at the port it had, at first at a free one."""
        _SEPARATION.mkdir(mode=0o755, exist_ok=True)
        for _ in range(5):  # somebody else may take a free port before sshd does
            port = self.port or _free_port(self.address)
            if self._listens(port):
                self.port = port
                return
        raise RuntimeError(f"sshd does not start at {self.address}: {self._log.read_text()}")

    @property
    def _log(self) -> Path:
        return self.directory / "sshd.log"

    def _listens(self, port: int) -> bool:
        assert SSHD is not None
        config = self.directory / "sshd_config"
        text = _CONFIG.format(
            address=self.address,
            port=port,
            directory=self.directory,
            key=self.key,
            pam=_pam_for_root(),
            environment=_environment(),
        )
        config.write_text(text)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._prefix, SSHD, "-D", "-e", "-f", config], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        end = time.monotonic() + _START
        while self._process.poll() is None and time.monotonic() < end:
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection((self.address, port), 1):
                return True
            time.sleep(0.02)
        self.stop()
        return False

    def stop(self) -> None:
        """End it with every connection and all that runs in them, as if the machine had lost its power."""
        if self._process is None:
            return
        end_tree(self._process)
        self._process = None


def end_tree(process: subprocess.Popen[Any]) -> None:
    """Kill a process and all below it, also those that lead a session of their own."""
    below: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        top = psutil.Process(process.pid)
        top.suspend()  # it starts no others meanwhile
        below = top.children(recursive=True)
    process.kill()
    process.wait()
    for one in below:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()


def _free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port


def _environment() -> str:
    """Sessions find the package index that whoever runs this uses, and not what the ~/.bashrc of root does.

    bash reads that for sshd's commands as well, unless it seems to run below another shell.
    """
    words = ["SHLVL=1", *(f'"{name}={value}"' for name, value in os.environ.items() if name.startswith("PIP_"))]
    return f"SetEnv {' '.join(words)}\n"


def _pam_for_root() -> str:
    """Without PAM sshd refuses an account that is locked, as root is on some distributions."""
    with contextlib.suppress(OSError):
        for line in Path("/etc/shadow").read_text().splitlines():
            name, password, *_ = line.split(":")
            if name == "root" and password.startswith("!"):
                return "yes"
    return "no"
