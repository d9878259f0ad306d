"""What happens in one container shows in no other."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.containers.bundle import SHAPES, Bundle
from tests.host.lab import wait_for
from tests.views.lab import Service

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("containers")]
BURN = """
dd if=/dev/zero of=/dev/shm/mine bs=1M count=48 status=none
dd if=/dev/zero of=/disk/file bs=1M count=16 oflag=direct status=none
while :; do :; done
"""
FILES = ("meminfo", "stat", "diskstats")


@pytest.mark.parametrize("box", ["attached"], indirect=True)
def test_a_busy_neighbour(box: Bundle, views_service: Service, tmp_path: Path) -> None:
    """One with memory, disk and CPUs in use leaves all figures of an idle one as they were."""
    before = look(box)
    with contextlib.closing(Bundle(tmp_path / "runc", SHAPES["two"])) as neighbour:
        (tmp_path / "disk").mkdir()
        config = neighbour.config()
        neighbour.bind(config, str(tmp_path / "disk"), "/disk", "rw")
        neighbour.configure(config)
        neighbour.begin(views_service)
        with neighbour.running("sh", "-c", BURN):
            wait_for(lambda: busy(look(neighbour)), "the neighbour uses memory, disk and CPUs")
            after = look(box)
    assert after.memory - before.memory < 16 * 1024
    assert after.ticks - before.ticks < 100
    assert after.disks == before.disks


class Look(NamedTuple):
    """Memory in use (kB), ticks of CPU time and what was done to disks, as a container shows them."""

    memory: int
    ticks: int
    disks: str


def busy(seen: Look) -> bool:
    """Whether everything is in use."""
    return seen.memory > 48 * 1024 and seen.ticks > 100 and seen.disks != ""


def look(box: Bundle) -> Look:
    """What a container shows now."""
    text = dict(zip(FILES, (box.exec("cat", f"/proc/{name}") for name in FILES), strict=True))
    total, free = (int(found) for found in re.findall(r"Mem(?:Total|Free): +(\d+)", text["meminfo"]))
    user, nice, system = map(int, text["stat"].split()[1:4])
    return Look(total - free, user + nice + system, text["diskstats"])
