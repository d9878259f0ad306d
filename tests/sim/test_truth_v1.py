"""The simulated mainline kernel against 339 recorded operations on a real one (6.18, cgroup v1)."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from cotune.sim.kernel import SimKernel
from tests.conftest import SUMMARY

CASES = Path(__file__).parent.parent / "cases"
RECORDS: list[dict[str, Any]] = json.loads((CASES / "v1_truth.json").read_text())
EXCLUDED: dict[int, str] = {
    row["index"]: row["reason"] for row in yaml.safe_load((CASES / "v1_truth_excluded.yaml").read_text())
}
EVENTS: dict[int, dict[str, Any]] = {
    row["before"]: row for row in yaml.safe_load((CASES / "v1_truth_events.yaml").read_text())
}
FIRST_PID = 9000


class Outcome(NamedTuple):
    """What an operation gave: errno by number (0 for success), and the texts before and after it."""

    errno: int
    before: str | None
    readback: str | None


class Replay:
    """One pass over the records. The process of record ``i`` has the pid ``FIRST_PID + i``."""

    def __init__(self) -> None:
        self.sim = SimKernel("mainline-v1")
        self.alive: int | None = None
        self.operations: dict[str, Callable[[dict[str, Any]], Outcome]] = {
            "read": self.read,
            "write": self.write,
            "stat": lambda r: Outcome(0, None, f"mode={self.sim.mode(r['file']):o}"),
            "mkdir": lambda r: self.call(self.sim.mkdir, r["file"]),
            "rmdir": lambda r: self.call(self.sim.rmdir, r["file"]),
            "attach": self.attach,
            "alloc": self.allocate,
            "alive": lambda r: Outcome(0, None, "alive" if self.alive in self.sim.pids() else "killed"),
        }

    def step(self, record: dict[str, Any]) -> Outcome | None:
        """Replay one record; None for an operation that is no kernel file."""
        event = EVENTS.get(record["i"], {})
        for index in event.get("exit", ()):
            self.sim.kill(FIRST_PID + index)
        for cgroup, size in event.get("usage", {}).items():
            self.sim.set_usage(cgroup, size)
        operation = self.operations.get(record["op"])
        return operation(record) if operation else None

    def call(self, operation: Callable[..., None], *arguments: str) -> Outcome:
        try:
            operation(*arguments)
        except OSError as error:
            return Outcome(error.errno or 0, None, None)
        return Outcome(0, None, None)

    def text(self, path: str) -> str:
        """The text of a file, or the recorder's words for a read that failed."""
        try:
            return self.sim.read(path)
        except OSError as error:
            stage = "open" if error.errno == errno.ENOENT else "read"
            return f"<{stage} {errno.errorcode[error.errno or 0]}>"

    def read(self, record: dict[str, Any]) -> Outcome:
        """The recorder gives errno OK for reads and puts a failure into the read-back."""
        return Outcome(0, None, self.text(record["file"]))

    def write(self, record: dict[str, Any]) -> Outcome:
        before = self.text(record["file"])
        result = self.call(self.sim.write, record["file"], record["input"])
        return Outcome(result.errno, before, self.text(record["file"]))

    def attach(self, record: dict[str, Any]) -> Outcome:
        pid = FIRST_PID + record["i"]
        self.sim.spawn(pid, "probe")
        return self.call(self.sim.write, record["file"], str(pid))

    def allocate(self, record: dict[str, Any]) -> Outcome:
        """A process enters the cgroup and touches memory there."""
        result = self.attach(record)
        self.alive = FIRST_PID + record["i"]
        self.sim.set_usage(record["file"].removesuffix("/cgroup.procs"), int(record["input"]))
        return result


def expected(record: dict[str, Any]) -> Outcome:
    number = 0 if record["errno"] == "OK" else getattr(errno, record["errno"])
    return Outcome(number, record.get("before"), record["readback"])


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome | None]:
    replay = Replay()
    return [replay.step(record) for record in RECORDS]


def test_transcript_is_complete() -> None:
    assert [record["i"] for record in RECORDS] == list(range(339))


@pytest.mark.parametrize("index", [i for i in range(len(RECORDS)) if i not in EXCLUDED])
def test_record(index: int, outcomes: list[Outcome | None]) -> None:
    record = RECORDS[index]
    assert outcomes[index] == expected(record), f"{record['op']} {record['file']} {record['input']!r}"


@pytest.mark.parametrize("index", EXCLUDED)
def test_excluded_record_would_not_pass(index: int, outcomes: list[Outcome | None]) -> None:
    assert EXCLUDED[index]
    assert outcomes[index] != expected(RECORDS[index]), "this record can be replayed: take it off the list"


def test_how_many_were_replayed(record_property: Callable[[str, object], None]) -> None:
    replayed = len(RECORDS) - len(EXCLUDED)
    text = f"v1 transcript: {replayed} of {len(RECORDS)} records replayed, {len(EXCLUDED)} excluded"
    record_property(SUMMARY, text)
    assert (replayed, len(EXCLUDED)) == (331, 8)
