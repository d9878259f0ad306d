"""Processes that a profile moves, and groups that vanish meanwhile."""

from __future__ import annotations

import contextlib
import itertools
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cotune.host.facts import Host
from cotune.host.support import sample_file
from cotune.kernel.real import RealKernel
from tests.host.lab import CONTROLLERS, Lab, finish, unique, wait_for

pytestmark = pytest.mark.root

#: sections of a group that need all five hierarchies
ALL = {
    "cpu": {"shares": 77, "cpus": 0},
    "memory": {"limit": "64MiB", "swappiness": 5},
    "pids": {"max": 9},
}


def batch(lab: Lab, root_disk: str, **more: Any) -> dict[str, Any]:
    """A created group with values in all five hierarchies."""
    throttle = {"throttle": [{"device": {"majmin": root_disk}, "write_iops": 4000}]}
    return {"batch": {"match": {"cgroup": lab.path("batch")}, "create": True, **ALL, "io": throttle, **more}}


def everywhere(group: str) -> dict[str, str]:
    """The same group in every hierarchy."""
    return dict.fromkeys(CONTROLLERS, group)


@pytest.fixture
def origin(lab: Lab) -> Lab:
    """A laboratory with a group origin for processes to come from."""
    lab.make("origin")
    return lab


def named_process(lab: Lab) -> tuple[subprocess.Popen[bytes], str]:
    """A process in group origin with a name nobody else has; returns both."""
    name = unique().replace("cotune-test-", "ct")[:15]
    link = lab.directory / name
    link.symlink_to("/bin/sleep")
    process = lab.spawn(str(link), "600", group="origin")
    comm = Path(f"/proc/{process.pid}/comm")
    # the kernel closes the pipe that Popen waits for before it sets the name (fs/exec.c begin_new_exec)
    wait_for(lambda: comm.read_text().strip() == name, f"{link} keeps the name it is called by", timeout=5)
    return process, name


@pytest.mark.parametrize("way", ["pid", "comm", "pidfile"])
def test_moved_and_moved_back(origin: Lab, root_disk: str, way: str) -> None:
    lab = origin
    process, name = named_process(lab)
    bystander = lab.spawn(group="origin")
    before = lab.snapshot()
    options: list[str] = []
    tasks: dict[str, Any] = {}
    if way == "pid":
        options = ["--pid", f"batch={process.pid}"]
    elif way == "comm":
        tasks = {"tasks": {"comm": [name, "nobody"]}}
    else:
        pidfile = lab.directory / "batch.pid"
        pidfile.write_text(f"{process.pid}\n")
        tasks = {"tasks": {"pidfile": str(pidfile)}}
    profile = lab.profile(groups=batch(lab, root_disk, **tasks))

    moves = [c for c in lab.run("diff", "--json", *options, profile).expect(1).json["changes"] if c["action"] == "move"]
    assert len(moves) == len(CONTROLLERS)
    assert all(str(process.pid) in move["knob"] for move in moves)
    assert lab.groups_of(process.pid) == everywhere(lab.path("origin"))

    lab.run("apply", *options, profile).expect(0)
    assert lab.groups_of(process.pid) == everywhere(lab.path("batch"))
    assert lab.groups_of(bystander.pid) == everywhere(lab.path("origin"))
    lab.run("diff", *options, profile).expect(0)
    assert lab.run("apply", "--json", *options, profile).expect(0).json["transaction"] is None

    lab.run("rollback").expect(0)
    assert lab.groups_of(process.pid) == everywhere(lab.path("origin"))
    assert lab.snapshot() == before


def test_a_process_comes_later(origin: Lab, root_disk: str) -> None:
    """The second apply only moves; rolling it back leaves the group of the first."""
    lab = origin
    profile = lab.profile(groups=batch(lab, root_disk))
    lab.run("apply", profile).expect(0)
    process = lab.spawn(group="origin")
    changes = lab.run("apply", "--json", "--pid", f"batch={process.pid}", profile).expect(0).json["changes"]
    assert {change["action"] for change in changes} == {"move"}
    assert lab.groups_of(process.pid) == everywhere(lab.path("batch"))
    lab.run("rollback").expect(0)
    assert lab.groups_of(process.pid) == everywhere(lab.path("origin"))
    assert lab.dir("cpu", "batch").is_dir()
    lab.run("rollback").expect(0)
    assert not lab.dir("cpu", "batch").exists()


