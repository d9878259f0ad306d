"""What containers see, by a table of hosts and cgroups: each mistake of lxcfs is a case of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.views.grove import CASES, make_sources, seen

TABLE: list[dict[str, Any]] = yaml.safe_load((CASES / "table.yaml").read_text(encoding="utf-8"))
KEYS = {"name", "version", "container", "groups", "policy", "host", "starttime", "sees", "lxcfs"}


def check(case: dict[str, Any], root: Path, expected: dict[str, Any], policy: dict[str, Any]) -> None:
    sources = make_sources(
        root,
        case["groups"],
        case["container"],
        case["version"],
        policy,
        case.get("host", {}),
        case.get("starttime", 0),
    )
    try:
        for what, wanted in expected.items():
            found = seen(sources, what)
            if isinstance(wanted, dict):
                found = {key: found.get(key) for key in wanted}
            assert found == wanted, what
    finally:
        sources.close()


@pytest.mark.parametrize("case", TABLE, ids=[case["name"] for case in TABLE])
def test_sees(case: dict[str, Any], tmp_path: Path) -> None:
    assert set(case) <= KEYS
    check(case, tmp_path, case["sees"], case.get("policy", {}))


@pytest.mark.parametrize("case", [case for case in TABLE if "lxcfs" in case], ids=lambda case: str(case["name"]))
def test_lxcfs(case: dict[str, Any], tmp_path: Path) -> None:
    check(case, tmp_path, case["lxcfs"], {**case.get("policy", {}), "compat": "lxcfs"})
