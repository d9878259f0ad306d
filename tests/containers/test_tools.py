"""The usual programs, unchanged, in real containers: what they print agrees with the limits."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from cotune.units import parse_cpulist
from tests.containers.bundle import CPU, PERIOD, Bundle
from tests.host.lab import wait_for

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("containers")]
#: What psutil says of memory and CPUs.
PSUTIL = """
import psutil
memory = psutil.virtual_memory()
print(memory.total // 1024, memory.available <= memory.total, psutil.cpu_count(), len(psutil.cpu_times(percpu=True)))
"""


def numbers(text: str, pattern: str) -> list[int]:
    """What a pattern with one group finds at the beginning of lines."""
    return [int(found) for found in re.findall(rf"(?m)^{pattern}", text)]


def test_free(box: Bundle) -> None:
    total, used, free, *_ = map(int, box.exec("free", "-k").split("Mem:")[1].split()[:6])
    assert total == box.shape.kilobytes
    assert 0 < used < total and 0 < free < total


def test_top(box: Bundle) -> None:
    text = box.exec("top", "-b", "-n1", "-w", "200")
    assert f"{box.shape.memory}.0 total" in text.split("MiB Mem")[1]
    assert re.search(r"^top - .* up +[0-5] min, .*load average: \d+\.\d\d, ", text)
    assert "Tasks:" in text and "sleep" in text
    rows = re.findall(r"%Cpu(\d+)", box.exec("top", "-b", "-n1", "-1", "-w", "200"))
    assert rows == [str(cpu) for cpu in box.shape.shown]


def test_vmstat(box: Bundle) -> None:
    assert numbers(box.exec("vmstat", "-s"), r" *(\d+) K total memory") == [box.shape.kilobytes]
    assert len(box.exec("vmstat").splitlines()[2].split()) == 17


def test_psutil(box: Bundle) -> None:
    environment = f"PYTHONPATH={':'.join(path for path in sys.path if path.endswith('site-packages'))}"
    found = box.exec("env", environment, sys.executable, "-c", PSUTIL).split()
    cpus = str(len(box.shape.shown))
    assert found == [str(box.shape.kilobytes), "True", cpus, cpus]


def test_counts_of_cpus(box: Bundle) -> None:
    shown = box.shape.shown
    for command in (
        ("getconf", "_NPROCESSORS_ONLN"),
        ("grep", "-c", "^processor", "/proc/cpuinfo"),
        ("grep", "-c", "^cpu[0-9]", "/proc/stat"),
        ("nproc",),
        ("busybox", "nproc"),
    ):
        assert box.exec(*command) == f"{len(shown)}\n", command
    report = box.exec("lscpu")
    (found,) = re.findall(r"(?m)^On-line CPU\(s\) list: +(\S+)$", report)
    assert sorted(parse_cpulist(found)) == shown
    assert box.exec("cat", f"{CPU}/possible") == Path(f"{CPU}/possible").read_text()


def test_mpstat(box: Bundle) -> None:
    report = box.exec("mpstat", "-P", "ALL", "1", "1")
    assert re.findall(r"^Average: +(\w+)", report, re.M) == ["CPU", "all", *map(str, box.shape.shown)]


def test_uptime(box: Bundle) -> None:
    assert re.search(r" up +[0-5] min, .*load average: \d+\.\d\d, \d+\.\d\d, \d+\.\d\d$", box.exec("uptime"), re.M)


def test_busybox(box: Bundle) -> None:
    used, free = map(int, re.findall(r"(\d+)K (?:used|free)", box.exec("busybox", "top", "-b", "-n1")))
    assert used + free == box.shape.kilobytes
    assert f"MemTotal: {box.shape.kilobytes:>14} kB" in box.exec("busybox", "head", "-1", "/proc/meminfo")
    # these two ask sysinfo(2), so they show the host
    host = numbers(Path("/proc/meminfo").read_text(), r"MemTotal: +(\d+)")[0]
    assert numbers(box.exec("busybox", "free", "-k"), r"Mem: +(\d+)") == [host]
    assert " up " in box.exec("busybox", "uptime")


def test_java(box: Bundle) -> None:
    """It reads the cgroups itself, and must run with the views there and come to the same CPUs and memory."""
    if shutil.which("java") is None:
        pytest.skip("needs java (openjdk-17-jre-headless)")
    report = box.exec("java", "-Xshare:auto", "-XshowSettings:system", "-version")
    assert f"Effective CPU Count: {len(box.shape.shown)}" in report
    assert f"Memory Limit: {box.shape.memory}.00M" in report
    if box.shape.quota is not None and not box.shape.above:
        assert f"CPU Period: {PERIOD}us" in report and f"CPU Quota: {box.shape.quota}us" in report


def few_tasks(box: Bundle) -> tuple[int, int] | None:
    """How many tasks run and how many there are, unless runc was counted, which starts programs with many threads."""
    running, total = map(int, box.exec("cat", "/proc/loadavg").split()[3].split("/"))
    return (running, total) if total < 10 else None


def test_all_files_agree(box: Bundle) -> None:
    """What the programs were made to agree on, in the files themselves."""
    names = ["/proc/cpuinfo", "/proc/stat", f"{CPU}/online", "/proc/uptime", "/proc/swaps"]
    cpuinfo, stat, online, uptime, swaps = (box.exec("cat", name) for name in names)
    shown = box.shape.shown
    assert numbers(cpuinfo, r"processor\s*: (\d+)") == numbers(stat, r"cpu(\d+) ") == shown
    assert online == f"{'-'.join(map(str, shown))}\n"
    assert float(uptime.split()[0]) < 600
    running, total = wait_for(lambda: few_tasks(box), "its own tasks are counted")
    assert 0 <= running <= total < 10
    (swap,) = numbers(box.exec("cat", "/proc/meminfo"), r"SwapTotal: +(\d+)")
    assert len(swaps.splitlines()) == (2 if swap else 1)
