"""Killed at every system call that changes something, on the running kernel: all old or all new, never mixed.

strace ends the command right before its n-th write, fsync, rename, mkdir and so on. Afterwards ``recover`` must bring
everything to one of the two states, and ``diff`` must agree with it.
"""

from __future__ import annotations

import collections
import json
import os
import re
import signal
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest

from tests.conftest import SUMMARY
from tests.host.lab import CONTROLLERS, Call, Lab, Run, Snapshot, needs_strace, unique

pytestmark = [pytest.mark.root, pytest.mark.slow]

#: system calls that change a file, a directory or a cgroup
CHANGING = ("write", "pwrite64", "writev", "ftruncate", "fsync", "fdatasync", "rename", "renameat", "renameat2") + (
    *("mkdir", "mkdirat"),
    *("rmdir", "unlink", "unlinkat"),
)
TRACE = "trace=" + ",".join(CHANGING)
WORKERS = 2


class Point(NamedTuple):
    """The n-th system call of one name; ``text`` shows it as a plain run made it."""

    name: str
    number: int
    text: str


class Scene:
    """A laboratory with everything an apply can touch: a group that exists, groups to be made, a process to move."""

    def __init__(self, lab: Lab, root_disk: str) -> None:
        self.lab = lab
        lab.make("svc/inner")
        lab.make("origin")
        for name, value in {
            "cpu.shares": 300,
            "cpu.cfs_period_us": 60_000,
            "cpu.cfs_quota_us": 30_000,
            "cpu.cfs_burst_us": 1_000,
            "memory.limit_in_bytes": 256 * 2**20,
            "memory.memsw.limit_in_bytes": 256 * 2**20,
            "memory.swappiness": 33,
            "pids.max": 77,
            "blkio.throttle.write_iops_device": f"{root_disk} 1000",
        }.items():
            lab.write("svc", name, value)
        lab.write("svc/inner", "cpu.cfs_quota_us", 20_000)
        self.process = lab.spawn(group="origin")
        throttle = [{"device": {"majmin": root_disk}, "write_iops": 4000}]
        self.profile = lab.profile(
            groups={
                "svc": {
                    "match": {"cgroup": lab.path("svc")},
                    "cpu": {"shares": 4096, "quota": "10ms", "period": "40ms", "burst": "5ms"},
                    "memory": {"limit": "1GiB", "memsw": "1GiB", "swappiness": 0},
                    "io": {"throttle": throttle},
                    "pids": {"max": 500},
                },
                "inner": {"match": {"cgroup": lab.path("svc/inner")}, "cpu": {"quota": 0.25, "idle": True}},
                "batch": {
                    "match": {"cgroup": lab.path("batch")},
                    "create": True,
                    "cpu": {"shares": 5, "cpus": 0},
                    "memory": {"limit": "64MiB"},
                    "pids": {"max": 20},
                },
            }
        )
        self.old = self.observe()
        self.new: Snapshot = {}

    @property
    def apply(self) -> tuple[object, ...]:
        """The apply that is cut off."""
        return ("apply", "--pid", f"batch={self.process.pid}", self.profile)

    def observe(self) -> Snapshot:
        """Every value, every group, and where the process is."""
        groups = "".join(f"{name} {path}\n" for name, path in sorted(self.lab.groups_of(self.process.pid).items()))
        return self.lab.snapshot() | {"process": groups.encode()}

    def fresh_state(self) -> None:
        """Begin with an empty state directory."""
        self.lab.state = self.lab.directory / unique()

    def is_old(self) -> bool:
        """Whether everything is as before the apply. Fails when it is neither that nor all new."""
        now = self.observe()
        if now not in (self.old, self.new):
            pytest.fail(f"mixed state:\nnot old: {differing(self.old, now)}\nnot new: {differing(self.new, now)}")
        return now == self.old

    def no_leftovers(self) -> None:
        """No unfinished file in the state directory, and journals that are whole."""
        files = [path for path in self.lab.state.rglob("*") if path.is_file() and path.name != "lock"]
        assert {path.suffix for path in files} <= {".jsonl"}
        for path in files:
            for line in path.read_text().splitlines():
                json.loads(line)

    def check_recovered(self) -> str:
        """Recover after a kill; returns ``all old`` or ``all new``, and leaves all old behind."""
        lab = self.lab
        recovered = lab.run("recover", "--json").expect(0).json
        assert recovered["schema"] == "cotune.recover/v1"
        assert recovered["errors"] == []
        old = self.is_old()
        self.no_leftovers()
        lab.run("diff", *self.apply[1:]).expect(1 if old else 0)
        if old:
            return "all old"
        assert lab.run("status", "--json").expect(0).json["interrupted"] == []
        lab.run("rollback").expect(0)
        assert self.is_old()
        return "all new"


