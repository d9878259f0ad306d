"""viewfs beside the lxcfs of the distribution, in the same containers: every difference is in the documented list."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml

from cotune.units import parse_cpulist
from tests.containers.beside import CASES, COMPATIBLE, SIDES, Beside, services, steady
from tests.containers.bundle import PERIOD, Shape
from tests.host.lab import REPOSITORY

#: Limits, and the name of the first process.
BOXES: dict[str, tuple[Shape, str]] = {
    "half": (Shape(memory=256, cpus="0", quota=PERIOD // 2), ""),
    "second": (Shape(memory=192, cpus="1", quota=PERIOD // 2), ""),
    "two": (Shape(memory=320, cpus="0-1"), "two words"),
    "quota": (Shape(memory=256, cpus="0-1", quota=PERIOD // 2), ""),
    "above": (Shape(memory=256, cpus="0-1", quota=PERIOD // 2, above=True), ""),
    "timed": (Shape(memory=192, cpus="0", clock=5000), ""),
    "free": (Shape(cpus="0-1"), ""),
}
Box = tuple[str, Beside]
real = [pytest.mark.root, pytest.mark.xdist_group("lxcfs")]


@pytest.fixture(scope="module")
def mounts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    pytest.importorskip("pyfuse3", reason="needs the views extra")
    with services(tmp_path_factory.mktemp("beside")) as made:
        yield made


@pytest.fixture(scope="module", params=[pytest.param(name, marks=real) for name in BOXES])
def box(
    request: pytest.FixtureRequest, mounts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Box]:
    shape, name = BOXES[request.param]
    if not parse_cpulist(shape.cpus) <= os.sched_getaffinity(0):
        pytest.skip("needs two CPUs")
    with contextlib.closing(Beside(tmp_path_factory.mktemp("box"), shape, name, mounts)) as made:
        made.begin_work()
        yield request.param, made


def check(found: dict[str, str], listed: list[dict[str, Any]], where: str) -> None:
    """All that was found is listed for this comparison, and what must be seen was."""
    here = [entry for entry in listed if any(applies(pattern, where) for pattern in named(entry))]
    unlisted = {
        field: text for field, text in found.items() if not any(fnmatchcase(field, entry["field"]) for entry in here)
    }
    assert not unlisted, f"differences that are not documented for {where}"
    gone = [
        entry["field"]
        for entry in here
        if any(applies(pattern, where) for pattern in entry.get("in", ()))
        and not any(fnmatchcase(field, entry["field"]) for field in found)
    ]
    assert not gone, f"documented differences that are no more in {where}"


def applies(pattern: str, where: str) -> bool:
    """Whether a comparison is meant; ``half`` is without --enable-cfs, ``half*`` both."""
    return fnmatchcase(where, pattern)


def named(entry: dict[str, Any]) -> list[str]:
    """The comparisons of an entry."""
    return [*entry.get("in", ()), *entry.get("may", ())]


def where(name: str, side: str) -> str:
    return name if side == "plain" else f"{name} {side}"


@pytest.mark.parametrize("side", SIDES)
def test_differences_are_the_documented_ones(box: Box, side: str) -> None:
    name, container = box
    check(steady(container, SIDES[side]), CASES["differences"], where(name, side))


@pytest.mark.parametrize("side", SIDES)
def test_compat_prints_what_lxcfs_prints(box: Box, side: str) -> None:
    name, container = box
    check(steady(container, COMPATIBLE[side]), CASES["compat"], where(name, side))


def rows() -> list[str]:
    """The first cells of the table in docs/views.md."""
    page = (REPOSITORY / "docs" / "views.md").read_text(encoding="utf-8")
    table = page.partition("\n## Differences from lxcfs\n")[2]
    return [cells[0].strip() for cells in re.findall(r"(?m)^\| (.*?) \| (.*?) \|", table)][1:]


def test_the_list_and_the_documentation_are_one() -> None:
    """Each row is seen in a container here or tested where the list says, and each entry has a row."""
    told = {entry["row"] for entry in CASES["differences"]}
    assert told | CASES["elsewhere"].keys() == set(rows())
    assert not told & CASES["elsewhere"].keys()
    cases = {case["name"] for case in yaml.safe_load((REPOSITORY / "tests/cases/views/table.yaml").read_text())}
    for place in CASES["elsewhere"].values():
        file, found, function = place.partition("::")
        assert f"def {function}(" in (REPOSITORY / file).read_text() if found else place in cases, place


def test_every_entry_names_containers_there_are() -> None:
    known = [where(name, side) for name in BOXES for side in SIDES]
    for entry in CASES["differences"] + CASES["compat"]:
        assert named(entry), entry
        for pattern in named(entry):
            assert any(applies(pattern, name) for name in known), entry
