"""Mounting, ending, and what the command line says about it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.host.lab import REPOSITORY
from tests.views.lab import Service, detach, mounted, serving, soon
from viewfs.views import VIEWS

pytestmark = pytest.mark.root

HOST_ONLY = [path for path in VIEWS if Path("/", path).exists()]


def viewfs(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-B", "-m", "viewfs", *map(str, words)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)


def test_all_views_are_there(service: Service) -> None:
    found = {str(path.relative_to(service.mount)) for path in service.path("proc").rglob("*") if path.is_file()}
    assert found == {path for path in HOST_ONLY if path.startswith("proc/")}
    assert {path.name for path in service.mount.iterdir()} == {"proc", "sys", "cgroup", "pid"}


def test_host_callers_get_the_hosts_files(service: Service) -> None:
    for name in ("proc/swaps", "sys/devices/system/cpu/online", "sys/devices/system/cpu/possible"):
        assert service.path(name).read_bytes() == Path("/", name).read_bytes()
    ours, hosts = service.path("proc/meminfo").read_text(), Path("/proc/meminfo").read_text()
    assert [line.split(":")[0] for line in ours.splitlines()] == [line.split(":")[0] for line in hosts.splitlines()]
    assert ours.splitlines()[0] == hosts.splitlines()[0]


def test_cpu_directories_pass_the_host_through(service: Service) -> None:
    ours, hosts = service.path("sys/devices/system/cpu"), Path("/sys/devices/system/cpu")
    assert sorted(os.listdir(ours)) == sorted(os.listdir(hosts))
    assert sorted(os.listdir(ours / "cpu0")) == sorted(os.listdir(hosts / "cpu0"))
    assert (ours / "cpu0/topology/core_id").read_bytes() == (hosts / "cpu0/topology/core_id").read_bytes()
    assert os.readlink(ours / "cpu0/subsystem") == os.readlink(hosts / "cpu0/subsystem")


def test_attributes(service: Service) -> None:
    status = service.path("proc/cpuinfo").stat()
    assert status.st_mode & 0o7777 == 0o444
    assert status.st_size == len(service.path("proc/cpuinfo").read_bytes()) > 100
    assert (status.st_uid, status.st_gid) == (0, 0)
    assert service.path("proc").stat().st_mode & 0o7777 == 0o555
    assert os.statvfs(service.mount).f_namemax == 255


@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC])
def test_writing_is_refused(service: Service, flags: int) -> None:
    with pytest.raises(OSError) as caught:
        os.close(os.open(service.path("proc/meminfo"), flags))
    assert caught.value.errno in (errno.EROFS, errno.EACCES)


def test_making_and_removing_is_refused(service: Service) -> None:
    actions: list[Callable[[], object]] = [
        lambda: service.path("proc/new").touch(),
        lambda: service.path("cgroup/new").mkdir(),
        lambda: service.path("proc/meminfo").unlink(),
        lambda: service.path("proc/meminfo").chmod(0o666),
    ]
    for action in actions:
        with pytest.raises(OSError) as caught:
            action()
        assert caught.value.errno in (errno.EROFS, errno.EACCES)


def test_names_that_do_not_exist(service: Service) -> None:
    for name in (
        "proc/nonsense",
        "nothing",
        "pid/0",
        "pid/01",
        "pid/x",
        "pid/99999999999",
        "cgroup/no-such-group/proc",
    ):
        assert not service.path(name).exists(), name


def test_sigterm_unmounts(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        assert mounted(service.mount)
        kept = service.path("proc/uptime").open()
        assert service.stop() == 0
        assert not mounted(service.mount)
        assert not service.recorded()
        with pytest.raises(OSError):
            kept.read()
        with contextlib.suppress(OSError):
            kept.close()


@pytest.mark.parametrize("loop", ["auto", "trio"])
def test_unmount_from_outside_ends_the_service(tmp_path: Path, loop: str) -> None:
    with serving(tmp_path, "--loop", loop) as service:
        assert service.path("proc/uptime").read_text().count(".") == 2
        subprocess.run(["umount", str(service.mount)], check=True)
        assert service.process.wait(20) == 0


def test_trio_loop_serves_and_ends(tmp_path: Path) -> None:
    with serving(tmp_path, "--loop", "trio") as service:
        assert service.path("proc/swaps").read_bytes() == Path("/proc/swaps").read_bytes()
        assert service.stop() == 0
        assert not mounted(service.mount)


def test_both_loops_report_the_same(tmp_path: Path) -> None:
    """Under one, pyfuse3 hands everything on; under the other, most is answered without it."""
    (tmp_path / "trio").mkdir()
    with serving(tmp_path) as own, serving(tmp_path / "trio", "--loop", "trio") as trio:
        for name in ("proc/swaps", "sys/devices/system/cpu/online", "sys/devices/system/cpu/present", "proc", ""):
            mine, theirs = (os.stat(service.path(name)) for service in (own, trio))
            for field in ("st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_blocks", "st_blksize"):
                assert getattr(mine, field) == getattr(theirs, field), (name, field)
            assert mine.st_mtime_ns == mine.st_atime_ns == mine.st_ctime_ns
            assert 0 <= theirs.st_mtime_ns - mine.st_mtime_ns < 10**11
            if name.startswith("sys"):
                assert own.path(name).read_bytes() == trio.path(name).read_bytes()
        for service in (own, trio):
            with pytest.raises(OSError) as caught:
                os.open(service.path("proc/swaps"), os.O_RDWR)
            assert caught.value.errno == errno.EROFS


def test_no_cpu_when_idle(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        for _ in range(50):
            service.path("proc/meminfo").read_bytes()
        time.sleep(0.2)
        before = service.ticks()
        time.sleep(2.0)
        assert service.ticks() == before


def test_background_status_and_second_mount(tmp_path: Path) -> None:
    state, point = tmp_path / "state", tmp_path / "mnt"
    try:
        assert viewfs("status", "--state-dir", state).returncode == 1
        run = viewfs("mount", "--state-dir", state, point)
        assert (run.returncode, run.stderr) == (0, "")
        told = viewfs("status", "--json", "--state-dir", state)
        (record,) = json.loads(told.stdout)["services"]
        assert told.returncode == 0
        assert record["mount"] == str(point) and record["running"] and record["mounted"]
        assert (point / "proc/meminfo").read_bytes()
        again = viewfs("mount", "--state-dir", state, point)
        assert again.returncode == 2 and f"process {record['pid']}" in again.stderr
        other = viewfs("mount", "--state-dir", tmp_path / "other", point)
        assert other.returncode == 2 and "served already" in other.stderr
        os.kill(record["pid"], signal.SIGTERM)
        assert soon(lambda: not mounted(point))
        assert soon(lambda: viewfs("status", "--state-dir", state).returncode == 1)
    finally:
        while mounted(point):
            detach(point)


def test_stale_mount_is_replaced(tmp_path: Path) -> None:
    with serving(tmp_path) as first:
        first.process.kill()
        first.process.wait()
        assert viewfs("status", "--state-dir", first.state).returncode == 1
        with pytest.raises(OSError) as caught:
            os.statvfs(first.mount)
        assert caught.value.errno == errno.ENOTCONN
        for path in first.state.iterdir():
            path.unlink()
        with serving(tmp_path) as second:
            assert second.path("proc/meminfo").read_bytes()
        assert not mounted(first.mount)


def test_wrong_loop_and_wrong_place(tmp_path: Path) -> None:
    run = viewfs("mount", "--loop", "asyncio", tmp_path / "m")
    assert run.returncode == 2 and "auto or trio" in run.stderr
    (tmp_path / "file").touch()
    run = viewfs("mount", "--state-dir", tmp_path / "s", tmp_path / "file" / "m")
    assert run.returncode == 2 and "cannot be a mount point" in run.stderr
