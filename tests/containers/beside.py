"""lxcfs and viewfs beside each other: what both show to one process in one container, field by field."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.containers.bundle import CPU, HIERARCHIES, Bundle, Shape
from tests.views.lab import Service, detach, mounted, serving, soon

CASES: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parents[1] / "cases" / "views" / "beside_lxcfs.yaml").read_text(encoding="utf-8")
)
PROC = ("meminfo", "stat", "cpuinfo", "uptime", "loadavg", "diskstats", "swaps")
CPUS = ("online", "offline", "possible", "present", "cpu1/online")
FILES = {name: f"proc/{name}" for name in PROC} | {name: f"{CPU[1:]}/{name}" for name in CPUS}
#: Reads the files named in the order given and prints them as JSON. One process: each look changes the figures.
READ = """
import json, sys
def read(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError as error:
        return f"errno {error.errno}"
print(json.dumps([read(path) for path in json.loads(sys.argv[1])]))
"""
#: The container's first process: memory of every kind, and a name with a blank in it if that is asked for.
WORK = """
import ctypes, mmap, os, signal, sys
libc = ctypes.CDLL(None)
own = mmap.mmap(-1, 24 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
own.madvise(mmap.MADV_HUGEPAGE)
own[::4096] = b"x" * (6 << 10)
locked = mmap.mmap(-1, 4 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
locked[::4096] = b"x" * (1 << 10)
address = ctypes.addressof(ctypes.c_char.from_buffer(locked))
assert libc.mlock(ctypes.c_void_p(address), ctypes.c_size_t(len(locked))) == 0
fd = os.open("/dev/shm/shared", os.O_RDWR | os.O_CREAT)
os.write(fd, bytes(6 << 20))
shared = mmap.mmap(fd, 4 << 20)
shared[::4096]
disk = os.open("/disk/file", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
os.write(disk, mmap.mmap(-1, 1 << 20))
cached = os.open("/disk/cached", os.O_RDWR | os.O_CREAT)
os.write(cached, bytes(8 << 20))
for number in range(3000):
    os.symlink("x" * 100, f"/dev/shm/{number}")
if sys.argv[1:]:
    libc.prctl(15, sys.argv[1].encode(), 0, 0, 0)
os.mkdir("/dev/shm/ready")
signal.pause()
"""


class Lxcfs:
    """A running lxcfs with load averages, as the distribution ships it."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.mount = directory
        directory.mkdir()
        command = ["lxcfs", "-f", "-l", *options, "-p", f"{directory}.pid", str(directory)]
        with open(f"{directory}.log", "wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        if not soon(lambda: mounted(directory)):
            self.close()
            pytest.fail(f"lxcfs does not start: {Path(f'{directory}.log').read_text()}")

    def close(self) -> None:
        """End it, and leave no mount."""
        self._process.terminate()
        try:
            self._process.wait(20)
        finally:
            self._process.kill()
            while mounted(self.mount):
                detach(self.mount)


class Side(NamedTuple):
    """Two services that are compared."""

    lxcfs: str
    viewfs: str


#: What is compared with what, by the names of their mounts: lxcfs without and with --enable-cfs.
SIDES = {"plain": Side("lxcfs", "viewfs"), "cfs": Side("lxcfs-cfs", "viewfs")}
COMPATIBLE = {"plain": Side("lxcfs", "compat"), "cfs": Side("lxcfs-cfs", "compat-cfs")}


@contextlib.contextmanager
def services(directory: Path) -> Iterator[dict[str, Path]]:
    """Mounts of both lxcfs, with and without --enable-cfs, and of a viewfs beside each; by name."""
    for program in ("lxcfs", "runc"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")
    policies = directory / "views.yaml"
    policies.write_text("apiVersion: cotune/v1\nkind: ContainerViews\ndefault: {cpu: cpuset}\n")
    with contextlib.ExitStack() as stack:
        mounts = {}
        for name, options in {"lxcfs": (), "lxcfs-cfs": ("--enable-cfs",)}.items():
            made = Lxcfs(directory / name, *options)
            stack.callback(made.close)
            mounts[name] = made.mount
        ways: dict[str, tuple[str, ...]] = {
            "viewfs": (),
            "compat": ("--policies", str(policies), "--compat", "lxcfs"),
            "compat-cfs": ("--compat", "lxcfs"),
        }
        for name, words in ways.items():
            (directory / name).mkdir()
            service: Service = stack.enter_context(serving(directory / name, *words))
            mounts[name] = service.mount
        yield mounts


class Beside(Bundle):
    """A container in which all services are mounted, with memory of every kind in use."""

    def __init__(self, directory: Path, shape: Shape, name: str, mounts: dict[str, Path]) -> None:
        """``name`` is that of its first process, unless empty."""
        super().__init__(directory, shape)
        config = self.config()
        for tree, mount in mounts.items():
            self.bind(config, str(mount), f"/{tree}")
        (directory / "disk").mkdir()
        self.bind(config, str(directory / "disk"), "/disk", "rw")
        config["process"]["args"] = [sys.executable, "-I", "-S", "-c", WORK, *filter(None, [name])]
        self.configure(config)

    def begin_work(self) -> None:
        """Start it; returns when all is in use. Where the group above has the limits, another one uses memory, too."""
        target = self.start()
        ready = Path(f"/proc/{target.pid}/root/dev/shm/ready")
        assert soon(lambda: ready.exists() or not ready.parent.exists()) and ready.exists()
        if self.shape.above:
            other = HIERARCHIES / f"memory{self.top}/pod/other"
            other.mkdir()
            script = 'echo $$ >"$0" && exec head -c 33554432 /dev/zero >"$1"'
            file = self._directory / "disk" / "other"
            subprocess.run(["sh", "-c", script, str(other / "cgroup.procs"), str(file)], check=True)
        # with --enable-cfs times count from the first read
        self.look(COMPATIBLE["cfs"])

    def look(self, side: Side) -> dict[str, tuple[str, str, str]]:
        """Each file as lxcfs, viewfs and lxcfs again show it."""
        order = [f"/{tree}/{path}" for path in FILES.values() for tree in (side.lxcfs, side.viewfs, side.lxcfs)]
        texts = json.loads(self.exec(sys.executable, "-I", "-S", "-c", READ, json.dumps(order)))
        return {name: (texts[3 * at], texts[3 * at + 1], texts[3 * at + 2]) for at, name in enumerate(FILES)}


def steady(box: Beside, side: Side, times: int = 3) -> dict[str, str]:
    """``FILE FIELD`` → what both show, of all that differs at every look: the host's figures are restless."""
    found = differences(box.look(side))
    for _ in range(times - 1):
        again = differences(box.look(side))
        found = {field: text for field, text in found.items() if field in again}
    return found


def differences(looks: dict[str, tuple[str, str, str]]) -> dict[str, str]:
    """``FILE FIELD`` → what both show, of all that viewfs shows otherwise than lxcfs just before and after."""
    found = {}
    for file, texts in looks.items():
        before, ours, after = (parse(file, text) for text in texts)
        # which fields there are is a field, too
        for field in before.keys() & ours.keys() & after.keys():
            values = [before[field], after[field]]
            if not _agree(ours[field], values, _tolerance(file, field)):
                found[f"{file} {field}"] = f"lxcfs {values[0]}, viewfs {ours[field]}"
    return found


def _tolerance(file: str, field: str) -> float:
    tolerances: dict[str, float] = CASES["tolerance"]
    return tolerances.get(f"{file} {field}", tolerances.get(file, 0))


def _agree(value: Any, others: list[Any], tolerance: float) -> bool:
    numbers = [other for other in others if isinstance(other, float)]
    if isinstance(value, float) and len(numbers) == len(others):
        return min(numbers) - tolerance <= value <= max(numbers) + tolerance
    return value in others


def parse(file: str, text: str) -> dict[str, Any]:
    """The fields of a file: numbers as floats, everything else as text."""
    if text.startswith("errno"):
        return {"(there)": text}
    reader: Callable[[str], dict[str, Any]] = _PARSERS.get(file, lambda content: {"list": content.strip()})
    return {"(there)": "yes", **reader(text)}


def _meminfo(text: str) -> dict[str, Any]:
    rows = dict(line.split(":") for line in text.splitlines())
    return {"(order)": " ".join(rows), **{key: float(row.split()[0]) for key, row in rows.items()}}


_TIMES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice")


def _stat(text: str) -> dict[str, Any]:
    rows = {name: words for name, *words in map(str.split, text.splitlines())}
    cpus = [name for name in rows if name.startswith("cpu")]
    fields: dict[str, Any] = {"(CPUs)": " ".join(cpus)}
    for name in cpus:
        fields |= {f"{name} {kind}": float(word) for kind, word in zip(_TIMES, rows[name], strict=True)}
    return fields | {name: float(words[0]) for name, words in rows.items() if name not in cpus}


def _cpuinfo(text: str) -> dict[str, Any]:
    entries: list[dict[str, str]] = []
    for paragraph in text.split("\n\n")[:-1]:
        pairs = (line.partition(":") for line in paragraph.splitlines())
        entries.append({key.strip(): value.strip() for key, _, value in pairs})
    # frequencies are of the moment
    first = {key: value for key, value in entries[0].items() if key not in ("processor", "cpu MHz")}
    return {"(keys)": " ".join(entries[0]), "(processors)": " ".join(entry["processor"] for entry in entries), **first}


def _uptime(text: str) -> dict[str, Any]:
    return dict(zip(("uptime", "idle"), map(float, text.split()), strict=True))


def _loadavg(text: str) -> dict[str, Any]:
    one, five, fifteen, tasks, last = text.split()
    running, total = tasks.split("/")
    names = ("one", "five", "fifteen", "running", "total", "last")
    return dict(zip(names, map(float, (one, five, fifteen, running, total, last)), strict=True))


def _diskstats(text: str) -> dict[str, Any]:
    return {"(disks)": " ".join(line.split()[2] for line in text.splitlines())}


def _swaps(text: str) -> dict[str, Any]:
    header, *rows = text.splitlines()
    return {"(header)": header, "(rows)": ";".join(" ".join(row.split()) for row in rows)}


_PARSERS: dict[str, Callable[[str], dict[str, Any]]] = {
    "meminfo": _meminfo,
    "stat": _stat,
    "cpuinfo": _cpuinfo,
    "uptime": _uptime,
    "loadavg": _loadavg,
    "diskstats": _diskstats,
    "swaps": _swaps,
}
