"""cotune capture: what it holds, that it validates, and that it changes nothing on the host it came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cotune.sim.hosts import KERNELS

from .conftest import Cotune, Make

CPU, MEMORY = "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/memory"
V2 = "/sys/fs/cgroup"
EVERYTHING = ("--cgroup", "**", "--all")
SHIPPED = yaml.safe_load((Path(__file__).parents[2] / "cases" / "shipped_profiles.yaml").read_text())


def check(cotune: Cotune, *arguments: str) -> str:
    """Capture to a file that validates and whose diff is empty; returns its text."""
    path = cotune.directory.parent / "captured.yaml"
    cotune("capture", *arguments, "-o", str(path), "--force")
    cotune("validate", str(path))
    record = cotune.json("diff", str(path))
    assert record["changes"] == []
    assert record["unsupported"] == []
    assert record["pending"] == []
    return path.read_text()


def captured(cotune: Cotune, *arguments: str) -> Any:
    """The captured profile, checked."""
    return yaml.safe_load(check(cotune, *arguments))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("arguments", [(), EVERYTHING])
def test_the_result_changes_nothing(kernel: str, arguments: tuple[str, ...], cotune_on: Make) -> None:
    check(cotune_on(kernel), *arguments)


@pytest.mark.parametrize("case", SHIPPED, ids=lambda case: f"{case['profiles']}-{case['kernel']}")
def test_the_result_changes_nothing_after_an_apply(case: dict[str, Any], cotune_on: Make) -> None:
    cotune = cotune_on(case["kernel"])
    cotune("apply", *case["profiles"].split(), *case.get("flags", []))
    check(cotune, *EVERYTHING)


@pytest.mark.parametrize("kernel", ["anck-6.6-v2", "mainline-v2", "tencentos-rue"])
def test_a_twin_gets_the_same_host(kernel: str, cotune_on: Make, tmp_path: Path) -> None:
    """Applied to a fresh host of the same kernel, everything that was captured reads the same there."""
    applied = "tencentos" if kernel == "tencentos-rue" else "online-offline-v2"
    one = cotune_on(kernel)
    one("apply", applied, "shared-disk")
    data = captured(one, *EVERYTHING)
    for group in data["groups"].values():
        group["create"] = True
    path = tmp_path / "twin.yaml"
    path.write_text(yaml.safe_dump(data))
    twin = cotune_on(kernel)
    twin.directory = tmp_path / "twin"
    twin("apply", str(path), "--force", "--allow-irreversible")
    again = captured(twin, *EVERYTHING)
    assert (again["host"], again["groups"]) == (data["host"], {n: _uncreated(g) for n, g in data["groups"].items()})


def _uncreated(group: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key != "create"}


def test_readable_units_and_where_they_come_from(anck: Cotune) -> None:
    anck("apply", "online-offline")
    text = check(anck, "--cgroup", "o*line")
    data = yaml.safe_load(text)
    assert data["metadata"]["name"] == "captured"
    assert list(data["groups"]) == ["offline", "online"]
    assert data["groups"]["online"]["cpu"]["identity"] == "high"
    assert data["groups"]["online"]["cpu"]["smt_expeller"] is True
    assert data["groups"]["offline"]["cpu"]["quota"] == 8
    assert data["groups"]["offline"]["io"]["throttle"][0]["write_bps"] == "100MiB"
    assert "# cpu.cfs_quota_us 800000" in text
    assert text.startswith("# Captured by cotune ")
    assert "anck-4.19" in text.splitlines()[0]


def test_it_makes_another_host_alike(anck: Cotune, cotune_on: Make, tmp_path: Path) -> None:
    """A captured profile of made groups, with create, gives them the same values elsewhere."""
    anck("apply", "online-offline")
    text = check(anck, "--cgroup", "offline")
    twin = cotune_on("anck-seed")
    path = tmp_path / "twin.yaml"
    path.write_text(text.replace("match: {cgroup: offline}", "match: {cgroup: offline}\n    create: true"))
    twin("apply", str(path))
    for file in ("cpu/offline/cpu.shares", "cpu/offline/cpu.bvt_warp_ns", "memory/offline/memory.wmark_ratio"):
        with anck.host() as one, twin.host() as other:
            assert one.read(f"/sys/fs/cgroup/{file}") == other.read(f"/sys/fs/cgroup/{file}")


def test_descendants_with_another_identity_are_shielded(anck: Cotune) -> None:
    """The profile's identity reaches the subtree, so a child that has another one must be named."""
    anck.write("/proc/sys/kernel/sched_group_identity_enabled", "1")
    anck.write(f"{CPU}/kubepods/cpu.bvt_warp_ns", "-1")
    anck.write(f"{CPU}/kubepods/burstable/cpu.bvt_warp_ns", "1")
    data = yaml.safe_load(check(anck))
    identities = {name: group.get("cpu", {}).get("identity") for name, group in data["groups"].items()}
    assert identities["kubepods"] == "low"
    assert identities["kubepods-burstable"] == "high"
    assert identities["kubepods-besteffort"] == "normal"


