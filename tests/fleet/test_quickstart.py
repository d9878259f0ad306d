"""The lines of the README of the collection, run as they stand: with ansible-core, the tarball and the wheel only."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fleet.controller import REPOSITORY, Controller, Play, execute
from tests.fleet.lab import Fleet

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.xdist_group("both-cpus")]

_BLOCK = re.compile(r"^```(sh|yaml)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_HOST = """\
Host {name}
  HostName {server.address}
  Port {server.port}
  IdentityFile {key}
  UserKnownHostsFile /dev/null
  LogLevel ERROR
"""


def begin() -> tuple[list[str], str]:
    """The commands of the section Begin, in the order in which they are to be typed in a clone; and the inventory."""
    section = (REPOSITORY / "ansible" / "README.md").read_text().partition("\n## Begin\n")[2].partition("\n## ")[0]
    found: dict[str, list[str]] = {"sh": [], "yaml": []}
    for language, body in _BLOCK.findall(section):
        found[language].append(body)
    (first, build), [inventory] = found["sh"], found["yaml"]
    lines = first.splitlines()
    install = next(number for number, line in enumerate(lines) if "collection install" in line)
    lines[install:install] = build.splitlines()
    assert "cotune.host.site" in lines[-1]
    return lines, inventory


def own_variables(fleet: Fleet, name: str, directory: Path) -> dict[str, Any]:
    """What is this machine's: it keeps its /opt, its packages, and as simulated hosts have no systemd, its units."""
    return {
        "ansible_python_interpreter": "/usr/bin/python3",
        "cotune_python": f"{sys.base_prefix}/bin/python3",
        "cotune_root": str(fleet.hosts[name].root),
        "cotune_units": False,
        "cotune_venv": str(directory / "opt" / name),
    }


def test_the_lines_of_the_readme_install_cotune_on_hosts_and_apply(fleet: Fleet, tmp_path: Path) -> None:
    lines, inventory = begin()
    clone = tmp_path / "clone"
    shutil.copytree(REPOSITORY, clone, ignore=shutil.ignore_patterns(".*", "__pycache__", "dist", "build"))
    (clone / "inventory.yml").write_text(inventory)
    (clone / "host_vars").mkdir()
    names = dict(zip(yaml.safe_load(inventory)["all"]["hosts"], ("h1", "h2"), strict=True))
    fleet.fresh(*names.values())
    config = tmp_path / "ssh_config"
    with config.open("w") as file:
        for name, ours in names.items():
            file.write(_HOST.format(name=name, server=fleet.hosts[ours].server, key=fleet.key))
            variables = own_variables(fleet, ours, tmp_path)
            (clone / "host_vars" / f"{name}.yml").write_text(yaml.safe_dump(variables))

    controller = Controller(tmp_path / "controller", clone / "controller" / "bin")
    arguments = f"-F {config} -o ControlMaster=auto -o ControlPersist=60s"
    environment = {**controller.environment(), "ANSIBLE_SSH_ARGS": arguments}

    def type_in(line: str) -> Play:
        return execute(["bash", "-c", line], clone, environment).expect(0)

    try:
        *before, run = lines
        for line in before:
            type_in(line)
        assert type_in(run).hosts("changed") == set(names)
        for ours in names.values():
            assert (tmp_path / "opt" / ours / "bin" / "cotune").exists()
            assert [one["state"] for one in fleet.hosts[ours].transactions()] == ["committed"]
        assert type_in(run).hosts("changed") == set()
    finally:
        controller.close()
