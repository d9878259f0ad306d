"""Uptime, boot time and the age of processes: in a time namespace, and without one."""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.containers.bundle import SHAPES, Bundle
from tests.views.lab import Service, serving
from viewfs.attach import detach
from viewfs.targets import Target

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("containers")]
#: Seconds by which two looks may differ on a busy machine.
SLACK = 20


class Timed:
    """A container of runc with views, the process that stands for it, and when (UNIX time) it began."""

    def __init__(self, directory: Path, service: Service, clock: int | None = None) -> None:
        """``clock``: in a time namespace whose clocks begin at so many seconds."""
        self.box = Bundle(directory, SHAPES["attached"]._replace(clock=clock))
        try:
            self.begun = time.time()
            self.target: Target = self.box.begin(service)
        except BaseException:
            self.box.close()
            raise

    def run(self, *command: str) -> str:
        """What a program prints in all namespaces of the container, that of time included."""
        enter = ["nsenter", "--target", str(self.target.pid), "--all", "--", *command]
        environment = {"LC_ALL": "C", "PATH": "/usr/bin"}
        return subprocess.run(enter, capture_output=True, text=True, check=True, env=environment).stdout

    def ages(self) -> list[tuple[int, int, float, str]]:
        """What ps says of the processes inside: number, seconds since the start, start (UNIX time) and name."""
        text = self.run("ps", "-eo", "pid,etimes,etime,lstart,comm")
        found = []
        for line in text.splitlines()[1:]:
            pid, seconds, written, *start, name = line.split()
            assert written.count(":") == 1, text
            minutes, rest = written.split(":")  # hours and days come with more of them
            assert int(seconds) == 60 * int(minutes) + int(rest), line
            moment = datetime.strptime(" ".join(start), "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC)
            found.append((int(pid), int(seconds), moment.timestamp(), name))
        return found

    def assert_ages(self) -> None:
        """The first process is as old as the container, and the others have just been started."""
        ages = self.ages()
        assert {name for *_, name in ages} == {"sleep", "ps"}
        for pid, seconds, start, _ in ages:
            began = self.begun if pid == 1 else time.time()
            assert abs(began - start) <= SLACK and abs(time.time() - began - seconds) <= SLACK, ages
        assert ages[0][1] >= 1

    def times(self) -> tuple[float, int]:
        """Uptime and boot time as the files say."""
        text = self.run("cat", "/proc/uptime", "/proc/stat")
        return float(text.split()[0]), int(re.findall(r"(?m)^btime (\d+)$", text)[0])


@pytest.fixture
def timed(views_service: Service, tmp_path: Path) -> Iterator[Timed]:
    made = Timed(tmp_path / "runc", views_service, clock=0)
    with contextlib.closing(made.box):
        yield made


def test_ages_in_a_time_namespace(timed: Timed) -> None:
    time.sleep(1.5)
    timed.assert_ages()
    assert " up 0 min" in timed.run("uptime")


def test_views_agree_with_the_kernel_in_a_time_namespace(timed: Timed) -> None:
    """The same uptime and boot time as the kernel's own files there."""
    uptime, btime = timed.times()
    assert abs(time.time() - timed.begun - uptime) <= SLACK
    assert abs(btime - timed.begun) <= SLACK
    assert detach(timed.target)
    later, kernels = timed.times()
    assert uptime <= later <= uptime + SLACK
    assert kernels == btime


@pytest.mark.parametrize("policy", ["container", "host"])
def test_without_a_time_namespace(tmp_path: Path, policy: str) -> None:
    """Either the uptime is the container's, or ages are right: start times are the host's."""
    pytest.importorskip("pyfuse3", reason="needs the views extra")
    policies = tmp_path / "views.yaml"
    policies.write_text(f"apiVersion: cotune/v1\nkind: ContainerViews\ndefault: {{uptime: {policy}}}\n")
    with serving(tmp_path, "--policies", str(policies)) as service:
        made = Timed(tmp_path / "runc", service)
        with contextlib.closing(made.box):
            time.sleep(1.5)
            uptime, btime = made.times()
            (host,) = re.findall(r"(?m)^btime (\d+)$", Path("/proc/stat").read_text())
            assert btime == int(host)
            if policy == "host":
                made.assert_ages()
                assert abs(uptime - time.clock_gettime(time.CLOCK_BOOTTIME)) <= SLACK
            else:
                assert abs(time.time() - made.begun - uptime) <= SLACK
                assert re.search(r" up [0-2] min", made.run("uptime"))