def test_descendants_of_an_offline_group_are_shielded(cotune_on: Make) -> None:
    cotune = cotune_on("tencentos-4.14")
    with cotune.host() as kernel:
        kernel.mkdir(f"{CPU}/batch")
        kernel.mkdir(f"{CPU}/batch/below")
        kernel.write(f"{CPU}/batch/cpu.offline", "1")
        kernel.write(f"{CPU}/batch/below/cpu.offline", "0")
    groups = captured(cotune, "--cgroup", "batch")["groups"]
    assert groups["batch"]["cpu"]["offline"] is True
    assert groups["batch-below"]["cpu"] == {"offline": False}


def test_what_no_profile_can_say_is_left_out(anck: Cotune) -> None:
    anck.write("/proc/sys/kernel/sched_group_identity_enabled", "1")
    anck.write(f"{CPU}/user.slice/cpu.bvt_warp_ns", "-2")
    anck.write(f"{CPU}/system.slice/cpu.bvt_warp_ns", "1")
    anck.write(f"{CPU}/system.slice/cpu.identity", "0")
    output = anck("capture")
    assert "left out: cgroup:user.slice cpu.identity: -2 has no word" in output.err
    assert "# Left out:" in output.out
    assert len(anck.json("capture")["left_out"]) == 2
    check(anck)


def test_a_closed_gate_stays_closed(anck: Cotune) -> None:
    anck.write("/proc/sys/kernel/sched_group_identity_enabled", "1")
    anck.write(f"{CPU}/user.slice/cpu.bvt_warp_ns", "1")
    anck.write("/proc/sys/kernel/sched_group_identity_enabled", "0")
    assert "identity" not in yaml.safe_load(check(anck)).get("groups", {}).get("user.slice", {})


def test_masked_watermarks_and_copied_values(anck: Cotune) -> None:
    """What a child copied or inherited is no difference; what it has of its own is."""
    anck.write(f"{MEMORY}/kubepods/memory.wmark_min_adj", "25")
    anck.write(f"{MEMORY}/kubepods/burstable/memory.wmark_min_adj", "50")
    anck.write(f"{MEMORY}/kubepods/memory.swappiness", "10")
    groups = yaml.safe_load(check(anck, "--cgroup", "kubepods/**"))["groups"]
    assert groups["kubepods"]["memory"] == {"wmark_min_adj": 25, "swappiness": 10}
    assert groups["kubepods-burstable"]["memory"]["wmark_min_adj"] == 50
    assert "wmark_min_adj" not in groups["kubepods-burstable-pod-b"].get("memory", {})


def test_idle_groups_have_no_shares(mainline: Cotune) -> None:
    mainline("apply", "mainline-v1")
    groups = yaml.safe_load(check(mainline))["groups"]
    assert groups["offline"]["cpu"]["idle"] is True
    assert "shares" not in groups["offline"]["cpu"]


def test_sysctls_by_name(anck: Cotune) -> None:
    data = yaml.safe_load(check(anck, "--sysctl", "vm.swappiness", "--sysctl", "kernel.sched_cfs_bw_burst_enabled"))
    assert data["host"]["sysctl"] == {"vm.swappiness": 60, "kernel.sched_cfs_bw_burst_enabled": 1}
    whole = yaml.safe_load(check(anck, "--sysctl", "all"))["host"]["sysctl"]
    assert whole["vm.dirty_ratio"] == 20
    assert "vm.dirty_bytes" not in whole


