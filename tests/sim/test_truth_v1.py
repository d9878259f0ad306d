"""The simulated mainline kernel against 339 recorded operations on a real one (6.18, cgroup v1)."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cotune.sim.kernel import SimKernel
from tests.conftest import SUMMARY
from tests.sim.replay import FIRST_PID, FileReplay, Outcome

CASES = Path(__file__).parent.parent / "cases"
RECORDS: list[dict[str, Any]] = json.loads((CASES / "v1_truth.json").read_text())
EXCLUDED: dict[int, str] = {
    row["index"]: row["reason"] for row in yaml.safe_load((CASES / "v1_truth_excluded.yaml").read_text())
}
EVENTS: dict[int, dict[str, Any]] = {
    row["before"]: row for row in yaml.safe_load((CASES / "v1_truth_events.yaml").read_text())
}


class Replay(FileReplay):
    """One pass over the records."""

    def __init__(self) -> None:
        super().__init__(SimKernel("mainline-v1"))

    def step(self, record: dict[str, Any]) -> Outcome | None:
        """Replay one record; None for an operation that is no kernel file."""
        event = EVENTS.get(record["i"], {})
        for index in event.get("exit", ()):
            self.sim.kill(FIRST_PID + index)
        for cgroup, size in event.get("usage", {}).items():
            self.sim.set_usage(cgroup, size)
        operation = self.operations.get(record["op"])
        return operation(record) if operation else None


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
