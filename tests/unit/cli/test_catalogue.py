"""cotune profiles, knobs, explain and schema."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from cotune.knobs import KNOBS
from cotune.knobs.examples import EXAMPLES, example
from cotune.profile.load import list_profiles, load_profile
from cotune.profile.schema import schema
from cotune.yamltext import render

from .conftest import Cotune


def test_profiles(anck: Cotune) -> None:
    listed = {one["name"]: one for one in anck.json("profiles")["profiles"]}
    assert "online-offline" in listed
    assert all(one["description"] and not one["description"].startswith("cannot") for one in listed.values())
    text = anck("profiles", "show", "online-offline").out
    assert text == Path(listed["online-offline"]["path"]).read_text()
    assert anck.json("profiles", "show", "base")["text"].startswith("# base")


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [(["show", "onlineoffline"], "online-offline"), (["base"], "profiles show base"), (["show"], "profiles show NAME")],
)
def test_profiles_errors(anck: Cotune, arguments: list[str], hint: str) -> None:
    assert hint in anck.json("profiles", *arguments, code=2)["errors"][0]["hint"]


def test_knobs(anck: Cotune, mainline: Cotune) -> None:
    assert {knob["key"] for knob in anck.json("knobs")["knobs"]} == {knob.key for knob in KNOBS}
    assert all(k["key"].startswith("memory.") for k in anck.json("knobs", "--section", "memory")["knobs"])
    assert len(anck.json("knobs", "--section", "throttle")["knobs"]) == 6
    supported = {k["key"] for k in mainline.json("knobs", "--supported")["knobs"]}
    assert "cpu.idle" in supported
    assert "cpu.identity" not in supported
    missing = sum(knob["here"]["state"] == "no" for knob in anck.json("knobs")["knobs"])
    assert 0 < missing < len(KNOBS)
    assert f"{len(KNOBS)} knobs, {missing} of them not available here" in anck("knobs").out
    assert "did you mean memory?" in anck.json("knobs", "--section", "memry", code=2)["errors"][0]["hint"]


@pytest.mark.parametrize("key", [knob.key for knob in KNOBS])
def test_every_knob_is_explained(key: str, anck: Cotune) -> None:
    text = anck("explain", key).out
    for word in ("  sets  ", "  expected  ", "  here  ", "  source  ", "  example"):
        assert word in text
    record = anck.json("explain", key)["knobs"][0]
    assert record["key"] == key
    assert max(len(line) for line in text.splitlines()) <= 110


@pytest.mark.parametrize("knob", KNOBS, ids=lambda knob: knob.key)
def test_every_example_is_a_valid_profile(knob: object, tmp_path: Path) -> None:
    path = tmp_path / "example.yaml"
    part = example(knob)  # type: ignore[arg-type]
    path.write_text(
        "apiVersion: cotune/v1\nkind: IsolationProfile\nmetadata: {name: example}\n" + render(part), encoding="utf-8"
    )
    profile = load_profile([str(path)])
    assert not profile.warnings


def test_no_example_too_many() -> None:
    assert set(EXAMPLES) == {knob.key for knob in KNOBS}


def test_explain_finds_what_people_call_it(anck: Cotune) -> None:
    assert [k["key"] for k in anck.json("explain", "cpu.cfs_quota_us")["knobs"]] == ["cpu.quota"]
    keys = [k["key"] for k in anck.json("explain", "dirty_bytes")["knobs"]]
    assert keys == ["memory.dirty_bytes", "vm.dirty_bytes"]
    assert {k["key"] for k in anck.json("explain", "cpu.bvt_warp_ns")["knobs"]} == {"cpu.identity", "cpu.smt_expeller"}
    error = anck.json("explain", "memory.limits", code=2)["errors"][0]
    assert "did you mean memory.limit" in error["hint"]


def test_explain_says_what_was_not_run(anck: Cotune) -> None:
    text = " ".join(anck("explain", "memory.wmark_min_adj").out.split())
    assert "read in kernel source, not run" in text
    assert "none of it was run on an ANCK kernel" in text
    identity = anck("explain", "cpu.identity").out
    assert "kernel.sched_group_identity_enabled must be 1" in identity
    assert "every group below it" in identity
    assert "none of it was run" not in anck("explain", "cpu.shares").out
    assert "needs: an ANCK kernel" not in identity


def test_explain_says_what_a_host_lacks(mainline: Cotune) -> None:
    text = mainline("explain", "cpu.identity").out
    assert "does not work: this kernel (6.18.44) has no cpu.bvt_warp_ns" in text
    assert "needs: an ANCK kernel with group identity" in text


def test_schema(anck: Cotune, tmp_path: Path) -> None:
    document = json.loads(anck("schema").out)
    assert document == schema() == anck.json("schema")["json_schema"]
    for shipped in list_profiles():
        jsonschema.validate(yaml.safe_load(Path(shipped.path).read_text()), document)
    path = tmp_path / "schema.json"
    assert anck("schema", "-o", str(path)).lines == [f"{path} written"]
    assert json.loads(path.read_text()) == document
    assert "cannot be written" in anck("schema", "-o", str(tmp_path / "no/x"), code=2).err
