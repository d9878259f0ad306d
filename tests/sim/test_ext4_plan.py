"""ext4 in profiles on simulated hosts: features of what is not mounted, the journal, projects, and their consent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cotune.apply import Result
from cotune.errors import ApplyFailed, PlanRefused, ProfileError
from cotune.host.facts import Host
from cotune.journal import Journal
from cotune.kernel.port import Kernel, Project, Quota
from cotune.planning import Options
from cotune.sim.faults import Fault, FaultyKernel
from cotune.sim.kernel import SimKernel
from cotune.state import given_state
from cotune.undo import UndoResult, undo
from tests.sim.lab import run, write_profile

CONSENT = Options(flags=frozenset(("allow-irreversible",)))
HOSTS = ["anck-5.10", "mainline-v2"]


class Bench:
    """A simulated host with a journal."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.kernel = folder, SimKernel(name)
        self.journal = Journal(given_state(folder / "state"))

    def apply(self, *entries: dict[str, Any], options: Options = CONSENT, kernel: Kernel | None = None) -> Result:
        """Apply a profile with these mounts."""
        body = yaml.safe_dump({"host": {"mounts": list(entries)}}, sort_keys=False)
        return run(kernel or self.kernel, self.journal, write_profile(self.folder, "test", body), options)

    def undo(self) -> UndoResult:
        """Undo everything in force."""
        return undo(Host(self.kernel), self.journal, [t for t in self.journal.load()[::-1] if t.in_force], lambda: "")

    def features(self, device: str) -> set[str]:
        """The features in the superblock."""
        lines = self.kernel.tool("tune2fs", ["-l", device]).splitlines()
        return set(next(line for line in lines if line.startswith("Filesystem features:")).split()[2:])


@pytest.fixture
def anck(tmp_path: Path) -> Bench:
    return Bench(tmp_path, "anck-5.10")


def knobs(items: Any) -> set[str]:
    """The knobs of unsupported or pending items, without the common prefix."""
    return {item.knob.removeprefix("mount.") for item in items}


def data(**entry: Any) -> dict[str, Any]:
    """An entry for /data."""
    return {"match": {"mountpoint": "/data"}, **entry}


def projects(**directories: dict[str, Any]) -> dict[str, Any]:
    """An entry for /data with projects of directories on it."""
    return data(quota={"project": {f"/data/{name}": wanted for name, wanted in directories.items()}})


# --- options --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["anck-4.19", "anck-5.10", "anck-6.6", "mainline-v1", "mainline-v2"])
def test_every_remountable_option_there_and_back(tmp_path: Path, name: str) -> None:
    bench = Bench(tmp_path, name)
    point = "/data" if any(mount.point == "/data" for mount in bench.kernel.mounts()) else "/"
    before = bench.kernel.mounts()
    options = {
        "barrier": False, "commit": 30, "min_batch_time": 5, "max_batch_time": 500, "journal_ioprio": 0,
        "delalloc": False, "auto_da_alloc": False, "discard": True, "errors": "panic", "lazytime": True,
        "dioread_nolock": name == "anck-4.19", "stripe": 8, "inode_readahead_blks": 64, "init_itable": False,
        "block_validity": False, "max_dir_size_kb": 100, "resuid": 3, "resgid": 4, "grpid": True,
        "data": "ordered", "mbcache": True, "acl": True,
    }  # fmt: skip
    entry = {"match": {"mountpoint": point}, "options": options, "accept_data_loss": True}
    result = bench.apply(entry)
    assert not result.plan.pending
    assert not result.plan.unsupported
    shown = next(mount.super_options for mount in bench.kernel.mounts() if mount.point == point)
    assert {"nobarrier", "commit=30", "stripe=8", "errors=panic", "lazytime", "noinit_itable", "grpid"} <= set(shown)
    assert bench.apply(entry).transaction is None
    assert bench.undo().left == []
    assert bench.kernel.mounts() == before


def test_attributes_can_be_switched_off_only_before_6(tmp_path: Path) -> None:
    for name, supported in (("anck-5.10", True), ("anck-6.6", False)):
        folder = tmp_path / name
        folder.mkdir()
        result = Bench(folder, name).apply(data(options={"acl": False, "user_xattr": False}))
        assert knobs(result.plan.unsupported) == (set() if supported else {"acl", "user_xattr"})
        assert (result.transaction is not None) is supported


def test_pending_options_are_not_tried(anck: Bench) -> None:
    before = anck.kernel.mounts()
    wanted = {"data": "journal", "mbcache": False, "dax": True, "journal_checksum": False, "journal_async_commit": True}
    result = anck.apply(data(options=wanted))
    assert knobs(result.plan.pending) == set(wanted)
    assert result.transaction is None
    assert anck.kernel.mounts() == before


def test_two_mounts_of_one_file_system_must_agree(anck: Bench) -> None:
    anck.kernel.mkdir("/again")
    anck.kernel.mount("ext4", "/dev/nvme0n1", "/again", [])
    again = {"match": {"mountpoint": "/again"}, "options": {"commit": 40}}
    with pytest.raises(PlanRefused, match="one file system"):
        anck.apply(data(options={"commit": 30}), again)


