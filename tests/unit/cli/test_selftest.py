"""cotune selftest: every simulated kernel as known, differences in words, scratch groups that always go away."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import Any

import pytest

import cotune.selftest
from cotune.cli.app import run as run_cli
from cotune.errors import NotPermitted
from cotune.host.facts import Host
from cotune.selftest.places import holds
from cotune.selftest.report import differing, lines, transcript
from cotune.selftest.runner import AREAS, FAMILIES, Result, Wish, run
from cotune.selftest.scratch import PREFIX
from cotune.sim.kernel import KERNELS, SimKernel
from tests.sim.lab import changed, snapshot
from tests.unit.cli.conftest import Make

CPU = "/sys/fs/cgroup/cpu"


def probe(kernel: SimKernel, *areas: str, below: str | None = None, irreversible: bool = False) -> Result:
    return run(Host(kernel), Wish(below, irreversible, frozenset(areas)))


def text(result: Result) -> str:
    return "\n".join("".join(piece for _, piece in line) for line in lines(result, verbose=True))


@pytest.mark.parametrize("name", KERNELS)
def test_simulated_kernels_are_as_known(name: str) -> None:
    """The tables of the probes and the simulated kernels were written apart from each other."""
    kernel = SimKernel(name)
    before = snapshot(kernel)
    result = probe(kernel)
    assert differing(result) == 0, text(result)
    assert (result.left, result.refused) == ([], [])
    assert changed(before, snapshot(kernel)) == {}
    assert sum(family.count("known") for family in result.families) > 250


def test_a_file_behind_a_switch_is_as_known_both_ways() -> None:
    kernel = SimKernel("tencentos")
    for switch, refused in (("0", 4), ("1", 0)):
        kernel.write("/proc/sys/vm/wujing_enable", switch)
        result = probe(kernel, "memory")
        writes = [record for record in result.records if record["file"].endswith("/memory.high")]
        accepted = {"100M", "104857601", "max"}
        assert differing(result) == 0, text(result)
        assert sum(r["errno"] == "EINVAL" for r in writes if r["input"] in accepted) == refused


@pytest.mark.parametrize("name", ["openeuler", "openeuler-6.6", "tencentos-4.14"])
def test_irreversible_files_are_as_known(name: str) -> None:
    result = probe(SimKernel(name), "cpu", irreversible=True)
    assert differing(result) == 0, text(result)


def test_the_tables_do_not_look_at_the_catalogue() -> None:
    folder = Path(cotune.selftest.__file__).parent
    for path in folder.glob("*.py"):
        assert not re.search(r"cotune\.(knobs|controls|sim)", path.read_text()), path.name


def test_every_rule_names_its_source() -> None:
    assert [file.name for family in FAMILIES for file in family.files if not file.source] == []
    assert {"cpu", "cpuset", "memory", "pids", "blkio", "io", "cgroup", "host"} <= set(AREAS)


class Watched(SimKernel):
    """Notes everything that changes something."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.touched: list[str] = []

    def write(self, path: str, text: str) -> None:
        self.touched.append(path)
        super().write(path, text)

    def mkdir(self, path: str) -> None:
        self.touched.append(path)
        super().mkdir(path)

    def rmdir(self, path: str) -> None:
        self.touched.append(path)
        super().rmdir(path)


@pytest.mark.parametrize("name", KERNELS)
def test_nothing_but_scratch_groups_is_written(name: str) -> None:
    kernel = Watched(name)
    probe(kernel, irreversible=True)
    assert len(kernel.touched) > 200
    assert [path for path in kernel.touched if f"/{PREFIX}" not in path] == []


class Odd(SimKernel):
    """Takes a swappiness that no kernel takes, and forgets to refuse text as shares."""

    def write(self, path: str, text: str) -> None:
        if path.endswith("/memory.swappiness") and text == "201":
            text = "150"
        if path.endswith("/cpu.shares") and text == "abc":
            text = "77"
        super().write(path, text)


def test_differences_are_told_in_words() -> None:
    result = probe(Odd("mainline-v1"), "cpu", "memory")
    assert differing(result) == 2
    told = text(result)
    assert "memory.swappiness, above the upper bound: this kernel takes '201' and reads '150'" in told
    assert "known: refused with EINVAL (mm/memcontrol-v1.c mem_cgroup_swappiness_write)" in told
    assert "cpu.shares, text: this kernel takes 'abc' and reads '77'" in told
    assert "  differs   cpu v1" in told