def test_mounts(anck: Cotune) -> None:
    with anck.host() as kernel:
        kernel.remount("/data", ["nobarrier", "commit=60"])
    mounts = {m["match"]["mountpoint"]: m for m in yaml.safe_load(check(anck, "--mounts"))["host"]["mounts"]}
    assert mounts["/data"]["options"] == {"barrier": False, "commit": 60, "dioread_nolock": False}
    assert mounts["/data"]["accept_data_loss"] is True


def test_what_only_a_mount_can_change_is_left_out(cotune_on: Make) -> None:
    cotune = cotune_on("mainline-v2")
    with cotune.host() as kernel:
        kernel.unmount("/data")
        kernel.mount("ext4", "/dev/nvme0n1", "/data", ["data=writeback"])
        kernel.remount("/data", ["lazytime", "noinit_itable", "max_dir_size_kb=64", "resuid=7"])
    mounts = captured(cotune, "--mounts")["host"]["mounts"]
    options = {m["match"]["mountpoint"]: m["options"] for m in mounts}["/data"]
    assert options == {"lazytime": True, "init_itable": False, "max_dir_size_kb": 64, "resuid": 7}
    (reason,) = cotune.json("capture", "--mounts")["left_out"]
    assert reason == "mount:/data data: it is writeback; a remount cannot change it: it needs an unmount"


def test_journals_only_with_all(cotune_on: Make) -> None:
    cotune = cotune_on("anck-6.6-v2")
    assert "host" not in captured(cotune, "--mounts")
    assert captured(cotune, "--all")["host"]["mounts"][0]["jbd2"] == {"stall_thresh": 100, "force_copy": 0}


def test_version_2_groups(cotune_on: Make) -> None:
    """Everything that version 2 files hold, under the keys of the catalogue."""
    cotune = cotune_on("mainline-v2")
    unit = f"{V2}/user.slice"
    for file, text in (
        (f"{V2}/io.cost.qos", "8:0 enable=1"),
        (f"{unit}/cpu.max", "75000 50000"),
        (f"{unit}/cpu.max.burst", "20000"),
        (f"{unit}/cpu.uclamp.min", "20.5"),
        (f"{unit}/cpuset.cpus", "0-3"),
        (f"{unit}/cpuset.cpus.partition", "root"),
        (f"{unit}/memory.max", "1G"),
        (f"{unit}/memory.high", "512M"),
        (f"{unit}/memory.swap.max", "0"),
        (f"{unit}/memory.oom.group", "1"),
        (f"{unit}/pids.max", "99"),
        (f"{unit}/io.max", "8:0 wbps=1048576 riops=200"),
        (f"{unit}/io.weight", "8:0 50"),
        (f"{unit}/io.latency", "8:0 target=10000"),
    ):
        cotune.write(file, text)
    text = check(cotune, "--cgroup", "user.slice", "--block")
    data = yaml.safe_load(text)
    assert data["groups"] == {
        "user.slice": {
            "match": {"cgroup": "user.slice"},
            "cpu": {
                "quota": 1.5,
                "period": "50ms",
                "burst": "20ms",
                "cpus": "0-3",
                "partition": "root",
                "uclamp": {"min": 20.5},
            },
            "memory": {"limit": "1GiB", "high": "512MiB", "swap_max": 0, "oom_group": True},
            "pids": {"max": 99},
            "io": {
                "throttle": [{"device": {"device": "sda"}, "write_bps": "1MiB", "read_iops": 200}],
                "weight": [{"device": {"device": "sda"}, "weight": 50}],
                "latency": [{"device": {"device": "sda"}, "target": "10ms"}],
            },
        }
    }
    assert "# cpu.max 75000" in text
    assert {"match": {"device": "sda"}, "iocost": {"enable": True, "ctrl": "auto"}}.items() <= next(
        queue.items() for queue in data["host"]["block"] if "iocost" in queue
    )


