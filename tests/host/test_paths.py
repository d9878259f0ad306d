"""No write leaves the tree it is meant for, whatever lies in the way."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.host.lab import Lab, finish

MOUNTINFO = """\
20 1 0:20 / /proc rw - proc proc rw
21 1 0:21 / /sys rw - sysfs sysfs rw
22 21 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
23 22 0:23 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
24 22 0:24 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory that looks like a host: two controllers, one group ``svc``; ``secret`` lies outside."""
    root = tmp_path / "root"
    for path, text in {
        "proc/1/mountinfo": MOUNTINFO,
        "proc/sys/kernel/osrelease": "4.19.0\n",
        "proc/sys/kernel/random/boot_id": "11111111-2222-3333-4444-555555555555\n",
        "proc/sys/vm/swappiness": "60\n",
        "proc/cmdline": "quiet\n",
        "proc/meminfo": "MemTotal: 8388608 kB\n",
        "sys/devices/system/cpu/online": "0-3\n",
        "sys/fs/cgroup/cpu/svc/cpu.shares": "1024\n",
        "sys/fs/cgroup/cpu/svc/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/cpu/svc/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/memory/svc/memory.limit_in_bytes": "9223372036854771712\n",
    }.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (tmp_path / "secret").mkdir()
    for name in ("cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us", "memory.limit_in_bytes", "swappiness"):
        (tmp_path / "secret" / name).write_text("1024\n")
    return root


def contents(directory: Path) -> dict[str, str]:
    """Every file below a directory, and where links point."""
    found = {}
    for path in sorted(directory.rglob("*")):
        if path.is_symlink():
            found[str(path)] = f"-> {os.readlink(path)}"
        elif path.is_file():
            found[str(path)] = path.read_text()
        else:
            found[str(path) + "/"] = ""
    return found


def apply(lab: Lab, tree: Path, groups: dict[str, Any], **more: Any) -> int:
    """Try a profile below another root; what it may not do is told, never done."""
    profile = lab.profile(groups=groups, **more)
    run = lab.run("--root", tree, "apply", profile)
    assert "Traceback" not in run.err
    assert run.code in (0, 2, 3, 4, 7), run
    return run.code


WANTED: dict[str, Any] = {"cpu": {"shares": 5, "quota": 0.5}, "memory": {"limit": "64MiB"}}


def test_a_plain_tree_is_written(lab: Lab, tree: Path) -> None:
    """So that the other tests can fail. Plain files keep what a shorter write leaves over, as cgroup files do not."""
    assert apply(lab, tree, {"svc": {"match": {"cgroup": "svc"}, "cpu": {"shares": 4096}}}) == 0
    assert (tree / "sys/fs/cgroup/cpu/svc/cpu.shares").read_text().startswith("4096")


@pytest.mark.parametrize("absolute", [True, False])
def test_a_link_in_place_of_a_file(lab: Lab, tree: Path, absolute: bool) -> None:
    secret = tree.parent / "secret"
    for controller, name in (("cpu", "cpu.shares"), ("memory", "memory.limit_in_bytes")):
        file = tree / "sys/fs/cgroup" / controller / "svc" / name
        file.unlink()
        file.symlink_to(secret / name if absolute else os.path.relpath(secret / name, file.parent))
    before = contents(secret)
    apply(lab, tree, {"svc": {"match": {"cgroup": "svc"}, **WANTED}})
    assert contents(secret) == before


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize("match", ["svc", "svc/inner", "s*", "**/inner"])
def test_a_link_in_place_of_a_group(lab: Lab, tree: Path, match: str, create: bool) -> None:
    secret = tree.parent / "secret"
    for controller in ("cpu", "memory"):
        directory = tree / "sys/fs/cgroup" / controller / "svc"
        shutil.rmtree(directory)
        directory.symlink_to(secret)
    before = contents(secret)
    group = {"match": {"cgroup": match}, **WANTED, **({"create": True} if create and "*" not in match else {})}
    apply(lab, tree, {"svc": group})
    assert contents(secret) == before


def test_a_link_in_place_of_a_hierarchy(lab: Lab, tree: Path) -> None:
    """cpu → cpu,cpuacct is common and stays inside; a link that leads out is not followed."""
    secret = tree.parent / "secret"
    shutil.rmtree(tree / "sys/fs/cgroup/cpu")
    (tree / "sys/fs/cgroup/cpu").symlink_to(secret)
    before = contents(secret)
    apply(lab, tree, {"svc": {"match": {"cgroup": "svc"}, "create": True, **WANTED}})
    apply(lab, tree, {"root": {"match": {"cgroup": "/"}, **WANTED}})
    assert contents(secret) == before


@pytest.mark.parametrize(
    "match",
    ["..", "../../../../../secret", "svc/../../../../../../secret", "/../../../../../secret/", "svc/../svc", "*/.."],
)
@pytest.mark.parametrize("create", [True, False])
def test_dots_in_a_selector(lab: Lab, tree: Path, match: str, create: bool) -> None:
    before = contents(tree)
    secret = contents(tree.parent / "secret")
    group = {"match": {"cgroup": match}, **WANTED, **({"create": True} if create and "*" not in match else {})}
    assert apply(lab, tree, {"svc": group}) != 0 or contents(tree) == before
    assert contents(tree.parent / "secret") == secret
    assert {path for path in contents(tree) if "/var/" not in path and "/run" not in path} == set(before)


def test_a_sysctl_that_leads_out(lab: Lab, tree: Path) -> None:
    secret = tree.parent / "secret"
    before = contents(secret)
    names = ["../../../../secret/swappiness", "..//..//..//secret//swappiness", "vm/../../../../secret/swappiness"]
    for name in names:
        apply(lab, tree, {}, host={"sysctl": {name: 5}})
    (tree / "proc/sys/vm/swappiness").unlink()
    (tree / "proc/sys/vm/swappiness").symlink_to(secret / "swappiness")
    apply(lab, tree, {}, host={"sysctl": {"vm.swappiness": 5}})
    assert contents(secret) == before


def test_no_stray_file_where_nothing_is_mounted(lab: Lab, tree: Path) -> None:
    """A controller's directory without its hierarchy: a plain open for writing would make a file there."""
    for name in ("pids", "blkio", "cpuset"):
        (tree / "sys/fs/cgroup" / name / "svc").mkdir(parents=True)
    before = contents(tree)
    groups = {
        "svc": {"match": {"cgroup": "svc"}, "pids": {"max": 5}, "cpu": {"cpus": 0}},
        "new": {"match": {"cgroup": "new"}, "create": True, "pids": {"max": 5}},
    }
    assert apply(lab, tree, groups) == 0
    assert contents(tree) == before


