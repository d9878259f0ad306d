"""The simulated kernels against 1243 recorded operations on real ones: 6.18 with a bare cgroup v2 tree, 6.1 with v2."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cotune.kernel.port import Project, Quota
from cotune.sim.kernel import SimKernel
from tests.conftest import SUMMARY
from tests.sim.replay import FIRST_PID, FileReplay, Outcome

CASES = Path(__file__).parent.parent / "cases"
RECORDS: list[dict[str, Any]] = json.loads((CASES / "v2_truth.json").read_text())
EXCLUDED: dict[int, str] = {
    index: row["reason"]
    for row in yaml.safe_load((CASES / "v2_truth_excluded.yaml").read_text())
    for index in row["indices"]
}
EVENTS: dict[int, dict[str, Any]] = {
    row["before"]: row for row in yaml.safe_load((CASES / "v2_truth_events.yaml").read_text())
}
HOSTS = {"6.18": "mainline-v1", "6.1": "guest-6.1"}
#: include/uapi/linux/mount.h
MS_RDONLY, MS_REMOUNT, MS_NOATIME, MS_LAZYTIME = 0x1, 0x20, 0x400, 0x2000000
#: include/uapi/linux/fs.h
FS_XFLAG_PROJINHERIT = 0x200
DEVICES = {"/mnt": "/dev/nvme0n1", "/mnt2": "/dev/nvme0n1"}
#: Where the file systems with and without project quota are mounted for the quota calls.
QUOTA_POINTS = {"/dev/nvme1n1": "/quota", "/dev/nvme0n1": "/mnt"}


class Replay(FileReplay):
    """One pass over the records."""

    dead = "dead status=9"
    unopened = (errno.ENOENT, errno.EACCES)

    def __init__(self) -> None:
        self.sims = {kernel: SimKernel(host) for kernel, host in HOSTS.items()}
        super().__init__(self.sims["6.1"])
        self.sim.mkdir("/mnt2")
        #: Bytes a project uses, which only the recorder could measure.
        self.used: dict[int, int] = {}
        self.operations |= {
            "mount": self.mount,
            "umount": lambda r: self.call(self.sim.unmount, r["file"]),
            "quotactl Q_SETQUOTA": self.set_quota,
            "FSSETXATTR no project feature": self.set_project,
        }

    def step(self, record: dict[str, Any]) -> Outcome | None:
        """Replay one record; None for an operation that is no kernel file."""
        self.sim = self.sims[record["kernel"]]
        event = EVENTS.get(record["i"], {})
        for index in event.get("exit", ()):
            self.sim.kill(FIRST_PID + index)
        for cgroup, (size, reclaimable) in event.get("usage", {}).items():
            self.sim.set_usage(cgroup, size, reclaimable)
        for path, text in event.get("write", ()):
            self.sim.write(path, text)
        for point in event.get("unmount", ()):
            self.sim.unmount(point)
        for source, point, words in event.get("mount", ()):
            self.sim.mount("ext4", source, point, words)
        for point, words in event.get("remount", ()):
            self.sim.remount(point, words)
        for directory in event.get("mkdir", ()):
            self.sim.mkdir(directory)
        self.used.update(event.get("used", {}))
        operation = self.operations.get(record["op"])
        return operation(record) if operation else None

    def mount(self, record: dict[str, Any]) -> Outcome:
        """mount(2): flags as numbers and a string of options; the read-back is the line of /proc/mounts."""
        match = re.fullmatch(r"type=(\w+) flags=(\w+) data=(.*)", record["input"])
        assert match is not None
        fstype, flags, point = match[1], int(match[2], 0), record["file"]
        words = [word for word in match[3].split(",") if word]
        if flags & MS_REMOUNT:
            words += ["ro" if flags & MS_RDONLY else "rw"]
            # What is not passed again is cleared by the system call, and kept by the port's remount.
            words += ["lazytime"] if flags & MS_LAZYTIME or "lazytime" in words else ["nolazytime"]
            words += ["noatime"] if flags & MS_NOATIME else []
            result = self.call(self.sim.remount, point, words)
        else:
            result = self.call(self.sim.mount, fstype, DEVICES.get(point, "none"), point, words)
        lines = [line for line in self.text("/proc/mounts").splitlines() if line.split()[1] == point]
        return result._replace(readback=lines[-1] if lines else "")

    def set_quota(self, record: dict[str, Any]) -> Outcome:
        """Limits in KiB."""
        match = re.search(r"id=(\d+) soft=(\d+) hard=(\d+)", record["input"])
        assert match is not None
        point, project = QUOTA_POINTS[record["file"]], int(match[1])
        result = self.call(self.sim.set_quota, point, project, Quota(int(match[3]) * 1024, int(match[2]) * 1024))
        try:
            quota = self.sim.quota(point, project)
        except OSError as error:
            return result._replace(readback=f"get={errno.errorcode[error.errno or 0]} soft=0 hard=0 used_bytes=0")
        limits = f"soft={quota.soft // 1024} hard={quota.hard // 1024}"
        return result._replace(readback=f"get=OK {limits} used_bytes={self.used[project]}")

    def set_project(self, record: dict[str, Any]) -> Outcome:
        result = self.call(self.sim.set_project, record["file"], Project(42, inherit=True))
        project = self.sim.project(record["file"])
        flags = FS_XFLAG_PROJINHERIT if project.inherit else 0
        return result._replace(readback=f"r=0 projid={project.id} xflags={flags:#x}")


def expected(record: dict[str, Any]) -> Outcome:
    number = 0 if record["errno"] == "OK" else getattr(errno, record["errno"])
    return Outcome(number, record.get("before"), record["readback"])


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome | None]:
    replay = Replay()
    return [replay.step(record) for record in RECORDS]


def test_transcript_is_complete() -> None:
    indices = [record["i"] for record in RECORDS]
    assert len(indices) == 1243
    assert indices == sorted(set(indices))


@pytest.mark.parametrize("position", [i for i, r in enumerate(RECORDS) if r["i"] not in EXCLUDED])
def test_record(position: int, outcomes: list[Outcome | None]) -> None:
    record = RECORDS[position]
    assert outcomes[position] == expected(record), f"{record['op']} {record['file']} {record['input']!r}"


@pytest.mark.parametrize("position", [i for i, r in enumerate(RECORDS) if r["i"] in EXCLUDED])
def test_excluded_record_would_not_pass(position: int, outcomes: list[Outcome | None]) -> None:
    record = RECORDS[position]
    assert EXCLUDED[record["i"]]
    assert outcomes[position] != expected(record), "this record can be replayed: take it off the list"


def test_how_many_were_replayed(record_property: Callable[[str, object], None]) -> None:
    replayed = len(RECORDS) - len(EXCLUDED)
    text = f"v2 transcript: {replayed} of {len(RECORDS)} records replayed, {len(EXCLUDED)} excluded"
    record_property(SUMMARY, text)
    assert (replayed, len(EXCLUDED)) == (1217, 26)
