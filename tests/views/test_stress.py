"""Readers of every kind over snapshots that expire and change size: each pass shows one whole snapshot."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import SUMMARY
from tests.host.lab import REPOSITORY
from tests.views.lab import detach, mounted

pytestmark = [pytest.mark.root, pytest.mark.slow]

TTL_US = 10_000
HERE = Path(__file__).parent


@pytest.fixture
def reader(tmp_path: Path) -> Path:
    """The compiled reader."""
    program = tmp_path / "stress_reader"
    command = ["gcc", "-O2", "-Wall", "-o", str(program), str(HERE / "stress_reader.c")]
    try:
        subprocess.run(command, check=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("needs gcc")
    return program


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Path]:
    """A service whose views change all the time."""
    point = tmp_path / "views"
    point.mkdir()
    command = [sys.executable, "-B", "-m", "tests.views.growing_views", str(point), str(TTL_US)]
    service = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    try:
        assert service.stdout is not None
        assert service.stdout.readline() == "ready\n"
        yield point
        service.send_signal(signal.SIGTERM)
        assert service.wait(20) == 0
    finally:
        service.kill()
        service.wait()
        while mounted(point):
            detach(point)


@pytest.mark.parametrize(
    ("passes", "seconds"),
    [pytest.param(400_000, 150, id="short"), pytest.param(5_000_000, 3600, id="long", marks=pytest.mark.soak)],
)
def test_every_pass_is_one_whole_fresh_snapshot(
    reader: Path, mount: Path, passes: int, seconds: int, record_property: Callable[[str, object], None]
) -> None:
    begin = time.monotonic()
    command = [reader, mount / "proc/stat", str(passes), str(seconds), str(TTL_US)]
    run = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=seconds + 60)
    took = time.monotonic() - begin
    assert run.returncode == 0
    done, fewest, bad = map(int, run.stdout.split())
    assert bad == 0, run.stderr
    assert done >= passes
    assert fewest >= 5  # the slowest reader that rewinds has seen time pass
    record_property(SUMMARY, f"views under stress: {done} passes of 18 readers in {took:.0f} s, {bad} not one snapshot")
