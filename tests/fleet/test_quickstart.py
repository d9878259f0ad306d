"""The lines of the README of the collection, run as they stand: with ansible-core, the tarball and the wheel only."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.fleet.controller import PATIENCE, REPOSITORY, Controller, Play
from tests.fleet.lab import Fleet

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.xdist_group("fleet")]

_BLOCK = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def quick_start(clone: Path) -> str:
    """Save the files of the section and return its commands."""
    text = (clone / "ansible" / "README.md").read_text()
    section = text.partition("\n## Quick start\n")[2].partition("\n## ")[0]
    commands = ""
    for language, name, body in _BLOCK.findall(section):
        if name:
            (clone / name).write_text(body)
        elif language == "sh":
            commands += body
    assert "cotune.host.site" in commands
    return commands


def test_the_lines_of_the_readme_install_cotune_on_a_host_and_apply_a_profile(fleet: Fleet, tmp_path: Path) -> None:
    fleet.fresh("h1")
    host = fleet.hosts["h1"]
    clone = tmp_path / "clone"
    leave = shutil.ignore_patterns(".*", "__pycache__", "dist", "build")
    shutil.copytree(REPOSITORY, clone, ignore=leave)
    commands = quick_start(clone)

    # every name leads to this host
    (tmp_path / "ssh_config").write_text(
        f"Host *\n  HostName {host.server.address}\n  Port {host.server.port}\n  User root\n"
        f"  IdentityFile {fleet.key}\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n"
    )
    # what is this machine's and must stay: no units, no packages of the distribution, no /opt
    own = {
        "ansible_python_interpreter": "/usr/bin/python3",
        "cotune_root": str(host.root),
        "cotune_venv": str(tmp_path / "opt"),
        "cotune_python": f"{sys.base_prefix}/bin/python3",
        "cotune_units": False,
    }
    (clone / "group_vars").mkdir()
    (clone / "group_vars" / "all.yml").write_text(yaml.safe_dump(own))

    controller = Controller(tmp_path / "controller", clone / "controller" / "bin")
    environment = {
        **controller.environment(),
        "ANSIBLE_SSH_ARGS": f"-F {tmp_path}/ssh_config -o ControlMaster=auto -o ControlPersist=60s",
    }
    try:
        done = subprocess.run(
            ["bash", "-euxo", "pipefail", "-c", commands],
            cwd=clone,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    finally:
        controller.close()
    play = Play(done.returncode, done.stdout, done.stderr).expect(0)
    print(play.out)
    assert play.hosts("changed")
    assert (tmp_path / "opt/bin/cotune").exists()
    assert [one["state"] for one in host.transactions()] == ["committed"]
    assert 0
