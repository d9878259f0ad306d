"""The life of ``cotune sim mount``: what it refuses, how it ends, what outlasts it, and what goes wrong on purpose."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cotune.kernel import admin
from tests.sim.mount_lab import REPOSITORY, SECONDS, Answer, cotune, mounted, need_fuse

SHARES, SWAPPINESS = "/sys/fs/cgroup/cpu/jobs/cpu.shares", "/proc/sys/vm/swappiness"
PROFILE = """\
apiVersion: cotune/v1
kind: IsolationProfile
metadata: {name: jobs}
host:
  sysctl: {vm.swappiness: 10}
groups:
  jobs: {match: {cgroup: jobs}, create: true, cpu: {shares: 64}, memory: {limit: 1GiB}}
"""


@pytest.fixture(autouse=True)
def _fuse() -> None:
    need_fuse()


@pytest.fixture
def profile(tmp_path: Path) -> str:
    path = tmp_path / "jobs.yaml"
    path.write_text(PROFILE)
    return str(path)


def start(directory: Path, *options: str) -> Answer:
    """Try to mount where it is refused."""
    return cotune("sim", "mount", str(directory), "--state-dir", str(directory.parent / "state"), *options)


# ---- refusals --------------------------------------------------------------------------------------------------------


def test_what_is_no_mount_point(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "full" / "inside").mkdir(parents=True)
    for name, said in (("file", "Not a directory"), ("full", "is not empty"), ("missing", "No such file")):
        answer = start(tmp_path / name, "--kernel", "mainline-v1")
        assert (answer.code, said in answer.err, "hint:" in answer.err) == (2, True, True), answer.err
    assert not (tmp_path / "state").exists()
    answer = cotune(
        "sim", "mount", str(tmp_path / "full/inside"), "--kernel", "hybrid", "--state-dir", f"{tmp_path}/full/inside"
    )
    assert (answer.code, "lie one in the other" in answer.err) == (2, True), answer.err


def test_wrong_words(tmp_path: Path) -> None:
    tmp_path.joinpath("host").mkdir()
    for words, said in (
        (["--kernel", "mainline-v3"], "did you mean mainline-v2?"),
        (["--kernel", "mainline-v1", "--fault", "errno=EWRONG,write=1"], "EWRONG is no errno name"),
        (["--kernel", "mainline-v1", "--fault", "kill=me,write=1"], "kill= wants the word caller"),
        (["--kernel", "mainline-v1", "--sim", "mainline-v1"], "name the simulated host with --kernel"),
        (["--kernel", "mainline-v1", "--root", "/"], "takes neither --root nor --sim"),
        ([], "--kernel"),
    ):
        answer = start(tmp_path / "host", *words)
        assert (answer.code, said in answer.err) == (2, True), answer.err


def test_without_pyfuse3_it_says_what_to_install(tmp_path: Path) -> None:
    code = "import sys; sys.modules['pyfuse3'] = None; from cotune.cli.app import run; sys.exit(run(sys.argv[1:]))"
    words = ["sim", "mount", str(tmp_path), "--kernel", "mainline-v1"]
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 3
    assert "pip install 'cotune[views]'" in done.stderr


def test_a_host_has_one_user_at_a_time(tmp_path: Path) -> None:
    with mounted(tmp_path, "mainline-v1") as host:
        again = start(host.root, "--kernel", "hybrid")
        assert (again.code, "shows a simulated host already" in again.err) == (2, True), again.err
        (tmp_path / "other").mkdir()
        other = start(tmp_path / "other", "--kernel", "mainline-v1")
        assert (other.code, f"pid {host.process.pid}" in other.err) == (6, True), other.err
        assert "--state-dir" in other.err
        assert cotune("--sim", "mainline-v1", "--state-dir", str(host.state), "status").code == 6


# ---- ends ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGHUP, 0), (signal.SIGINT, 130)])
def test_a_signal_unmounts(tmp_path: Path, number: signal.Signals, code: int) -> None:
    with mounted(tmp_path, "mainline-v1") as host:
        assert (host.mounted(), host.end(number), host.mounted()) == (True, code, False)
        assert os.listdir(host.root) == []
        gone = host.cotune("diff", "base")
        assert (gone.code, "there is no host below it" in gone.err) == (2, True)


@pytest.mark.root
def test_unmounting_ends_it(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with mounted(tmp_path, "mainline-v1") as host:
        admin.unmount(str(host.root))
        assert host.process.wait(SECONDS) == 0


def test_a_dead_mount_is_replaced_and_nothing_is_lost(tmp_path: Path, profile: str) -> None:
    with mounted(tmp_path, "mainline-v1") as host:
        boot = host.read("/proc/sys/kernel/random/boot_id")
        assert host.cotune("apply", profile).code == 0
        host.path("/etc/motd").write_text("still here")
        host.write(SWAPPINESS, "33")
        assert host.end(signal.SIGKILL) == -signal.SIGKILL
        assert host.mounted()
        dead = host.cotune("diff", "base")
        assert (dead.code, "there is no host below it" in dead.err) == (2, True)
        with mounted(tmp_path, "mainline-v1") as again:
            assert (again.told["replaced"], again.told["point"]) == (True, str(host.root))
            assert (again.read(SWAPPINESS), again.read(SHARES)) == ("33", "64")
            assert (again.read("/etc/motd"), again.read("/proc/sys/kernel/random/boot_id")) == ("still here", boot)
            drifted = again.cotune("status", "--json")
            assert [one["knob"] for one in drifted.json["drift"]] == ["vm.swappiness"]
            again.end()
        # and it is the host of --sim
        words = ["--sim", "mainline-v1", "--state-dir", str(host.state)]
        assert cotune(*words, "rollback", "--force").code == 0
        with mounted(tmp_path, "mainline-v1") as last:
            assert last.read(SWAPPINESS) == "60"
            assert not last.path(SHARES).exists()
            assert "nothing to roll back" in last.cotune("rollback").out


# ---- faults ----------------------------------------------------------------------------------------------------------


def test_a_kernel_that_refuses_for_good(tmp_path: Path, profile: str) -> None:
    with mounted(tmp_path, "mainline-v1", "--fault", "errno=EINVAL,write=1+,path=*/cpu.shares") as host:
        for _ in range(2):
            refused = host.cotune("apply", profile)
            assert (refused.code, "EINVAL" in refused.err) == (4, True), refused.err
            assert (host.read(SWAPPINESS), host.path(SHARES).parent.exists()) == ("60", False)


def test_a_run_that_dies_in_the_middle_is_undone_by_the_next(tmp_path: Path, profile: str) -> None:
    with mounted(tmp_path, "mainline-v1", "--fault", "kill=caller,write=2") as host:
        words = [sys.executable, "-m", "cotune.cli", "--root", str(host.root), "apply", profile, "--label", "run"]
        assert subprocess.run(words, cwd=REPOSITORY, timeout=SECONDS).returncode == -signal.SIGKILL
        cut_off = host.cotune("status", "--json")
        assert (cut_off.code, cut_off.json["interrupted"]) == (1, ["000001"])
        assert host.path(SHARES).parent.exists()
        assert host.cotune("apply", profile, "--label", "run").code == 0
        assert (host.read(SWAPPINESS), host.read(SHARES)) == ("10", "64")
        history = host.cotune("history", "--json").json["transactions"]
        assert [one["state"] for one in history] == ["committed", "rolled-back"]


def test_a_group_that_vanishes(tmp_path: Path) -> None:
    fault = "vanish=/sys/fs/cgroup/cpu/jobs,write=1,path=*/swappiness"
    with mounted(tmp_path, "mainline-v1", "--fault", fault) as host:
        host.path("/sys/fs/cgroup/cpu/jobs").mkdir()
        assert host.read(SHARES) == "1024"
        host.write(SWAPPINESS, "5")
        assert not host.path(SHARES).exists()


def test_a_rollback_the_kernel_refuses(tmp_path: Path, profile: str) -> None:
    """Other values go back; what was left is named, and put back once the kernel takes it."""
    with mounted(tmp_path, "mainline-v1") as host:
        assert host.cotune("apply", profile, "--label", "run").code == 0
    with mounted(tmp_path, "mainline-v1", "--fault", "errno=EPERM,write=1+,path=*/swappiness") as host:
        refused = host.cotune("rollback", "--label", "run", "--json")
        assert (refused.code, len(refused.json["left"])) == (5, 1)
        assert "vm.swappiness" in refused.json["left"][0]
        assert (host.read(SWAPPINESS), host.path(SHARES).parent.exists()) == ("10", False)
    with mounted(tmp_path, "mainline-v1") as host:
        assert host.cotune("rollback", "--label", "run").code == 0
        assert host.read(SWAPPINESS) == "60"