def test_the_consent_of_prjquota(anck: Bench) -> None:
    with pytest.raises(PlanRefused) as refused:
        anck.apply(data(options={"prjquota": True}), options=Options())
    assert "--allow-irreversible" in (refused.value.hint or "")
    anck.apply(data(options={"prjquota": True, "commit": 9}))
    left = anck.undo().left
    assert len(left) == 1
    assert "mount.prjquota" in left[0]
    assert "prjquota" in next(mount.super_options for mount in anck.kernel.mounts() if mount.point == "/data")


def test_giving_prjquota_up_ends_only_the_ownership(anck: Bench) -> None:
    anck.apply(data(options={"prjquota": True, "commit": 9}))
    result = anck.apply(data(options={"commit": 9}))
    assert any("prjquota" in note and "given up" in note for note in result.plan.notes)
    assert anck.apply(data(options={"commit": 9})).transaction is None


def test_barrier_off_on_a_volatile_cache(anck: Bench) -> None:
    root = {"match": {"mountpoint": "/"}, "options": {"barrier": False}}
    with pytest.raises(PlanRefused) as refused:
        anck.apply(root, options=Options())
    assert "accept_data_loss" in refused.value.message
    assert "--force" in (refused.value.hint or "")
    assert anck.apply(root, options=Options(flags=frozenset(("force",)))).transaction
    # it is off already: nothing more to consent to
    assert anck.apply(root, options=Options()).transaction is None
    assert anck.undo().left == []
    assert anck.apply({**root, "accept_data_loss": True}, options=Options()).transaction


# --- features -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("match", [{"device": "/dev/sdb1"}, {"mountpoint": "/backup"}])
def test_features_of_what_is_not_mounted(anck: Bench, match: dict[str, str]) -> None:
    """By device, or by the mount point that /etc/fstab has."""
    before = anck.features("/dev/sdb1")
    entry = {
        "match": match,
        "features": {"fast_commit": True, "project": True, "quota": True},
        "options": {"commit": 9},
    }
    result = anck.apply(entry)
    assert any("only features" in note for note in result.plan.notes)
    assert anck.features("/dev/sdb1") == before | {"fast_commit", "project", "quota"}
    assert anck.apply(entry).transaction is None
    anck.kernel.mount("ext4", "/dev/sdb1", "/backup", [])
    assert len(anck.undo().left) == 3
    anck.kernel.unmount("/backup")
    assert anck.undo().left == []
    assert anck.features("/dev/sdb1") == before


@pytest.mark.parametrize("name", HOSTS)
def test_features_below_a_mount_are_pending(tmp_path: Path, name: str) -> None:
    bench = Bench(tmp_path, name)
    result = bench.apply(data(features={"fast_commit": True}))
    assert knobs(result.plan.pending) == {"features.fast_commit"}
    assert "tune2fs -O fast_commit" in result.plan.pending[0].remedy
    assert result.transaction is None


def test_what_tune2fs_refuses_is_undone(anck: Bench) -> None:
    faulty = FaultyKernel(anck.kernel, [Fault(nth=3, on="tool", number=5)])
    before = anck.features("/dev/sdb1"), anck.kernel.mounts()
    entry = {"match": {"device": "/dev/sdb1"}, "features": {"fast_commit": True}}
    with pytest.raises(ApplyFailed, match="tune2fs"):
        anck.apply(data(options={"commit": 9}), entry, kernel=faulty)
    assert (anck.features("/dev/sdb1"), anck.kernel.mounts()) == before


# --- journal --------------------------------------------------------------------------------------------------------


def test_the_journal(anck: Bench) -> None:
    folder = "/proc/fs/jbd2/nvme0n1-8"
    before = anck.kernel.read(f"{folder}/stall_thresh")
    entry = data(jbd2={"stall_thresh": 1234, "force_copy": 1})
    anck.apply(entry)
    assert [anck.kernel.read(f"{folder}/{name}") for name in ("stall_thresh", "force_copy")] == ["1234\n", "1\n"]
    assert anck.apply(entry).transaction is None
    assert anck.undo().left == []
    assert anck.kernel.read(f"{folder}/stall_thresh") == before


def test_the_journal_elsewhere(tmp_path: Path) -> None:
    result = Bench(tmp_path, "mainline-v2").apply(data(jbd2={"stall_thresh": 1000}))
    [item] = result.plan.unsupported
    assert "ANCK" in item.remedy
    assert result.transaction is None


# --- projects -------------------------------------------------------------------------------------------------------


def enforced(bench: Bench) -> SimKernel:
    """/data with quota enforced and two directories on it."""
    bench.kernel.remount("/data", ["prjquota"])
    for name in ("c1", "c2"):
        bench.kernel.mkdir(f"/data/{name}")
    return bench.kernel


