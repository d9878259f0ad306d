"""Uptime is as old as a clock tick at most: `ps` subtracts the start times of processes from it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.host.lab import Lab
from tests.views.lab import Contained, serving

pytestmark = pytest.mark.root
#: A subshell is a new process, and the first thing it does is to read the uptime. The shell itself is older than what a
#: service keeps nothing of.
SCRIPT = """
sleep 2.1
for number in $(seq 300); do
    (read -r uptime rest <"$0"; read -r status </proc/self/stat; echo "$uptime ${status##*) }")
done
"""
#: Of field 22 of /proc/PID/stat, in the words behind the name of the program.
START = 19


def test_no_process_began_later(tmp_path: Path, lab: Lab) -> None:
    """procps 4.0.2 takes such a one for very old (library/pids.c TIME_ELAPSED, a difference of unsigned numbers)."""
    policies = tmp_path / "views.yaml"
    policies.write_text("apiVersion: cotune/v1\nkind: ContainerViews\ndefault: {uptime: host}\n")
    with serving(tmp_path, "--policies", str(policies)) as service:
        run = Contained(lab, "ps").run("sh", "-c", SCRIPT, str(service.path("proc/uptime")))
        assert run.returncode == 0, run.stderr
    found = []
    for line in run.stdout.splitlines():
        uptime, *status = line.split()
        found.append(round(float(uptime) * os.sysconf("SC_CLK_TCK")) - int(status[START]))
    assert len(found) == 300
    assert min(found) >= 0, f"{sum(ticks < 0 for ticks in found)} began after the uptime they were shown"
    assert len(set(found)) < 100
