"""Readers of every kind over snapshots that expire and change size: each pass shows one whole snapshot."""

from __future__ import annotations

import contextlib
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


class Growing:
    """A service whose views change all the time."""

    def __init__(self, directory: Path) -> None:
        self.mount = directory / "views"
        self.mount.mkdir()
        command = [sys.executable, "-B", "-m", "tests.views.growing_views", str(self.mount), str(TTL_US)]
        self._process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def handles(self) -> tuple[int, int]:
        """End it; returns how many handles it gave out that were direct, and that were read from the page cache."""
        self._process.send_signal(signal.SIGTERM)
        output, _ = self._process.communicate(timeout=60)
        assert self._process.returncode == 0
        direct, cached = map(int, output.split())
        return direct, cached

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        while mounted(self.mount):
            detach(self.mount)


@pytest.fixture
def growing(tmp_path: Path) -> Iterator[Growing]:
    with contextlib.closing(Growing(tmp_path)) as made:
        yield made


@pytest.mark.parametrize(
    ("passes", "seconds"),
    [pytest.param(400_000, 150, id="short"), pytest.param(5_000_000, 3600, id="long", marks=pytest.mark.soak)],
)
def test_every_pass_is_one_whole_fresh_snapshot(
    reader: Path, growing: Growing, passes: int, seconds: int, record_property: Callable[[str, object], None]
) -> None:
    begin = time.monotonic()
    command = [reader, growing.mount / "proc/stat", str(passes), str(seconds), str(TTL_US)]
    run = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=seconds + 60)
    took = time.monotonic() - begin
    assert run.returncode == 0
    done, fewest, bad = map(int, run.stdout.split())
    assert bad == 0, run.stderr
    assert done >= passes
    # the slowest reader that rewinds has seen time pass
    assert fewest >= 5
    direct, cached = growing.handles()
    assert direct > 1000 and cached > 1000
    record_property(
        SUMMARY,
        f"views under stress: {done} passes of 18 readers in {took:.0f} s, {cached} of {cached + direct} handles "
        f"cached, at least {fewest} snapshots for one that rewinds, {bad} not one snapshot",
    )
