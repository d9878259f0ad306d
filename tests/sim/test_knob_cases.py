"""Every knob against its cases (tests/cases/knobs): changed, found right, out of range, rolled back.

A case names its knob and the simulated kernel (or a list of kernels on which all of it holds); ``profile`` is what to
write, with ``VALUE`` where a value goes (left out: the place of the example in the catalogue, for the cgroup
``offline`` or the disk of /data).

- ``file`` is the kernel file, whose directory is made where it is a cgroup that does not exist; ``setup`` brings the
  host into the state the case needs: a list of ``mkdir: DIR``, ``write: {file, text}`` (in a cgroup made for it),
  ``remount: {point, words}``, ``unmount: POINT``, ``run: {name, arguments}`` (a tool) or ``usage: {cgroup, size,
  reclaimable}`` (bytes of memory in use).
- ``change``: with ``value`` in the profile the file then ``reads`` this text (a line of it is enough); a rollback
  gives back the whole text from before, unless ``stays`` says what it reads then and ``why``. ``text`` is written to
  the file first; ``also`` maps other files to what they read then, and they are rolled back as well.
- ``nothing``: with ``value`` in the profile and ``text`` written to the file before (left out: as it is), there is
  nothing to do. The default, the value 0 where it is one, and the value as the kernel prints it belong here.
- ``refused``: the kernel's own answer to ``text``: an ``errno``, ``reads`` where it takes it and makes something else
  of it, or both where it keeps what it refused. ``profile: VALUE`` says what the profile refuses (exit 2) before the
  kernel sees it.
- ``skipped``: with ``value`` in the profile the knob is reported as not available here, for a ``reason`` that has
  these words in it, and nothing is planned.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cotune.errors import ProfileError
from cotune.host.facts import Host
from cotune.journal import Journal
from cotune.kernel.port import Kernel
from cotune.knobs import BY_KEY, KNOBS
from cotune.knobs.examples import placed
from cotune.ledger import Ledger
from cotune.model import Plan
from cotune.planning import Options, make_plan
from cotune.profile.load import Profile, load_profile
from cotune.rollback import Selection, rollback
from cotune.sim.kernel import SimKernel
from cotune.state import given_state
from tests.conftest import SUMMARY
from tests.sim.lab import run

FOLDER = Path(__file__).parent.parent / "cases" / "knobs"
CONSENT = Options(flags=frozenset(("force", "allow-oom", "allow-irreversible")))
Case = dict[str, Any]


def load_cases() -> list[Case]:
    """Every case, with the file it is in."""
    found: list[Case] = []
    for path in sorted(FOLDER.glob("*.yaml")):
        for case in yaml.safe_load(path.read_text()):
            kernels = case["kernel"] if isinstance(case["kernel"], list) else [case["kernel"]]
            found += [{**case, "kernel": kernel, "from": path.name} for kernel in kernels]
    return found


CASES = load_cases()


def name_of(case: Case) -> str:
    return f"{case['knob']}@{case['kernel']}"


def parts(kind: str) -> list[Any]:
    """One parameter for each entry of this kind in any case."""
    return [
        pytest.param(case, entry, id=f"{name_of(case)}-{entry.get('value', entry.get('text', index))}")
        for case in CASES
        for index, entry in enumerate(case.get(kind, []))
    ]


class Bench:
    """A simulated host prepared for one case."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.case, self.folder = case, folder
        self.kernel = SimKernel(case["kernel"])
        for step in case.get("setup", []):
            prepare(self.kernel, step)
        make_cgroup(self.kernel, case["file"])
        self.journal = Journal(given_state(folder / "state"))

    @property
    def host(self) -> Host:
        return Host(self.kernel)

    def text(self, file: str = "") -> str:
        """What the case's file reads, or another one; for a mount point its options."""
        file = file or self.case["file"]
        if file.startswith("mount:"):
            return "\n".join(option_lines(self.kernel, file.removeprefix("mount:")))
        if file.startswith("run:"):
            name, *arguments = file.removeprefix("run:").split(" ")
            return self.kernel.tool(name, arguments)
        return self.kernel.read(self.kernel.realpath(file))

    def write(self, text: str) -> None:
        """Write straight to the file, past cotune."""
        file: str = self.case["file"]
        if file.startswith("mount:"):
            self.kernel.remount(file.removeprefix("mount:"), text.split(","))
        else:
            self.kernel.write(self.kernel.realpath(file), text)

    def plan(self, value: Any) -> Plan:
        """What an apply with this value would do."""
        return make_plan(self.profile(value), self.host, Ledger([], self.host.boot_id), CONSENT)

    def profile(self, value: Any) -> Profile:
        knob = BY_KEY[self.case["knob"]]
        body = replaced(self.case["profile"], value) if "profile" in self.case else placed(knob, value)
        document = {"apiVersion": "cotune/v1", "kind": "IsolationProfile", "metadata": {"name": "case"}, **body}
        path = self.folder / "case.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        return load_profile([str(path)])


def option_lines(kernel: Kernel, point: str) -> Iterator[str]:
    """The words of the mount table and of /proc/fs/ext4 for one mount point."""
    mount = next(mount for mount in reversed(kernel.mounts()) if mount.point == point)
    yield from (*mount.options, *mount.super_options)
    device = kernel.realpath(f"/sys/dev/block/{mount.device}").rpartition("/")[2]
    yield from kernel.read(f"/proc/fs/ext4/{device}/options").splitlines()


