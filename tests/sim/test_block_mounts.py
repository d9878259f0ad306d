"""Block queues, device links, mounts and ext4 remounts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cotune.sim.kernel import SimKernel

Attempt = Callable[..., str]
SDA, NVME = "/sys/block/sda/queue", "/sys/block/nvme0n1/queue"
OPTIONS = "/proc/fs/ext4/nvme0n1/options"


def shown(sim: SimKernel, point: str = "/data") -> tuple[str, ...]:
    return next(mount.super_options for mount in sim.mounts() if mount.point == point)


# --- queues ---------------------------------------------------------------------------------------------------------


def test_scheduler_menu(anck: SimKernel, mainline: SimKernel, attempt: Attempt) -> None:
    assert anck.read(f"{SDA}/scheduler") == "[mq-deadline] kyber bfq none\n"
    assert anck.read(f"{NVME}/scheduler") == "[none] mq-deadline kyber bfq \n"
    anck.write(f"{NVME}/scheduler", " deadline \n")
    assert anck.read(f"{NVME}/scheduler") == "[mq-deadline] kyber bfq none\n"
    assert attempt(anck.write, f"{NVME}/scheduler", "cfq") == "EINVAL"
    mainline.write("/sys/block/vda/queue/scheduler", "none")
    assert mainline.read("/sys/block/vda/queue/scheduler") == "[none] mq-deadline kyber bfq \n"


def test_switching_the_scheduler_resets_what_belongs_to_it(anck: SimKernel) -> None:
    anck.write(f"{SDA}/nr_requests", "64")
    anck.write(f"{SDA}/iosched/read_expire", "100")
    anck.write(f"{SDA}/wbt_lat_usec", "0")
    anck.write(f"{SDA}/scheduler", "mq-deadline")
    assert anck.read(f"{SDA}/nr_requests") == "64\n", "choosing the present one resets nothing"
    anck.write(f"{SDA}/scheduler", "bfq")
    assert not anck.exists(f"{SDA}/iosched/read_expire")
    anck.write(f"{SDA}/scheduler", "mq-deadline")
    assert anck.read(f"{SDA}/nr_requests") == "256\n"
    assert anck.read(f"{SDA}/iosched/read_expire") == "500\n"
    assert anck.read(f"{SDA}/wbt_lat_usec") == "0\n"
    anck.write(f"{SDA}/scheduler", "none")
    assert not anck.exists(f"{SDA}/iosched")


@pytest.mark.parametrize(
    ("name", "written", "result", "reads"),
    [
        ("nr_requests", "0", "OK", "4"),
        ("nr_requests", "3", "OK", "4"),
        ("nr_requests", "512", "OK", "512"),
        ("nr_requests", "4096", "EINVAL", "256"),
        ("nr_requests", "many", "EINVAL", "256"),
        ("nr_requests", "4294967296", "EINVAL", "256"),
        ("nr_requests", "0x40", "EINVAL", "256"),
        ("wbt_lat_usec", "-1", "OK", "2000"),
        ("wbt_lat_usec", "-2", "EINVAL", "2000"),
        ("wbt_lat_usec", "0", "OK", "0"),
        ("read_ahead_kb", "5", "OK", "4"),
        ("read_ahead_kb", "3", "OK", "0"),
        ("read_ahead_kb", "-1", "EINVAL", "128"),
        ("read_ahead_kb", "1000000000", "OK", "1000000000"),
        ("rq_affinity", "3", "OK", "2"),
        ("nomerges", "3", "OK", "1"),
        ("nomerges", "2", "OK", "2"),
        ("rotational", "7", "OK", "1"),
        ("max_sectors_kb", "3", "EINVAL", "1280"),
        ("max_sectors_kb", "1281", "EINVAL", "1280"),
        ("write_cache", "write through", "OK", "write through"),
        ("write_cache", "none", "EINVAL", "write back"),
        ("io_poll", "1", "EINVAL", "0"),
        ("iosched/read_expire", "-1", "OK", "0"),
        ("iosched/read_expire", "x", "EINVAL", "500"),
        ("max_hw_sectors_kb", "64", "EACCES", "1280"),
    ],
)
def test_queue_numbers(anck: SimKernel, attempt: Attempt, name: str, written: str, result: str, reads: str) -> None:
    assert attempt(anck.write, f"{SDA}/{name}", written) == result
    assert anck.read(f"{SDA}/{name}") == f"{reads}\n"


def test_depth_bounds_requests_without_a_scheduler(anck: SimKernel, attempt: Attempt) -> None:
    assert anck.read(f"{NVME}/nr_requests") == "1023\n"
    assert attempt(anck.write, f"{NVME}/nr_requests", "1024") == "EINVAL"


def test_wbt_default_follows_the_kind_of_disk(mainline: SimKernel) -> None:
    path = "/sys/block/vda/queue/wbt_lat_usec"
    mainline.write(path, "1")
    mainline.write(path, "-1")
    assert mainline.read(path) == "75000\n"


def test_a_driver_without_a_request_queue(mainline: SimKernel, attempt: Attempt) -> None:
    queue = "/sys/block/zram0/queue"
    assert mainline.read(f"{queue}/scheduler") == "none\n"
    assert attempt(mainline.write, f"{queue}/scheduler", "mq-deadline") == "OK"
    assert mainline.read(f"{queue}/scheduler") == "none\n"
    assert attempt(mainline.read, f"{queue}/wbt_lat_usec") == "EINVAL"
    assert attempt(mainline.write, f"{queue}/wbt_lat_usec", "0") == "EINVAL"
    assert attempt(mainline.write, f"{queue}/nr_requests", "64") == "EINVAL"


# --- devices --------------------------------------------------------------------------------------------------------


def test_links_lead_to_the_device(anck: SimKernel) -> None:
    nvme = "/sys/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0/nvme/nvme0/nvme0n1"
    assert anck.realpath("/sys/block/nvme0n1") == nvme
    assert anck.realpath("/sys/dev/block/259:0/queue") == f"{nvme}/queue"
    assert anck.realpath("/sys/class/block/sda1").endswith("/block/sda/sda1")
    assert anck.realpath("/sys/class/block/sda1/..") == anck.realpath("/sys/block/sda")
    assert anck.subdirs("/sys/block") == []
    assert anck.listdir("/sys/block") == ["nvme0n1", "sda"]


def test_partitions_lie_below_their_disk(anck: SimKernel) -> None:
    assert anck.read("/sys/block/sda/sda1/partition") == "1\n"
    assert anck.read("/sys/dev/block/8:1/dev") == "8:1\n"
    assert not anck.exists("/sys/block/sda/partition")
    assert not anck.exists("/sys/dev/block/8:1/queue")


@pytest.mark.parametrize("disk", ["sda", "nvme0n1"])
def test_serials(anck: SimKernel, disk: str) -> None:
    assert len(anck.read(f"/sys/block/{disk}/device/serial").strip()) > 8


def test_throttling_wants_whole_disks(anck: SimKernel, attempt: Attempt) -> None:
    path = "/sys/fs/cgroup/blkio/blkio.throttle.write_bps_device"
    assert attempt(anck.write, path, "8:1 1000") == "ENODEV"
    assert attempt(anck.write, path, "8:99 1000") == "ENODEV"
    anck.write(path, "259:0 2000")
    anck.write(path, "8:0 1000")
    assert anck.read(path) == "259:0 2000\n8:0 1000\n", "the latest device comes first"


def test_rows_come_in_the_order_devices_became_known(mainline: SimKernel, attempt: Attempt) -> None:
    """As a real 6.18 shows them: the latest first, and a refused value makes a device known all the same."""
    group = "/sys/fs/cgroup/blkio/a"
    mainline.mkdir(group)
    bps, iops = f"{group}/blkio.throttle.read_bps_device", f"{group}/blkio.throttle.read_iops_device"
    assert attempt(mainline.write, bps, "7:0 max") == "EINVAL"
    mainline.write(iops, "254:0 5")
    mainline.write(iops, "7:0 6")
    assert mainline.read(iops) == "254:0 5\n7:0 6\n"


def test_bfq_weights_want_the_bfq_scheduler(mainline: SimKernel, attempt: Attempt) -> None:
    mainline.mkdir("/sys/fs/cgroup/blkio/a")
    path = "/sys/fs/cgroup/blkio/a/blkio.bfq.weight_device"
    assert attempt(mainline.write, path, "254:0 200") in ("EOPNOTSUPP", "ENOTSUP")
    mainline.write("/sys/block/vda/queue/scheduler", "bfq")
    mainline.write(path, "254:0 200")
    assert mainline.read(path) == "default 100\n254:0 200\n"
    assert attempt(mainline.write, path, "254:0 1001") == "ERANGE"
    mainline.write(path, "254:0 default")
    assert mainline.read(path) == "default 100\n"


# --- mounts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["anck", "mainline"])
def test_mountinfo_agrees_with_mounts(kernel: str, request: pytest.FixtureRequest) -> None:
    sim: SimKernel = request.getfixturevalue(kernel)
    lines = sim.read("/proc/self/mountinfo").splitlines()
    assert len(lines) == len(sim.mounts())
    for line, mount in zip(lines, sim.mounts(), strict=True):
        left, right = (part.split() for part in line.split(" - "))
        assert left[2:6] == [mount.device, mount.root, mount.point, ",".join(mount.options)]
        assert right == [mount.fstype, mount.source, ",".join(mount.super_options)]
    parents = {line.split()[0] for line in lines} | {"1"}
    assert {line.split()[1] for line in lines} <= parents


def test_defaults_are_hidden(anck: SimKernel) -> None:
    assert shown(anck) == ("rw",)
    text = anck.read(OPTIONS)
    assert text.startswith("rw\nbsddf\n")
    assert {"barrier", "commit=5", "delalloc", "data=ordered", "max_batch_time=15000"} <= set(text.split())


def test_remount_keeps_what_is_not_named(anck: SimKernel) -> None:
    anck.remount("/data", ["nobarrier", "commit=30"])
    assert shown(anck) == ("rw", "nobarrier", "commit=30")
    anck.remount("/data", ["lazytime"])
    assert shown(anck) == ("rw", "lazytime", "nobarrier", "commit=30")
    anck.remount("/data", ["commit=0", "barrier=1", "nolazytime"])
    assert shown(anck) == ("rw",)
    assert shown(anck, "/") == ("rw",)


@pytest.mark.parametrize(
    "bad",
    ["bogus", "data=journal", "data=bogus", "commit=-1", "commit=9999999", "commit=x", "journal_async_commit",
     "nombcache", "journal_dev=8", "journal_path=/dev/sdb", "journal_ioprio=8", "inode_readahead_blks=3", "pquota",
     "fast_commit", "defaults", "errors=ignore", "max_batch_time=-1"],
)  # fmt: skip
def test_one_bad_word_changes_nothing(anck: SimKernel, attempt: Attempt, bad: str) -> None:
    before = anck.read(OPTIONS)
    assert attempt(anck.remount, "/data", ["commit=30", "noatime", "lazytime", bad]) == "EINVAL"
    assert anck.read(OPTIONS) == before
    assert shown(anck) == ("rw",)
    assert "relatime" in next(m.options for m in anck.mounts() if m.point == "/data")


@pytest.mark.parametrize("word", ["journal_checksum", "nojournal_checksum", "data=ordered", "dax", "journal_ioprio=0"])
def test_accepted_without_effect(anck: SimKernel, word: str) -> None:
    before = anck.read(OPTIONS)
    anck.remount("/data", [word])
    assert anck.read(OPTIONS) == before


def test_acl_words_differ_per_kernel(anck: SimKernel, mainline: SimKernel, attempt: Attempt) -> None:
    assert attempt(anck.remount, "/data", ["noacl"]) == "OK"
    assert shown(anck) == ("rw", "noacl")
    assert attempt(mainline.remount, "/", ["noacl"]) == "EINVAL"
    assert attempt(mainline.remount, "/", ["dax"]) == "EINVAL"


def test_project_quota(anck: SimKernel, attempt: Attempt) -> None:
    assert attempt(anck.remount, "/", ["prjquota"]) == "EINVAL"
    anck.remount("/data", ["prjquota"])
    assert shown(anck) == ("rw", "prjquota")
    assert attempt(anck.remount, "/data", ["noquota"]) == "EINVAL"


def test_mount_flags(anck: SimKernel, attempt: Attempt) -> None:
    anck.remount("/data", ["noatime", "nodev"])
    assert next(m.options for m in anck.mounts() if m.point == "/data") == ("rw", "nodev", "noatime")
    anck.remount("/data", ["ro", "dev"])
    assert next(m.options for m in anck.mounts() if m.point == "/data") == ("ro", "noatime")
    assert shown(anck) == ("ro",)
    assert anck.read(OPTIONS).startswith("ro\n")
    assert attempt(anck.remount, "/nowhere", ["ro"]) == "EINVAL"
    assert attempt(anck.remount, "/sys/fs/cgroup/memory", ["nosuid", "bogus"]) == "EINVAL"


def test_jbd2(anck: SimKernel, attempt: Attempt) -> None:
    path = "/proc/fs/jbd2/nvme0n1-8"
    assert anck.listdir(path) == ["force_copy", "info", "stall_thresh", "stats"]
    assert len(anck.read(f"{path}/stats").split()) == 15
    anck.write(f"{path}/stall_thresh", "1000")
    assert anck.read(f"{path}/stall_thresh") == "1000\n"
    assert attempt(anck.write, f"{path}/force_copy", "x") == "EINVAL"
