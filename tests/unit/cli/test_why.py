"""cotune why: holders, writers, masks and switches."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Cotune

CPU, MEMORY, PIDS = ("/sys/fs/cgroup/cpu", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids")


def values(cotune: Cotune, *arguments: str) -> dict[str, Any]:
    """Knob → what why says of it."""
    return {value["knob"]: value for value in cotune.json("why", *arguments)["values"]}


def test_a_value_as_applied(anck: Cotune) -> None:
    path = anck.profile("groups:\n  web: {match: {cgroup: user.slice}, cpu: {shares: 512}}\n")
    anck("apply", path)
    value = values(anck, "user.slice")["cpu.shares"]
    assert (value["current"], value["applied"], value["original"], value["drift"]) == (512, 512, 1024, False)
    assert (value["profile"], value["transaction"], value["origin"]) == ("test", "000001", f"{path}:5:52")
    assert value["writer"] == "cotune, transaction 000001"
    text = anck("why", "user.slice").out
    assert "cpu.shares = 512  as applied" in text
    assert f"from        {path}:5:52" in text
    assert "original    1024" in text


def test_drift_and_its_mending(anck: Cotune) -> None:
    path = anck.profile("groups:\n  web: {match: {cgroup: user.slice}, cpu: {shares: 512}}\n")
    anck("apply", path)
    anck.write(f"{CPU}/user.slice/cpu.shares", "77")
    value = values(anck, "user.slice")["cpu.shares"]
    assert value["drift"] and value["current"] == 77
    assert value["writer"].startswith("not cotune (changed since ")
    assert "77  drifted" in anck("why", "cgroup:user.slice").out
    anck("apply", path)
    assert values(anck, "user.slice")["cpu.shares"]["writer"] == "cotune, transaction 000002"
    anck.write(f"{CPU}/user.slice/cpu.shares", "1024")
    assert "reads its original again" in values(anck, "user.slice")["cpu.shares"]["writer"]


def test_after_a_rollback_nothing_is_held(anck: Cotune) -> None:
    anck("apply", anck.profile("groups:\n  web: {match: {cgroup: user.slice}, cpu: {shares: 512}}\n"))
    anck("rollback")
    assert anck.json("why", "user.slice")["values"] == []
    assert "cotune holds no value here" in anck("why", "user.slice").out
    writer = values(anck, "user.slice", "cpu.shares")["cpu.shares"]["writer"]
    assert writer.startswith("cotune, rolling back transaction 000001")


def test_what_was_right_already_was_written_by_somebody_else(anck: Cotune) -> None:
    text = "groups:\n  web: {match: {cgroup: user.slice}, cpu: {shares: 1024, quota: 2}}\n"
    anck("apply", anck.profile(text))
    found = values(anck, "user.slice")
    assert found["cpu.shares"]["writer"].startswith("not cotune: it read this already")
    assert found["cpu.quota"]["writer"] == "cotune, transaction 000001"


def test_groups_that_cotune_made_and_somebody_removed(anck: Cotune) -> None:
    anck("apply", anck.profile("groups:\n  new: {match: {cgroup: new}, create: true, cpu: {shares: 2}}\n"))
    value = values(anck, "new")["cpu.shares"]
    assert (value["created_by"], value["original"]) == ("000001", 1024)
    assert "transaction 000001 created the cgroup" in anck("why", "new").out
    with anck.host() as kernel:
        kernel.rmdir(f"{CPU}/new")
    assert values(anck, "new")["cpu.shares"]["error"] == "ENOENT"
    assert "cpu.shares = gone" in anck("why", "new").out


FILE = "memory.limit_in_bytes"


@pytest.mark.parametrize("word", ["memory.limit", FILE, f"{MEMORY}/user.slice/{FILE}"])
def test_naming_one_value_that_nobody_holds(anck: Cotune, word: str) -> None:
    found = values(anck, "user.slice", word)
    assert list(found) == ["memory.limit"]
    assert found["memory.limit"]["writer"] == "not cotune: no transaction since boot names it"


def test_all_lists_every_value(anck: Cotune) -> None:
    assert {"cpu.shares", "memory.limit", "memory.priority", "pids.max"} <= values(anck, "user.slice", "--all").keys()
    assert {"block.scheduler", "block.nr_requests"} <= values(anck, "block:sda", "--all").keys()
    assert {"mount.commit", "mount.barrier"} <= values(anck, "mount:/data", "--all").keys()
    assert "vm.swappiness" in values(anck, "sysctl", "--all")
    assert "memory.limit" in values(anck, "/", "--all")


def test_sysctls_and_paths_are_places_too(anck: Cotune) -> None:
    assert values(anck, "vm.swappiness")["vm.swappiness"]["current"] == "60"
    assert values(anck, "sysctl:vm.swappiness")["vm.swappiness"]["current"] == "60"
    assert anck.json("why", f"{MEMORY}/system.slice/sshd.service")["resource"] == "cgroup:system.slice/sshd.service"
    assert anck.json("why", "cpu:x", code=2)["errors"]


def test_masks_of_limits(anck: Cotune) -> None:
    anck.write(f"{MEMORY}/system.slice/memory.limit_in_bytes", "16G")
    anck.write(f"{CPU}/system.slice/cpu.cfs_quota_us", "150000")
    anck.write(f"{PIDS}/system.slice/pids.max", "100")
    found = values(anck, "system.slice/sshd.service", "--all")
    assert found["memory.limit"]["masked_by"]["resource"] == "cgroup:system.slice"
    assert found["memory.limit"]["masked_by"]["value"] == "16GiB"
    assert found["cpu.quota"]["masked_by"]["value"] == "1.5 CPUs"
    assert found["pids.max"]["masked_by"]["value"] == "100"
    own = values(anck, "system.slice", "--all")
    assert not any(own[knob]["masked_by"] for knob in ("memory.limit", "cpu.quota", "pids.max"))
    anck.write(f"{MEMORY}/system.slice/sshd.service/memory.limit_in_bytes", "512M")
    assert values(anck, "system.slice/sshd.service", "memory.limit")["memory.limit"]["masked_by"] is None


def test_the_watermark_shows_which_ancestor_hides_it(anck: Cotune) -> None:
    group = "kubepods/besteffort/pod-a/c1"
    anck("apply", anck.profile(f"groups:\n  c: {{match: {{cgroup: {group}}}, memory: {{wmark_min_adj: -25}}}}\n"))
    assert values(anck, group)["memory.wmark_min_adj"]["masked_by"] is None
    anck.write(f"{MEMORY}/kubepods/besteffort/memory.wmark_min_adj", "50")
    value = values(anck, group)["memory.wmark_min_adj"]
    assert (value["current"], value["applied"], value["drift"]) == (50, -25, False)
    assert value["masked_by"]["resource"] == "cgroup:kubepods/besteffort"
    assert "the own value -25 is hidden" in anck("why", group).out
    parent = values(anck, "kubepods/besteffort/pod-a", "memory.wmark_min_adj")["memory.wmark_min_adj"]
    assert "cannot be known" in parent["masked_by"]["why"]


def test_switches_that_are_off(anck: Cotune) -> None:
    value = values(anck, "user.slice", "cpu.identity")["cpu.identity"]
    assert value["switches"][0]["name"] == "kernel.sched_group_identity_enabled"
    value = values(anck, "user.slice", "memory.priority")["memory.priority"]
    assert value["switches"][0]["name"] == "memory.use_priority_oom"
    anck.write(f"{MEMORY}/memory.use_priority_oom", "1")
    assert values(anck, "user.slice", "memory.priority")["memory.priority"]["switches"] == []


def test_shares_hidden_by_idle(mainline: Cotune) -> None:
    mainline("apply", mainline.profile("groups:\n  b: {match: {cgroup: b}, create: true, cpu: {idle: true}}\n"))
    value = values(mainline, "b", "cpu.shares")["cpu.shares"]
    assert value["current"] == 3
    assert value["switches"][0]["name"] == "cpu.idle"
    assert value["writer"] == "cotune, transaction 000001 (it changed with another value)"


def test_throttle_rows(anck: Cotune) -> None:
    anck.write("/sys/fs/cgroup/blkio/user.slice/blkio.throttle.write_bps_device", "8:0 1048576")
    record = anck.json("why", "user.slice", "io.throttle.write_bps")
    assert [(value["row"], value["current"]) for value in record["values"]] == [("8:0", 1048576)]
    assert "io.throttle.read_bps = max" in anck("why", "user.slice", "io.throttle.read_bps").out


@pytest.mark.parametrize(
    ("arguments", "code", "message", "hint"),
    [
        (["usr.slice"], 2, "there is no cgroup usr.slice", "did you mean user.slice?"),
        (["pod-a"], 2, "there is no cgroup pod-a", "kubepods/besteffort/pod-a"),
        (["vm.swapiness"], 2, "no sysctl of that name", "vm.swappiness"),
        (["block:sdz"], 2, "there is no disk sdz", "nvme0n1, sda"),
        (["mount:/nope"], 2, "nothing is mounted", "/data"),
        (["user.slice", "memory.limt"], 2, "neither a knob nor the file", "memory.limit"),
        (["user.slice", "vm.swappiness"], 2, "not a value of cgroup:user.slice", "cotune explain"),
        (["/", "pids.max"], 2, "cgroup:/ has no pids.max", "--all"),
        (["user.slice", "memory.dirty_bytes"], 3, "has no memory.dirty_bytes", "needs: an ANCK 4.19 build with"),
    ],
)
def test_errors(anck: Cotune, arguments: list[str], code: int, message: str, hint: str) -> None:
    error = anck.json("why", *arguments, code=code)["errors"][0]
    assert message in error["message"]
    assert hint in error["hint"]


@pytest.mark.root
def test_on_the_running_kernel(real: Cotune, own_groups: str) -> None:
    path = f"/sys/fs/cgroup/memory/{own_groups}/memory.limit_in_bytes"
    real("apply", real.profile(f"groups:\n  g: {{match: {{cgroup: {own_groups}}}, memory: {{limit: 64MiB}}}}\n"))
    try:
        value = values(real, own_groups)["memory.limit"]
        assert (value["current"], value["path"], value["drift"]) == (64 * 2**20, path, False)
    finally:
        real("rollback")
