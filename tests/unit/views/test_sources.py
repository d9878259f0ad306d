"""Kept descriptors, shared host files, groups that vanish, and the figures of a group of this kernel."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.lab import wait_for
from tests.unit.views.grove import CPU, HOST, cpu_rows, make_sources, meminfo, plant, plant_groups, show
from viewfs.kept import Folder, Vanished, ancestors
from viewfs.sources import Host, Sources
from viewfs.types import Container, Policy
from viewfs.views import VIEWS, find_view
from viewfs.views.cpuinfo import parse, render


def test_a_kept_file_shows_changes(tmp_path: Path) -> None:
    plant_groups(tmp_path, {"v2/app": {"memory.max": 10}})
    folder = Folder(str(tmp_path / "cgroup/v2/app"))
    assert folder.number("memory.max") == 10
    count = len(os.listdir("/proc/self/fd"))
    (tmp_path / "cgroup/v2/app/memory.max").write_text("max\n", encoding="utf-8")
    assert folder.number("memory.max") is None and folder.read("memory.max") == b"max\n"
    assert len(os.listdir("/proc/self/fd")) == count
    folder.close()
    assert len(os.listdir("/proc/self/fd")) == count - 2


def test_long_files_are_read_whole(tmp_path: Path) -> None:
    text = "".join(f"{number} {number}\n" for number in range(9000))
    plant_groups(tmp_path, {"v2/app": {"long": text}})
    folder = Folder(str(tmp_path / "cgroup/v2/app"))
    assert folder.read("long") == text.encode()
    folder.close()


def test_a_folder_made_again_stays_gone(tmp_path: Path) -> None:
    plant_groups(tmp_path, {"v2/app": {}})
    path = tmp_path / "cgroup/v2/app"
    folder = Folder(str(path))
    shutil.rmtree(path)
    plant_groups(tmp_path, {"v2/app": {"memory.max": 10}})
    with pytest.raises(Vanished):
        folder.read("memory.max")
    folder.close()


def test_a_missing_group_has_vanished(tmp_path: Path) -> None:
    sources = make_sources(tmp_path, {"v2/app": {}}, "app", 2)
    sources.close()
    shutil.rmtree(tmp_path / "cgroup/v2/app")
    with pytest.raises(Vanished):
        Sources(sources.container, sources.host)


def test_a_dead_first_process_has_vanished(tmp_path: Path) -> None:
    sources = make_sources(tmp_path, {"v2/app": {"cpu.stat": "user_usec 0"}}, "app", 2)
    shutil.rmtree(tmp_path / "proc/4242")
    with pytest.raises(Vanished):
        show(sources, "proc/uptime")
    sources.close()


def test_counters_outlive_their_sources(tmp_path: Path) -> None:
    files = {"cpuset.cpus.effective": "0", "cpu.stat": "user_usec 900000000\nsystem_usec 0"}
    sources = make_sources(tmp_path, {"v2/app": files}, "app", 2, starttime=90000)
    first = cpu_rows(show(sources, "proc/stat"))
    assert first["cpu0"][:4] == [10000, 0, 0, 0]
    sources.close()
    plant_groups(tmp_path, {"v2/app": {"cpu.stat": "user_usec 1000000\nsystem_usec 0"}})
    again = Sources(sources.container, sources.host)
    assert cpu_rows(show(again, "proc/stat")) == first
    again.close()


def test_before_a_process_the_container_is_not_up(tmp_path: Path) -> None:
    sources = make_sources(tmp_path, {"v2/app": {"cpu.stat": "user_usec 0\nsystem_usec 0"}}, "app", 2)
    early = Sources(sources.container._replace(init_pid=0), sources.host)
    assert show(early, "proc/uptime") == "0.00 0.00\n"
    sources.close()
    early.close()


def test_ancestors_end_below_the_root(tmp_path: Path) -> None:
    plant_groups(tmp_path, {"v2/pod/app": {}, "v2": {}})
    top = tmp_path / "cgroup/v2"
    (top / "cgroup.procs").touch()
    assert list(ancestors(str(top / "pod/app"))) == [str(top / "pod/app"), str(top / "pod")]
    assert list(ancestors(str(top))) == []


def test_the_root_group_sees_the_host(tmp_path: Path) -> None:
    plant(tmp_path, HOST)
    plant_groups(tmp_path, {"v2": {"memory.stat": "file 1"}})
    top = str(tmp_path / "cgroup/v2")
    container = Container("host", dict.fromkeys(("cpu", "memory"), top), 2, 0, 0, Policy())
    sources = Sources(container, Host(str(tmp_path)))
    assert show(sources, "proc/meminfo") == HOST["proc/meminfo"]
    assert show(sources, f"{CPU}/online") == "0-7\n"
    assert [*cpu_rows(show(sources, "proc/stat"))][1:] == [f"cpu{number}" for number in range(8)]
    assert show(sources, "proc/stat").count("\n") == HOST["proc/stat"].count("\n")
    sources.close()


def test_host_files_are_read_once_in_a_window(tmp_path: Path) -> None:
    plant(tmp_path, HOST)
    host = Host(str(tmp_path), fresh=30.0)
    first = host.meminfo()
    plant(tmp_path, {"proc/meminfo": "MemTotal: 1 kB\n"})
    assert host.meminfo() is first
    host.close()
    assert host.meminfo().values == {b"MemTotal": 1}
    host.close()


def test_pressure_without_psi_is_not_found(tmp_path: Path) -> None:
    sources = make_sources(tmp_path, {"v2/app": {}}, "app", 2)
    (tmp_path / "proc/pressure/io").unlink()
    with pytest.raises(FileNotFoundError):
        show(sources, "proc/pressure/io")
    sources.close()


def test_views_are_found_by_path() -> None:
    assert find_view("proc/stat") is VIEWS["proc/stat"]
    one = find_view(f"{CPU}/cpu12/online")
    assert one is not None and one.static and one is find_view(f"{CPU}/cpu12/online")
    assert find_view(f"{CPU}/cpu12/topology") is None and find_view("proc/version") is None
    assert {path for path, view in VIEWS.items() if view.static} == {
        "proc/cpuinfo",
        *(f"{CPU}/{name}" for name in ("online", "offline", "possible", "present")),
    }


def test_cpuinfo_counts_siblings_as_for_unplugged_cpus() -> None:
    text = render(parse(HOST["proc/cpuinfo"].encode()), (0, 1, 6)).decode()
    blocks = text.split("\n\n")
    assert [("siblings\t: 2" in block, "cpu cores\t: 1" in block) for block in blocks[:2]] == [(True, True)] * 2
    assert "siblings\t: 1" in blocks[2] and "apicid\t\t: 6" in blocks[2]
    assert render(parse(HOST["proc/cpuinfo"].encode()), range(8)).decode() == HOST["proc/cpuinfo"]


def test_cpuinfo_of_s390_and_arm() -> None:
    s390 = (
        "vendor_id       : IBM/S390\n# processors    : 2\n"
        "processor 0: version = FF,  identification = 1\nprocessor 1: version = FF,  identification = 1\n\n"
        "cpu number      : 0\nversion         : FF\n\ncpu number      : 1\nversion         : FF\n\n"
    )
    assert render(parse(s390.encode()), (1,)).decode() == (
        "vendor_id       : IBM/S390\n# processors    : 1\nprocessor 1: version = FF,  identification = 1\n\n"
        "cpu number      : 1\nversion         : FF\n\n"
    )
    arm = "processor\t: 0\nBogoMIPS\t: 1\n\nprocessor\t: 1\nBogoMIPS\t: 1\n\nHardware\t: Board\nSerial\t\t: 0\n"
    assert (
        render(parse(arm.encode()), (0,)).decode()
        == "processor\t: 0\nBogoMIPS\t: 1\n\nHardware\t: Board\nSerial\t\t: 0\n"
    )


CGROUPS = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "blkio")
real = pytest.mark.skipif(
    os.geteuid() != 0 or not all((CGROUPS / name / "cgroup.procs").exists() for name in CONTROLLERS),
    reason="needs root and cgroup version 1",
)


@pytest.fixture
def real_container() -> Iterator[Container]:
    """A busy shell in a group of version 1 with limits, below one with others."""
    name = f"viewfs-test-{uuid.uuid4().hex[:8]}"
    folders = [CGROUPS / controller / name / part for controller in CONTROLLERS for part in ("", "ct")]
    shell: subprocess.Popen[bytes] | None = None
    try:
        for folder in folders:
            folder.mkdir()
        for part in ("", "ct"):
            cpuset = CGROUPS / "cpuset" / name / part
            (cpuset / "cpuset.mems").write_text((CGROUPS / "cpuset/cpuset.mems").read_text())
            (cpuset / "cpuset.cpus").write_text((CGROUPS / "cpuset/cpuset.cpus").read_text())
        (CGROUPS / "cpuset" / name / "ct/cpuset.cpus").write_text("0")
        (CGROUPS / "memory" / name / "memory.limit_in_bytes").write_text("300M")
        (CGROUPS / "memory" / name / "ct/memory.limit_in_bytes").write_text("400M")
        shell = subprocess.Popen(["sh", "-c", "read line; while :; do :; done"], stdin=subprocess.PIPE)
        for folder in folders:
            if folder.name == "ct":
                (folder / "cgroup.procs").write_text(str(shell.pid))
        _let_go(shell)
        start = int(Path(f"/proc/{shell.pid}/stat").read_text().rpartition(")")[2].split()[19])
        cgroups = {controller: str(CGROUPS / controller / name / "ct") for controller in CONTROLLERS}
        yield Container("real", cgroups, 1, shell.pid, start, Policy())
    finally:
        if shell is not None:
            shell.kill()
            shell.communicate()
        for folder in reversed(folders):
            _remove(folder)


def _let_go(shell: subprocess.Popen[bytes]) -> None:
    """A shell that waits for a line gets one."""
    assert shell.stdin is not None
    shell.stdin.write(b"\n")
    shell.stdin.flush()


def _remove(folder: Path) -> None:
    for _ in range(100):
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.02)  # the kernel has not yet let go of the process
        else:
            return


@real
@pytest.mark.root
def test_a_group_of_this_kernel(real_container: Container) -> None:
    sources = Sources(real_container)
    before = cpu_rows(show(sources, "proc/stat"))
    wait_for(lambda: cpu_rows(show(sources, "proc/stat"))["cpu"][0] > before["cpu"][0], "CPU time is used")
    earlier = float(show(sources, "proc/uptime").split()[0])
    after = cpu_rows(show(sources, "proc/stat"))
    assert list(after) == ["cpu", "cpu0"] and show(sources, f"{CPU}/online") == "0\n"
    assert all(a >= b for a, b in zip(after["cpu"], before["cpu"], strict=True))
    assert after["cpu"][0] > 0
    up, idle = map(float, show(sources, "proc/uptime").split())
    assert earlier - 0.2 <= sum(after["cpu"]) / 100 <= up + 0.2 and 0 <= idle < up
    seen = meminfo(show(sources, "proc/meminfo"))
    assert seen["MemTotal"] == 300 * 1024 and 250 * 1024 < seen["MemFree"] < 300 * 1024
    sources.close()


@real
@pytest.mark.root
def test_a_group_that_is_removed_has_vanished(real_container: Container) -> None:
    sources = Sources(real_container)
    show(sources, "proc/meminfo")
    os.kill(real_container.init_pid, 9)
    os.waitpid(real_container.init_pid, 0)
    _remove(Path(real_container.cgroups["memory"]))
    with pytest.raises(Vanished):
        show(sources, "proc/meminfo")
    with pytest.raises(Vanished):
        show(sources, "proc/uptime")
    sources.close()


def _unified() -> Path | None:
    """Where cgroup version 2 is mounted; on hybrid hosts it has CPU times and pressure only."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        words = line.split()
        if words[2] == "cgroup2":
            return Path(words[1])
    return None


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0 or _unified() is None, reason="needs root and cgroup version 2")
def test_a_group_of_version_2_of_this_kernel() -> None:
    top = _unified()
    assert top is not None
    folder = top / f"viewfs-test-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    shell = subprocess.Popen(["sh", "-c", "read line; while :; do :; done"], stdin=subprocess.PIPE)
    try:
        (folder / "cgroup.procs").write_text(str(shell.pid))
        _let_go(shell)
        start = int(Path(f"/proc/{shell.pid}/stat").read_text().rpartition(")")[2].split()[19])
        container = Container("real", {"cpu": str(folder)}, 2, shell.pid, start, Policy())
        sources = Sources(container)
        wait_for(lambda: cpu_rows(show(sources, "proc/stat"))["cpu"][0] > 0, "CPU time is used")
        rows = cpu_rows(show(sources, "proc/stat"))
        up, idle = map(float, show(sources, "proc/uptime").split())
        assert rows["cpu"][0] + rows["cpu"][2] > 0 and 0 <= idle <= up * (len(rows) - 1)
        assert sum(rows["cpu"]) == pytest.approx(up * 100 * (len(rows) - 1), abs=10 * len(rows))
        if Path("/proc/pressure/cpu").exists():
            assert show(sources, "proc/pressure/cpu").startswith("some avg10=")
        sources.close()
    finally:
        shell.kill()
        shell.communicate()
        _remove(folder)
