"""A mounted simulated host is a host's files for shells and programs, and a disk for what is not the kernel's."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sim.conftest import Attempt
from tests.sim.mount_lab import SimMount, mounted, need_fuse

CPU = "/sys/fs/cgroup/cpu"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimMount]:
    """A host for tests that work in places of their own."""
    need_fuse()
    with mounted(tmp_path_factory.mktemp("mount"), "anck-4.19") as made:
        yield made


@pytest.fixture
def place(host: SimMount) -> Iterator[Path]:
    """An empty directory on the host's disk."""
    made = Path(tempfile.mkdtemp(dir=host.path("/var/lib")))
    yield made
    shutil.rmtree(made)


# ---- the kernel's files ----------------------------------------------------------------------------------------------


def test_a_shell_works_on_it(host: SimMount) -> None:
    script = """
    set -e
    cd sys/fs/cgroup/cpu
    mkdir shell
    echo 2048 > shell/cpu.shares          # with O_CREAT and O_TRUNC
    printf 512 >> shell/cpu.shares        # with O_APPEND
    cat shell/cpu.shares
    find shell -name 'cpu.bvt*'
    if /bin/echo none > shell/cpu.shares; then exit 1; fi
    rmdir shell
    test ! -e shell
    """
    done = host.shell(script)
    assert (done.returncode, done.stdout.split()) == (0, ["512", "shell/cpu.bvt_warp_ns"]), done.stderr
    assert "Invalid argument" in done.stderr


@pytest.mark.parametrize("program", ["cat {0} > {1}", "cp {0} {1}", "dd if={0} of={1} bs=1", "tail -n +1 {0} > {1}"])
@pytest.mark.parametrize("name", ["proc/cpuinfo", "proc/sys/vm/swappiness", "sys/fs/cgroup/cpu/cpu.shares"])
def test_programs_read_whole_files(host: SimMount, tmp_path: Path, program: str, name: str) -> None:
    copy = tmp_path / "copy"
    done = host.shell(program.format(name, copy))
    assert done.returncode == 0, done.stderr
    assert copy.read_text() == host.path(name).read_text() != ""
    shutil.copyfile(host.path(name), copy)
    assert copy.read_text() == host.path(name).read_text()


def test_a_read_from_the_beginning_is_new(host: SimMount) -> None:
    fd = os.open(host.path("/proc/sys/vm/swappiness"), os.O_RDONLY)
    try:
        before = os.read(fd, 1)
        host.write("/proc/sys/vm/swappiness", "35")
        assert os.read(fd, 10) == b"0\n", "the rest of what was begun"
        assert (before, os.pread(fd, 10, 0)) == (b"6", b"35\n")
    finally:
        os.close(fd)


def test_links_stay_inside(host: SimMount) -> None:
    assert os.path.realpath(host.path("/proc/self/comm")) == str(host.path("/proc/5001/comm"))
    assert os.path.realpath(host.path(CPU)) == str(host.path("/sys/fs/cgroup/cpu,cpuacct"))
    assert Path(os.path.realpath(host.path("/sys/block/sda"))).is_relative_to(host.path("/sys/devices"))
    assert host.read("/proc/mounts") == host.read("/proc/1/mounts")


def test_refusals_are_the_kernel_s(host: SimMount, attempt: Attempt) -> None:
    """As sysfs, procfs and cgroupfs refuse on a real host."""

    def opened(name: str, flags: int) -> None:
        os.close(os.open(host.path(name), flags))

    shares = host.path(f"{CPU}/kubepods/cpu.shares")
    assert attempt(host.write, f"{CPU}/kubepods/cpu.shares", "many") == "EINVAL"
    assert attempt(host.write, f"{CPU}/kubepods/cpu.stat", "1") == "EINVAL"
    assert attempt(opened, "/proc/sys/kernel/osrelease", os.O_WRONLY) == "EACCES"
    assert attempt(opened, f"{CPU}/cpu.nothing", os.O_WRONLY) == "ENOENT"
    assert attempt(opened, f"{CPU}/cpu.nothing", os.O_WRONLY | os.O_CREAT) == "EACCES"
    assert attempt(opened, "/proc/nothing", os.O_WRONLY | os.O_CREAT) == "ENOENT"
    assert attempt(os.rmdir, host.path(f"{CPU}/kubepods")) == "EBUSY"
    assert attempt(os.mkdir, host.path("/sys/kernel/made")) == "EPERM"
    assert attempt(os.mkdir, host.path("/proc/made")) == "ENOENT"
    assert attempt(os.unlink, shares) == "EPERM"
    assert attempt(os.rename, shares, f"{shares}.old") == "EPERM"
    assert attempt(os.rename, host.path("/etc/fstab"), host.path("/proc/fstab")) == "EXDEV"
    assert attempt(os.chmod, shares, 0o666) == "EPERM"
    assert attempt(os.mkdir, host.path("/sys")) == "EEXIST"


