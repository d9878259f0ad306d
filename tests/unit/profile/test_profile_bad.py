"""Every file of tests/cases/profiles/bad is refused, with the right words at the right place.

What is expected stands in the first lines of the file, ``# expect [FILE:]LINE:COLUMN[: PATH:] words`` (text
that must occur in one problem; ``LINE:COLUMN words`` stands for that position of the file itself), or in a ``.expect``
file beside it.
A folder is a case of several files, loaded through its ``main.yaml``.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cotune.errors import ProfileError
from cotune.profile.load import load_profile

CASES = Path(__file__).resolve().parents[2] / "cases" / "profiles" / "bad"
FILES = sorted([*CASES.glob("*.yaml"), *CASES.glob("*/main.yaml")])
_POSITION = re.compile(r"(\d+:(?:\d+:?)?) (.*)")


def expectations(path: Path) -> list[str]:
    sidecar = path.with_suffix(".expect")
    if sidecar.exists():
        return sidecar.read_text().splitlines()
    lines = path.read_text(errors="replace").splitlines()
    return [line.removeprefix("# expect ") for line in lines if line.startswith("# expect ")]


def problem_lines(path: Path) -> list[str]:
    with pytest.raises(ProfileError) as caught:
        load_profile([str(path)])
    assert caught.value.exit_code == 2
    return str(caught.value).split("\n")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CASES)))
def test_bad_profile(path: Path) -> None:
    wanted = expectations(path)
    assert wanted, f"{path} says nothing of what is expected"
    lines = problem_lines(path)
    for text in wanted:
        at = _POSITION.match(text)
        where, words = (f"{path.name}:{at[1]}", at[2]) if at else ("", text)
        assert any(where in line and words in line for line in lines), "\n".join([f"wanted: {text}", *lines])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CASES)))
def test_one_mistake_is_reported_once(path: Path) -> None:
    lines = problem_lines(path)
    assert len(lines) <= max(1, len(expectations(path))), "\n".join(lines)


def test_there_are_enough_cases() -> None:
    assert len(FILES) >= 60
