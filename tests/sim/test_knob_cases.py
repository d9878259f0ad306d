"""Every knob against its cases (tests/cases/knobs): changed, found right, out of range, rolled back.

A case names its knob and the simulated kernel (or a list of kernels on which all of it holds); ``profile`` is what to
write, with ``VALUE`` where a value goes (left out: the place of the example in the catalogue, for the cgroup
``offline`` or the disk of /data).

- ``file`` is the kernel file (or what tests/sim/case_kernel.py makes look like one), whose directory is made where it
  is a cgroup that does not exist; ``setup`` brings the host into the state the case needs: a list of ``mkdir: DIR``,
  ``write: {file, text}`` (in a cgroup made for it), ``mount: {fstype, source, point, words}``, ``remount: {point,
  words}``, ``unmount: POINT``, ``run: {name, arguments}`` (a tool) or ``usage: {cgroup, size, reclaimable}`` (bytes of
  memory in use). ``hardware`` gives the kernel one of the machines of tests/sim/case_kernel.py.
- ``change``: with ``value`` in the profile the file then ``reads`` this text (a line of it is enough), or ``lacks``
  this line; a rollback gives back the whole text from before, unless ``stays`` says what it reads then and ``why``.
  ``text`` is written to the file first; ``also`` maps other files to what they read then (``(absent)`` for one that is
  gone), and they are rolled back as well.
- ``nothing``: with ``value`` in the profile and ``text`` written to the file before (left out: as it is), there is
  nothing to do. The default, the value 0 where it is one, and the value as the kernel prints it belong here.
- ``refused``: the kernel's own answer to ``text``: an ``errno``, ``reads`` where it takes it and makes something else
  of it, or both where it keeps what it refused; ``mkdir`` is a directory to make instead. ``profile: VALUE`` says what
  the profile refuses (exit 2) before the kernel sees it.
- ``fails``: an apply with ``value`` in the profile is refused by this kernel with an ``errno``, and leaves the file
  and those ``also`` lists as they were.
- ``skipped``: with ``value`` in the profile the knob is reported as not available here, for a ``reason`` that has
  these words in it, and nothing is planned.
- ``pending``: the same for what only an unmount or a reboot can bring there (``text`` is written before). A knob that
  has one needs no ``change``.
- ``denied``: with ``value`` in the profile (and ``text`` written before) the plan is refused without consent, for a
  ``reason``.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
import yaml

from cotune.controls import CONTROLS
from cotune.errors import ApplyFailed, PlanRefused, ProfileError
from cotune.host.facts import Host
from cotune.journal import Journal
from cotune.knobs import BY_KEY, KNOBS
from cotune.knobs.base import NO_HOST, Knob
from cotune.knobs.examples import placed
from cotune.knobs.types import Boolean
from cotune.ledger import Ledger
from cotune.model import Plan
from cotune.planning import Options, make_plan
from cotune.profile.load import Profile, load_profile
from cotune.rollback import Selection, rollback
from cotune.sim.kernel import KERNELS, SimKernel
from cotune.sim.resctrl_spec import MACHINES
from cotune.state import given_state
from tests.conftest import SUMMARY
from tests.sim.case_kernel import HARDWARE, CaseKernel
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
        if case["kernel"] in KERNELS
        for index, entry in enumerate(case.get(kind, []))
    ]


@pytest.fixture(autouse=True)
def hardware(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine a case names."""
    callspec = getattr(request.node, "callspec", None)
    case: Case = callspec.params.get("case", {}) if callspec else {}
    if "hardware" in case:
        monkeypatch.setitem(MACHINES, case["kernel"], HARDWARE[case["hardware"]])


