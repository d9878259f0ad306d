"""A real container on cgroup v2, made by crun: what programs in it print agrees with the limits."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.bundle import CPU, PERIOD, Bundle, Shape
from tests.views.lab import Service
from viewfs.attach import FILES, attach, attached
from viewfs.targets import find_target
from viewfs.wire import WIRED, wire

SHAPE = Shape(memory=96, cpus="1-3", quota=PERIOD * 3 // 2)
#: Seconds that a container is old at most.
OLD = 300


class Crun(Bundle):
    """A container of crun, which is at home on cgroup v2."""

    runtime = "crun"

    def exec(self, *words: str) -> str:
        """What a program prints inside, in the container's group and all its namespaces.

        crun's own exec would not find the root directory: the guest's is not that of its mount namespace.
        """
        pid = find_target(self.id, self.run).pid
        enter = f'echo $$ >/sys/fs/cgroup{self.cgroup}/cgroup.procs && exec nsenter -t {pid} -p -m -u -i -r -w -- "$@"'
        command = ["env", "-i", "PATH=/usr/bin:/bin", "LC_ALL=C", "TERM=dumb", "sh", "-c", enter, "sh", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def wired(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crun]:
    """A container whose views are in its configuration."""
    for program in ("crun", "runc", "busybox"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")
    with contextlib.closing(Crun(tmp_path_factory.mktemp("crun") / "wired", SHAPE)) as made:
        made.configure(wire(made.config(), str(service.mount)))
        made.start()
        yield made


def test_memory(wired: Crun) -> None:
    assert wired.exec("free", "-k").split("Mem:")[1].split()[0] == str(SHAPE.kilobytes)
    assert f"{SHAPE.memory}.0 total" in wired.exec("top", "-b", "-n1", "-w", "200").split("MiB Mem")[1]


def test_cpus(wired: Crun) -> None:
    for command in (("getconf", "_NPROCESSORS_ONLN"), ("grep", "-c", "^processor", "/proc/cpuinfo")):
        assert wired.exec(*command) == "2\n"
    assert re.search(r"(?m)^On-line CPU\(s\) list: +1,2$", wired.exec("lscpu"))
    assert re.findall(r"(?m)^cpu(\d+) ", wired.exec("cat", "/proc/stat")) == ["1", "2"]
    # it asks the scheduler, which knows no quota
    assert wired.exec("nproc") == "3\n"


def test_time_and_load(wired: Crun) -> None:
    assert 0 < float(wired.exec("cat", "/proc/uptime").split()[0]) < OLD
    assert re.search(r" up [0-5] min, .*load average: \d+\.\d\d", wired.exec("uptime"))
    rows = [line.split() for line in wired.exec("vmstat", "1", "3").splitlines()[2:]]
    assert len(rows) == 3 and all(95 <= sum(map(int, row[12:17])) <= 105 for row in rows)


def test_all_that_is_wired_is_a_view(wired: Crun) -> None:
    assert set(attached(find_target(wired.id, wired.run))) == set(WIRED)


def test_attached_while_it_runs(service: Service, tmp_path: Path) -> None:
    with contextlib.closing(Crun(tmp_path / "attached", SHAPE)) as made:
        target = made.start()
        assert (target.runtime, target.id) == ("crun", made.id)
        assert set(attach(target, str(service.mount)).files) == set(FILES)
        assert made.exec("free", "-k").split("Mem:")[1].split()[0] == str(SHAPE.kilobytes)
        assert made.exec("cat", f"{CPU}/online") == "1-2\n"
        assert made.exec("cat", "/proc/pressure/memory").startswith("some avg10=")