class Refusing(SimKernel):
    """Lets nobody make groups at the root of a hierarchy, or nowhere."""

    everywhere = False

    def mkdir(self, path: str) -> None:
        if self.everywhere or re.fullmatch(r"/sys/fs/cgroup/[^/]+/[^/]+", path):
            raise PermissionError(13, "Permission denied", path)
        super().mkdir(path)


def test_the_own_group_serves_where_the_root_may_not_be_written() -> None:
    result = probe(Refusing("anck-4.19"), "cpu", "memory")
    assert differing(result) == 0, text(result)
    assert {family.parent for family in result.families} == {
        "/sys/fs/cgroup/cpu,cpuacct/user.slice",
        "/sys/fs/cgroup/memory/user.slice",
    }


def test_files_the_caller_may_not_write_are_left_out() -> None:
    class Delegated(SimKernel):
        def writable(self, path: str) -> bool:
            return not path.endswith("/cpu.stat") and super().writable(path)

    result = probe(Delegated("mainline-v1"), "cpu")
    assert differing(result) == 0
    assert [record["op"] for record in result.records if record["file"].endswith("/cpu.stat")] == []
    assert result.families[0].left_out == ["cpu.stat: a write to a report: this user may not write the file"]


def test_nothing_may_be_made() -> None:
    from cotune.cli.selftest import _check_probed

    kernel = Refusing("anck-4.19")
    kernel.everywhere = True
    result = probe(kernel)
    assert (result.probed, result.forbidden, result.records) == (0, True, [])
    with pytest.raises(NotPermitted, match="Permission denied") as refused:
        _check_probed(result, Wish())
    assert "--below" in refused.value.hint


class Interrupted(Watched):
    """Ctrl-C at the n-th operation, and once more while the scratch group is being removed."""

    after = 0
    again = True

    def write(self, path: str, text: str) -> None:
        super().write(path, text)
        if len(self.touched) == self.after:
            raise KeyboardInterrupt

    def mkdir(self, path: str) -> None:
        super().mkdir(path)
        if len(self.touched) == self.after:
            raise KeyboardInterrupt

    def rmdir(self, path: str) -> None:
        super().rmdir(path)
        if len(self.touched) > self.after and self.again:
            self.again = False
            raise KeyboardInterrupt


@pytest.mark.parametrize("after", [1, 2, 3, 40, 200])
def test_an_interrupted_run_leaves_nothing(after: int) -> None:
    kernel = Interrupted("mainline-v1")
    kernel.after = after
    before = snapshot(kernel)
    with pytest.raises(KeyboardInterrupt):
        probe(kernel)
    assert changed(before, snapshot(kernel)) == {}


def test_an_error_in_the_middle_leaves_nothing() -> None:
    class Broken(Watched):
        def read(self, path: str) -> str:
            if len(self.touched) > 50:
                raise RuntimeError("broken")
            return super().read(path)

    kernel = Broken("mainline-v1")
    with pytest.raises(RuntimeError):
        probe(kernel)
    assert [name for name in kernel.subdirs(CPU) if name.startswith(PREFIX)] == []


def test_leftovers_of_a_killed_run_are_removed() -> None:
    kernel = SimKernel("mainline-v1")
    start = kernel.read("/proc/310/stat").rpartition(")")[2].split()[19]
    gone, reused = f"{PREFIX}99999-123-0a1b2c3d", f"{PREFIX}310-{int(start) + 1}-0a1b2c3d"
    alive, busy, other = f"{PREFIX}310-{start}-0a1b2c3d", f"{PREFIX}99999-124-0a1b2c3d", f"{PREFIX}notes"
    for name in (gone, f"{gone}/cpu-v1", reused, alive, busy, f"{busy}/b", other):
        kernel.mkdir(f"{CPU}/{name}")
    kernel.spawn(9000, "stray")
    kernel.write(f"{CPU}/{busy}/b/cgroup.procs", "9000")
    result = probe(kernel, "cpu")
    assert [name for name in kernel.subdirs(CPU) if name.startswith(PREFIX)] == sorted([alive, busy, other])
    assert sum("left by a run that was killed; removed" in note for note in result.notes) == 2
    assert differing(result) == 0


