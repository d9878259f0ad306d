"""Pieces several simulated hosts are built from: ext4 options, disks, mount options."""

from __future__ import annotations

from cotune.sim.hosts.specs import Disk, HierarchySpec, MountSpec, Partition

MIB = 2**20

#: Of a superblock with metadata_csum, which mkfs.ext4 makes: journal_checksum is on.
EXT4_COMMON = (
    ("commit", 5), ("barrier", 1), ("delalloc", 1), ("min_batch_time", 0), ("max_batch_time", 15000),
    ("journal_ioprio", 3), ("auto_da_alloc", 1), ("discard", 0), ("journal_checksum", 1), ("journal_async_commit", 0),
    ("stripe", 0), ("inode_readahead_blks", 32), ("init_itable", 10), ("block_validity", 1), ("grpid", 0),
    ("minixdf", 0), ("max_dir_size_kb", 0), ("resuid", 0), ("resgid", 0), ("acl", 1), ("user_xattr", 1), ("noload", 0),
    ("dax", 0), ("mbcache", 1), ("debug", 0), ("i_version", 0), ("data_err_abort", 0), ("prjquota", 0),
)  # fmt: skip
EXT4_419 = (*EXT4_COMMON, ("dioread_nolock", 0))
EXT4_618 = (*EXT4_COMMON, ("dioread_nolock", 1), ("warn_on_error", 0), ("prefetch_block_bitmaps", 1))

SDA = Disk(
    "sda", "8:0", "/sys/devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda", 937703088,
    rotational=False, depth=32, write_cache="write back", scheduler="mq-deadline",
    partitions=(Partition("sda1", "8:1", 1, 937699328),), serial_file="device/serial", serial="S45PNA0M520318",
    wwid="naa.5002538e40a3c1f7",
)  # fmt: skip
NVME = Disk(
    "nvme0n1", "259:0", "/sys/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0/nvme/nvme0/nvme0n1", 7501476528,
    rotational=False, depth=1023, write_cache="write through", scheduler="none", serial_file="device/serial",
    serial="PHLJ1346004H4P0DGN", wwid="eui.01000000010000005cd2e42f93d15251", max_hw_sectors_kb=128,
)  # fmt: skip


def virtual_disk(name: str, number: str, sectors: int) -> Disk:
    """A disk without hardware: zram, loop. ``sectors`` are of 512 bytes."""
    return Disk(
        name, number, f"/sys/devices/virtual/block/{name}", sectors, rotational=False, depth=128,
        write_cache="write through", scheduler="none", queued=not name.startswith("zram"),
    )  # fmt: skip


SYSTEMD_OPTIONS = ("rw", "nosuid", "nodev", "noexec", "relatime")


def cgroup_mounts(hierarchies: tuple[HierarchySpec, ...], options: tuple[str, ...]) -> tuple[MountSpec, ...]:
    """One mount per cgroup tree, the last hierarchy first, as ``/proc/self/mountinfo`` lists them."""
    return tuple(
        MountSpec(
            h.point, f"0:{29 + i}", "cgroup" if h.key else "cgroup2",
            "cgroup" if h.key else "cgroup2", options, ("rw", *filter(None, h.key.split(","))),
        )
        for i, h in enumerate(reversed(hierarchies))
    )  # fmt: skip
