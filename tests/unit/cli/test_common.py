"""What holds for every verb: help with examples, global options in either place, exit codes for wrong command lines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cotune.cli.app import VERBS, run

from .conftest import Cotune, Make

READING = {
    "why": ["/"],
    "facts": [],
    "doctor": [],
    "capture": [],
    "profiles": [],
    "knobs": [],
    "explain": ["cpu.shares"],
    "schema": [],
}


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([verb, "--help"]) == 0
    out = capsys.readouterr().out
    assert "Example" in out
    assert f"cotune {verb}" in out.partition("Example")[2]


@pytest.mark.parametrize("arguments", [["frobnicate"], ["facts", "--bogus"], ["why"], ["explain"], ["knobs", "extra"]])
def test_wrong_command_lines(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    assert capsys.readouterr().err


@pytest.mark.parametrize("verb", READING)
def test_global_options_before_and_after(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--sim", "anck-4.19", "--state-dir", str(tmp_path), "--json", "--no-color"]
    outputs = []
    for line in ([*options, verb, *READING[verb]], [verb, *READING[verb], *options]):
        assert run(line) == 0
        outputs.append(json.loads(capsys.readouterr().out))
    for output in outputs:
        output.pop("yaml", None)  # holds the time
    assert outputs[0] == outputs[1]
    assert outputs[0]["schema"] == f"cotune.{verb}/v1"


@pytest.mark.parametrize("verb", READING)
def test_verbs_that_read_change_nothing(verb: str, anck: Cotune) -> None:
    anck("status")
    saved = {path: path.read_bytes() for path in anck.directory.rglob("*") if path.is_file()}
    anck(verb, *READING[verb])
    assert saved == {path: path.read_bytes() for path in anck.directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("verb", READING)
@pytest.mark.parametrize("kernel", [None, "mainline-v1", "anck-seed"])
def test_every_kind_of_host(verb: str, kernel: str | None, cotune_on: Make) -> None:
    cotune = cotune_on(kernel)
    assert cotune(verb, *READING[verb]).out
    cotune.json(verb, *READING[verb])


def test_errors_as_json(anck: Cotune) -> None:
    record = anck.json("explain", "cpu.identy", code=2)
    assert record["exit"] == 2
    assert record["errors"][0]["hint"] == "did you mean cpu.identity?"


def test_without_privileges(real: Cotune, tmp_path: Path) -> None:
    """As an ordinary user: facts and doctor read what they may and say what cannot be done."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    real.json("doctor")  # so that every module is loaded: the other user may not be able to read this checkout
    real.json("facts")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    real.directory = closed / "state"
    os.seteuid(65534)
    try:
        record = real.json("doctor")
        facts = real.json("facts")
    finally:
        os.seteuid(0)
    privileges = next(finding for finding in record["findings"] if finding["area"] == "privileges")
    assert privileges["level"] == "warning"
    assert "not root" in privileges["text"]
    assert any(f["area"] == "state" and f["level"] == "problem" for f in record["findings"])
    assert facts["release"] == os.uname().release


def test_in_a_process_of_its_own(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[3]
    command = [sys.executable, "-m", "cotune.cli.__main__", "explain", "cpu.shares", "--json", "--sim", "anck-4.19"]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    options = ["--state-dir", str(tmp_path)]
    done = subprocess.run([*command, *options], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["knobs"][0]["key"] == "cpu.shares"