class Bench:
    """A simulated host prepared for one case."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.case, self.folder = case, folder
        self.kernel = CaseKernel(case["kernel"], "AuthenticAMD" if case.get("hardware") == "amd" else "")
        for step in case.get("setup", []):
            prepare(self.kernel, step)
        make_cgroup(self.kernel, case["file"])
        self.journal = Journal(given_state(folder / "state"))

    @property
    def host(self) -> Host:
        return Host(self.kernel)

    def text(self, file: str = "") -> str:
        """What the case's file reads, or another one."""
        return self.kernel.text(file or self.case["file"])

    def write(self, text: str) -> None:
        """Write straight to the file, past cotune."""
        self.kernel.change(self.case["file"], text)

    def plan(self, value: Any, options: Options = CONSENT) -> Plan:
        """What an apply with this value would do."""
        return make_plan(self.profile(value), self.host, Ledger([], self.host.boot_id), options)

    def profile(self, value: Any) -> Profile:
        knob = BY_KEY[self.case["knob"]]
        body = replaced(self.case["profile"], value) if "profile" in self.case else placed(knob, value)
        document = {"apiVersion": "cotune/v1", "kind": "IsolationProfile", "metadata": {"name": "case"}, **body}
        path = self.folder / "case.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        return load_profile([str(path)])


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
    elif kind == "mount":
        kernel.mount(what["fstype"], what["source"], what["point"], what["words"])
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


def arrived(text: str, entry: dict[str, Any]) -> bool:
    """Whether a file reads what a change is to leave there."""
    return not shows(text, str(entry["lacks"])) if "lacks" in entry else shows(text, str(entry["reads"]))


def test_every_knob_has_every_kind_of_case() -> None:
    lacking = []
    for knob in KNOBS:
        mine = [case for case in CASES if case["knob"] == knob.key]
        kinds = {kind for case in mine for kind in ("change", "nothing", "refused") if case.get(kind)}
        kinds |= {"change"} if any(case.get("pending") for case in mine) else set()
        # what nobody can read must be written
        kinds |= {"nothing"} if knob.part in CONTROLS[knob.control].hidden else set()
        # some types take everything the kernel takes
        lacking += [f"{knob.key}: {kind}" for kind in ("change", "nothing", "refused") if kind not in kinds]
    assert lacking == []


def lacking_values(knob: Knob) -> set[str]:
    """What the cases of a knob that find nothing to do, or are refused, leave out."""
    mine = [case for case in CASES if case["knob"] == knob.key]
    nothing = [(entry, bool(case.get("setup"))) for case in mine for entry in case.get("nothing", [])]
    seen = {"default"} if any("text" not in entry for entry, _ in nothing) else set()
    seen |= {"printed"} if any("text" in entry or prepared for entry, prepared in nothing) else set()
    seen |= {"zero"} if any(is_zero(entry["value"]) for entry, _ in nothing) or not takes_zero(knob) else set()
    refused = [entry for case in mine for entry in case.get("refused", [])]
    seen |= {"errno"} if any("errno" in entry for entry in refused) or knob.confidence in ("docs", "talk") else set()
    hidden = {"default", "printed", "zero"} if knob.part in CONTROLS[knob.control].hidden else set()
    return {"default", "printed", "zero", "errno"} - seen - hidden


def is_zero(value: Any) -> bool:
    return value is False or str(value) in ("0", "0s", "0us", "0%")


def takes_zero(knob: Knob) -> bool:
    try:
        knob.type.resolve(False if isinstance(knob.type, Boolean) else 0, NO_HOST)
    except ValueError:
        return False
    return True


def test_nothing_to_do_covers_the_default_zero_and_what_the_kernel_prints() -> None:
    """And the refusals have the kernel's errno; what a knob cannot have is excused, and nothing else."""
    excuses = yaml.safe_load((FOLDER.parent / "knob_excuses.yaml").read_text())
    excused = {(key, excuse["kind"]) for excuse in excuses for key in excuse["knobs"]}
    lacking = {(knob.key, kind) for knob in KNOBS for kind in lacking_values(knob)}
    assert lacking - excused == set()
    assert excused - lacking == set(), "these have their cases now"


