"""cotune rollback --dry-run: what it says comes true; and --text, which has JSON hold what people are shown."""

from __future__ import annotations

from typing import Any

from cotune.kernel.port import Kernel

from .conftest import Cotune

PROFILE = """
host: {sysctl: {vm.swappiness: 10}}
groups:
  batch: {match: {cgroup: batch}, create: true, cpu: {shares: 64}}
"""
SWAPPINESS = "/proc/sys/vm/swappiness"


def undone(record: dict[str, Any]) -> tuple[list[str], list[str], list[str]]:
    return [one["path"] for one in record["restored"]], record["removed"], record["left"]


def test_what_is_foreseen_comes_true(mainline: Cotune) -> None:
    assert mainline("rollback", "--dry-run").out == "nothing to roll back\n"
    mainline("apply", mainline.profile(PROFILE), "--label", "run")
    foreseen = mainline.json("rollback", "--label", "run", "--dry-run", code=1)
    assert undone(foreseen) == ([SWAPPINESS], ["/sys/fs/cgroup/cpu/batch"], [])
    assert mainline.json("status")["held"] == 2, "nothing was done"
    assert mainline.json("history")["transactions"][0]["state"] == "committed"
    assert undone(mainline.json("rollback", "--label", "run")) == undone(foreseen)
    mainline("rollback", "--label", "run", "--dry-run")


def test_what_is_left_is_foreseen(mainline: Cotune) -> None:
    mainline("apply", mainline.profile(PROFILE))
    with mainline.host() as kernel:
        stranger(kernel)
    foreseen = mainline.json("rollback", "--dry-run", code=1)
    assert undone(foreseen)[:2] == ([], [])
    kept, value = sorted(foreseen["left"])
    assert "cgroup /sys/fs/cgroup/cpu/batch kept: 1 foreign task" in kept
    assert "vm.swappiness: reads 33" in value
    assert undone(mainline.json("rollback", "--dry-run", "--force", code=1))[0] == [SWAPPINESS]
    assert undone(mainline.json("rollback", code=5)) == undone(foreseen)


def stranger(kernel: Kernel) -> None:
    kernel.write(SWAPPINESS, "33")
    pid = kernel.read("/sys/fs/cgroup/cpu/cgroup.procs").split()[-1]
    kernel.write("/sys/fs/cgroup/cpu/batch/cgroup.procs", pid)


def test_json_with_text(mainline: Cotune) -> None:
    profile = mainline.profile(PROFILE)
    shown = mainline("diff", profile, code=1).out
    assert mainline.json("diff", profile, "--text", code=1)["text"] == shown
    assert "text" not in mainline.json("diff", profile, code=1)
    assert mainline.json("apply", profile, "--text")["text"].endswith("1 cgroup created, 2 values set\n")
    assert mainline("diff", profile, "--text").out == mainline("diff", profile).out