def test_no_such_process(origin: Lab, root_disk: str) -> None:
    lab = origin
    process = lab.spawn()
    process.kill()
    process.wait()
    profile = lab.profile(groups=batch(lab, root_disk))
    assert str(process.pid) in lab.run("apply", "--pid", f"batch={process.pid}", profile).expect(2).err
    assert not lab.dir("cpu", "batch").exists()
    lab.run("apply", "--pid", "other=1", profile).expect(2)
    lab.run("apply", "--pid", "batch", profile).expect(2)


def test_a_process_ends_during_the_apply(origin: Lab, root_disk: str) -> None:
    lab = origin
    process = lab.spawn(group="origin")
    before = lab.snapshot()
    profile = lab.profile(groups=batch(lab, root_disk))
    # the last steps are the moves; every write waits a little, so the process ends before they come
    slow = ("-e", "trace=write", "-e", "inject=write:delay_enter=50000")
    apply = lab.start_traced(["apply", "--pid", f"batch={process.pid}", profile], *slow)
    wait_for(lab.dir("pids", "batch").is_dir, "the group is made")
    process.kill()
    process.wait()
    assert "Traceback" not in finish(apply).expect(0).err
    lab.run("status").expect(0)
    lab.run("rollback").expect(0)
    assert [path for path in lab.snapshot() if "batch" in path] == []
    assert {path for path in before if path.endswith("/")} == {path for path in lab.snapshot() if path.endswith("/")}
    assert process.returncode == -signal.SIGKILL


def test_a_process_ends_before_the_rollback(origin: Lab, root_disk: str) -> None:
    lab = origin
    process = lab.spawn(group="origin")
    lab.run("apply", "--pid", f"batch={process.pid}", lab.profile(groups=batch(lab, root_disk))).expect(0)
    process.kill()
    process.wait()
    lab.run("rollback").expect(0)
    assert not lab.dir("cpu", "batch").exists()


def test_a_process_somebody_moved_on_stays_there(origin: Lab, root_disk: str) -> None:
    lab = origin
    lab.make("elsewhere")
    process = lab.spawn(group="origin")
    lab.run("apply", "--pid", f"batch={process.pid}", lab.profile(groups=batch(lab, root_disk))).expect(0)
    for controller in CONTROLLERS:
        (lab.dir(controller, "elsewhere") / "cgroup.procs").write_text(str(process.pid))
    lab.run("rollback").expect(0)
    assert lab.groups_of(process.pid) == everywhere(lab.path("elsewhere"))
    assert not lab.dir("cpu", "batch").exists()


def test_the_origin_is_gone(origin: Lab, root_disk: str) -> None:
    """A process that cannot go back stays, is named, and keeps its group."""
    lab = origin
    process = lab.spawn(group="origin")
    lab.run("apply", "--pid", f"batch={process.pid}", lab.profile(groups=batch(lab, root_disk))).expect(0)
    lab.dir("pids", "origin").rmdir()
    run = lab.run("rollback").expect(5)
    assert str(process.pid) in run.out
    assert lab.groups_of(process.pid) == everywhere(lab.path("origin")) | {"pids": lab.path("batch")}
    process.kill()
    process.wait()
    lab.run("rollback").expect(0)
    assert not lab.dir("pids", "batch").exists()


# groups that come and go


def shares_of(lab: Lab, groups: list[str]) -> set[str]:
    """What cpu.shares reads in groups that are still there."""
    found = set()
    for name in groups:
        with contextlib.suppress(OSError):
            found.add(lab.read(name, "cpu.shares"))
    return found


