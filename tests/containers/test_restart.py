"""The service beside real containers: killed and started again, and containers that are started again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.containers.conftest import Namespaces, Runc, inside
from tests.host.lab import REPOSITORY
from tests.views.lab import Service, serving, soon
from viewfs.attach import attached
from viewfs.notify import notify
from viewfs.targets import Target

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("viewfs-restart")]
OWN = ("--mount", "--pid", "--fork", "--mount-proc")
#: Seconds. Errors should last less than one; a busy machine may take longer.
GENEROUS = 60.0


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    pytest.importorskip("pyfuse3", reason="needs the views extra")
    if not os.path.exists("/dev/fuse"):
        pytest.skip("needs /dev/fuse")
    with serving(tmp_path) as made:
        yield made


@pytest.fixture
def found_runc(runc: Runc, tmp_path: Path) -> Iterator[Runc]:
    """A runc whose containers the service finds, because their state is below /run."""
    existed = Path("/run/runc").exists()
    (tmp_path / "found").mkdir()
    with contextlib.closing(Runc(tmp_path / "found", Path("/run"))) as made:
        yield made
    if not existed:
        with contextlib.suppress(OSError):
            os.rmdir("/run/runc")


def viewfs(service: Service, *words: str) -> Any:
    """Run a command of the service's and return what it reports."""
    command = [sys.executable, "-B", "-m", "viewfs", "--json", "--state-dir", str(service.state), *words]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout)


def is_view(target: Target, path: str = "/proc/meminfo") -> bool:
    """Whether a file can be read inside and is a view of the limited container's."""
    try:
        return Path(f"/proc/{target.pid}/root{path}").read_text() != "" and path in attached(target)
    except OSError:
        return False


def test_readers_recover_after_the_service_was_killed(
    service: Service, namespaces: Namespaces, found_runc: Runc, tmp_path: Path, record_property: Any
) -> None:
    targets = [namespaces.start(*OWN), namespaces.start(*OWN), found_runc.start()]
    viewfs(service, "attach", "--mount", str(service.mount), *(str(target) for target in targets))
    assert all(is_view(target) for target in targets)
    service.process.send_signal(signal.SIGKILL)
    service.process.wait()
    for target in targets:
        with pytest.raises(OSError):
            Path(f"/proc/{target.pid}/root/proc/meminfo").read_text()
        # those on the tmpfs do not need it
        assert Path(f"/proc/{target.pid}/root/proc/cpuinfo").read_text()
        assert Path(f"/proc/{target.pid}/root/sys/devices/system/cpu/online").read_text()
    begun = time.monotonic()
    again = Service(tmp_path)
    try:
        assert soon(lambda: all(is_view(target) for target in targets), GENEROUS)
        took = time.monotonic() - begun
        record_property("seconds", took)
        print(f"{len(targets)} containers read again {took:.2f} s after the service was started")
        assert took < GENEROUS
        for target in targets:
            mounts = Path(f"/proc/{target.pid}/mountinfo").read_text()
            assert mounts.count(" /proc/meminfo ") == 1
        reported = viewfs(again, "status")["attached"]
        assert {(entry["container"], entry["pid"]) for entry in reported} == {(str(t), t.pid) for t in targets}
        assert all(len(entry["files"]) > 8 for entry in reported)
        assert len(viewfs(again, "detach", "--all")["detached"]) == 3
        assert [attached(target) for target in targets] == [(), (), ()]
        assert viewfs(again, "status")["attached"] == []
    finally:
        again.close()


def test_a_container_started_again_gets_its_views(service: Service, found_runc: Runc, record_property: Any) -> None:
    target = found_runc.start()
    viewfs(service, "attach", "--mount", str(service.mount), str(target))
    assert is_view(target)
    files = attached(target)
    static = service.state / "static"
    before = {path.name for path in static.iterdir()}
    assert len(before) == 1
    found_runc.stop()
    again = found_runc.start()
    begun = time.monotonic()
    assert again.pid != target.pid
    assert soon(lambda: is_view(again), GENEROUS)
    took = time.monotonic() - begun
    record_property("seconds", took)
    print(f"views {took:.2f} s after the container started again")
    assert found_runc("exec", found_runc.id, "cat", "/proc/meminfo").startswith("MemTotal")
    assert set(attached(again)) == set(files)
    # the plain files of the first one are gone with it
    assert soon(lambda: before.isdisjoint(path.name for path in static.iterdir()), GENEROUS)
    assert len(list(static.iterdir())) == 1


def test_sendfile_shows_the_view_of_the_moment(service: Service, found_runc: Runc) -> None:
    # busybox's cat copies with sendfile(2), which the kernel serves by way of the page cache
    target = found_runc.start()
    viewfs(service, "attach", "--mount", str(service.mount), str(target))
    assert found_runc("exec", found_runc.id, "cat", "/proc/meminfo").startswith("MemTotal")
    first = float(found_runc("exec", found_runc.id, "cat", "/proc/uptime").split()[0])
    time.sleep(0.2)
    assert float(found_runc("exec", found_runc.id, "cat", "/proc/uptime").split()[0]) > first


def test_detached_stays_detached(service: Service, namespaces: Namespaces) -> None:
    target = namespaces.start(*OWN)
    viewfs(service, "attach", "--mount", str(service.mount), str(target))
    viewfs(service, "detach", str(target))
    time.sleep(2.5)
    assert attached(target) == ()
    assert inside(target, "cat", "/proc/meminfo").startswith("MemTotal")


def open_files(process: Path) -> set[str]:
    return {os.readlink(fd) for fd in (process / "fd").iterdir()}


def test_the_keeper_ends_with_the_service(service: Service) -> None:
    pid = service.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children")
    assert soon(children.read_text, GENEROUS)
    (number,) = children.read_text().split()
    keeper = Path(f"/proc/{number}")
    # it must not hold the descriptor of FUSE: with it the mount would not be dead when the service is
    assert soon(lambda: "/dev/fuse" not in open_files(keeper), GENEROUS)
    service.process.send_signal(signal.SIGKILL)
    service.process.wait()
    assert soon(lambda: not keeper.exists(), GENEROUS)


def test_systemd_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address)
        listening.settimeout(GENEROUS)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        assert notify("STATUS=here")
        assert listening.recv(100) == b"STATUS=here"
        pytest.importorskip("pyfuse3", reason="needs the views extra")
        with serving(tmp_path) as service:
            assert listening.recv(100) == b"READY=1"
            assert (service.mount / "proc" / "meminfo").exists()
            assert service.stop() == 0
            assert listening.recv(100) == b"STOPPING=1"
    assert not notify("READY=1")
    monkeypatch.delenv("NOTIFY_SOCKET")
    assert not notify("READY=1")
