"""Two runs at once, and users who may not."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.host.lab import REPOSITORY, Lab, Run, finish, wait_for

pytestmark = pytest.mark.root

NOBODY = 65534


def svc(lab: Lab, **cpu: Any) -> dict[str, Any]:
    """One group with CPU values."""
    return {"svc": {"match": {"cgroup": lab.path("svc")}, "cpu": cpu}}


@contextlib.contextmanager
def slow_apply(lab: Lab, seconds: float, profile: Path) -> Iterator[subprocess.Popen[str]]:
    """An apply that waits before its first write to the kernel, journal written and lock held; ends well."""
    delay = f"inject=fsync:delay_exit={int(seconds * 1e6)}:when=2"
    process = lab.start_traced(["apply", profile], "-e", "trace=fsync", "-e", delay)
    try:
        wait_for(lambda: list(lab.state.rglob("*.jsonl")), "the journal is written")
        yield process
        finish(process).expect(0)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_the_second_run_is_turned_away(lab: Lab) -> None:
    lab.make("svc")
    before = lab.snapshot()
    first = lab.profile("first", groups=svc(lab, shares=700))
    second = lab.profile("second", groups=svc(lab, shares=800))
    with slow_apply(lab, 9, first) as holder:
        pid = (lab.state / "lock").read_text().strip()
        for command in (["apply", second], ["rollback"], ["recover"]):
            refused = lab.run(*command).expect(6)
            assert holder.poll() is None  # it did not wait
            assert pid in refused.err
            assert "--wait" in refused.err
        assert lab.snapshot() == before
        assert lab.run("apply", "--json", second).expect(6).json["errors"]
        lab.run("diff", second).expect(1)  # reading needs no lock
    assert lab.read("svc", "cpu.shares") == "700"
    lab.run("apply", second).expect(0)


def test_the_second_run_waits(lab: Lab) -> None:
    lab.make("svc")
    first = lab.profile("first", groups=svc(lab, shares=700))
    second = lab.profile("second", groups=svc(lab, shares=800))
    with slow_apply(lab, 3, first):
        lab.run("apply", "--wait", "1s", second).expect(6)
        applied = lab.run("apply", "--json", "--wait", "30s", second).expect(0).json
    assert applied["transaction"] == "000002"
    assert [one["owner"] for one in applied["takes_over"]] == [f"{lab.name}-first"]
    assert lab.read("svc", "cpu.shares") == "800"
    lab.run("rollback").expect(0)
    assert lab.read("svc", "cpu.shares") == "700"


def test_many_at_once(lab: Lab) -> None:
    """One after the other, and nothing lost."""
    lab.make("svc")
    before = lab.snapshot()
    profiles = [lab.profile(f"p{number}", groups=svc(lab, shares=100 + number)) for number in range(6)]
    runs = [lab.start(lab.command("apply", "--wait", "60s", profile)) for profile in profiles]
    for run in runs:
        finish(run).expect(0)
    assert len(lab.run("history", "--json").expect(0).json["transactions"]) == 6
    lab.run("status").expect(0)
    for _ in profiles:
        lab.run("rollback").expect(0)
    assert lab.snapshot() == before


def test_a_stale_lock_file_does_not_count(lab: Lab) -> None:
    """The lock is the kernel's, not the file: a crash leaves no lock behind."""
    lab.make("svc")
    profile = lab.profile(groups=svc(lab, shares=700))
    run, _ = lab.traced(["apply", profile], "-e", "trace=fsync", "-e", "inject=fsync:signal=SIGKILL:when=2")
    assert run.code == -signal.SIGKILL
    assert (lab.state / "lock").exists()
    assert "000001" in lab.run("apply", profile).expect(0).err
    assert lab.read("svc", "cpu.shares") == "700"


def test_state_is_private(lab: Lab) -> None:
    lab.make("svc")
    old = os.umask(0)
    try:
        lab.state = lab.directory / "deep" / "state"
        lab.run("apply", lab.profile(groups=svc(lab, shares=700))).expect(0)
        lab.run("rollback").expect(0)
    finally:
        os.umask(old)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [lab.state, *lab.state.rglob("*")]}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}
    assert lab.state / "transactions" / "000001.jsonl" in modes


