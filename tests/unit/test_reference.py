"""docs/knobs.md and the man pages are what the catalogue and the command line say today."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from cotune import reference
from cotune.cli.app import VERBS
from cotune.knobs import KNOBS
from viewfs import reference as viewfs_reference
from viewfs.cli import app as viewfs

ROOT = Path(__file__).resolve().parents[2]
PAGES = reference.pages(ROOT) | viewfs_reference.pages(ROOT)


@pytest.mark.parametrize("path", PAGES, ids=[str(path.relative_to(ROOT)) for path in PAGES])
def test_page_is_current(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == PAGES[path], "run python -m cotune.reference and -m viewfs.reference"


def test_every_knob_and_every_verb_is_there() -> None:
    knobs, commands, catalogue, views = PAGES.values()
    assert [knob.key for knob in KNOBS if f"### {knob.key}\n" not in knobs] == []
    assert [knob.key for knob in KNOBS if f".B {knob.key}\n" not in catalogue.replace("\\-", "-")] == []
    assert [verb for verb in VERBS if f".SS cotune {verb}" not in commands] == []
    assert [verb for verb in viewfs.VERBS if f".SS viewfs {verb}" not in views] == []


@pytest.mark.parametrize("path", [path for path in PAGES if path.suffix != ".md"], ids=lambda path: path.name)
def test_man_page_has_no_mistakes(path: Path) -> None:
    if shutil.which("groff") is None:
        pytest.skip("needs groff")
    done = subprocess.run(
        ["groff", "-man", "-ww", "-z", "-Tutf8", str(path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
