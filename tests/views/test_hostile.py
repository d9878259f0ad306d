"""Readers that mean harm, or behave as if: others are served all the time, and nobody sees what is not theirs."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import SUMMARY
from tests.host.lab import Lab
from tests.views.lab import Contained, Service, serving

pytestmark = pytest.mark.root

#: Opens, reads and closes a file in eight threads without a pause, until it is killed.
HAMMER = """
import os, sys, threading
def run():
    while True:
        fd = os.open(sys.argv[1], os.O_RDONLY)
        while os.read(fd, int(sys.argv[2])):
            pass
        os.close(fd)
print("ready", flush=True)
for _ in range(8):
    threading.Thread(target=run).start()
"""
#: Reads a file while a timer interrupts it a thousand times a second; prints reads, interruptions and bad passes.
INTERRUPTED = """
import json, os, signal, sys, time
caught = 0
def handler(*_):
    global caught
    caught += 1
signal.signal(signal.SIGALRM, handler)
signal.siginterrupt(signal.SIGALRM, True)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
passes = bad = 0
names = [line.split(":")[0] for line in open("/proc/meminfo")]
end = time.monotonic() + 3
while time.monotonic() < end:
    fd = os.open(sys.argv[1], os.O_RDONLY)
    data = b""
    while piece := os.read(fd, 100):
        data += piece
    os.close(fd)
    passes += 1
    bad += [line.split(":")[0] for line in data.decode().splitlines()] != names or not data.endswith(b"\\n")
print(json.dumps([passes, caught, bad]))
"""


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Service]:
    """A service of the test's own: what happens to it is no other test's business."""
    with serving(tmp_path) as made:
        yield made


@contextlib.contextmanager
def running(*commands: list[str]) -> Iterator[list[subprocess.Popen[str]]]:
    """Programs for the time of a block, each of which has said that it runs."""
    started: list[subprocess.Popen[str]] = []
    try:
        for command in commands:
            started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def worst(path: Path, times: int) -> float:
    """The longest of so many reads of a file, in seconds."""
    longest = 0.0
    for _ in range(times):
        begin = time.monotonic()
        assert path.read_bytes().startswith(b"MemTotal:")
        longest = max(longest, time.monotonic() - begin)
        time.sleep(0.01)
    return longest


def test_64_threads_that_hammer_stall_nobody(
    alone: Service, lab: Lab, record_property: Callable[[str, object], None]
) -> None:
    """Whole files, and in single bytes, from inside a container and from outside."""
    container = Contained(lab, "hammer")
    path = str(alone.path("proc/stat"))
    calm = worst(alone.path("proc/meminfo"), 100)
    plain = [[sys.executable, "-c", HAMMER, path, size] for size in ("65536", "65536", "4096", "1")]
    inside = [container.command(sys.executable, "-c", HAMMER, path, size) for size in ("65536", "4096", "7", "1")]
    with running(*plain, *inside) as hammers:
        longest = worst(alone.path("proc/meminfo"), 100)
        assert [process.poll() for process in hammers] == [None] * 8
    record_property(
        SUMMARY,
        f"views under 64 hammering threads: worst of 100 reads {1000 * longest:.0f} ms, {1000 * calm:.1f} before",
    )
    assert longest < 5
    assert worst(alone.path("proc/meminfo"), 10) < 5


def test_signals_in_the_middle_of_a_read(alone: Service) -> None:
    """The kernel sends an interrupt for a request that is under way; it must be answered all the same."""
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", INTERRUPTED, str(alone.path("proc/meminfo"))], stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    longest = worst(alone.path("proc/meminfo"), 50)
    for reader in readers:
        output, _ = reader.communicate(timeout=60)
        passes, caught, bad = json.loads(output)
        assert passes > 10 and caught > 100 and bad == 0
    assert longest < 5


def test_readers_killed_in_the_middle_of_a_read(alone: Service) -> None:
    before = len(os.listdir(f"/proc/{alone.process.pid}/fd"))
    for _ in range(10):
        with running(*[[sys.executable, "-c", HAMMER, str(alone.path("proc/stat")), "1"]] * 2):
            time.sleep(0.05)
    assert worst(alone.path("proc/meminfo"), 10) < 5
    # a few files of the host's are kept, and a descriptor for each process that asked, up to a bound
    assert len(os.listdir(f"/proc/{alone.process.pid}/fd")) < before + 200


def test_a_stranger_that_tries_every_number_and_name(service: Service, lab: Lab) -> None:
    """A container finds its own processes below pid/ and its own group below cgroup/, whatever the host has walked."""
    mine, other = Contained(lab, "mine"), Contained(lab, "other")
    sleeper = other.start("sleep", "600")
    pids = sorted(name for name in os.listdir("/proc") if name.isdecimal())
    for name in pids:
        service.path(f"pid/{name}/proc/meminfo").exists()
    code = (
        "import json, os, sys\n"
        "root, numbers, *groups = sys.argv[1:]\n"
        "mine = [name for name in numbers.split() if os.path.exists(f'{root}/pid/{name}')]\n"
        "print(json.dumps([mine, [group for group in groups if os.path.exists(f'{root}/cgroup/{group}/proc')]]))\n"
    )
    groups = [mine.group, other.group, lab.name, "", ".", f"{mine.group}/../other"]
    numbers = " ".join(pids + [str(number) for number in range(1, 200)])
    found = mine.python(code, service.mount, numbers, *groups)
    assert isinstance(found, list)
    assert found == [[], [mine.group]]
    sleeper.kill()
