"""Pieces several simulated hosts are built from: ext4 options, disks, mount options."""

from __future__ import annotations

from cotune.sim.hosts.specs import Disk, HierarchySpec, MountSpec, Partition, ProcessSpec

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


def server_processes(first: str, ssh: str, pod_a: str, pod_b: str, session: str) -> tuple[ProcessSpec, ...]:
    """What runs on a server, with the groups of PID 1, two pods and a login; ``ssh`` is the unit of sshd."""
    java = "java -cp /opt/spark/jars/* org.apache.spark.deploy.worker.Worker spark://m:7077"
    return (
        ProcessSpec(1, "systemd", "/usr/lib/systemd/systemd --switched-root --system", first, ppid=0, start=0),
        ProcessSpec(2, "kthreadd", "", ppid=0, start=0, kernel=True),
        ProcessSpec(1042, "sshd", "/usr/sbin/sshd -D", f"/system.slice/{ssh}"),
        ProcessSpec(1180, "containerd", "/usr/bin/containerd", "/system.slice/containerd.service", threads=3),
        ProcessSpec(1240, "kubelet", "/usr/bin/kubelet --config=/var/lib/kubelet/config.yaml",
                    "/system.slice/kubelet.service", threads=4, start=14),
        ProcessSpec(2101, "nginx", "nginx: master process /usr/sbin/nginx", "/system.slice/nginx.service", start=20),
        ProcessSpec(2102, "nginx", "nginx: worker process", "/system.slice/nginx.service", ppid=2101, start=20),
        ProcessSpec(2103, "nginx", "nginx: worker process", "/system.slice/nginx.service", ppid=2101, start=20),
        ProcessSpec(2230, "redis-server", "/usr/bin/redis-server 127.0.0.1:6379", "/system.slice/redis.service",
                    threads=5, start=21),
        ProcessSpec(3100, "java", java, "/system.slice/batch.service", threads=6, start=60),
        ProcessSpec(3150, "java", "java org.apache.spark.executor.CoarseGrainedExecutorBackend",
                    "/system.slice/batch.service", ppid=3100, threads=8, start=95),
        ProcessSpec(4101, "python3", "python3 train.py", pod_a, ppid=1180, threads=2, start=120),
        ProcessSpec(4201, "java", "java -Xmx4g -jar app.jar", pod_b, ppid=1180, threads=4, start=130),
        ProcessSpec(5000, "bash", "-bash", session, ppid=1042, start=300),
        ProcessSpec(5001, "cotune", "/usr/bin/python3 -m cotune", session, ppid=5000, start=301),
    )  # fmt: skip
