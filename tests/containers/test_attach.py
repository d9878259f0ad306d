"""Attaching views to containers that run: real namespaces, real runc."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from cotune.errors import ApplyFailed, UsageError
from tests.containers.conftest import VIEWS, Namespaces, Runc, Views, inside
from viewfs.attach import FILES, attach, attached, detach
from viewfs.state import Book, Record
from viewfs.targets import Target, find_target

pytestmark = pytest.mark.root
OWN = ("--mount", "--pid", "--fork", "--mount-proc")


def own_files() -> dict[str, str]:
    return {path: Path(path).read_text() for path in ("/proc/cpuinfo", "/sys/devices/system/cpu/online")}


def test_attach_and_detach(views: Views, namespaces: Namespaces) -> None:
    before = own_files()
    target = namespaces.start(*OWN)
    result = attach(target, str(views.point))
    assert sorted(result.files) == sorted(VIEWS)
    assert set(result.files) | set(result.skipped) == set(FILES)
    for path in VIEWS:
        assert inside(target, "cat", path) == f"caller {path}\n"
    assert own_files().keys() == before.keys() and not any("caller" in text for text in own_files().values())
    assert sorted(attached(target)) == sorted(VIEWS)
    assert sorted(detach(target)) == sorted(VIEWS)
    assert inside(target, "cat", "/sys/devices/system/cpu/online") == before["/sys/devices/system/cpu/online"]
    assert (attached(target), detach(target)) == ((), ())


def test_attach_twice_leaves_one_mount(views: Views, namespaces: Namespaces) -> None:
    target = namespaces.start(*OWN)
    for _ in range(3):
        attach(target, str(views.point), ["/proc/meminfo"])
    assert Path(f"/proc/{target.pid}/mountinfo").read_text().count(" /proc/meminfo ro,") == 1
    assert detach(target) == ("/proc/meminfo",)


def test_a_stale_mount_of_a_dead_service_is_replaced(views: Views, namespaces: Namespaces, tmp_path: Path) -> None:
    target = namespaces.start(*OWN)
    attach(target, str(views.point), ["/proc/meminfo"])
    second = Views(tmp_path / "second")
    try:
        second.add("", "second")
        attach(target, str(second.point), ["/proc/meminfo"])
        assert inside(target, "cat", "/proc/meminfo") == "second /proc/meminfo\n"
    finally:
        second.close()
    assert detach(target) == ("/proc/meminfo",)
    assert inside(target, "cat", "/proc/meminfo").startswith("MemTotal:")


def test_mounts_of_others_stay(views: Views, namespaces: Namespaces) -> None:
    script = "mount -t tmpfs other /mnt && echo other > /mnt/f && mount --bind /mnt/f /proc/meminfo"
    target = namespaces.start(*OWN, script=script)
    assert detach(target) == ()
    attach(target, str(views.point), ["/proc/meminfo"])
    assert inside(target, "cat", "/proc/meminfo") == "caller /proc/meminfo\n"
    detach(target)
    assert inside(target, "cat", "/proc/meminfo") == "other\n"


def test_in_the_hosts_pid_namespace_the_process_is_named(views: Views, namespaces: Namespaces) -> None:
    target = namespaces.start("--mount", "--fork")
    views.add(f"pid/{target.pid}", "process")
    attach(target, str(views.point), ["/proc/meminfo"])
    assert inside(target, "cat", "/proc/meminfo") == "process /proc/meminfo\n"


def test_the_containers_root_directory_counts(views: Views, namespaces: Namespaces, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "proc").mkdir(parents=True)
    # a link that leads out of the container on the host leads nowhere inside, and is not followed at the end
    (root / "proc" / "cpuinfo").symlink_to(tmp_path / "outside")
    (tmp_path / "outside").write_text("untouched")
    (root / "proc" / "meminfo").write_text("mine\n")
    for name in ("bin", "lib", "lib64", "usr"):
        (root / name).mkdir()
    binds = "; ".join(f"mount --rbind /{name} {root}/{name}" for name in ("bin", "lib", "lib64", "usr"))
    target = namespaces.start(
        "--mount", "--pid", "--fork", script=f"{binds}; exec chroot {root} sh -c 'echo ready; exec sleep 600'"
    )
    result = attach(target, str(views.point), ["/proc/meminfo"])
    assert result.files == ("/proc/meminfo",)
    assert (root / "proc" / "meminfo").read_text() == "mine\n"
    assert Path(f"/proc/{target.pid}/root/proc/meminfo").read_text() == "caller /proc/meminfo\n"
    with pytest.raises(ApplyFailed):
        attach(target, str(views.point), ["/proc/meminfo", "/proc/cpuinfo"])
    assert (tmp_path / "outside").read_text() == "untouched"
    assert attached(target) == ()


def test_refusals(views: Views, namespaces: Namespaces, tmp_path: Path) -> None:
    me = find_target(str(os.getpid()))
    with pytest.raises(UsageError, match="same mount namespace"):
        attach(me, str(views.point))
    target = namespaces.start(*OWN)
    with pytest.raises(UsageError, match="no view of /etc/passwd"):
        attach(target, str(views.point), ["/etc/passwd"])
    with pytest.raises(UsageError, match="no view service is mounted"):
        attach(target, str(tmp_path))
    with pytest.raises(UsageError, match="has ended"):
        attach(Target(target.pid, target.starttime + 1), str(views.point))
    with pytest.raises(UsageError, match="no process 9999999"):
        find_target("9999999")
    with pytest.raises(UsageError, match="no running container"):
        find_target("runc:nothing", tmp_path)
    with pytest.raises(UsageError, match="no pid and no container id"):
        find_target("../../etc")


def test_mounts_shared_with_the_host_are_refused(views: Views, namespaces: Namespaces, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    (shared / "proc").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "cotune-test", shared], check=True)
    try:
        subprocess.run(["mount", "--make-shared", shared], check=True)
        (shared / "proc").mkdir()
        (shared / "proc" / "meminfo").write_text("mine\n")
        for name in ("bin", "lib", "lib64", "usr"):
            (shared / name).mkdir()
        for name in ("bin", "lib", "lib64", "usr"):
            subprocess.run(["mount", "--bind", f"/{name}", shared / name], check=True)
        script = f"exec chroot {shared} sh -c 'echo ready; exec sleep 600'"
        target = namespaces.start("--mount", "--pid", "--fork", "--propagation", "unchanged", script=script)
        with pytest.raises(UsageError, match="propagates to the host"):
            attach(target, str(views.point), ["/proc/meminfo"])
        assert (shared / "proc" / "meminfo").read_text() == "mine\n"
        namespaces.close()
    finally:
        subprocess.run(["umount", "--recursive", shared], check=True)


def test_runc_by_id_and_again_after_its_restart(
    views: Views, runc: Runc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = runc.start()
    assert (target.runtime, target.id) == ("runc", runc.id)
    assert find_target(f"runc:{runc.id[:12]}", runc.run) == target
    attach(target, str(views.point))
    assert runc("exec", runc.id, "cat", "/proc/meminfo") == "caller /proc/meminfo\n"
    assert runc("exec", runc.id, "cat", "/sys/devices/system/cpu/online").startswith("caller")
    book = Book(tmp_path / "state")
    book.put(Record(target, str(views.point), ("/proc/meminfo",)))
    monkeypatch.setattr("viewfs.state.find_target", lambda word: find_target(word, runc.run))
    runc.stop()
    assert book.attach_again(str(views.point)) == {}
    again = runc.start()
    assert again.pid != target.pid
    assert runc("exec", runc.id, "cat", "/proc/meminfo").startswith("MemTotal")
    assert book.attach_again(str(views.point)) == {}
    assert runc("exec", runc.id, "cat", "/proc/meminfo") == "caller /proc/meminfo\n"
    assert [record.target for record in book.read()] == [again]


def test_the_book(views: Views, namespaces: Namespaces, tmp_path: Path) -> None:
    target, other = namespaces.start(*OWN), namespaces.start(*OWN)
    book = Book(tmp_path / "state")
    assert book.read() == []
    for one in (target, other, target):
        book.put(Record(one, str(views.point), ("/proc/meminfo",)))
    assert [record.target for record in book.read()] == [other, target]
    assert (tmp_path / "state" / "views.json").stat().st_mode & 0o777 == 0o600
    book.put(Record(Target(target.pid, 1), str(views.point), FILES))
    assert book.attach_again(str(views.point)) == {}
    # the process with another start time is gone, and forgotten
    assert [record.target for record in book.read()] == [other, target]
    assert attached(target) == attached(other) == ("/proc/meminfo",)
    book.drop(target)
    assert [record.target for record in book.read()] == [other]
    (tmp_path / "state" / "views.json").write_text('{"format": 99}')
    with pytest.raises(UsageError, match="another version"):
        book.read()
