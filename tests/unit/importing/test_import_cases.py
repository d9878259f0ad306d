"""What scripts amount to, from data: whole scripts with their profiles, and single lines in ``lines.yaml``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cotune.importing.profile import import_script, profile_text
from cotune.profile.load import load_profile
from cotune.yamltext import bare

CASES = Path(__file__).resolve().parents[2] / "cases" / "import"
LINES: list[dict[str, Any]] = yaml.safe_load((CASES / "lines.yaml").read_text(encoding="utf-8"))
SCRIPTS = sorted(CASES.glob("*.sh"))


def check(script: str, expected: dict[str, Any], folder: Path) -> None:
    """Compare what ``script`` gives with ``expected``; its text must be a valid profile with the same content."""
    imported = import_script(script, "case")
    text = profile_text(imported, "case.sh", "0")
    data = bare(imported.data)
    assert {key: data.get(key, {}) for key in ("host", "groups")} == {
        key: expected.get(key, {}) for key in ("host", "groups")
    }
    reasons = {item.line: item.reason for item in imported.unread}
    assert sorted(reasons) == sorted(expected.get("not_read", {}))
    for line, part in expected.get("not_read", {}).items():
        assert part in reasons[line]
    remarks = expected.get("remarks", [])
    assert len(imported.notes) == len(remarks), imported.notes
    for part, note in zip(remarks, imported.notes, strict=True):
        assert part in note
    path = folder / "case.yaml"
    path.write_text(text, encoding="utf-8")
    assert load_profile([str(path)]).data == data


@pytest.mark.parametrize("case", LINES, ids=lambda case: str(case["name"]))
def test_lines(case: dict[str, Any], tmp_path: Path) -> None:
    check(case["script"], case, tmp_path)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.stem))
def test_scripts(path: Path, tmp_path: Path) -> None:
    expected = yaml.safe_load(path.with_suffix(".yaml").read_text(encoding="utf-8"))
    check(path.read_text(encoding="utf-8"), expected, tmp_path)