def test_a_weight_for_all_disks_beside_one_for_a_disk(cotune_on: Make) -> None:
    """The key holds one or the other, so the group has two entries."""
    cotune = cotune_on("mainline-v2")
    cotune.write(f"{V2}/io.cost.qos", "8:0 enable=1")
    cotune.write(f"{V2}/user.slice/io.weight", "default 300")
    cotune.write(f"{V2}/user.slice/io.weight", "8:0 50")
    groups = captured(cotune, "--cgroup", "user.slice")["groups"]
    assert groups["user.slice"]["io"] == {"weight": 300}
    assert groups["user.slice-2"]["io"] == {"weight": [{"device": {"device": "sda"}, "weight": 50}]}
    assert groups["user.slice-2"]["match"] == {"cgroup": "user.slice"}


def test_the_cost_model_only_where_somebody_set_it(cotune_on: Make) -> None:
    cotune = cotune_on("mainline-v2")
    assert not any("iocost" in queue for queue in captured(cotune, "--block")["host"]["block"])
    cotune.write(f"{V2}/io.cost.qos", "8:0 enable=0 min=50.00 max=150.00 rlat=5000 rpct=95.00")
    cotune.write(f"{V2}/io.cost.model", "8:0 rbps=2147483648 rseqiops=1000")
    (cost,) = (queue["iocost"] for queue in captured(cotune, "--block")["host"]["block"] if "iocost" in queue)
    assert (cost["enable"], cost["ctrl"], cost["min"], cost["max"]) == (False, "user", 50, 150)
    assert (cost["rlat"], cost["rpct"]) == ("5ms", 95)
    assert (cost["model"]["ctrl"], cost["model"]["rbps"], cost["model"]["rseqiops"]) == ("user", "2GiB", 1000)


def test_tunables_of_the_scheduler_only_with_all(anck: Cotune) -> None:
    assert not any("iosched" in queue for queue in captured(anck, "--block")["host"]["block"])
    queues = {q["match"]["device"]: q for q in captured(anck, "--all")["host"]["block"]}
    assert queues["sda"]["iosched"]["read_expire"] == 500
    assert "iosched" not in queues["nvme0n1"]


def test_files_of_the_whole_host(cotune_on: Make) -> None:
    cotune = cotune_on("anck-6.6-v2")
    assert "host" not in captured(cotune)
    cotune.write("/sys/kernel/debug/sched/features", "NO_ID_IDLE_AVG")
    cotune.write("/sys/kernel/mm/memcg_reaper/scan_interval", "10")
    host = captured(cotune, "--host")["host"]
    assert host.keys() == {"memory", "sched"}
    assert host["sched"]["features"]["ID_IDLE_AVG"] is False
    assert host["sched"]["group_identity"] is False
    assert host["memory"]["reaper"] == {
        "scan_interval": 10,
        "pages_scan": 1310720,
        "verbose": False,
        "reap_background": False,
    }


def test_numbers_below_zero_are_no_limits(cotune_on: Make) -> None:
    cotune = cotune_on("anck-6.6-v2")
    sysctls = captured(cotune, "--sysctl", "all")["host"]["sysctl"]
    assert sysctls["kernel.sched_expel_idle_balance_delay"] == -1


def test_a_partition_that_is_not_in_force_is_left_out(cotune_on: Make) -> None:
    cotune = cotune_on("mainline-v2")
    cotune.write(f"{V2}/user.slice/cpuset.cpus.partition", "root")
    output = cotune("capture", "--cgroup", "user.slice")
    assert "left out: cgroup:user.slice cpu.partition: root invalid" in output.err
    assert "groups" not in captured(cotune, "--cgroup", "user.slice")


