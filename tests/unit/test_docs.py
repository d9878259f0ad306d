"""The documentation keeps its word: links, keys, verbs, profiles, and every ``console`` block is run.

A console block shows commands and their output, with an exit code other than 0 in brackets below. The YAML and shell
blocks of a page whose fence names a file are saved before the page's commands run; each page has one state directory,
and the ready profiles lie in ``profiles/``, as in a clone. The tables of knobs between ``<!-- knobs SECTION -->`` and
``<!-- end -->`` follow the catalogue. When either changes on purpose::

    python -m tests.unit.test_docs
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from cotune.cli.app import VERBS, run
from cotune.knobs import KNOBS
from cotune.profile.load import load_profile
from cotune.resources import profiles_dir

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]\n]+\]\((?P<target>[^)\s]+)\)")
_TABLE = re.compile(r"^(<!-- knobs (\w+) -->\n).*?^(<!-- end -->)$", re.MULTILINE | re.DOTALL)
#: What differs with every run: times and boot ids.
_VARIES = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Block(NamedTuple):
    """A fenced block: the words after the fence, the text inside, and where the inside is in the page."""

    info: list[str]
    body: str
    start: int
    end: int


def blocks(text: str) -> list[Block]:
    return [Block(m["info"].split(), m["body"], m.start("body"), m.end("body")) for m in _FENCE.finditer(text)]


def anchors(page: Path) -> set[str]:
    """The anchors GitHub gives the headings of a page."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_resolve(page: Path) -> None:
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    broken = []
    for match in _LINK.finditer(text):
        target = match["target"]
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        place = (page.parent / name).resolve() if name else page
        if not place.exists() or (anchor and place.suffix == ".md" and anchor not in anchors(place)):
            broken.append(target)
    assert not broken


def test_every_page_can_be_reached() -> None:
    linked = {(page.parent / m["target"].partition("#")[0]).resolve() for page in PAGES for m in _links(page)}
    assert [page.name for page in PAGES if page.name != "README.md" and page not in linked] == []


def _links(page: Path) -> Iterator[re.Match[str]]:
    return _LINK.finditer(page.read_text(encoding="utf-8"))


def knob_table(section: str) -> str:
    """The rows that list the knobs of one section; what they take is told on the page of all knobs."""
    rows = ["| key | what it is |\n", "|---|---|\n"]
    for knob in KNOBS:
        if knob.section == section:
            anchor = knob.key.replace(".", "").lower()
            rows.append(f"| [`{knob.key}`](knobs.md#{anchor}) | {knob.title} |\n")
    return "".join(rows)


def with_knob_tables(text: str) -> str:
    """A page with its tables of knobs as the catalogue has them now."""
    return _TABLE.sub(lambda match: match[1] + knob_table(match[2]) + match[3], text)


def test_every_knob_is_documented() -> None:
    text = (ROOT / "docs" / "profiles.md").read_text(encoding="utf-8")
    assert [knob.key for knob in KNOBS if f"`{knob.key}`" not in text] == []
    assert with_knob_tables(text) == text, "run `python -m tests.unit.test_docs`"


def test_every_verb_is_documented() -> None:
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    titles = set(re.findall(r"^### (\S+)", text, re.MULTILINE))
    assert set(VERBS) - titles == set(), "verbs without a section"
    assert titles - set(VERBS) == set(), "sections without a verb"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_profiles_in_pages_load(page: Path, tmp_path: Path) -> None:
    shutil.copytree(profiles_dir(), tmp_path / "profiles")
    for number, block in enumerate(blocks(page.read_text(encoding="utf-8"))):
        if block.body.startswith("apiVersion:"):
            file = tmp_path / (block.info[1] if len(block.info) > 1 else f"block-{number}.yaml")
            file.write_text(block.body, encoding="utf-8")
            load_profile([str(file)])


def run_command(line: str) -> str:
    """What a command line of a page prints, both streams in order, and its exit code if it is not 0."""
    program, *words = shlex.split(line, comments=True)
    assert program == "cotune", f"only cotune can be run here: {line}"
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = run(["--state-dir", "state", *words])
    return out.getvalue() + (f"[exit {code}]\n" if code else "")


def replay(body: str) -> str:
    """A console block with the output its commands have now."""
    commands = [line for line in body.splitlines() if line.startswith("$ ")]
    return "".join(f"{line}\n{run_command(line[2:])}" for line in commands)


def replayed(page: Path, folder: Path) -> str:
    """A page with all console blocks run in ``folder``."""
    text = page.read_text(encoding="utf-8")
    shutil.copytree(profiles_dir(), folder / "profiles")
    result, end = [], 0
    before = Path.cwd()
    os.chdir(folder)
    try:
        for block in blocks(text):
            if block.info[:1] in (["yaml"], ["sh"]) and len(block.info) > 1:
                (folder / block.info[1]).write_text(block.body, encoding="utf-8")
            if block.info[:1] == ["console"]:
                result += [text[end : block.start], replay(block.body)]
                end = block.end
    finally:
        os.chdir(before)
    return "".join(result) + text[end:]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_print_what_pages_say(page: Path, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert _VARIES.sub("…", replayed(page, tmp_path)) == _VARIES.sub("…", text), (
        "run `python -m tests.unit.test_docs` if the new output is meant"
    )


# In pieces, so that this file does not contain them.
FORBIDDEN = ["/wo" + "rk/", "../sha" + "red", "/tmp/" + "v/", "sand" + "boxing", "DESI" + "GN.md"]


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z", "--cached"], cwd=ROOT, capture_output=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / os.fsdecode(name) for name in listed.stdout.split(b"\0") if name]


def test_nothing_names_the_place_it_was_written_at() -> None:
    found = []
    for path in tracked():
        if path.is_symlink() or not path.is_file():
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {word}" for word in FORBIDDEN if word in text]
    assert not found


def update() -> None:
    """Write the present output of all commands into the pages."""
    for page in PAGES:
        with tempfile.TemporaryDirectory() as folder:
            old = page.read_text(encoding="utf-8")
            new = with_knob_tables(replayed(page, Path(folder)))
        if _VARIES.sub("…", new) != _VARIES.sub("…", old):
            page.write_text(new, encoding="utf-8")
            print(f"updated {page.relative_to(ROOT)}")


if __name__ == "__main__":
    update()