def differing(expected: Snapshot, now: Snapshot) -> dict[str, tuple[bytes | None, bytes | None]]:
    """What differs between two snapshots."""
    paths = sorted(expected.keys() | now.keys())
    return {p: (expected.get(p), now.get(p)) for p in paths if expected.get(p) != now.get(p)}


def points(calls: Iterable[Call], first: Callable[[Call], bool]) -> list[Point]:
    """Where to cut off: every changing call from the first that matches on, except failed ones and output."""
    begun = False
    found = []
    for call in calls:
        begun = begun or first(call)
        if begun and call.name in CHANGING and not call.text.startswith(("1<", "2<")):
            found.append(Point(call.name, call.number, call.text))
    return found


def injected(scene: Scene, arguments: Iterable[object], point: Point, fault: str) -> Run:
    """Run cotune with a fault at one system call, and make sure that it came there and not elsewhere."""
    inject = f"inject={point.name}:{fault}:when={point.number}"
    run, calls = scene.lab.traced([*arguments], "-e", TRACE, "-e", inject)
    hit = next(call for call in calls if (call.name, call.number) == (point.name, point.number))
    assert target(hit.text) == target(point.text)
    if "SIGKILL" in fault:
        assert run.code == -signal.SIGKILL
        assert calls[-1] == hit
    return run


def target(text: str) -> list[str]:
    """The last components of the paths in a traced call, without what differs from run to run."""
    paths = re.findall(r'[<"](/[^>"]*)[>"]', text)
    return [re.sub("cotune-test-[0-9-]+", "", path.rpartition("/")[2]) for path in paths]


@pytest.fixture
def scenes(new_lab: Callable[[], Lab], root_disk: str) -> list[Scene]:
    """Two scenes, to work on side by side."""
    needs_strace()
    return [Scene(new_lab(), root_disk) for _ in range(WORKERS)]


def plain_apply(scene: Scene) -> list[Point]:
    """The points of an apply that nobody disturbs; leaves all old behind and remembers what all new is."""
    run, calls = scene.lab.traced([*scene.apply], "-e", TRACE)
    run.expect(0)
    scene.new = scene.observe()
    assert len(differing(scene.old, scene.new)) >= 20
    scene.lab.run("rollback").expect(0)
    assert scene.observe() == scene.old
    return points(calls, lambda call: call.name == "write" and ".tmp" in call.text)


def sweep(scenes: list[Scene], work: Callable[[Scene, Point], str], cuts: list[Point]) -> collections.Counter[str]:
    """Do the work for every point, each scene in a thread of its own; returns how often what came of it."""

    def share(scene: Scene, mine: list[Point]) -> list[str]:
        results = []
        for point in mine:
            try:
                results.append(work(scene, point))
            except BaseException as error:
                raise AssertionError(f"at {point.name} number {point.number}: {point.text[:200]}\n{error}") from error
        return results

    with ThreadPoolExecutor(len(scenes)) as pool:
        parts = [pool.submit(share, scene, cuts[number :: len(scenes)]) for number, scene in enumerate(scenes)]
        return collections.Counter(result for part in parts for result in part.result())


def report(record_property: Callable[[str, object], None], title: str, count: collections.Counter[str]) -> None:
    """Say how many runs there were and how they ended."""
    text = f"{title}: {count.total()} runs, " + ", ".join(f"{number} {what}" for what, number in sorted(count.items()))
    print(text)
    record_property(SUMMARY, text)


def test_killed_during_apply(scenes: list[Scene], record_property: Callable[[str, object], None]) -> None:
    cuts, others = [plain_apply(scene) for scene in scenes]
    assert [(p.name, p.number) for p in cuts] == [(p.name, p.number) for p in others]
    kinds = collections.Counter(point.name for point in cuts)
    assert kinds["fsync"] >= 3  # the journal, its directory, the commit
    assert kinds["mkdir"] + kinds["mkdirat"] >= 3
    assert kinds["rename"] + kinds["renameat"] + kinds["renameat2"] == 1
    assert kinds["write"] >= 9 + len(CONTROLLERS)

    def work(scene: Scene, point: Point) -> str:
        scene.fresh_state()
        injected(scene, scene.apply, point, "signal=SIGKILL")
        return scene.check_recovered()

    count = sweep(scenes, work, cuts)
    report(record_property, "SIGKILL sweep", count)
    assert count.total() == len(cuts)
    assert set(count) == {"all old", "all new"}


