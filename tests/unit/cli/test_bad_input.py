"""Bad profiles through the command line: exit 2, one clear error, nothing written, no traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cotune.cli.app import run

CASES = Path(__file__).resolve().parents[2] / "cases" / "profiles" / "bad"
FILES = sorted([*CASES.glob("*.yaml"), *CASES.glob("*/main.yaml")])
VERBS = (["validate"], ["diff"], ["apply"], ["apply", "--dry-run"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CASES)))
def test_bad_profile(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = tmp_path / "state"
    for verb in VERBS:
        assert run([*verb, str(path), "--sim", "anck-4.19", "--state-dir", str(state)]) == 2
        output = capsys.readouterr()
        assert output.out == ""
        assert output.err.startswith("cotune: ")
        assert path.parent.name in output.err or path.name in output.err
        assert "Traceback" not in output.err
        assert "internal error" not in output.err
    assert not state.exists(), "a refused profile must not even open the state directory"


@pytest.mark.parametrize("path", FILES[::10], ids=lambda path: str(path.relative_to(CASES)))
def test_bad_profile_as_json(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["diff", str(path), "--json", "--state-dir", str(tmp_path / "state")]) == 2
    output = capsys.readouterr()
    record = json.loads(output.out)
    assert record["schema"] == "cotune.diff/v1"
    assert record["exit"] == 2
    assert record["errors"]
    assert all(problem["message"] for problem in record["errors"])


@pytest.mark.parametrize(("size", "words"), [(10 * 2**20, "larger than"), (0, "empty")], ids=["10 MB", "empty"])
def test_size(size: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "profile.yaml"
    path.write_bytes(b"# filler\n" * (size // 9))
    assert run(["apply", str(path), "--state-dir", str(tmp_path / "state")]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert len(error) < 500


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["diff", "/nonexistent/profile.yaml"], "no such file"),
        (["diff", "/"], "directory"),
        (["diff", "base", "--pid", "offline"], "expected GROUP=PID"),
        (["apply", "base", "--wait", "soon"], "--wait soon"),
        (["diff", "base", "--sim", "no-such-kernel"], "no-such-kernel"),
        (["diff", "base", "--sim", "anck-4.19", "--root", "/"], "exclude each other"),
        (["rollback", "77"], "no transaction 77"),
        (["show", "77"], "no transaction 77"),
        (["diff", "base", "--root", "/nonexistent"], "--root /nonexistent"),
    ],
)
def test_bad_command_lines(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*arguments, "--state-dir", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "hint:" in error or error.rstrip().endswith(")"), "every error says how to mend it"


def test_usage_errors_are_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["diff", "base", "--bogus", "--json"]) == 2
    assert "--bogus" in json.loads(capsys.readouterr().out)["errors"][0]["message"]
