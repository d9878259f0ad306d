"""Why knobs are not available on the running kernel: every reason is held against the files themselves."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cotune.controls import CONTROLS
from cotune.host.dialect import find_dialect
from cotune.host.facts import Host
from cotune.host.support import probe
from cotune.kernel.real import RealKernel
from cotune.knobs import BY_KEY, KNOBS
from cotune.knobs.lookup import knob_files
from tests.host.lab import Lab

pytestmark = pytest.mark.root

CASES = Path(__file__).resolve().parents[1] / "cases"
REASONS: dict[str, Any] = yaml.safe_load((CASES / "reasons.yaml").read_text(encoding="utf-8"))
EVERYTHING = CASES / "profiles" / "anck-everything.yaml"


@pytest.fixture
def host(lab: Lab) -> Iterator[Host]:
    """The running host, with a group of this test in every hierarchy: what a group has can be seen then."""
    lab.make()
    kernel = RealKernel("/")
    yield Host(kernel)
    kernel.close()


def test_a_knob_is_there_when_its_file_is(host: Host, lab: Lab) -> None:
    for knob in KNOBS:
        control = CONTROLS[knob.control]
        support = probe(host, knob)
        if control.scope == "sysctl":
            there = os.path.exists("/proc/sys/" + knob_files(knob)["any"].replace(".", "/"))
        elif control.scope == "cgroup" and control.controller in lab.points:
            file = knob_files(knob).get("v1")
            point = Path(lab.points[control.controller])
            there = file is not None and ((lab.dir(control.controller) / file).exists() or (point / file).exists())
            assert (support.kind == "version") == (file is None), knob.key
        else:
            continue
        assert support.state == ("no" if not there else support.state), (knob.key, support)
        assert there == (support.state in ("yes", "gated")), (knob.key, support)


def test_reasons_are_exact(host: Host) -> None:
    """Each as the cases have it for a kernel of this family; features of the scheduler depend on debugfs."""
    if not find_dialect(host).name.startswith("mainline"):
        pytest.skip("the cases are those of mainline kernels")
    told = {knob.key: probe(host, knob) for knob in KNOBS}
    for key, support in told.items():
        if support.state != "no" or BY_KEY[key].section in ("mount", "feature", "quota", "resctrl", "block"):
            continue
        reason, remedy = REASONS["knobs"][key][support.kind]
        assert re.search(reason, support.reason), (key, support)
        assert re.search(remedy, support.remedy), (key, support)
    for key in ("cpu.identity", "memory.wmark_min_adj", "memory.wmark_ratio", "memory.priority", "memory.dirty_bytes"):
        assert (told[key].state, told[key].kind) == ("no", "file")


def test_diff_and_doctor_name_each_missing_knob_of_anck_once(host: Host, lab: Lab) -> None:
    if not find_dialect(host).name.startswith("mainline"):
        pytest.skip("needs a mainline kernel, which has none of them")
    before = lab.snapshot()
    diff = lab.run("diff", EVERYTHING, "--json").expect(1).json
    doctor = lab.run("doctor", EVERYTHING, "--json").expect(3).json
    gaps = {key: gap for gap in doctor["gaps"] for key in gap["knobs"]}
    assert sum(len(gap["knobs"]) for gap in doctor["gaps"]) == len(gaps)
    missing = {key for key, gap in gaps.items() if gap["state"] == "no"}
    assert {item["knob"] for item in diff["unsupported"]} == missing
    places = [(item["resource"], item["knob"]) for item in diff["unsupported"]]
    assert len(places) == len(set(places))
    for item in diff["unsupported"]:
        assert item["reason"] == gaps[item["knob"]]["reason"]
        assert item["remedy"] == gaps[item["knob"]]["remedy"] != ""
    anck = {knob.key for knob in KNOBS if "(ANCK" in knob.source or "ANCK talk" in knob.source}
    assert anck - missing == set()
    text = lab.run("doctor", EVERYTHING).expect(3).out
    for key in anck:
        assert len(re.findall(rf"(?<![\w./]){re.escape(key)}(?![\w./])", text)) == 1, key
    assert lab.snapshot() == before