def prepare(kernel: SimKernel, step: dict[str, Any]) -> None:
    (kind, what), *_ = step.items()
    if kind == "mkdir":
        kernel.mkdir(what)
    elif kind == "write":
        make_cgroup(kernel, what["file"])
        kernel.write(kernel.realpath(what["file"]), str(what["text"]))
    elif kind == "usage":
        kernel.set_usage(kernel.realpath(what["cgroup"]), what["size"], what.get("reclaimable", 0))
    elif kind == "remount":
        kernel.remount(what["point"], what["words"])
    elif kind == "unmount":
        kernel.unmount(what)
    elif kind == "run":
        kernel.tool(what["name"], what["arguments"])
    else:
        raise ValueError(f"no such step: {kind}")


def make_cgroup(kernel: SimKernel, file: str) -> None:
    """The cgroup a file is in, with its parents."""
    directory = file.rpartition("/")[0]
    if file.startswith("/sys/fs/cgroup/") and not kernel.exists(directory):
        make_cgroup(kernel, directory)
        kernel.mkdir(directory)


def replaced(body: Any, value: Any) -> Any:
    """The document with every ``VALUE`` replaced."""
    if isinstance(body, dict):
        return {key: replaced(child, value) for key, child in body.items()}
    if isinstance(body, list):
        return [replaced(child, value) for child in body]
    return value if body == "VALUE" else body


def shows(text: str, wanted: str) -> bool:
    """Whether a file's text is, or has a line that is, what is wanted; blanks at the ends do not matter."""
    return wanted.strip() in (text.strip(), *(line.strip() for line in text.splitlines()))


def test_every_knob_has_every_kind_of_case() -> None:
    lacking = []
    for knob in KNOBS:
        mine = [case for case in CASES if case["knob"] == knob.key]
        kinds = {kind for case in mine for kind in ("change", "nothing", "refused") if case.get(kind)}
        # some types take everything the kernel takes
        lacking += [f"{knob.key}: {kind}" for kind in ("change", "nothing", "refused") if kind not in kinds]
    assert lacking == []


def test_every_case_is_of_a_knob() -> None:
    assert [name_of(case) for case in CASES if case["knob"] not in BY_KEY] == []


@pytest.mark.parametrize(("case", "entry"), parts("change"))
def test_change_and_rollback(case: Case, entry: dict[str, Any], tmp_path: Path) -> None:
    bench = Bench(case, tmp_path)
    if "text" in entry:
        bench.write(str(entry["text"]))
    before = bench.text()
    also = {file: bench.text(file) for file in entry.get("also", {})}
    profile = bench.profile(entry["value"])
    assert not shows(before, str(entry["reads"])), "the file reads this before anything is changed"
    result = run(bench.kernel, bench.journal, profile, CONSENT)
    assert [item.reason for item in (*result.plan.unsupported, *result.plan.pending)] == []
    assert shows(bench.text(), str(entry["reads"])), bench.text()
    for file, reads in entry.get("also", {}).items():
        assert shows(bench.text(file), str(reads)), (file, bench.text(file))
    assert run(bench.kernel, bench.journal, profile, CONSENT).transaction is None
    _, undone = rollback(bench.host, bench.journal, Selection(), lambda: "now")
    if "stays" in entry:
        assert entry["why"]
        assert shows(bench.text(), str(entry["stays"])), bench.text()
    else:
        assert undone.left == []
        assert bench.text() == before
        assert {file: bench.text(file) for file in also} == also


@pytest.mark.parametrize(("case", "entry"), parts("nothing"))
def test_nothing_to_do(case: Case, entry: dict[str, Any], tmp_path: Path) -> None:
    bench = Bench(case, tmp_path)
    if "text" in entry:
        bench.write(str(entry["text"]))
    plan = bench.plan(entry["value"])
    path = bench.kernel.realpath(case["file"])
    # a knob may be shown by the name of another that shares its file
    mine = [change for change in plan.changes if change.target.knob == case["knob"] or change.target.path == path]
    assert mine == []
    assert [item for item in (*plan.unsupported, *plan.pending) if item.knob == case["knob"]] == []


@pytest.mark.parametrize(("case", "entry"), parts("skipped"))
def test_not_available(case: Case, entry: dict[str, Any], tmp_path: Path) -> None:
    plan = Bench(case, tmp_path).plan(entry["value"])
    reasons = [item.reason for item in plan.unsupported if item.knob == case["knob"]]
    assert len(reasons) == 1
    assert entry["reason"] in reasons[0]
    assert [change for change in plan.changes if change.target.knob == case["knob"]] == []


@pytest.mark.parametrize(("case", "entry"), parts("refused"))
def test_out_of_range(case: Case, entry: dict[str, Any], tmp_path: Path) -> None:
    bench = Bench(case, tmp_path)
    if "profile" in entry:
        with pytest.raises(ProfileError):
            bench.profile(entry["profile"])
    if "errno" in entry:
        with pytest.raises(OSError) as failure:
            bench.write(str(entry["text"]))
        assert errno.errorcode[failure.value.errno or 0] == entry["errno"]
    elif "reads" in entry:
        bench.write(str(entry["text"]))
    if "reads" in entry:
        assert shows(bench.text(), str(entry["reads"])), bench.text()
    assert "errno" in entry or "reads" in entry or "profile" in entry


def test_how_many_cases(record_property: Any) -> None:
    counts = {kind: sum(len(case.get(kind, [])) for case in CASES) for kind in ("change", "nothing", "refused")}
    text = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    record_property(SUMMARY, f"knob cases: {len(KNOBS)} knobs, {len(CASES)} cases ({text})")
    assert all(counts.values())
