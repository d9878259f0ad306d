"""The event loops: slow work waits parked while others are served, and errors end no service."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.lab import REPOSITORY
from tests.views.lab import detach, mounted, soon

pytestmark = pytest.mark.root

#: A file system with one quick file, slow ones that sleep in a thread, one whose work fails, and one with a bug.
PROGRAM = textwrap.dedent("""
    import errno, stat, sys, time
    import pyfuse3
    from cotune import fuse

    NAMES = {b"quick": 2, b"slow": 3, b"failing": 4}

    class Files(pyfuse3.Operations):
        async def getattr(self, inode, ctx=None):
            entry = pyfuse3.EntryAttributes()
            entry.st_ino, entry.st_size = inode, 5
            entry.st_mode = stat.S_IFDIR | 0o755 if inode == 1 else stat.S_IFREG | 0o444
            return entry
        async def lookup(self, parent, name, ctx):
            if name not in NAMES:
                raise pyfuse3.FUSEError(errno.ENOENT)
            return await self.getattr(NAMES[name])
        async def open(self, inode, flags, ctx):
            return pyfuse3.FileInfo(fh=inode, direct_io=True)
        async def read(self, handle, offset, size):
            if offset:
                return b""
            if handle == 3:
                return await loop.in_thread(slow, 1.0)
            if handle == 4:
                try:
                    return await loop.in_thread(fail)
                except LookupError:
                    raise pyfuse3.FUSEError(errno.EBADMSG) from None
            return b"quick"
        async def release(self, handle):
            pass

    def slow(seconds):
        time.sleep(seconds)
        return b"slow\\n"

    def fail():
        raise LookupError

    loop = fuse.make_loop(sys.argv[2])
    fuse.serve(Files(), sys.argv[1], {"fsname=test"}, loop)
""")


class Server:
    """That file system, mounted."""

    def __init__(self, directory: Path, kind: str) -> None:
        self.mount = directory / "mnt"
        self.mount.mkdir()
        command = [sys.executable, "-B", "-c", PROGRAM, str(self.mount), kind]
        self.process = subprocess.Popen(command, cwd=REPOSITORY)
        assert soon(lambda: mounted(self.mount))

    def read(self, name: str) -> bytes:
        return (self.mount / name).read_bytes()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        while mounted(self.mount):
            detach(self.mount)


@pytest.fixture(params=["auto", "trio"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path, request.param)
    yield made
    made.close()


def test_slow_work_does_not_hold_up_others(server: Server) -> None:
    found: list[bytes] = []
    readers = [threading.Thread(target=lambda: found.append(server.read("slow"))) for _ in range(3)]
    for reader in readers:
        reader.start()
    time.sleep(0.2)
    assert [server.read("quick") for _ in range(50)] == [b"quick"] * 50
    assert not found, "the slow ones are still at work"
    for reader in readers:
        reader.join()
    assert found == [b"slow\n"] * 3


def test_many_slow_requests_are_all_answered(server: Server) -> None:
    """More than there are threads, in one queue."""
    found: list[bytes] = []
    readers = [threading.Thread(target=lambda: found.append(server.read("slow"))) for _ in range(10)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(30)
    assert found == [b"slow\n"] * 10
    assert server.read("quick") == b"quick"


def test_errors_of_slow_work_reach_the_request(server: Server) -> None:
    with pytest.raises(OSError) as caught:
        server.read("failing")
    assert caught.value.errno == errno.EBADMSG
    assert server.read("quick") == b"quick"


def test_readers_killed_while_they_wait(server: Server) -> None:
    for _ in range(3):
        reader = subprocess.Popen(["cat", str(server.mount / "slow")], stdout=subprocess.DEVNULL)
        time.sleep(0.1)
        reader.kill()
        reader.wait(20)
    assert server.read("quick") == b"quick"


@pytest.mark.parametrize("number", [2, 15])
def test_signals_end_it_in_good_order(server: Server, number: int) -> None:
    assert stat.S_ISREG(os.stat(server.mount / "quick").st_mode)
    server.process.send_signal(number)
    assert server.process.wait(20) == 0
    assert not mounted(server.mount)


def has_opened(process: subprocess.Popen[bytes], name: str) -> bool:
    """Whether the first file it opened has this name."""
    try:
        return os.readlink(f"/proc/{process.pid}/fd/3").endswith(f"/{name}")
    except FileNotFoundError:
        return False


def test_signal_while_work_is_parked(server: Server) -> None:
    assert server.read("quick") == b"quick"
    reader = subprocess.Popen(["cat", str(server.mount / "slow")], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert soon(lambda: has_opened(reader, "slow"))
    time.sleep(0.3)
    server.process.terminate()
    assert server.process.wait(20) == 0
    assert reader.communicate(timeout=20)[0] == b"slow\n", "a request that was accepted is answered"
