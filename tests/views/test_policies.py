"""Policies in force: one service, containers of several patterns, and what each of them sees."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.lab import REPOSITORY, Lab
from tests.views.lab import Contained, Service, serving

pytestmark = pytest.mark.root

CPU = "sys/devices/system/cpu"
POLICIES = """
apiVersion: cotune/v1
kind: ContainerViews
default: {cpu: host}
containers:
  - match: {cgroup: "/*/hidden"}
    cpu: min
    topology: view
  - match: {cgroup: ["/*/old", "/*/older/**"]}
    cpu: min
    compat: lxcfs
  - match: {cgroup: "/*/plain"}
    cpu: cpuset
    loadavg: false
    uptime: host
"""
LOOK = """
import json, os, sys
root = sys.argv[1]
names = [name for name in os.listdir(f"{root}/sys/devices/system/cpu") if name[3:].isdigit()]
files = {name: open(f"{root}/{name}").read() for name in sys.argv[2:]}
print(json.dumps([len(names), files]))
"""
NAMES = (f"{CPU}/online", f"{CPU}/possible", "proc/uptime", "proc/loadavg", "proc/swaps")


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with the policies above."""
    directory = tmp_path_factory.mktemp("policies")
    file = directory / "views.yaml"
    file.write_text(POLICIES)
    with serving(directory, "--policies", str(file)) as made:
        yield made


def look(service: Service, lab: Lab, group: str) -> tuple[int, dict[str, str]]:
    """How many CPU directories a container with half a CPU sees, and its files."""
    container = Contained(lab, group)
    lab.write(group, "cpu.cfs_quota_us", 50_000)
    found = container.python(LOOK, service.mount, *NAMES)
    assert isinstance(found, list)
    count, files = found
    return count, files


def test_each_pattern_has_its_own(chosen: Service, lab: Lab) -> None:
    online, possible = (Path("/", CPU, name).read_text() for name in ("online", "possible"))
    present = sum(name[3:].isdigit() for name in os.listdir(f"/{CPU}") if name.startswith("cpu"))
    count, files = look(chosen, lab, "other")
    assert (count, files[NAMES[0]]) == (present, online), "the default"
    count, files = look(chosen, lab, "hidden")
    assert (count, files[NAMES[0]], files[NAMES[1]]) == (1, "0\n", "0\n")
    for group in ("old", "older/a/b"):
        count, files = look(chosen, lab, group)
        assert (count, files[NAMES[0]], files[NAMES[1]]) == (present, "0\n", possible)
        assert files["proc/swaps"].splitlines()[0].endswith("Size\tUsed\tPriority")
    count, files = look(chosen, lab, "plain")
    assert (count, files[NAMES[0]]) == (present, online)
    assert float(files["proc/uptime"].split()[0]) >= float(Path("/proc/uptime").read_text().split()[0]) - 60
    # the host's line: its threads are more than this container's
    assert int(files["proc/loadavg"].split()[3].split("/")[1]) > 10


def test_a_wrong_file_is_refused_with_the_places(tmp_path: Path) -> None:
    file = tmp_path / "views.yaml"
    file.write_text(POLICIES.replace("topology: view", "topology: veiw").replace("default:", "defaults:"))
    run = mount(tmp_path, file)
    assert run.returncode == 2
    assert f'{file}:4:1: defaults: unknown key "defaults" (did you mean default?)' in run.stderr
    assert f'{file}:8:15: containers[0].topology: expected one of host, view, found the text "veiw"' in run.stderr
    assert not (tmp_path / "mnt").exists()
    run = mount(tmp_path, tmp_path / "none.yaml")
    assert run.returncode == 2 and "none.yaml: no such file" in run.stderr


def mount(directory: Path, policies: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-B", "-m", "viewfs", "mount", "--policies", str(policies), str(directory / "mnt")]
    command += ["--state-dir", str(directory / "state")]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)


def test_compat_on_the_command_line(tmp_path: Path, lab: Lab) -> None:
    with serving(tmp_path, "--compat", "lxcfs") as service:
        found = Contained(lab, "ct").python(LOOK, service.mount, "proc/swaps")
        assert isinstance(found, list)
        assert found[1]["proc/swaps"].splitlines()[0].endswith("Size\tUsed\tPriority")
