"""cotune why: holders, writers, masks and switches."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Cotune, Make

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


# --- cgroup version 2 -------------------------------------------------------------------------------------------------

V2 = "/sys/fs/cgroup"
SLICE, SERVICE = "kubepods.slice", "kubepods.slice/kubepods-burstable.slice"


@pytest.fixture
def v2(cotune_on: Make) -> Cotune:
    return cotune_on("mainline-v2")


@pytest.mark.parametrize(
    ("word", "knobs"),
    [
        ("cpu.max", ["cpu.quota", "cpu.period"]),
        ("cpu.quota", ["cpu.quota"]),
        ("cpu.weight", ["cpu.weight"]),
        ("cpuset.cpus", ["cpu.cpus"]),
        ("cpu.cpus", ["cpu.cpus"]),
        ("memory.max", ["memory.limit"]),
        ("memory.limit", ["memory.limit"]),
        (f"{V2}/{SLICE}/memory.high", ["memory.high"]),
        ("cpu.uclamp.min", ["cpu.uclamp.min"]),
        ("io.weight", ["io.weight"]),
        ("io.bfq.weight", ["io.bfq_weight"]),
        ("io.latency", ["io.latency.target"]),
        ("io.throttle.write_bps", ["io.throttle.write_bps"]),
        ("io.max", [f"io.throttle.{key}" for key in ("read_bps", "write_bps", "read_iops", "write_iops")]),
    ],
)
def test_version_2_by_file_and_by_knob(v2: Cotune, word: str, knobs: list[str]) -> None:
    assert [value["knob"] for value in v2.json("why", SLICE, word)["values"]] == knobs


def test_rows_of_version_2(v2: Cotune) -> None:
    v2.write(f"{V2}/{SLICE}/io.max", "8:0 wbps=1048576")
    found = {value["knob"]: value for value in v2.json("why", SLICE, "io.max")["values"]}
    assert (found["io.throttle.write_bps"]["row"], found["io.throttle.write_bps"]["current"]) == ("8:0 wbps", 1048576)
    assert "io.throttle.write_bps [8:0] = 1MiB/s" in v2("why", SLICE, "io.max").out


def test_files_that_have_another_name_on_some_kernels(cotune_on: Make) -> None:
    found = values(cotune_on("anck-6.6-v2"), "user.slice", "io.cost.weight")
    assert found["io.weight"]["path"] == f"{V2}/user.slice/io.cost.weight"
    assert list(values(cotune_on("anck-6.6"), "user.slice", "cpu.priority")) == ["cpu.identity"]


def test_what_was_applied_on_version_2(v2: Cotune) -> None:
    path = v2.profile(
        f"groups:\n  web: {{match: {{cgroup: {SLICE}}}, cpu: {{quota: 2, weight: 50}}, memory: {{max: 64GiB}}}}\n"
    )
    v2("apply", path)
    found = values(v2, SLICE)
    assert (found["cpu.quota"]["current"], found["cpu.quota"]["original"]) == (200000, -1)
    assert (found["memory.max"]["applied"], found["memory.max"]["drift"]) == (2**36, False)
    v2.write(f"{V2}/{SLICE}/cpu.weight", "77")
    assert "cpu.weight: 77, applied was 50" in v2("status", code=1).out


def test_masks_of_version_2(v2: Cotune) -> None:
    for file, text in (
        ("cpu.max", "150000 100000"),
        ("memory.max", "64G"),
        ("memory.high", "32G"),
        ("memory.swap.max", "0"),
        ("pids.max", "100"),
    ):
        v2.write(f"{V2}/{SLICE}/{file}", text)
    v2.write(f"{V2}/{SERVICE}/memory.low", "64M")
    found = values(v2, SERVICE, "--all")
    masks = {knob: value["masked_by"]["value"] for knob, value in found.items() if value["masked_by"]}
    assert masks == {
        "cpu.quota": "1.5 CPUs",
        "memory.limit": "64GiB",
        "memory.high": "32GiB",
        "memory.swap_max": "0B",
        "memory.low": "0B",
        "pids.max": "100",
    }
    assert not any(value["masked_by"] for value in values(v2, SLICE, "--all").values())
    v2.write(f"{V2}/{SERVICE}/memory.max", "512M")
    assert values(v2, SERVICE, "memory.max")["memory.limit"]["masked_by"] is None


def test_cpus_that_the_parent_does_not_have(v2: Cotune) -> None:
    v2.write(f"{V2}/{SLICE}/cpuset.cpus", "0-3")
    v2.write(f"{V2}/{SERVICE}/cpuset.cpus", "2-5")
    cpus = values(v2, SERVICE, "cpuset.cpus")["cpu.cpus"]
    assert (cpus["current"], cpus["effective"]) == ("2-5", "2-3")
    assert (cpus["masked_by"]["resource"], cpus["masked_by"]["value"]) == (f"cgroup:{SLICE}", "0-3")
    assert "4-5 are not its to give" in cpus["masked_by"]["why"]
    text = v2("why", SERVICE, "cpu.cpus").out
    assert "in force    2-3" in text
    v2.write(f"{V2}/{SERVICE}/cpuset.cpus", "5")
    assert "it has none of them" in values(v2, SERVICE, "cpu.cpus")["cpu.cpus"]["masked_by"]["why"]
    assert values(v2, SLICE, "cpu.cpus")["cpu.cpus"]["masked_by"] is None
    inherited = values(v2, "user.slice", "cpu.cpus")["cpu.cpus"]
    assert (inherited["current"], inherited["effective"], inherited["masked_by"]) == ("", "0-7", None)


def test_partitions_and_what_they_take(v2: Cotune) -> None:
    v2.write(f"{V2}/user.slice/cpuset.cpus", "0-3")
    v2.write(f"{V2}/{SLICE}/cpuset.cpus", "2-5")
    v2.write(f"{V2}/user.slice/cpuset.cpus.partition", "root")
    found = values(v2, "user.slice", "--all")
    switches = found["cpu.partition"]["switches"]
    if found["cpu.partition"]["current"] == "root":
        assert not switches
    else:
        assert switches[0]["value"].startswith("root invalid (")
    v2.write(f"{V2}/user.slice/cpuset.cpus.partition", "member")
    v2.write(f"{V2}/user.slice/cpuset.cpus", "6-7")
    v2.write(f"{V2}/{SLICE}/cpuset.cpus.partition", "root")
    assert values(v2, SLICE, "cpu.partition")["cpu.partition"]["current"] == "root"


def test_a_partition_that_is_invalid(v2: Cotune) -> None:
    v2.write(f"{V2}/user.slice/cpuset.cpus.partition", "root")
    (switch,) = values(v2, "user.slice", "cpu.partition")["cpu.partition"]["switches"]
    assert switch["name"] == "cpuset.cpus.partition"
    assert switch["value"].startswith("root invalid (")


def test_weight_hidden_by_idle_on_version_2(v2: Cotune) -> None:
    v2.write(f"{V2}/user.slice/cpu.idle", "1")
    weight = values(v2, "user.slice", "cpu.weight")["cpu.weight"]
    assert weight["current"] == 0
    assert weight["switches"][0]["name"] == "cpu.idle"


def test_io_weights_need_the_cost_model(v2: Cotune) -> None:
    (switch,) = values(v2, "user.slice", "io.weight")["io.weight"]["switches"]
    assert (switch["name"], switch["value"]) == ("io.cost.qos", "off")
    v2.write(f"{V2}/io.cost.qos", "8:0 enable=1")
    v2.write(f"{V2}/user.slice/io.weight", "8:0 50")
    found = values(v2, "user.slice", "--all")
    assert found["io.weight"]["switches"] == found["io.weight.weight"]["switches"] == []
    v2.write(f"{V2}/io.cost.qos", "259:0 enable=1")
    v2.write(f"{V2}/io.cost.qos", "8:0 enable=0")
    found = values(v2, "user.slice", "--all")
    assert found["io.weight"]["switches"] == []
    assert "of 8:0 is off" in found["io.weight.weight"]["switches"][0]["why"]


def test_the_cost_model_is_the_disks(v2: Cotune) -> None:
    v2.write(f"{V2}/io.cost.qos", "8:0 enable=1 min=50.00")
    found = values(v2, "block:sda", "io.cost.qos")
    assert (found["block.iocost.enable"]["current"], found["block.iocost.min"]["current"]) == (1, 5000)
    assert values(v2, "block:nvme0n1", "block.iocost.enable")["block.iocost.enable"]["current"] == 0
    assert not any(knob.startswith("block.") for knob in values(v2, "/", "--all"))


def test_what_there_is_of_the_whole_host(cotune_on: Make) -> None:
    cotune = cotune_on("anck-6.6-v2")
    found = values(cotune, "host", "--all")
    assert found["host.memory.reaper.scan_interval"]["current"] == "5"
    assert found["host.sched.features.ID_IDLE_AVG"]["current"] == 1
    assert list(values(cotune, "host", "ID_IDLE_AVG")) == ["host.sched.features.ID_IDLE_AVG"]
    cotune("apply", cotune.profile("host: {memory: {reaper: {scan_interval: 9}}, sched: {group_identity: true}}\n"))
    assert values(cotune, "host")["host.memory.reaper.scan_interval"]["original"] == "5"
    switch = values(cotune, "kernel.sched_group_identity_enabled")
    assert switch["host.sched.group_identity"]["applied"] == "1"


@pytest.mark.root
def test_on_the_running_kernel(real: Cotune, own_groups: str) -> None:
    path = f"/sys/fs/cgroup/memory/{own_groups}/memory.limit_in_bytes"
    real("apply", real.profile(f"groups:\n  g: {{match: {{cgroup: {own_groups}}}, memory: {{limit: 64MiB}}}}\n"))
    try:
        value = values(real, own_groups)["memory.limit"]
        assert (value["current"], value["path"], value["drift"]) == (64 * 2**20, path, False)
    finally:
        real("rollback")