def test_burst_behind_a_closed_gate(anck: Cotune) -> None:
    """A profile that sets the burst would open the gate."""
    anck.write(f"{CPU}/user.slice/cpu.cfs_quota_us", "200000")
    anck.write(f"{CPU}/user.slice/cpu.cfs_burst_us", "100000")
    assert captured(anck, "--cgroup", "user.slice")["groups"]["user.slice"]["cpu"]["burst"] == "100ms"
    anck.write("/proc/sys/kernel/sched_cfs_bw_burst_enabled", "0")
    assert "burst" not in captured(anck, "--cgroup", "user.slice")["groups"]["user.slice"]["cpu"]
    (reason,) = anck.json("capture", "--cgroup", "user.slice")["left_out"]
    assert reason.startswith("cgroup:user.slice cpu.burst: kernel.sched_cfs_bw_burst_enabled is 0")


def test_classes_of_resctrl(cotune_on: Make) -> None:
    cotune = cotune_on("mainline-v2")
    cotune("apply", "cache-partitioned")
    classes = captured(cotune)["host"]["resctrl"]["classes"]
    assert classes
    assert all("tasks" not in values for values in classes.values())
    assert any(str(values.get("l3")).startswith("0x") for values in classes.values())


@pytest.mark.parametrize("kernel", ["mainline-v1", "mainline-v2"])
def test_every_file_is_read_once(kernel: str, cotune_on: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of cgroups take as many reads as they have files."""
    from cotune.sim.kernel import SimKernel

    cotune = cotune_on(kernel)
    counted: list[str] = []
    read = SimKernel.read

    def counting(self: SimKernel, path: str) -> str:
        counted.append(path)
        return read(self, path)

    monkeypatch.setattr(SimKernel, "read", counting)
    numbers = []
    for many in (20, 40):
        with cotune.host() as host:
            for tree in (V2, CPU, MEMORY):
                if host.exists(f"{tree}/cgroup.procs"):
                    for number in range(many - 20, many):
                        host.mkdir(f"{tree}/g{number}")
        counted.clear()
        cotune("capture", "--cgroup", "**")
        numbers.append((len(counted), max(counted.count(path) for path in set(counted) if "/g1/" in path)))
    (few, most), (more, _) = numbers
    assert more < 2 * few
    assert most <= 2


def test_files(anck: Cotune, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    assert f"{path} holds 1 group: kubepods" in anck("capture", "-o", str(path)).out
    path.write_text("precious")
    assert "exists already" in anck("capture", "-o", str(path), code=2).err
    assert path.read_text() == "precious"
    anck("capture", "-o", str(path), "--force", "--name", "site-7")
    assert yaml.safe_load(path.read_text())["metadata"]["name"] == "site-7"
    assert "cannot be written" in anck("capture", "-o", str(tmp_path / "no/x.yaml"), code=2).err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cgroup", "usr.slice"], "matches no cgroup"),
        (["--cgroup", "/"], "root cgroup"),
        (["--sysctl", "vm.nope"], "there is no sysctl vm.nope"),
        (["--name", "Not A Name"], "--name"),
    ],
)
def test_errors(anck: Cotune, arguments: list[str], message: str) -> None:
    assert message in anck.json("capture", *arguments, code=2)["errors"][0]["message"]


def test_json(anck: Cotune) -> None:
    record = anck.json("capture", "--cgroup", "kubepods")
    assert record["profile"]["groups"]["kubepods"]["cpu"] == {"cpus": "0-15", "mems": "0-1"}
    assert yaml.safe_load(record["yaml"]) == record["profile"]


@pytest.mark.root
def test_on_the_running_kernel(real: Cotune, own_groups: str) -> None:
    base = Path("/sys/fs/cgroup")
    for file, text in (
        ("cpu/{}/cpu.shares", "512"),
        ("cpu/{}/cpu.cfs_period_us", "50000"),
        ("cpu/{}/cpu.cfs_quota_us", "75000"),
        ("memory/{}/memory.limit_in_bytes", "100M"),
        ("pids/{}/pids.max", "99"),
    ):
        (base / file.format(own_groups)).write_text(text)
    group = yaml.safe_load(check(real, "--cgroup", own_groups))["groups"][own_groups]
    assert group["cpu"] == {"shares": 512, "quota": 1.5, "period": "50ms"}
    assert group["memory"] == {"limit": "100MiB"}
    assert group["pids"] == {"max": 99}
    check(real, "--cgroup", own_groups, "--sysctl", "all", "--block", "--mounts")