# an ordinary user


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory everybody may enter, which belongs to the ordinary user."""
    directory = Path(tempfile.mkdtemp(prefix="cotune-test-"))
    try:
        os.chown(directory, NOBODY, NOBODY)
        yield directory
    finally:
        shutil.rmtree(directory)


AsNobody = Callable[..., Run]


@pytest.fixture
def as_nobody(lab: Lab, public: Path) -> AsNobody:
    """Runs cotune as an ordinary user."""
    if shutil.which("setpriv") is None:
        pytest.skip("needs setpriv")
    start = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(public / "home"),
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONPYCACHEPREFIX": str(public / "compiled"),
    }

    def run(*arguments: object) -> Run:
        command = [*start, sys.executable, *(str(argument) for argument in arguments)]
        done = subprocess.run(
            command, cwd=public, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        return Run(done.returncode, done.stdout, done.stderr)

    if run("-c", "import cotune.cli.app").code:
        pytest.skip("needs a source tree and a Python that an ordinary user may read")
    return lambda *arguments: run("-m", "cotune.cli.__main__", *arguments)


def readable(public: Path, profile: Path) -> Path:
    """A copy of a profile the ordinary user may read."""
    copy = public / profile.name
    shutil.copyfile(profile, copy)
    copy.chmod(0o644)
    return copy


def test_an_ordinary_user_may_look(lab: Lab, public: Path, as_nobody: AsNobody) -> None:
    lab.make("svc")
    new = {"match": {"cgroup": lab.path("new")}, "create": True, "memory": {"limit": "1GiB"}, "pids": {"max": 9}}
    profile = readable(public, lab.profile(groups={**svc(lab, shares=700, quota=0.5, cpus=0), "new": new}))
    seen = as_nobody("diff", "--json", profile).expect(1).json
    assert seen["changes"] == lab.run("diff", "--json", profile).expect(1).json["changes"]
    as_nobody("apply", "--dry-run", profile).expect(1)
    as_nobody("status").expect(0)
    assert not (public / "home").exists()


@pytest.mark.parametrize("what", ["values", "groups", "both"])
def test_an_ordinary_user_may_not_apply(lab: Lab, public: Path, as_nobody: AsNobody, what: str) -> None:
    """Exit 7 before any write, and no transaction is begun; where state is kept makes no difference."""
    lab.make("svc")
    before = lab.snapshot()
    new = {"match": {"cgroup": lab.path("new/deep")}, "create": True, "memory": {"limit": "1GiB"}}
    groups = {"values": svc(lab, shares=700), "groups": {"new": new}, "both": {**svc(lab, shares=7), "new": new}}[what]
    profile = readable(public, lab.profile(groups=groups))
    for options in ([], ["--state-dir", public / "mine"]):
        refused = as_nobody("apply", *options, profile).expect(7)
        assert "root" in refused.err
        assert "nothing was changed" in refused.err
    assert lab.snapshot() == before
    assert list(public.rglob("*.jsonl")) == []
    assert "Traceback" not in refused.err
    as_nobody("apply", "--state-dir", lab.state, profile).expect(7)
    as_nobody("rollback", "--state-dir", lab.state).expect(7)


def test_an_ordinary_user_with_some_files(lab: Lab, public: Path, as_nobody: AsNobody) -> None:
    """A delegated group works for its owner; one file too many is refused before the first write."""
    lab.make("svc")
    lab.make("other")
    os.chown(lab.file("svc", "cpu.shares"), NOBODY, NOBODY)
    before = lab.snapshot()
    both = {**svc(lab, shares=700), "other": {"match": {"cgroup": lab.path("other")}, "cpu": {"shares": 800}}}
    refused = as_nobody("apply", readable(public, lab.profile("both", groups=both))).expect(7)
    assert str(lab.file("other", "cpu.shares")) in refused.err
    assert lab.snapshot() == before
    own = readable(public, lab.profile("own", groups=svc(lab, shares=700)))
    as_nobody("apply", own).expect(0)
    assert lab.read("svc", "cpu.shares") == "700"
    as_nobody("rollback").expect(0)
    assert lab.snapshot() == before


def test_an_ordinary_user_may_not_move_tasks(lab: Lab, public: Path, as_nobody: AsNobody) -> None:
    """Refused before the values it may write are written."""
    lab.make("svc")
    os.chown(lab.file("svc", "cpu.shares"), NOBODY, NOBODY)
    process = lab.spawn()
    before = lab.snapshot()
    profile = readable(public, lab.profile(groups=svc(lab, shares=700)))
    as_nobody("apply", "--pid", f"svc={process.pid}", profile).expect(7)
    assert lab.snapshot() == before
    assert list(public.rglob("*.jsonl")) == []
