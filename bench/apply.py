"""cotune against a bash script of bare echoes and a bare Python reading loop: 1,000 cgroups × 12 knobs, cgroup v1.

Run with ``python -m bench.apply [--groups N] [--rounds N]`` as root. Whole commands are timed, start-up included; the
rivals neither compare, journal nor verify. All cgroups are made for the run and removed after it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

CGROUP = Path("/sys/fs/cgroup")
ROOT = Path(__file__).resolve().parent.parent


class Setting(NamedTuple):
    """One kernel file of the benchmark: what it is set to, and what it is reset to between rounds."""

    controller: str
    file: str
    value: str
    reset: str


def settings(disk: str) -> list[Setting]:
    """The 12 files, in an order every kernel accepts when going from ``reset`` to ``value``."""
    none = "-1"
    return [
        Setting("cpu", "cpu.shares", "512", "1024"),
        Setting("cpu", "cpu.cfs_period_us", "200000", "100000"),
        Setting("cpu", "cpu.cfs_quota_us", "150000", none),
        Setting("cpu", "cpu.cfs_burst_us", "50000", "0"),
        Setting("memory", "memory.limit_in_bytes", "1073741824", none),
        Setting("memory", "memory.memsw.limit_in_bytes", "2147483648", none),
        Setting("memory", "memory.soft_limit_in_bytes", "536870912", none),
        Setting("memory", "memory.swappiness", "10", "60"),
        Setting("pids", "pids.max", "500", "max"),
        Setting("blkio", "blkio.throttle.write_bps_device", f"{disk} 104857600", f"{disk} 0"),
        Setting("cpuset", "cpuset.cpus", "0", "0-1"),
        Setting("cpuset", "cpuset.mems", "0", "\n"),
    ]


PROFILE = """\
apiVersion: cotune/v1
kind: IsolationProfile
metadata: {{name: bench-apply}}
groups:
  all:
    match: {{cgroup: {top}/*}}
    cpu: {{shares: 512, period: 200ms, quota: 150ms, burst: 50ms, cpus: "0", mems: "0"}}
    memory: {{limit: 1GiB, memsw: 2GiB, soft_limit: 512MiB, swappiness: 10}}
    pids: {{max: 500}}
    io: {{throttle: [{{device: {{majmin: "{disk}"}}, write_bps: 100MiB}}]}}
"""


class Timing(NamedTuple):
    """Wall time in seconds and peak resident memory in bytes of one command."""

    seconds: float
    memory: int


def run(command: list[str], expected: int = 0) -> Timing:
    """Time one command; fails when it ends with another exit code."""
    begin = time.perf_counter()
    # bytecode is cached wherever a tool is really installed
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != expected:
        raise SystemExit(f"{' '.join(command)}: exit {process.returncode}, expected {expected}")
    return Timing(seconds, usage.ru_maxrss * 1024)


@contextmanager
def groups(top: str, count: int, files: list[Setting]) -> Iterator[None]:
    """``count`` cgroups below ``top`` in every hierarchy used."""
    controllers = list(dict.fromkeys(setting.controller for setting in files))
    try:
        for controller in controllers:
            (CGROUP / controller / top).mkdir()
        (CGROUP / "cpuset" / top / "cpuset.cpus").write_text("0-1")
        (CGROUP / "cpuset" / top / "cpuset.mems").write_text("0")
        for controller in controllers:
            for number in range(count):
                (CGROUP / controller / top / f"g{number}").mkdir()
        yield
    finally:
        for controller in controllers:
            base = CGROUP / controller / top
            for number in range(count):
                if (base / f"g{number}").exists():
                    (base / f"g{number}").rmdir()
            if base.exists():
                base.rmdir()


def write_rivals(folder: Path, top: str, count: int, files: list[Setting]) -> tuple[Path, Path]:
    """The bash script of bare echoes and the bare Python loop over the same files."""
    paths = [(f"{CGROUP}/{s.controller}/{top}/g{n}/{s.file}", s.value) for n in range(count) for s in files]
    script = folder / "echo.sh"
    script.write_text("".join(f"echo {value} > {path}\n" for path, value in paths))
    reader = folder / "read.py"
    reader.write_text(
        f"for n in range({count}):\n    for c, f in {[(s.controller, s.file) for s in files]!r}:\n"
        f"        with open(f'{CGROUP}/{{c}}/{top}/g{{n}}/{{f}}') as file:\n            file.read()\n"
    )
    return script, reader


def reset(top: str, count: int, files: list[Setting]) -> None:
    """Back to the state before, in the order the kernel accepts (limits go up: memsw first; burst goes down first)."""
    order = sorted(files, key=lambda s: ("burst" not in s.file, "memsw" not in s.file, "period" in s.file))
    for number in range(count):
        for setting in order:
            path = CGROUP / setting.controller / top / f"g{number}" / setting.file
            fd = os.open(path, os.O_WRONLY)
            os.write(fd, setting.reset.encode())
            os.close(fd)


def root_disk() -> str:
    """MAJ:MIN of the whole disk below ``/``."""
    device = os.stat("/").st_dev
    sysfs = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve()
    if (sysfs / "partition").exists():
        sysfs = sysfs.parent
    return (sysfs / "dev").read_text().strip()


def main() -> None:
    """Run the benchmark and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--groups", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if os.geteuid() != 0 or not (CGROUP / "cpu/cpu.shares").exists():
        raise SystemExit("needs root and cgroup v1 with separate controllers: nothing measured")
    disk = root_disk()
    files = settings(disk)
    top = f"cotune-bench-{os.getpid()}"
    python = sys.executable
    cotune = [python, "-m", "cotune.cli.__main__"]
    times: dict[str, list[Timing]] = {}
    with tempfile.TemporaryDirectory() as name, groups(top, options.groups, files):
        folder = Path(name)
        script, reader = write_rivals(folder, top, options.groups, files)
        profile = folder / "bench.yaml"
        profile.write_text(PROFILE.format(top=top, disk=disk))
        reset(top, options.groups, files)
        for number in range(options.rounds):
            state = ["--state-dir", str(folder / f"state{number}")]

            def measure(label: str, command: list[str], expected: int = 0) -> None:
                times.setdefault(label, []).append(run(command, expected))

            measure("bash echo", ["bash", str(script)])
            measure("python read", [python, str(reader)])
            reset(top, options.groups, files)
            measure("first apply", [*cotune, "apply", str(profile), *state])
            measure("unchanged apply", [*cotune, "apply", str(profile), *state])
            measure("unchanged diff", [*cotune, "diff", str(profile), *state])
            measure("status", [*cotune, "status", *state])
            measure("rollback", [*cotune, "rollback", *state])
            measure("import typer", [python, "-c", "import typer"])
            measure("version", [*cotune, "--version"])
    report(times, options.groups, len(files))


def report(times: dict[str, list[Timing]], count: int, knobs: int) -> None:
    """Print medians and ratios."""
    print(f"{count} cgroups × {knobs} knobs, median of {len(times['bash echo'])} rounds, whole commands")
    middle = {label: statistics.median(t.seconds for t in timings) for label, timings in times.items()}
    for label, timings in times.items():
        memory = max(timing.memory for timing in timings) / 2**20
        print(f"  {label:<16} {middle[label] * 1000:8.0f} ms   peak {memory:6.1f} MiB")
    for label, rival, aim in (
        ("first apply", "bash echo", 4.0),
        ("unchanged diff", "python read", 5.0),
        ("version", "import typer", 1.0),
    ):
        ratio = middle[label] / middle[rival]
        print(f"{label} / {rival}: {ratio:.2f} (aim ≤ {aim:g}){'' if ratio <= aim else '  MISSED'}")


if __name__ == "__main__":
    main()