def test_every_case_is_of_a_knob() -> None:
    assert [name_of(case) for case in CASES if case["knob"] not in BY_KEY] == []


def test_every_case_has_a_simulated_host() -> None:
    assert [name_of(case) for case in CASES if case["kernel"] not in KERNELS] == []


@pytest.mark.parametrize(("case", "entry"), parts("change"))
def test_change_and_rollback(case: Case, entry: dict[str, Any], tmp_path: Path) -> None:
    bench = Bench(case, tmp_path)
    if "text" in entry:
        bench.write(str(entry["text"]))
    before = bench.text()
    also = {file: bench.text(file) for file in entry.get("also", {})}
    profile = bench.profile(entry["value"])
    assert not arrived(before, entry), "the file reads this before anything is changed"
    result = run(bench.kernel, bench.journal, profile, CONSENT)
    assert [item.reason for item in (*result.plan.unsupported, *result.plan.pending)] == []
    assert arrived(bench.text(), entry), bench.text()
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
    path = bench.kernel.path(case["file"])
    # a knob may be shown by the name of another that shares its file
    mine = [change for change in plan.changes if change.target.knob == case["knob"] or change.target.path == path]
    assert mine == []
    assert [item for item in (*plan.unsupported, *plan.pending) if item.knob == case["knob"]] == []


@pytest.mark.parametrize(("case", "entry"), parts("fails"))
def test_refused_by_the_kernel(case: Case, entry: dict[str, Any], tmp_path: Path) -> None:
    bench = Bench(case, tmp_path)
    files = [case["file"], *entry.get("also", [])]
    before = [bench.text(file) for file in files]
    profile = bench.profile(entry["value"])
    with pytest.raises(ApplyFailed, match=entry["errno"]):
        run(bench.kernel, bench.journal, profile, CONSENT)
    assert [bench.text(file) for file in files] == before


@pytest.mark.parametrize(("case", "entry"), parts("skipped"))
def test_not_available(case: Case, entry: dict[str, Any], tmp_path: Path) -> None:
    plan = Bench(case, tmp_path).plan(entry["value"])
    reasons = [item.reason for item in plan.unsupported if item.knob == case["knob"]]
    assert len(reasons) == 1
    assert entry["reason"] in reasons[0]
    assert [change for change in plan.changes if change.target.knob == case["knob"]] == []


@pytest.mark.parametrize(("case", "entry"), parts("pending"))
def test_needs_an_unmount(case: Case, entry: dict[str, Any], tmp_path: Path) -> None:
    bench = Bench(case, tmp_path)
    if "text" in entry:
        bench.write(str(entry["text"]))
    plan = bench.plan(entry["value"])
    assert [item.knob for item in plan.pending] == [case["knob"]]
    assert entry["reason"] in plan.pending[0].reason
    assert plan.steps == ()


@pytest.mark.parametrize(("case", "entry"), parts("denied"))
def test_plan_is_refused(case: Case, entry: dict[str, Any], tmp_path: Path) -> None:
    bench = Bench(case, tmp_path)
    if "text" in entry:
        bench.write(str(entry["text"]))
    with pytest.raises(PlanRefused) as refused:
        bench.plan(entry["value"], Options())
    assert entry["reason"] in refused.value.message


@pytest.mark.parametrize(("case", "entry"), parts("refused"))
def test_out_of_range(case: Case, entry: dict[str, Any], tmp_path: Path) -> None:
    bench = Bench(case, tmp_path)
    if "profile" in entry:
        with pytest.raises(ProfileError):
            bench.profile(entry["profile"])
    if "errno" in entry:
        with pytest.raises(OSError) as failure:
            bench.kernel.mkdir(entry["mkdir"]) if "mkdir" in entry else bench.write(str(entry["text"]))
        assert failure.value.errno == getattr(errno, entry["errno"])
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
