"""cotune demo: it really does what it tells, and leaves nothing behind."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from .conftest import Cotune, Make


@pytest.fixture(autouse=True)
def _own_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporary directories below this test's own, so that what is left behind can be seen."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_it_tells_and_does_the_whole_job(anck: Cotune) -> None:
    out = anck("demo").out
    for told in (
        "$ cotune diff online-offline",
        "$ cotune apply online-offline",
        "nothing to do: the host is as the profile wants it",
        "another agent writes 1024 to",
        "/sys/fs/cgroup/cpu,cpuacct/offline/cpu.shares",
        "1 drifted",
        "cpu.shares = 1024  drifted",
        "$ cotune rollback --profile online-offline",
        "nothing is applied",
        "The simulated host reads as at the start",
        "every step behaved",
    ):
        assert told in out
    assert not list(anck.directory.glob("cotune-demo-*"))


def test_json(anck: Cotune) -> None:
    record = anck.json("demo")
    assert record["ok"] and not record["errors"]
    assert [step["command"][0] for step in record["steps"]] == [
        "diff", "apply", "apply", "status", "why", "apply", "status", "rollback", "status",
    ]  # fmt: skip
    assert all(step["exit"] == step["expected"] for step in record["steps"])
    assert record["compared"] > 1000


def test_keep(real: Cotune) -> None:
    record = real.json("demo", "--keep")
    kept = Path(record["state_dir"])
    assert list(kept.rglob("anck-4.19.json"))
    assert "cotune --sim anck-4.19 --state-dir" in " ".join(real("demo", "--keep").out.split())


@pytest.mark.parametrize("kernel", ["anck-seed", "mainline-v1"])
def test_other_hosts_and_profiles(kernel: str, cotune_on: Make) -> None:
    cotune_on(kernel).json("demo", "--profile", "mainline-v1")


def test_a_step_that_does_not_behave(anck: Cotune) -> None:
    """A profile that changes nothing: diff ends with 0, and the rest is not tried."""
    path = anck.profile("host: {sysctl: {vm.swappiness: 60}}\n")
    record = anck.json("demo", "--profile", path, code=1)
    assert record["errors"] == [f"cotune diff {path}: exit code 0, expected 1"]
    assert "the demo did not go as it should" in anck("demo", "--profile", path, code=1).out


def test_never_on_a_real_root(anck: Cotune) -> None:
    anck.kernel = None
    assert "simulated host only" in anck("demo", "--root", "/", code=2).err