@pytest.mark.root
def test_no_stray_file_on_the_real_tmpfs(lab: Lab) -> None:
    """The same on the running kernel: a mount namespace of its own, in which one hierarchy is unmounted."""
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare")
    point = lab.points["pids"]
    if not os.path.ismount(os.path.dirname(point)):
        pytest.skip("needs hierarchies mounted on a file system of their own")
    lab.make("svc")
    new = {"match": {"cgroup": lab.path("new")}, "create": True, "pids": {"max": 5}}
    both = {"match": {"cgroup": lab.path("svc")}, "pids": {"max": 5}, "cpu": {"shares": 77}}
    profile = lab.profile(groups={"new": new, "svc": both})
    script = 'umount "$0" && "$@"; code=$?; echo "[$(ls -A "$0")]" >&2; exit $code'
    command = ["unshare", "--mount", "sh", "-c", script, point, *lab.command("apply", "--json", profile)]
    run = finish(lab.start(command)).expect(0)
    assert "[]" in run.err
    assert {item["knob"] for item in run.json["unsupported"]} == {"pids.max"}
    assert "mounted" in run.json["unsupported"][0]["reason"]
    assert lab.read("svc", "cpu.shares") == "77"
    assert lab.read("svc", "pids.max") == "max"
    assert not lab.dir("pids", "new").exists()
    strict = ["unshare", "--mount", "sh", "-c", script, point, *lab.command("apply", "--strict", profile)]
    finish(lab.start(strict)).expect(3)