# ---- ordinary files --------------------------------------------------------------------------------------------------


def test_what_journals_need(place: Path) -> None:
    fd, name = tempfile.mkstemp(dir=place)
    os.write(fd, b"one line\n")
    os.fsync(fd)
    os.rename(name, place / "journal")
    directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(directory)
    os.close(directory)
    with open(place / "journal", "a") as file:
        file.write("another\n")
    assert os.pread(fd, 100, 0) == b"one line\nanother\n"
    os.close(fd)
    assert os.stat(place / "journal").st_mode & 0o777 == 0o600
    assert os.listdir(place) == ["journal"]


def test_locks(place: Path) -> None:
    with open(place / "lock", "w") as first, open(place / "lock") as second:
        fcntl.flock(first, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError):
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(first, fcntl.LOCK_UN)
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_an_ordinary_file_system(place: Path, attempt: Attempt) -> None:
    (place / "file").write_bytes(b"0123456789")
    os.truncate(place / "file", 4)
    with open(place / "file", "r+b") as file, mmap.mmap(file.fileno(), 4) as mapped:
        mapped[0:2] = b"ab"
        mapped.flush()
    assert (place / "file").read_bytes() == b"ab23"
    os.symlink("file", place / "link")
    os.link(place / "file", place / "hard")
    os.chmod(place / "file", 0o640)
    os.utime(place / "file", ns=(1_000_000_000, 2_000_000_001))
    found = os.stat(place / "hard")
    assert (found.st_nlink, found.st_mode & 0o777, found.st_mtime_ns) == (2, 0o640, 2_000_000_001)
    assert (os.readlink(place / "link"), (place / "link").read_bytes()) == ("file", b"ab23")
    os.mkdir(place / "directory", 0o711)
    (place / "directory" / "inside").write_text("kept")
    os.rename(place / "directory", place / "moved")
    assert (place / "moved" / "inside").read_text() == "kept"
    assert attempt(os.rmdir, place / "moved") == "ENOTEMPTY"
    assert attempt(os.mkfifo, place / "fifo") == "EPERM"
    assert sorted(os.listdir(place)) == ["file", "hard", "link", "moved"]


def test_names_that_are_no_text(place: Path) -> None:
    name = os.fsencode(place) + b"/\xff\n"
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o600))
    assert os.listdir(os.fsencode(place)) == [b"\xff\n"]
    os.unlink(name)


def test_the_transactions_have_their_place(host: SimMount, attempt: Attempt) -> None:
    """They are the directory that --sim keeps them in, and like a mount point it cannot be moved."""
    shown, kept = host.path("/var/lib/cotune/transactions"), host.state / "sim" / host.kernel / "transactions"
    (shown / "note").write_text("seen")
    assert (kept / "note").read_text() == "seen"
    (shown / "note").unlink()
    assert attempt(os.rmdir, shown) == "EBUSY"
    assert attempt(os.rename, shown, host.path("/tmp/transactions")) == "EBUSY"
    with pytest.raises(OSError, match=os.strerror(errno.ENOTEMPTY)):
        os.rmdir(host.path("/var/lib/cotune"))


def test_room_is_told(host: SimMount) -> None:
    assert os.statvfs(host.root).f_blocks == os.statvfs(host.state).f_blocks > 0
