"""cotune capture: what it holds, that it validates, and that it changes nothing on the host it came from."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from .conftest import Cotune, Make

CPU, MEMORY = "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/memory"
EVERYTHING = ("--cgroup", "**", "--sysctl", "all", "--block", "--mounts")


def check(cotune: Cotune, *arguments: str) -> str:
    """Capture to a file that validates and whose diff is empty; returns its text."""
    path = cotune.directory.parent / "captured.yaml"
    cotune("capture", *arguments, "-o", str(path), "--force")
    cotune("validate", str(path))
    record = cotune.json("diff", str(path))
    assert record["changes"] == []
    assert record["unsupported"] == []
    return path.read_text()


@pytest.mark.parametrize("kernel", ["anck-4.19", "anck-seed", "mainline-v1"])
@pytest.mark.parametrize("applied", [(), ("base", "mainline-v1"), ("online-offline",)])
@pytest.mark.parametrize("arguments", [(), EVERYTHING])
def test_the_result_changes_nothing(
    kernel: str, applied: tuple[str, ...], arguments: tuple[str, ...], cotune_on: Make
) -> None:
    cotune = cotune_on(kernel)
    if applied:
        cotune("apply", *applied)
    check(cotune, *arguments)


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
    identities = {name: group["cpu"].get("identity") for name, group in data["groups"].items()}
    assert identities["kubepods"] == "low"
    assert identities["kubepods-burstable"] == "high"
    assert identities["kubepods-besteffort"] == "normal"


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
