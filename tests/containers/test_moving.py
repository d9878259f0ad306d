"""Programs that keep their files open and rewind them: what they print moves with the load inside."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import pytest

from tests.containers.bundle import MEBIBYTE, Bundle

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("containers")]
LOAD = ("sh", "-c", "while :; do :; done")
#: What is put into memory while free looks on.
GROWS = 32
ROUNDS = 4


def outputs(*processes: subprocess.Popen[str]) -> list[str]:
    """What programs print until they end."""
    return [process.communicate(timeout=120)[0] for process in processes]


def cpu_times(box: Bundle) -> list[int]:
    """The first line of /proc/stat inside."""
    return [int(word) for word in box.exec("head", "-1", "/proc/stat").split()[1:]]


@pytest.mark.parametrize("box", ["attached", "wired", "two"], indirect=True)
def test_top_and_vmstat_see_a_load_come_and_go(box: Bundle) -> None:
    """Shares are of the CPUs in view: half a CPU of one is about 50 %, one busy loop on two CPUs as well."""
    before = cpu_times(box)
    with box.running(*LOAD):
        top, vmstat, mpstat = outputs(
            box.open("top", "-b", "-d", "1", "-n", str(ROUNDS)),
            box.open("vmstat", "-n", "1", str(ROUNDS)),
            box.open("mpstat", "1", str(ROUNDS - 1)),
        )
    after = cpu_times(box)
    idle = [float(found) for found in re.findall(r"%Cpu\(s\):.*?([\d.]+) id,", top)]
    rows = [[int(word) for word in line.split()] for line in vmstat.splitlines()[2:]]
    assert len(idle) == len(rows) == ROUNDS
    # the first figures of each are averages since the start
    looks: dict[str, list[float]] = {
        "top": [100 - share for share in idle[1:]],
        "vmstat": [100 - row[14] for row in rows[1:]],
        "mpstat": [100 - float(line.split()[-1]) for line in mpstat.splitlines() if re.match(r"\d.* all ", line)],
    }
    for program, busy in looks.items():
        assert len(busy) == ROUNDS - 1, (program, mpstat)
        # others may leave the loop little of the CPU
        assert max(busy) > 3, (top, vmstat, mpstat)
    every = sorted(share for busy in looks.values() for share in busy)
    assert len(set(every)) > 1, "figures that never change are frozen"
    if box.shape.quota is not None:
        assert every[len(every) // 2] < 75, looks
    assert all(95 <= sum(row[12:17]) <= 105 for row in rows), vmstat
    assert all(later >= earlier for earlier, later in zip(before, after, strict=True))
    assert sum(after) > sum(before) and after[0] + after[2] > before[0] + before[2]
    (calm,) = outputs(box.open("top", "-b", "-d", "1", "-n", "3"))
    assert float(re.findall(r"([\d.]+) id,", calm)[2]) > 50, calm


@pytest.mark.parametrize("box", ["attached", "wired"], indirect=True)
def test_free_sees_memory_grow(box: Bundle) -> None:
    free = box.open("free", "-b", "-s", "1", "-c", str(ROUNDS))
    time.sleep(1.5)
    box.exec("dd", "if=/dev/zero", "of=/dev/shm/grown", "bs=1M", f"count={GROWS}", "status=none")
    try:
        (text,) = outputs(free)
    finally:
        box.exec("rm", "/dev/shm/grown")
    rows = [list(map(int, line.split()[1:])) for line in text.splitlines() if line.startswith("Mem:")]
    assert len(rows) == ROUNDS
    assert {row[0] for row in rows} == {box.shape.kilobytes * 1024}
    shared, freed = (rows[-1][column] - rows[0][column] for column in (3, 2))
    assert shared >= GROWS * MEBIBYTE * 0.9, text
    assert freed <= -GROWS * MEBIBYTE * 0.9, text


@pytest.mark.parametrize("box", ["attached", "wired"], indirect=True)
@pytest.mark.parametrize("name", ["uptime", "stat", "meminfo"])
def test_a_kept_descriptor_moves_on(box: Bundle, name: str) -> None:
    """Read to its end in small pieces, rewound, and read again after a while."""
    script = (
        "import os, sys, time\n"
        "fd = os.open(sys.argv[1], os.O_RDONLY)\n"
        "def whole():\n"
        "    os.lseek(fd, 0, 0)\n"
        "    return b''.join(iter(lambda: os.read(fd, 7), b''))\n"
        "first, end = whole(), time.monotonic() + 60\n"
        "kept = bytearray(b'x') * (1 << 24)\n"
        "while whole() == first and time.monotonic() < end:\n"
        "    time.sleep(0.05)\n"
        "print(whole() != first)\n"
    )
    assert box.exec(sys.executable, "-c", script, f"/proc/{name}") == "True\n"
