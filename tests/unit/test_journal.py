"""Journals and the state directory: torn and damaged files, locks, permissions."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cotune.cli.app import run
from cotune.errors import CotuneError, Locked, NotPermitted, Origin, UsageError
from cotune.journal import APPLYING, COMMITTED, PARTIAL, ROLLED_BACK, Journal, Transaction
from cotune.model import Entry, Move, Target
from cotune.state import StateDir, default_state, given_state

GROUP = "/sys/fs/cgroup/cpu/g"
TARGET = Target("cpu.weight", "shares", "cgroup:g", GROUP, f"{GROUP}/cpu.shares", None, "cpu.shares")
ROW = Target(
    "io.throttle",
    "write_bps",
    "cgroup:g",
    "/b/g",
    "/b/g/blkio.throttle.write_bps_device",
    "8:0",
    "io.throttle.write_bps",
)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(given_state(tmp_path / "state"))


def begin(journal: Journal) -> Transaction:
    transaction = Transaction(
        id=journal.next_id(),
        boot_id="boot",
        time="2026-01-01T00:00:00Z",
        profile="p",
        version="1.0.0",
        label="",
        files=["p.yaml"],
        entries=[Entry(TARGET, 1024, 2, (2,), "p.yaml:3:4"), Entry(ROW, 0, 5, (None, 5), effect=True)],
        created=["/sys/fs/cgroup/cpu/g"],
        moves=[Move(7, 99, "a b", "cgroup:g", "/to", "/from", Origin("p.yaml:9:9"))],
        witnessed=[("/m/wmark", 5)],
    )
    journal.begin(transaction)
    return transaction


def path_of(journal: Journal, transaction: Transaction) -> Path:
    return journal.state.transactions / f"{transaction.id}.jsonl"


def test_what_is_written_is_read_again(journal: Journal) -> None:
    transaction = begin(journal)
    assert journal.load() == [transaction]
    journal.append(
        transaction, COMMITTED, "later", notes=["n"], skipped=[["/b/g/blkio.throttle.write_bps_device", "8:0"]]
    )
    (read,) = journal.load()
    assert read == transaction
    assert read.state == COMMITTED
    assert [entry.target for entry in read.live_entries()] == [TARGET]
    assert begin(journal).id == "000002"


def test_modes_are_private(journal: Journal) -> None:
    transaction = begin(journal)
    assert stat.S_IMODE(os.stat(path_of(journal, transaction)).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(journal.state.path).st_mode) == 0o700


@pytest.mark.parametrize("cut", [1, 5, 12])
def test_a_line_cut_off_by_a_crash_never_happened(journal: Journal, cut: int) -> None:
    transaction = begin(journal)
    journal.append(transaction, COMMITTED, "later")
    path = path_of(journal, transaction)
    path.write_bytes(path.read_bytes()[:-cut])
    (read,) = journal.load()
    assert read.state == APPLYING
    journal.append(read, ROLLED_BACK, "much later")
    (again,) = journal.load()
    assert again.state == ROLLED_BACK


def test_a_partly_rolled_back_transaction_keeps_what_was_left(journal: Journal) -> None:
    transaction = begin(journal)
    journal.append(transaction, PARTIAL, "later", left=["x"], kept=[[TARGET.path, None]])
    (read,) = journal.load()
    assert [entry.target for entry in read.live_entries()] == [TARGET]


@pytest.mark.parametrize(
    "damage",
    [b"", b"garbage\n", b"[]\n", b'{"journal": 99}\n', b'{"journal": 1}\n', b"\xff\xfe\n", b"null\n"],
    ids=["empty", "garbage", "list", "newer", "incomplete", "binary", "null"],
)
def test_a_damaged_journal_is_named(journal: Journal, damage: bytes) -> None:
    path = path_of(journal, begin(journal))
    path.write_bytes(damage)
    with pytest.raises(UsageError, match="damaged") as caught:
        journal.load()
    assert str(path) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("line", ["5", "null", "{}", '{"state": "weird", "time": "t"}', '{"state": "committed"}'])
def test_a_later_line_that_makes_no_sense_is_damage(journal: Journal, line: str) -> None:
    path = path_of(journal, begin(journal))
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(CotuneError, match="damaged"):
        journal.load()


def test_other_files_are_left_alone(journal: Journal) -> None:
    begin(journal)
    (journal.state.transactions / "notes.jsonl").write_text("mine")
    (journal.state.transactions / "000009.tmp").write_text("cut off")
    assert len(journal.load()) == 1
    journal.clean()
    assert sorted(os.listdir(journal.state.transactions)) == ["000001.jsonl", "notes.jsonl"]


def test_two_ways_to_name_one_state_share_a_lock(tmp_path: Path) -> None:
    one, other = StateDir(tmp_path / "state", tmp_path / "run/lock"), given_state(tmp_path / "state")
    with one.locked(), pytest.raises(Locked, match=f"pid {os.getpid()}"), other.locked():
        pytest.fail("both hold it")
    with other.locked():
        pass


def test_waiting_for_the_lock(tmp_path: Path) -> None:
    state = given_state(tmp_path)
    release = threading.Event()
    held = threading.Event()

    def hold() -> None:
        with state.locked():
            held.set()
            release.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    threading.Timer(0.3, release.set).start()
    with state.locked(wait=10):
        assert release.is_set()
    thread.join()


@pytest.mark.parametrize("what", ["directory", "link", "below a file"])
def test_a_lock_that_cannot_be_taken(tmp_path: Path, what: str) -> None:
    if what == "directory":
        (tmp_path / "lock").mkdir()
    elif what == "link":
        (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    path = tmp_path
    if what == "below a file":
        (tmp_path / "file").write_text("")
        path = tmp_path / "file"
    with pytest.raises(NotPermitted), given_state(path).locked():
        pytest.fail("it was taken")
    assert not (tmp_path / "elsewhere").exists()


def test_state_stays_inside_another_root(tmp_path: Path) -> None:
    state = default_state(str(tmp_path), lambda path: path.replace("/var/lib", "/moved"))
    assert state.path == tmp_path / "moved/cotune"
    assert state.lock == tmp_path / "run/cotune/lock"


def test_a_state_below_a_file_is_a_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert run(["history", "--state-dir", str(tmp_path / "file")]) == 2
    assert "Not a directory" in capsys.readouterr().err


def test_a_full_output_does_not_change_the_outcome(tmp_path: Path) -> None:
    """The work is done by the time it is printed."""
    command = [sys.executable, "-m", "cotune.cli.__main__", "--state-dir", str(tmp_path), "--sim", "anck-4.19"]
    with open("/dev/full", "w") as full:
        done = subprocess.run([*command, "apply", "base"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, "could not be printed" in done.stderr) == (0, True), done.stderr
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run([*command, "history"], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    done = subprocess.run([*command, "rollback"], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