def test_limits_there_and_back(anck: Bench) -> None:
    kernel = enforced(anck)
    kernel.set_quota("/data", 101, Quota(inodes_hard=7))
    entry = projects(c1={"id": 101, "hard": "20GiB", "soft": "18GiB"}, c2={"id": 101, "soft": "18GiB", "hard": "20GiB"})
    anck.apply(entry)
    assert kernel.quota("/data", 101) == Quota(20 * 2**30, 18 * 2**30, 7, 0)
    assert kernel.project("/data/c1") == kernel.project("/data/c2") == Project(101, True)
    assert anck.apply(entry).transaction is None
    anck.apply(projects(c1={"id": 101, "hard": "max", "soft": "18GiB"}))
    assert kernel.quota("/data", 101) == Quota(0, 18 * 2**30, 7, 0)
    assert kernel.project("/data/c2") == Project(0, False)
    assert anck.undo().left == []
    assert kernel.quota("/data", 101) == Quota(inodes_hard=7)
    assert kernel.project("/data/c1") == Project(0, False)


def test_a_tree_is_assigned_with_consent(anck: Bench) -> None:
    kernel = enforced(anck)
    kernel.mkdir("/data/c1/inner")
    result = anck.apply(projects(c1={"id": 5, "hard": "1MiB"}))
    assert knobs(result.plan.unsupported) == {"quota.project.id", "quota.project.hard"}
    whole = projects(c1={"id": 5, "hard": "1MiB", "assign": True})
    with pytest.raises(PlanRefused, match="cannot be brought back"):
        anck.apply(whole, options=Options())
    anck.apply(whole)
    assert kernel.project("/data/c1/inner") == Project(5, True)
    assert anck.apply(whole, options=Options()).transaction is None
    assert anck.undo().left == []
    assert kernel.project("/data/c1/inner") == kernel.project("/data/c1") == Project(0, False)


def test_a_tree_that_cannot_be_assigned_goes_back(anck: Bench) -> None:
    kernel = enforced(anck)
    for name in ("a", "b"):
        kernel.mkdir(f"/data/c1/{name}")
    faulty = FaultyKernel(kernel, [Fault(nth=3, on="project", number=122)])
    with pytest.raises(ApplyFailed, match="EDQUOT"):
        anck.apply(projects(c1={"id": 5, "hard": "1MiB", "assign": True}), kernel=faulty)
    assert {kernel.project(path).id for path in ("/data/c1", "/data/c1/a", "/data/c1/b")} == {0}
    assert kernel.quota("/data", 5) == Quota()


@pytest.mark.parametrize(
    ("directory", "reason"),
    [
        ("/data/none", "there is no directory"),
        ("/data/again/c1", "does not lie on"),
        ("/data/file", "no directory"),
    ],
)
def test_where_a_project_cannot_be(anck: Bench, directory: str, reason: str) -> None:
    kernel = enforced(anck)
    kernel.mkdir("/data/again")
    kernel.mount("ext4", "/dev/sdb1", "/data/again", [])
    kernel.mkdir("/data/again/c1")
    kernel._machine.plain["/data/file"] = "text"
    result = anck.apply(data(quota={"project": {directory: {"id": 4, "hard": "1MiB"}}}))
    assert len(result.plan.unsupported) == 2
    assert all(reason in item.reason for item in result.plan.unsupported)
    assert result.transaction is None


@pytest.mark.parametrize(("point", "word"), [("/", "features"), ("/data", "prjquota")])
def test_without_enforcement_nothing_is_set(anck: Bench, point: str, word: str) -> None:
    directory = f"{point.rstrip('/')}/c1"
    anck.kernel.mkdir(directory)
    entry = {"match": {"mountpoint": point}, "quota": {"project": {directory: {"id": 4, "hard": "1MiB"}}}}
    result = anck.apply(entry)
    assert len(result.plan.unsupported) == 2
    assert word in result.plan.unsupported[0].reason
    assert anck.kernel.project(directory) == Project(0, False)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (projects(c1={"id": 5, "hard": "1MiB"}, c2={"id": 5, "hard": "2MiB"}), "project 5 has other limits"),
        (projects(c1={"hard": "1MiB"}), "the key id is missing"),
        (projects(c1={"id": 0}), "whole number from 1"),
        (projects(c1={"id": 1, "hard": "10%"}), "size such as 20GiB"),
        (projects(**{"../c1": {"id": 1}}), "absolute path"),
        (data(quota={"project": {"/other/c1": {"id": 1}}}), "does not lie below /data"),
        (data(options={"inode_readahead_blks": 3}), "power of 2"),
        (data(features={"sparse": True}), "unknown key"),
        (data(jbd2={"stall_thresh": -1}), "whole number"),
        ({"match": {"mountpoint": "/a", "device": "/dev/b"}, "options": {"commit": 5}}, "exactly one of"),
        ({"match": {"fstype": "ext4"}, "options": {"commit": 5}}, "exactly one of"),
        ({"match": {"device": "sdb"}, "options": {"commit": 5}}, "absolute path"),
    ],
)
def test_what_no_host_can_take(anck: Bench, entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ProfileError) as refused:
        anck.apply(entry)
    assert message in str(refused.value)