def test_what_cannot_be_removed_is_told() -> None:
    class Sticky(SimKernel):
        def rmdir(self, path: str) -> None:
            if re.search(r"/cotune-selftest-[^/]+$", path):
                raise OSError(16, "Device or resource busy", path)
            super().rmdir(path)

    result = probe(Sticky("mainline-v1"), "pids")
    assert len(result.left) == 1
    assert "Device or resource busy" in text(result)


def test_conditions() -> None:
    host = Host(SimKernel("anck-4.19"))
    assert holds(host, "anck")
    assert holds(host, "<5.8 anck")
    assert holds(host, "build=4.19.91-26.")
    assert holds(host, "kernel.sched_group_identity_enabled=0")
    assert not holds(host, "mainline")
    assert not holds(host, ">=5.8")
    assert holds(Host(SimKernel("mainline-v1")), ">=6.13 mainline")


def test_a_build_that_crashes_is_left_alone() -> None:
    class Crashing(SimKernel):
        def read(self, path: str) -> str:
            return "4.19.91-25.3.al7.x86_64\n" if path.endswith("/osrelease") else super().read(path)

    result = probe(Crashing("anck-4.19"), "cpu")
    family = next(family for family in result.families if family.name == "cpu of ANCK")
    assert (family.verdicts, family.left_out) == ([], ["builds 4.19.91-25.* are known to crash on group identity"])


# --- the verb -------------------------------------------------------------------------------------------------------


def test_the_record(cotune_on: Make, tmp_path: Path) -> None:
    path = tmp_path / "kernel.json"
    told = cotune_on("mainline-v1").json("selftest", "--record", str(path), "--below", "other", "--area", "cpuset")
    records: list[dict[str, Any]] = json.loads(path.read_text())
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert (told["operations"], told["record"], told["differs"]) == (len(records), str(path), 0)
    assert told["families"][0]["parent"] == "/sys/fs/cgroup/cpuset/other"
    assert [record["i"] for record in records] == list(range(len(records)))
    keys = {"i", "kernel", "host", "op", "file", "input", "errno", "stage", "before", "readback", "note"}
    assert all(record.keys() == keys for record in records)
    assert records[0]["op"] == "mkdir"
    assert records[-1] | {"i": 0, "file": ""} == records[0] | {"op": "rmdir", "file": "", "note": ""}


def test_a_recording_is_the_same_every_time() -> None:
    first, second = (transcript(probe(SimKernel("anck-seed"))) for _ in range(2))
    name = re.compile(rf"{PREFIX}[0-9a-f-]+")
    assert name.sub("*", first) == name.sub("*", second)


def test_files_are_not_overwritten(cotune_on: Make, tmp_path: Path) -> None:
    path = tmp_path / "kernel.json"
    path.write_text("mine")
    cotune = cotune_on("mainline-v1")
    assert "exists already" in cotune("selftest", "--record", str(path), "--area", "pids", code=2).err
    assert path.read_text() == "mine"
    cotune("selftest", "--record", str(path), "--area", "pids", "--force")
    assert json.loads(path.read_text())
    nowhere = str(tmp_path / "no" / "file")
    assert "cannot be written" in cotune("selftest", "--record", nowhere, "--area", "pids", code=2).err


def test_wrong_arguments(cotune_on: Make) -> None:
    cotune = cotune_on("mainline-v1")
    assert "one of cpu, " in cotune("selftest", "--area", "gpu", code=2).err
    assert "may not contain .." in cotune("selftest", "--below", "other/../..", code=2).err
    assert "no group nowhere" in cotune("selftest", "--below", "nowhere", code=3).err


def test_a_host_without_cgroups(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "proc").mkdir()
    assert run_cli(["--root", str(tmp_path), "selftest"]) == 3
    assert "no cgroup hierarchy is mounted here" in capsys.readouterr().err


def test_a_directory_that_only_looks_like_a_hierarchy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A tree without a kernel behind it: nothing is left in it."""
    (tmp_path / "proc/1").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/pids").mkdir(parents=True)
    mount = "36 31 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
    (tmp_path / "proc/1/mountinfo").write_text(mount)
    assert run_cli(["--root", str(tmp_path), "--state-dir", str(tmp_path / "state"), "selftest"]) == 3
    assert "no cgroup file system" in capsys.readouterr().err
    assert list((tmp_path / "sys/fs/cgroup/pids").iterdir()) == []
