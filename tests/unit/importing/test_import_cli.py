"""cotune import on the command line: output, files, JSON, exit codes, and what is no script."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cotune.cli.app import run

GOOD = "echo 10 > /proc/sys/vm/swappiness\n"
BAD = GOOD + "echo $N > /proc/sys/vm/dirty_ratio\n"


def script(folder: Path, text: str, name: str = "Tune Host.sh") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_exit_codes_and_streams(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["import", script(tmp_path, GOOD)]) == 0
    output = capsys.readouterr()
    assert output.err == ""
    data = yaml.safe_load(output.out)
    assert data["metadata"]["name"] == "tune-host"
    assert data["host"] == {"sysctl": {"vm.swappiness": 10}}
    assert "vm.swappiness: 10" in output.out
    assert "# line 1" in output.out
    assert run(["import", script(tmp_path, BAD)]) == 1
    output = capsys.readouterr()
    assert "not read: line 2: echo $N > /proc/sys/vm/dirty_ratio\n    $N is not set in the script" in output.err
    assert "#   line 2: echo $N" in output.out


def test_nothing_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a script says, importing it leaves no trace."""
    trace = tmp_path / "trace"
    text = f"touch {trace}\n$(touch {trace})\n`touch {trace}`\nX=$(touch {trace})\necho $(touch {trace}) > {trace}\n"
    text += f"sh -c 'touch {trace}'\neval touch {trace}\necho x > {trace}\ncat <(touch {trace})\nmkdir {trace}\n"
    run(["import", script(tmp_path, text)])
    assert not trace.exists()
    capsys.readouterr()


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = script(tmp_path, BAD + "sysctl -w vm.swappiness=5\n")
    assert run(["import", path, "--json", "--name", "site"]) == 1
    output = capsys.readouterr()
    record: dict[str, Any] = json.loads(output.out)
    assert output.err == ""
    assert record["schema"] == "cotune.import/v1"
    assert record["profile"] == yaml.safe_load(record["yaml"])
    assert record["profile"]["metadata"]["name"] == "site"
    assert record["not_read"] == [
        {"line": 2, "text": "echo $N > /proc/sys/vm/dirty_ratio", "reason": "$N is not set in the script"}
    ]
    assert record["notes"] == ["line 3: vm.swappiness of the host replaces what line 1 wrote"]


def test_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = script(tmp_path, GOOD), tmp_path / "out.yaml"
    assert run(["import", source, "-o", str(target)]) == 0
    assert run(["validate", str(target)]) == 0
    target.write_text("precious")
    assert run(["import", source, "-o", str(target)]) == 2
    assert target.read_text() == "precious"
    assert "exists already" in capsys.readouterr().err
    assert run(["import", source, "-o", str(target), "--force"]) == 0
    assert target.read_text().startswith("# Imported by cotune ")


def test_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(GOOD.encode())))
    assert run(["import", "-"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["metadata"]["name"] == "imported"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x7fELF\0\0", "binary"),
        (b"#!/bin/sh\necho \xff\xfe\n", "not UTF-8"),
        (b"#!/usr/bin/python3\nprint(1)\n", "no shell script"),
        (b"#!/usr/bin/env perl\n", "no shell script"),
        (b"x" * (2**20 + 1), "larger than 1 MiB"),
    ],
    ids=["elf", "latin", "python", "perl", "large"],
)
def test_what_is_no_script(content: bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    assert run(["import", str(path)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "line", ["#!/bin/sh", "#!/bin/bash -e", "#! /usr/bin/env bash", "#!/bin/busybox ash", "#!/bin/dash"]
)
def test_shells(line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["import", script(tmp_path, f"{line}\n{GOOD}")]) == 0
    capsys.readouterr()


def test_what_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (str(tmp_path), str(tmp_path / "none"), "a\0b"):
        assert run(["import", path]) == 2
        assert "cannot be read" in capsys.readouterr().err
    assert run(["import", script(tmp_path, GOOD), "--name", "Not A Name"]) == 2
    assert run(["import"]) == 2
