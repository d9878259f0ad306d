"""What open files show: whole values under any reader, time that passes, and the page cache of callers that re-open."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from tests.host.lab import Lab
from tests.views.lab import Contained, Service
from viewfs.handles import MAX_HANDLES

pytestmark = pytest.mark.root

SIZES = (1, 7, 512, 4096, 65536)


def read_all(fd: int, size: int) -> bytes:
    """From the start to the end, in reads of ``size``."""
    os.lseek(fd, 0, os.SEEK_SET)
    parts = []
    while data := os.read(fd, size):
        parts.append(data)
    return b"".join(parts)


def whole_meminfo(data: bytes) -> bool:
    """Whether these are all lines of one /proc/meminfo, none cut or mixed."""
    lines = data.decode().splitlines(keepends=True)
    names = [line.split(":")[0] for line in lines]
    with open("/proc/meminfo") as file:
        expected = [line.split(":")[0] for line in file]
    return names == expected and all(line.endswith("\n") for line in lines)


def whole_uptime(data: bytes) -> bool:
    """Whether this is one /proc/uptime."""
    words = data.decode().split(" ")
    return len(words) == 2 and data.endswith(b"\n") and float(words[0]) > 0 and float(words[1]) >= 0


@contextlib.contextmanager
def opened(service: Service, name: str) -> Iterator[int]:
    fd = os.open(service.path(name), os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


@pytest.mark.parametrize("size", SIZES)
def test_values_are_whole(service: Service, size: int) -> None:
    for _ in range(4 if size == 1 else 12):
        with opened(service, "proc/meminfo") as fd:
            assert whole_meminfo(read_all(fd, size))


def test_values_are_whole_for_many_readers(service: Service) -> None:
    """Readers of all sizes at the same time, each re-opening, with caching in reach."""
    code = (
        "import os, sys\n"
        "path, size, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])\n"
        "for _ in range(rounds):\n"
        "    fd = os.open(path, os.O_RDONLY)\n"
        "    parts = []\n"
        "    while data := os.read(fd, size):\n"
        "        parts.append(data)\n"
        "    os.close(fd)\n"
        "    data = b''.join(parts)\n"
        "    words = data.split(b' ')\n"
        "    assert len(words) == 2 and data.endswith(b'\\n') and float(words[0]) > 0, data\n"
    )
    path = str(service.path("proc/uptime"))
    readers = [
        subprocess.Popen([sys.executable, "-c", code, path, str(size), "4000"], stderr=subprocess.PIPE)
        for size in (1, 7, 512, 65536)
    ]
    for reader in readers:
        _, error = reader.communicate(timeout=120)
        assert reader.returncode == 0, error.decode()


@pytest.mark.parametrize("size", SIZES)
def test_rewinding_descriptor_sees_time_pass(service: Service, size: int) -> None:
    with opened(service, "proc/uptime") as fd:
        before = float(read_all(fd, size).split()[0])
        time.sleep(0.3)
        after = float(read_all(fd, size).split()[0])
    assert 0.25 <= after - before < 5


def test_one_pass_is_one_snapshot(service: Service) -> None:
    """A reader that takes its time gets the end of what it began with."""
    with opened(service, "proc/uptime") as fd, opened(service, "proc/uptime") as other:
        first = os.pread(fd, 3, 0)
        time.sleep(0.2)
        later = os.read(other, 100)
        assert later != first + os.pread(fd, 100, 3)
        assert whole_uptime(first + os.pread(fd, 100, 3))


def test_re_opening_caller_sees_time_pass(service: Service) -> None:
    seen = []
    for _ in range(40):
        with opened(service, "proc/uptime") as fd:
            seen.append(float(os.read(fd, 100).split()[0]))
        time.sleep(0.01)
    assert seen == sorted(seen)
    assert seen[-1] - seen[0] >= 0.3
    with open("/proc/uptime") as file:
        assert abs(float(file.read().split()[0]) - seen[-1]) < 2


def test_re_opening_caller_is_served_from_the_page_cache(service: Service) -> None:
    """The requests that reach the service are counted by its own reads: one each, and one more to know the caller."""
    path = service.path("proc/cpuinfo")
    expected = path.read_bytes()
    before = service.reads()
    for _ in range(1000):
        with open(path, "rb", buffering=0) as file:
            assert file.read(8192) == expected and file.read(8192) == b""
    # open and close; a direct handle takes two more for the data and its end
    assert service.reads() - before < 3500


def test_stat_agrees_with_what_is_read(service: Service) -> None:
    for _ in range(10):
        with opened(service, "proc/cpuinfo") as fd:
            data = read_all(fd, 4096)
            assert os.fstat(fd).st_size == len(data)


def test_offset_past_the_end(service: Service) -> None:
    with opened(service, "proc/swaps") as fd:
        assert os.pread(fd, 100, 1 << 20) == b""
        assert os.pread(fd, 100, 5) == service.path("proc/swaps").read_bytes()[5:105]


def test_thousands_of_handles_and_slow_readers_stall_nobody(service: Service) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    stop = threading.Event()

    def slow() -> None:
        while not stop.is_set():
            with opened(service, "proc/stat") as fd:
                while os.read(fd, 1) and not stop.is_set():
                    time.sleep(0.0005)

    threads = [threading.Thread(target=slow) for _ in range(64)]
    held: list[int] = []
    try:
        for thread in threads:
            thread.start()
        held = [os.open(service.path("proc/meminfo"), os.O_RDONLY) for _ in range(2000)]
        begin = time.monotonic()
        for _ in range(20):
            assert whole_meminfo(service.path("proc/meminfo").read_bytes())
        assert time.monotonic() - begin < 20
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        for fd in held:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_mappings_hold_up_nobody(service: Service) -> None:
    """A private mapping reads through the page cache, which the kernel locks while it waits for our answer."""
    code = (
        "import mmap, os, sys\n"
        "while True:\n"
        "    fd = os.open(sys.argv[1], os.O_RDONLY)\n"
        "    with mmap.mmap(fd, 100, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ) as data:\n"
        "        data[:9]\n"
        "    os.close(fd)\n"
    )
    path = service.path("proc/meminfo")
    mappers = [subprocess.Popen([sys.executable, "-c", code, str(path)]) for _ in range(2)]
    try:
        end = time.monotonic() + 3
        while time.monotonic() < end:
            assert whole_meminfo(path.read_bytes())
        assert [mapper.poll() for mapper in mappers] == [None, None]
    finally:
        for mapper in mappers:
            mapper.kill()
            mapper.wait()


def test_killed_readers_leave_nothing_behind(service: Service) -> None:
    code = "import sys\nwhile True:\n    open(sys.argv[1], 'rb', buffering=0).read()\n"
    for _ in range(10):
        reader = subprocess.Popen([sys.executable, "-c", code, str(service.path("proc/stat"))])
        time.sleep(0.05)
        reader.send_signal(signal.SIGKILL)
        reader.wait()
    assert whole_meminfo(service.path("proc/meminfo").read_bytes())


def test_one_container_cannot_open_without_end(service: Service, lab: Lab) -> None:
    """The bound is per container: others go on."""
    code = (
        "import errno, json, os, sys\n"
        "total = 0\n"
        "for _ in range(20):\n"
        "    reader, writer = os.pipe()\n"
        "    if not os.fork():\n"
        "        count = error = 0\n"
        "        try:\n"
        "            while count < 900:\n"
        "                os.open(sys.argv[1], os.O_RDONLY)\n"
        "                count += 1\n"
        "        except OSError as failure:\n"
        "            error = failure.errno\n"
        "        os.write(writer, json.dumps([count, error]).encode())\n"
        "        import signal; signal.pause()\n"
        "    count, error = json.loads(os.read(reader, 100))\n"
        "    total += count\n"
        "print(json.dumps([total, error]), flush=True)\n"
        "os.kill(1, 9) if os.getpid() != 1 else os._exit(0)\n"
    )
    assert Contained(lab, "greedy").python(code, service.path("proc/uptime")) == [MAX_HANDLES, errno.ENFILE]
    assert whole_meminfo(service.path("proc/meminfo").read_bytes())
