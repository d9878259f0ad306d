"""Simulated resctrl against 1162 recorded operations of Linux 6.1 on eleven machine configurations."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cotune.sim import resctrl_spec
from cotune.sim.hosts import HOSTS
from tests.conftest import SUMMARY
from tests.sim.resctrl_replay import MACHINES, Machine, Outcome, Record, expected, host

CASES = Path(__file__).parent.parent / "cases"
RECORDS: list[Record] = json.loads((CASES / "resctrl_truth.json").read_text())
_ROWS: list[dict[str, Any]] = yaml.safe_load((CASES / "resctrl_truth_excluded.yaml").read_text())
EXCLUDED: dict[int, str] = {index: row["reason"] for row in _ROWS for index in row["indexes"]}
SKIPPED = {index for row in _ROWS if row.get("skip") for index in row["indexes"]}
EVENTS: dict[int, dict[str, Any]] = {
    row["before"]: row for row in yaml.safe_load((CASES / "resctrl_truth_events.yaml").read_text())
}


def _replay() -> list[Outcome | None]:
    machines: dict[str, Machine] = {}
    outcomes = []
    for index, record in enumerate(RECORDS):
        config = record["config"]
        if config not in machines:
            machines[config] = Machine(config)
        event = EVENTS.get(index, {})
        for path, counters in event.get("counters", {}).items():
            machines[config].set_counters(path, counters)
        given = record | {"input": _payload(**event["input"])} if "input" in event else record
        outcomes.append(None if index in SKIPPED else machines[config].step(given))
    return outcomes


def _payload(head: str, fill: str, tail: str, length: int) -> str:
    """A text the record gives the length and the beginning of."""
    return head + fill * (length - len(head) - len(tail)) + tail


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome | None]:
    """What came of every record, on hosts that exist for the replay only."""
    with pytest.MonkeyPatch.context() as patch:
        for config in {record["config"] for record in RECORDS}:
            patch.setitem(HOSTS, f"resctrl-{config}", host(config))
            if config in MACHINES:
                patch.setitem(resctrl_spec.MACHINES, f"resctrl-{config}", MACHINES[config])
        return _replay()


def test_transcript_is_complete() -> None:
    assert len(RECORDS) == 1162
    assert len({record["config"] for record in RECORDS}) == 11


@pytest.mark.parametrize("index", [i for i in range(len(RECORDS)) if i not in EXCLUDED])
def test_record(index: int, outcomes: list[Outcome | None]) -> None:
    record = RECORDS[index]
    found = outcomes[index]
    assert found == expected(record), f"{record['op']} {record.get('path')} {record.get('input')!r}"


@pytest.mark.parametrize("index", EXCLUDED)
def test_excluded_record_would_not_pass(index: int, outcomes: list[Outcome | None]) -> None:
    assert EXCLUDED[index]
    assert outcomes[index] != expected(RECORDS[index]), "this record can be replayed: take it off the list"


def test_how_many_were_replayed(record_property: Callable[[str, object], None]) -> None:
    replayed = len(RECORDS) - len(EXCLUDED)
    text = f"resctrl transcript: {replayed} of {len(RECORDS)} records replayed, {len(EXCLUDED)} excluded"
    record_property(SUMMARY, text)
    assert (replayed, len(EXCLUDED)) == (1098, 64)
