"""The usual programs, unchanged, in real containers: what they print agrees with the limits."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.bundle import MEBIBYTE, Bundle, limited
from tests.views.lab import Service, detach, mounted, serving

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("containers")]
SIZE = 256 * MEBIBYTE


@pytest.fixture(scope="module", params=["attach", "wire"])
def box(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bundle]:
    """A container with 256 MiB and half a CPU, whose views come by either way."""
    pytest.importorskip("pyfuse3", reason="needs the views extra")
    if shutil.which("runc") is None or shutil.which("busybox") is None or not Path("/dev/fuse").exists():
        pytest.skip("needs runc, a static busybox and /dev/fuse")
    directory = tmp_path_factory.mktemp("box")
    with serving(directory) as service, contextlib.closing(Bundle(directory / "runc", **limited())) as made:
        try:
            start(made, service, request.param)
            yield made
        finally:
            # the service leaves its static files mounted for the containers that have them
            if mounted(service.state / "static"):
                detach(service.state / "static")


def start(made: Bundle, service: Service, way: str) -> None:
    if way == "wire":
        text = made.viewfs(service, "wire", "--mount", str(service.mount), text=json.dumps(made.config()))
        made.configure(json.loads(text))
    pid = made.start().pid
    if way == "attach":
        made.viewfs(service, "attach", "--mount", str(service.mount), str(pid))


def test_memory(box: Bundle) -> None:
    assert int(box.exec("free", "-b").split("Mem:")[1].split()[0]) == SIZE
    assert f"{256.0:.1f} total" in box.exec("top", "-b", "-n1").split("MiB Mem")[1]
    code = "import psutil; print(psutil.virtual_memory().total, psutil.cpu_count())"
    environment = f"PYTHONPATH={':'.join(path for path in sys.path if path.endswith('site-packages'))}"
    assert box.exec("env", environment, sys.executable, "-c", code).split() == [str(SIZE), "1"]


def test_cpus(box: Bundle) -> None:
    assert box.exec("nproc") == "1\n"
    assert box.exec("getconf", "_NPROCESSORS_ONLN") == "1\n"
    assert re.search(r"^On-line CPU\(s\) list: +0$", box.exec("lscpu"), re.M)
    if shutil.which("mpstat"):
        report = box.exec("mpstat", "-P", "ALL", "1", "1")
        assert re.findall(r"^Average: +(\w+)", report, re.M) == ["CPU", "all", "0"]


def test_uptime(box: Bundle) -> None:
    assert re.search(r"up +[0-2] min,", box.exec("uptime"))
    assert float(box.exec("cat", "/proc/uptime").split()[0]) < 120


def test_tools_that_keep_their_files_open_keep_moving(box: Bundle) -> None:
    first, second = (float(box.exec("cat", "/proc/uptime").split()[0]) for _ in range(2))
    assert first < second
    rows = [line.split() for line in box.exec("vmstat", "1", "3").splitlines()[2:]]
    assert len(rows) == 3 and all(90 <= sum(map(int, row[12:17])) <= 110 for row in rows)
    clocks = re.findall(r"%Cpu\(s\):.*", box.exec("top", "-b", "-d", "1", "-n", "2"))
    assert len(clocks) == 2