def test_killed_during_rollback(scenes: list[Scene], record_property: Callable[[str, object], None]) -> None:
    for scene in scenes:
        plain_apply(scene)
        scene.fresh_state()
        scene.lab.run(*scene.apply).expect(0)
    run, calls = scenes[0].lab.traced(["rollback"], "-e", TRACE)
    run.expect(0)
    scenes[1].lab.run("rollback").expect(0)
    cuts = points(calls, lambda call: ".jsonl" in call.text)
    assert len(cuts) >= 20

    def work(scene: Scene, point: Point) -> str:
        scene.fresh_state()
        scene.lab.run(*scene.apply).expect(0)
        injected(scene, ["rollback"], point, "signal=SIGKILL")
        return scene.check_recovered()

    count = sweep(scenes, work, cuts)
    report(record_property, "SIGKILL sweep of rollback", count)
    assert count.total() == len(cuts)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_interrupted_during_apply(
    scenes: list[Scene], name: str, record_property: Callable[[str, object], None]
) -> None:
    """Exit 130 with everything undone at once, and nothing left for recover to do."""
    cuts = plain_apply(scenes[0])
    plain_apply(scenes[1])
    own = [number for number, point in enumerate(cuts) if "/sys/" not in point.text]  # the journal and the commit
    chosen = sorted({*own, *range(0, len(cuts), 6), own[-1] - 1})

    def work(scene: Scene, point: Point) -> str:
        scene.fresh_state()
        stopped = injected(scene, scene.apply, point, f"signal={name}").expect(130)
        assert "Traceback" not in stopped.err
        old = scene.is_old()
        scene.no_leftovers()
        status = scene.lab.run("status", "--json").expect(0).json
        assert status["interrupted"] == []
        assert bool(status["held"]) is not old
        if not old:
            scene.lab.run("rollback").expect(0)
        assert scene.is_old()
        return "all old" if old else "all new"

    count = sweep(scenes, work, [cuts[number] for number in chosen])
    report(record_property, f"{name} sweep", count)
    assert count.total() == len(chosen)


def test_a_torn_line_at_the_end_of_a_journal(lab: Lab, root_disk: str) -> None:
    """A power cut can leave half a record: it never happened."""
    scene = Scene(lab, root_disk)
    plain_apply(scene)
    scene.fresh_state()
    lab.run(*scene.apply).expect(0)
    [path] = lab.state.rglob("*.jsonl")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole.rstrip()) - 20])
    assert lab.run("status", "--json").expect(1).json["interrupted"] == ["000001"]
    recovered = lab.run("recover", "--json").expect(0).json["recovered"]
    assert [one["outcome"] for one in recovered] == ["committed"]
    assert not scene.is_old()
    lab.run("rollback").expect(0)
    assert scene.is_old()


@pytest.mark.parametrize("verb", ["apply", "rollback"])
def test_the_next_command_recovers_by_itself(lab: Lab, root_disk: str, verb: str) -> None:
    """diff and status only report what was cut off; apply and rollback mend it first."""
    needs_strace()
    scene = Scene(lab, root_disk)
    cuts = plain_apply(scene)
    scene.fresh_state()
    middle = next(point for point in cuts if "memory.limit_in_bytes" in point.text)
    injected(scene, scene.apply, middle, "signal=SIGKILL")
    mixed = scene.observe()
    assert mixed not in (scene.old, scene.new)
    lab.run("diff", *scene.apply[1:]).expect(1)
    assert lab.run("status", "--json").expect(1).json["interrupted"] == ["000001"]
    assert scene.observe() == mixed
    if verb == "apply":
        assert "000001" in "".join(lab.run(*scene.apply).expect(0)[1:])
        assert scene.observe() == scene.new
        lab.run("rollback").expect(0)
    else:
        assert "000001" in "".join(lab.run("rollback").expect(0)[1:])
    assert scene.observe() == scene.old
    lab.run("status").expect(0)


def test_somebody_wrote_after_the_kill(lab: Lab, root_disk: str) -> None:
    """Recover leaves a third party's value alone, names it, puts back the rest, and ends well once it is gone."""
    needs_strace()
    scene = Scene(lab, root_disk)
    cuts = plain_apply(scene)
    scene.fresh_state()
    last = [point for point in cuts if "/sys/" in point.text][-1]
    injected(scene, scene.apply, last, "signal=SIGKILL")
    lab.write("svc", "memory.swappiness", 66)
    report: dict[str, Any] = lab.run("recover", "--json").expect(5).json
    assert any("memory.swappiness" in text and "66" in text for text in report["errors"])
    assert set(differing(scene.old, scene.observe())) == {str(lab.file("svc", "memory.swappiness"))}
    lab.run("recover").expect(5)
    lab.write("svc", "memory.swappiness", 33)
    lab.run("recover").expect(0)
    assert scene.is_old()
    lab.run("status").expect(0)


def test_recover_tolerates_what_vanished(lab: Lab, root_disk: str) -> None:
    """Groups that go after the kill take their values with them."""
    needs_strace()
    scene = Scene(lab, root_disk)
    cuts = plain_apply(scene)
    scene.fresh_state()
    last = [point for point in cuts if "/sys/" in point.text][-1]
    injected(scene, scene.apply, last, "signal=SIGKILL")
    os.rmdir(lab.dir("cpu", "svc/inner"))
    lab.run("recover").expect(0)
    now = differing(scene.old, scene.observe())
    assert all(path.startswith(str(lab.dir("cpu", "svc/inner"))) for path in now)
