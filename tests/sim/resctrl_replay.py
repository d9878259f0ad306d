"""Replaying recorded resctrl operations (tests/cases/resctrl_truth.json) on simulated machines."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from typing import Any

from cotune.sim import resctrl
from cotune.sim.files import Refusal
from cotune.sim.hosts import HOSTS, HostSpec, ProcessSpec
from cotune.sim.kernel import SimKernel
from cotune.sim.resctrl_spec import MIB, Cache, Domain, ResctrlSpec, halves, intel
from cotune.sim.resctrl_tree import ResctrlTree

Record = dict[str, Any]
Outcome = dict[str, Any]
POINT = "/sys/fs/resctrl"
#: What a record says about the operation, as opposed to what came of it.
_GIVEN = {"n", "config", "section", "kernel", "op", "group", "file", "path", "target", "input", "input1", "input2",
          "name", "pid", "len", "ret", "ret1", "ret2", "stage", "errno_name", "rmdir_errno"}  # fmt: skip
_STALE = "Unknown or unsupported resource name 'SENTINEL'\n"
_WRITES = ("write", "WT", "WA", "WRW", "WP", "setuid 1000 child write")


def _machines() -> dict[str, ResctrlSpec]:
    """The recorded machines. Their counters never fell, so no RMID ever came out of limbo."""
    base = intel(halves(4))
    assert base.l3 is not None and base.bandwidth is not None and base.monitoring is not None
    base = base._replace(monitoring=base.monitoring._replace(idle=2**30))
    assert base.l3 is not None and base.bandwidth is not None
    cores = tuple(Domain(cpu, (cpu,)) for cpu in range(4))
    return {
        **dict.fromkeys(("default", "cpus", "tasks", "mounts"), base),
        "l2": base._replace(l2=Cache("L2", cores, bits=8, size=4 * MIB, closids=8, cdp=True)),
        "mbonly": base._replace(l3=None),
        "l3only": base._replace(bandwidth=None),
        "mbgran5": base._replace(bandwidth=base.bandwidth._replace(low=5, step=5)),
        "cbm20": base._replace(l3=base.l3._replace(bits=20, shareable=0xC0000)),
        "nocdp": base._replace(l3=base.l3._replace(cdp=False)),
    }


MACHINES = _machines()


def host(config: str) -> HostSpec:
    """The host a recorded configuration ran on: four CPUs, and 113 as the recording program."""
    processes = (
        ProcessSpec(1, "init", "/sbin/init", ppid=0),
        ProcessSpec(2, "kthreadd", "", ppid=0, kernel=True),
        ProcessSpec(113, "prober", "/prober"),
    )
    return HOSTS["mainline-v2"]._replace(
        name=f"resctrl-{config}", release="6.1.0", cpus=4, nodes=((0, 1), (2, 3)), groups=(), processes=processes,
        self_pid=113,
    )  # fmt: skip


def expected(record: Record) -> Outcome:
    """What came of a recorded operation."""
    found = {key: value for key, value in record.items() if key not in _GIVEN}
    for key, value in found.items():
        if isinstance(value, str):
            # The number of the text that made stale words recognisable, and a flag that is none of resctrl's.
            found[key] = re.sub(r"(?<=SENTINEL)\d+|^rdtscp ", "", value)
    if record["op"] == "W2":
        found["errno2"] = record["errno_name"]
    return found


class Machine:
    """One recorded machine. ``step`` gives None for what no kernel port offers."""

    def __init__(self, config: str) -> None:
        self.sim = SimKernel(f"resctrl-{config}")
        self.pids: dict[str, int] = {}
        self.operations: dict[str, Callable[[Record], Outcome | None]] = {
            **dict.fromkeys(_WRITES, self._write),
            "W2": self._write_twice,
            "read": lambda record: self._read(record["path"], "content"),
            "dump": lambda record: {"output": self._dump(_path(record["path"]), ".")},
            "ls": self._ls,
            "stat": self._stat,
            "mkdir": self._mkdir,
            "rmdir": lambda record: self._call(self.sim.rmdir, _path(record["path"])),
            "rename": self._rename,
            "mount": self._mount,
            "umount": lambda record: self._call(self.sim.unmount, record["target"]),
            "shell": self._shell,
            "spawn": self._spawn,
            "kill+reap": self._kill,
        }

    def step(self, record: Record) -> Outcome | None:
        """Replay one record."""
        if "(open fd)" in record["op"]:
            # Only the removal in the middle of it: the port does not keep files open.
            self.sim.rmdir(_path(record["path"].split("/")[0]))
            return None
        operation = self.operations.get(record["op"])
        if operation is None:
            return None
        if "last_cmd_status" in record:
            self._call(self.sim.write, f"{POINT}/schemata", "SENTINEL:0=1\n")
        outcome = operation(record)
        if outcome is not None and "last_cmd_status" in record:
            outcome |= self._status()
        return outcome

    def set_counters(self, path: str, counters: dict[str, dict[str, int]]) -> None:
        """What the hardware counts for a group: domain -> event -> value."""
        tree = resctrl.tree(self.sim._machine)
        tree.set_counters(path, {int(domain): events for domain, events in counters.items()})

    # --- small things -----------------------------------------------------------------------------------------------

    def _call(self, operation: Callable[..., None], *arguments: Any) -> Outcome:
        try:
            operation(*arguments)
        except OSError as error:
            return {"errno": error.errno}
        return {"errno": 0}

    def _text(self, path: str) -> str | None:
        try:
            return self.sim.read(path)
        except OSError:
            return None

    def _read(self, path: str, key: str) -> Outcome:
        """The text under a key, and the errno as a number."""
        try:
            return {"errno": 0, key: self.sim.read(_path(path))}
        except OSError as error:
            return {"errno": error.errno}

    def _readback(self, path: str, key: str) -> Outcome:
        """The text under a key, or the name of the errno under another."""
        try:
            return {key: self.sim.read(path)}
        except OSError as error:
            return {f"{key}_errno": errno.errorcode[error.errno or 0]}

    def _status(self) -> Outcome:
        text = self._text(f"{POINT}/info/last_cmd_status")
        if text is None:
            return {"last_cmd_status": None}
        if text == _STALE:
            return {"last_cmd_status": "<STALE>", "lcs_effect": "untouched"}
        if text.startswith(_STALE):
            return {"last_cmd_status": text.removeprefix(_STALE), "lcs_effect": "appended-to-stale-text"}
        return {"last_cmd_status": text, "lcs_effect": "replaced"}

    # --- operations -------------------------------------------------------------------------------------------------

    def _write(self, record: Record) -> Outcome:
        path, text = _path(record["path"]), record["input"]
        if text:
            outcome = self._call(self.sim.write, path, text)
        else:
            # The port's own write only opens the file.
            outcome = self._call(self._empty_write, path)
        wanted = {key.removesuffix("_errno") for key in record if key.startswith(("readback", "root_"))}
        directory = path.rpartition("/")[0]
        for key in wanted:
            file = {"readback": path, "root_cpus_list": f"{POINT}/cpus_list"}.get(key)
            outcome |= self._readback(file or f"{directory}/{key.removeprefix('readback_')}", key)
        return outcome

    def _empty_write(self, path: str) -> None:
        self._in_tree(lambda tree: tree.write(path.removeprefix(f"{POINT}/"), ""))

    def _in_tree(self, operation: Callable[[ResctrlTree], None]) -> None:
        """What the port does not offer; refusals as it would show them."""
        try:
            operation(resctrl.tree(self.sim._machine))
        except Refusal as refusal:
            raise OSError(refusal.errno, os.strerror(refusal.errno)) from None

    def _write_twice(self, record: Record) -> Outcome:
        path = _path(record["path"])
        results = [self._call(self.sim.write, path, record[key])["errno"] for key in ("input1", "input2")]
        names = [errno.errorcode[number] if number else "OK" for number in results]
        return {"errno1": names[0], "errno2": names[1], **self._readback(path, "readback")}

    def _dump(self, path: str, name: str) -> str:
        """Every file below a directory with its text; nothing for what is not there."""
        if not self.sim.exists(path):
            return ""
        files: dict[str, str] = {}
        todo = [(path, name)]
        while todo:
            where, shown = todo.pop()
            try:
                todo += [(f"{where}/{n}", f"{shown}/{n}") for n in self.sim.listdir(where)]
            except NotADirectoryError:
                files[shown] = self.sim.read(where)
        return "".join(f"{shown}: {text}" for shown, text in sorted(files.items()))

    def _ls(self, record: Record) -> Outcome:
        path = _path(record["path"])
        try:
            directories = set(self.sim.subdirs(path))
            return {"errno": 0, "entries": [n + "/" * (n in directories) for n in self.sim.listdir(path)]}
        except OSError as error:
            return {"errno": error.errno, "entries": []}

    def _stat(self, record: Record) -> Outcome:
        path = _path(record["path"])
        try:
            kind, links = "40", 2 + len(self.sim.subdirs(path))
        except OSError:
            kind, links = "100", 1
        return {"errno": 0, "mode": f"{kind}{self.sim.mode(path):o}", "nlink": links, "size": 0}

    def _mkdir(self, record: Record) -> Outcome:
        path = _path(record["path"])
        outcome = self._call(self.sim.mkdir, path)
        if not outcome["errno"]:
            outcome |= self._readback(f"{path}/schemata", "schemata") | self._readback(f"{path}/mode", "mode")
        return outcome

    def _rename(self, record: Record) -> Outcome:
        return self._call(self._in_tree, lambda tree: tree.rename(record["path"]))

    def _mount(self, record: Record) -> Outcome:
        options = [word for word in record["input"].split(",") if word]
        outcome = self._call(self.sim.mount, "resctrl", "resctrl", record["target"], options)
        lines = [line for line in self.sim.read("/proc/mounts").splitlines(True) if line.startswith("resctrl ")]
        outcome |= self._readback(f"{POINT}/schemata", "schemata")
        return outcome | ({"proc_mounts": "".join(lines)} if lines else {})

    def _spawn(self, record: Record) -> Outcome:
        self.sim.spawn(record["pid"], record["name"], threads=record["threads"])
        self.pids[record["name"]] = record["pid"]
        return {"threads": len(self.sim._machine.threads(record["pid"]))}

    def _kill(self, record: Record) -> Outcome:
        self.sim.kill(self.pids[record["name"]])
        return {}

    # --- shell lines ------------------------------------------------------------------------------------------------

    def _shell(self, record: Record) -> Outcome | None:
        """The shell lines among the records whose commands are file operations, by pattern."""
        for pattern, run in self._lines.items():
            match = re.fullmatch(pattern, record["input"])
            if match is not None:
                code, output = run(match)
                return {"exit": code, "output": output}
        return None

    @property
    def _lines(self) -> dict[str, Callable[[re.Match[str]], tuple[int, str]]]:
        return {
            r"cat (/proc/\w+/cpu_resctrl_groups)": lambda m: (0, self.sim.read(m[1])),
            r"cat (/proc/130/cpu_resctrl_groups); grep -x 130 /sys/fs/resctrl/tasks": lambda m: (
                0, self.sim.read(m[1]) + "130\n" * self._root_tasks().count("130"),
            ),
            r"grep -c '\^(\d+)\$' /sys/fs/resctrl/tasks": lambda m: (1, f"{self._root_tasks().count(m[1])}\n"),
            r"echo (\d) > (\S+/online); echo rc=\$\?": lambda m: (0, f"rc={self._echo(m[1], m[2])}\n"),
            r"echo (\d) > (\S+/online)": lambda m: (self._echo(m[1], m[2]), ""),
            r"echo 1 > (\S+/online); echo 1 > (\S+/online)": lambda m: (
                self._echo("1", m[1]) & 0 | self._echo("1", m[2]), "",
            ),
            r"ls /sys/fs/resctrl": lambda _m: (0, self._names()),
            r"ls -d /sys/fs/resctrl/n\*.*": lambda _m: (0, "".join(f"{n}\n" for n in self._long_names())),
            r"rmdir /sys/fs/resctrl/nnn\*; ls /sys/fs/resctrl": lambda _m: (0, self._remove_long_names()),
            r"cd /sys/fs/resctrl .*mkdir ([\w/]+)\$i .*": lambda m: self._fill(m[1]),
            r"mkdir -p /mnt/r2": lambda _m: (0, self._make("/mnt") + self._make("/mnt/r2")),
            r"ls -d /sys/fs/resctrl; cat /proc/filesystems .*": lambda _m: self._presence(),
            r"grep -m1 flags /proc/cpuinfo(?:.|\n)*": lambda _m: (0, self._flags()),
        }  # fmt: skip

    def _root_tasks(self) -> list[str]:
        return self.sim.read(f"{POINT}/tasks").split()

    def _echo(self, text: str, path: str) -> int:
        return int(self._call(self.sim.write, path, f"{text}\n")["errno"] != 0)

    def _names(self) -> str:
        return "".join(f"{name}\n" for name in self.sim.listdir(POINT) if not name.startswith("."))

    def _long_names(self) -> list[int]:
        return sorted(len(name) for name in self.sim.listdir(POINT) if name.startswith("n"))

    def _remove_long_names(self) -> str:
        for name in self.sim.listdir(POINT):
            if name.startswith("nnn"):
                self.sim.rmdir(f"{POINT}/{name}")
        return self._names()

    def _fill(self, prefix: str) -> tuple[int, str]:
        """Make groups until it fails: how many, and why."""
        if not self.sim.exists(f"{POINT}/schemata"):
            return 1, "made -1\n"
        first = 0 if "/" in prefix else 1
        made = 0
        while not (number := self._call(self.sim.mkdir, f"{POINT}/{prefix}{first + made}")["errno"]):
            made += 1
        why = f"mkdir: can't create directory '{prefix}{first + made}': {os.strerror(number)}\n"
        return 0, f"made {made}\n{why}" + self.sim.read(f"{POINT}/info/last_cmd_status")

    def _make(self, path: str) -> str:
        self.sim.mkdir(path)
        return ""

    def _presence(self) -> tuple[int, str]:
        lines = [f"{POINT}\n"] if self.sim.exists(POINT) else []
        lines += [line for line in self.sim.read("/proc/filesystems").splitlines(True) if "resctrl" in line]
        return int(not lines), "".join(lines)

    def _flags(self) -> str:
        words = self.sim.read("/proc/cpuinfo").split("\n\n")[0].split()
        return "".join(f"{word} " for word in words if re.search("cat_|cdp|mba|cqm|rdt", word))


def _path(path: str) -> str:
    return path if path.startswith("/") else f"{POINT}/{path}".rstrip("/")
