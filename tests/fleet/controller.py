"""An Ansible controller of its own: directories, settings, the collection installed from its tarball, an inventory."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.fleet.ssh import end_tree

REPOSITORY = Path(__file__).resolve().parents[2]
#: Everything here is real and many processes: far above what a run takes on a busy machine.
PATIENCE = 600.0
_RECAP = re.compile(r"^(\S+) +: (ok=\d+.*)$", re.MULTILINE)


class Play(NamedTuple):
    """A finished ansible-playbook."""

    code: int
    out: str
    err: str

    @property
    def recap(self) -> dict[str, dict[str, int]]:
        """Host → what the closing lines count: ok, changed, unreachable, failed, …"""
        _, _, tail = self.out.rpartition("PLAY RECAP")
        return {
            name: {word: int(number) for word, number in (pair.split("=") for pair in text.split())}
            for name, text in _RECAP.findall(tail)
        }

    def hosts(self, count: str) -> set[str]:
        """The hosts whose ``count`` is not zero."""
        return {name for name, counts in self.recap.items() if counts[count]}

    def expect(self, code: int) -> Play:
        """This run, when it ended with ``code``."""
        assert self.code == code, f"exit {self.code} instead of {code}\n{self.out}\n{self.err}"
        return self


class Controller:
    """Runs Ansible in ``directory`` with nothing of this machine's own settings."""

    def __init__(self, directory: Path, binaries: Path | None = None, prefix: Sequence[str] = ()) -> None:
        """``binaries`` holds Ansible's commands: those beside this Python, unless said. ``prefix`` starts each one."""
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self.prefix = tuple(prefix)
        self.binaries = binaries or Path(sys.executable).parent
        # the name of a UNIX socket has at most 107 characters, and test directories are long
        self._sockets = Path(tempfile.mkdtemp(prefix="ct-"))
        self.inventory = directory / "inventory.yml"
        (directory / "ansible.cfg").write_text("[defaults]\n")  # or Ansible looks for one elsewhere

    def close(self) -> None:
        """End the connections that ssh keeps open between runs."""
        for socket in self._sockets.iterdir():
            command = ["ssh", "-F", "/dev/null", "-o", f"ControlPath={socket}", "-O", "exit", "nobody"]
            subprocess.run(command, capture_output=True, check=False)
        shutil.rmtree(self._sockets, ignore_errors=True)

    @property
    def collections(self) -> Path:
        """Where collections are installed."""
        return self.directory / "collections"

    def environment(self) -> dict[str, str]:
        """The environment of Ansible's commands."""
        keep = {n: v for n, v in os.environ.items() if not n.startswith(("ANSIBLE", "PYTHON", "COTUNE", "SSH"))}
        return {
            **keep,
            "LC_ALL": "C.UTF-8",
            "NO_COLOR": "1",
            "PATH": f"{self.binaries}{os.pathsep}{os.environ['PATH']}",
            "ANSIBLE_CONFIG": f"{self.directory}/ansible.cfg",
            "ANSIBLE_HOME": f"{self.directory}/home",
            "ANSIBLE_LOCAL_TEMP": f"{self.directory}/tmp",
            "ANSIBLE_COLLECTIONS_PATH": str(self.collections),
            "ANSIBLE_INVENTORY": str(self.inventory),
            "ANSIBLE_HOST_KEY_CHECKING": "0",
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_FORKS": "10",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self._sockets),
            "ANSIBLE_SSH_ARGS": "-F /dev/null -o ControlMaster=auto -o ControlPersist=60s -o IdentitiesOnly=yes "
            "-o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
        }

    def run(self, command: str, *words: object) -> Play:
        """Run one of Ansible's commands to its end."""
        program = [*self.prefix, str(self.binaries / command), *(str(word) for word in words)]
        return execute(program, self.directory, self.environment())

    def install_collection(self) -> Path:
        """Build the collection, install it from its tarball, and return that."""
        built = self.directory / "built"
        self.run("ansible-galaxy", "collection", "build", REPOSITORY / "ansible", "--output-path", built).expect(0)
        [tarball] = built.glob("*.tar.gz")
        install = ("collection", "install", "--offline", "--collections-path", self.collections)
        self.run("ansible-galaxy", *install, tarball).expect(0)
        return tarball

    def write_inventory(self, hosts: Mapping[str, Mapping[str, Any]], variables: Mapping[str, Any]) -> None:
        """One group ``fleet`` of hosts with their variables."""
        group = {"hosts": {name: dict(own) for name, own in hosts.items()}, "vars": dict(variables)}
        self.inventory.write_text(yaml.safe_dump({"all": {"children": {"fleet": group}}}, sort_keys=False))

    def play(self, playbook: str, *words: object, limit: Iterable[str] = (), **extra: Any) -> Play:
        """Run a playbook with extra variables."""
        chosen = ["--limit", ",".join(limit)] if limit else []
        variables = ["--extra-vars", json.dumps(extra)] if extra else []
        return self.run("ansible-playbook", playbook, *words, *chosen, *variables)


def execute(command: Sequence[str], directory: Path, environment: Mapping[str, str]) -> Play:
    """Run a command to its end; whatever happens, nothing of it runs on."""
    process = subprocess.Popen(
        command,
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        out, err = process.communicate(timeout=PATIENCE)
    except BaseException:
        end_tree(process)
        raise
    return Play(process.returncode, out, err)