def test_groups_vanish_during_the_apply(lab: Lab) -> None:
    """A third of the groups a glob matched goes while they are being written."""
    names = [f"pods/pod{number:02}" for number in range(24)]
    for name in names:
        lab.make(name, ("cpu", "memory"))
    pods = {"match": {"cgroup": f"{lab.name}/pods/pod*"}, "cpu": {"shares": 55}, "memory": {"soft_limit": "8MiB"}}
    profile = lab.profile(groups={"pods": pods})
    slow = ("-e", "trace=write", "-e", "inject=write:delay_enter=20000")
    apply = lab.start_traced(["apply", "--json", profile], *slow)
    wait_for(lambda: "55" in shares_of(lab, names), "the first value is written")
    gone = names[::3]
    for name in gone:
        for controller in ("cpu", "memory"):
            lab.dir(controller, name).rmdir()
    finish(apply).expect(0)
    left = [name for name in names if name not in gone]
    assert shares_of(lab, left) == {"55"}
    lab.run("diff", profile).expect(0)
    lab.run("status").expect(0)
    lab.run("rollback").expect(0)
    assert shares_of(lab, left) == {"1024"}


def test_somebody_else_makes_the_group_first(lab: Lab) -> None:
    """Between the plan and the mkdir: the group is theirs, so undoing the apply does not remove it."""
    lab.make("")
    new = {"match": {"cgroup": lab.path("new")}, "create": True, "cpu": {"shares": 5, "cpus": 0}, "pids": {"max": 9}}
    profile = lab.profile(groups={"new": new})
    process = lab.start_traced(["apply", profile], "-e", "trace=fsync", "-e", "inject=fsync:delay_exit=3000000:when=2")
    wait_for(lambda: list(lab.state.rglob("*.jsonl")), "the journal is written")
    lab.dir("cpuset", "new").mkdir()
    lab.write("new", "cpuset.cpus", 0)
    theirs = lab.snapshot()
    run = finish(process).expect(4)
    assert str(lab.dir("cpuset", "new")) in run.err
    assert "EEXIST" in run.err
    assert lab.snapshot() == theirs
    lab.run("status").expect(0)
    assert lab.run("rollback").expect(0).out.strip() == "nothing to roll back"
    lab.run("apply", profile).expect(0)
    lab.run("rollback").expect(0)
    assert lab.snapshot() == theirs


@contextlib.contextmanager
def churn(prefix: str, *parents: Path) -> Iterator[None]:
    """Make and remove groups as fast as it goes, in a thread; a name never comes again, as with containers."""
    stop = threading.Event()

    def work() -> None:
        for number in itertools.count():
            if stop.is_set():
                break
            made = [parent / f"{prefix}{number}.{twin}" for parent in parents for twin in range(3)]
            for directory in made:
                directory.mkdir()
            time.sleep(0.001)
            for directory in made:
                directory.rmdir()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_groups_come_and_go_all_the_time(lab: Lab) -> None:
    for number in range(4):
        lab.make(f"pods/steady{number}", ("cpu", "pids"))
    everyone = {"match": {"cgroup": f"{lab.name}/pods/*"}, "cpu": {"shares": 55}, "pids": {"max": 40}}
    with churn("a", lab.dir("cpu", "pods"), lab.dir("pids", "pods")):
        for shares in (55, 66, 77):
            everyone["cpu"] = {"shares": shares}
            profile = lab.profile(groups={"pods": everyone})
            lab.run("diff", profile).expect(1)
            lab.run("apply", profile).expect(0)
            assert shares_of(lab, [f"pods/steady{number}" for number in range(4)]) == {str(shares)}
        lab.run("rollback", "--profile", f"{lab.name}-test").expect(0)
    assert shares_of(lab, [f"pods/steady{number}" for number in range(4)]) == {"1024"}


def test_a_file_is_known_although_the_group_looked_at_vanishes(lab: Lab) -> None:
    """What a new group will have is told from a group that exists; that one may go in the same moment."""
    point = Path(lab.points["pids"])
    if (point / "pids.max").exists():
        pytest.skip("needs a hierarchy whose root lacks the file")
    lab.make("", ("pids",))
    kernel = RealKernel("/")
    host = Host(kernel)
    pids = host.layout.controllers["pids"]
    # sorted before all others, so that it is the one looked at
    with contextlib.closing(kernel), churn(f"!{lab.name}-", point):
        found = {sample_file(host, pids, "pids.max") for _ in range(4000)}
        assert sample_file(host, pids, "pids.no_such_file") is False
    assert found <= {True, None}
