"""Mounts: the mountinfo text, remounting, and the files of ext4 and jbd2 in /proc/fs.

Sources: fs/namespace.c, fs/proc_namespace.c, fs/ext4/super.c, fs/jbd2/journal.c.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence

from cotune.kernel.port import Mount
from cotune.sim import ext4
from cotune.sim.files import U32_MAX, U64_MAX, HostFile, parse_u64, refuse
from cotune.sim.hosts.specs import Disk, HostSpec, MountSpec, Partition
from cotune.sim.machine import FileSystem, Machine, MountPoint
from cotune.sim.release import since

#: Flags of one mount, each with the word that takes it away.
_MOUNT_FLAGS = {"nosuid": "suid", "nodev": "dev", "noexec": "exec", "nodiratime": "diratime"}
_ATIME = ("noatime", "relatime", "strictatime")
#: The order in which show_mnt_opts prints the flags of a mount.
_ORDER = ("rw", "ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "relatime")
#: Words for flags of the superblock, which no file system parses.
_SUPER_FLAGS = ("ro", "rw", "lazytime", "nolazytime")
#: Options of cgroup2 in the order cgroup_show_options prints them (6.1; the last came in 6.6 and 6.9).
_CGROUP2 = ("nsdelegate", "favordynmods", "memory_localevents", "memory_recursiveprot", "memory_hugetlb_accounting",
            "pids_localevents")  # fmt: skip
_CGROUP2_SINCE = {"memory_hugetlb_accounting": (6, 6), "pids_localevents": (6, 9)}
#: File systems that take a change of mount flags, and nothing else, here.
_FLAGS_ONLY = ("tmpfs", "proc", "sysfs", "devtmpfs", "debugfs")


def mounts(machine: Machine) -> list[Mount]:
    """All mounts, in mount order."""
    rules = ext4.Rules(machine.spec)
    found = []
    for mount in machine.mount_points:
        fs, spec = machine.filesystems.get(mount.spec.device), mount.spec
        shown = spec.super_options if fs is None else ext4.super_options(fs, rules)
        found.append(Mount(spec.point, spec.device, "/", spec.source, spec.fstype, tuple(mount.options), shown))
    return found


def mountinfo(machine: Machine) -> str:
    """/proc/PID/mountinfo (proc(5)); mount ids count from 22."""
    lines = []
    ids = {mount.spec.point: 22 + i for i, mount in enumerate(machine.mount_points)}
    for mount in mounts(machine):
        parent = 1 if mount.point == "/" else ids[_parent_point(mount.point, set(ids))]
        options, shown = ",".join(mount.options), ",".join(mount.super_options)
        head = (
            f"{ids[mount.point]} {parent} {mount.device} {mount.root} {mount.point} {options} shared:{ids[mount.point]}"
        )
        lines.append(f"{head} - {mount.fstype} {mount.source} {shown}\n")
    return "".join(lines)


def _parent_point(point: str, points: set[str]) -> str:
    parent = point.rpartition("/")[0] or "/"
    return parent if parent in points else _parent_point(parent, points)


# --- mount and unmount ----------------------------------------------------------------------------------------------


def mount(machine: Machine, fstype: str, source: str, point: str, words: Sequence[str]) -> None:
    """mount(2) of an ext4 file system at an existing directory.

    ENODEV for other types, ENOENT for an unknown device, EINVAL for one without ext4 or a bad option, EBUSY for the
    same file system at the same place. A second mount shares the superblock: its own ext4 options are ignored.
    """
    if fstype != "ext4":
        refuse(errno.ENODEV)
    node = block_device(machine, source)
    if node is None:
        refuse(errno.ENOENT)
    device = node.number
    fs = machine.filesystems.get(device)
    if fs is None:
        refuse(errno.EINVAL)
    present = [mount for mount in machine.mount_points if mount.spec.device == device]
    if any(mount.spec.point == point for mount in present):
        refuse(errno.EBUSY)
    options = ["rw", "relatime"]
    rest = [word for word in words if not _mount_flag(options, word)]
    own = [word for word in rest if word not in _SUPER_FLAGS]
    if not present:
        fs.numbers, fs.words = ext4.first(fs, own, ext4.Rules(machine.spec))
        fs.read_only, fs.lazytime = "ro" in rest, "lazytime" in rest
    if "ro" in rest:
        options[0] = "ro"
    spec = MountSpec(point, device, source, "ext4", ext4=fs.spec)
    added = MountPoint(spec)
    added.options = [word for word in _ORDER if word in options]
    machine.mount_points.append(added)
    if not present:
        _start_journal(machine, source)
    machine.layout += 1


def unmount(machine: Machine, point: str) -> None:
    """umount(2) of the topmost mount at ``point``. EINVAL when nothing is mounted there; EBUSY for the root, and while
    something is mounted below. What processes have open is not simulated."""
    found = [mount for mount in machine.mount_points if mount.spec.point == point]
    if not found:
        refuse(errno.EINVAL)
    below = [mount for mount in machine.mount_points if mount.spec.point.startswith(point.rstrip("/") + "/")]
    if point == "/" or below:
        refuse(errno.EBUSY)
    machine.mount_points.remove(found[-1])
    machine.plain.setdefault(point, None)  # the directory it was mounted on
    machine.layout += 1


def block_device(machine: Machine, source: str) -> Disk | Partition | None:
    """The disk or partition of a device node."""
    devices: list[Disk | Partition] = [
        *machine.spec.disks,
        *(p for disk in machine.spec.disks for p in disk.partitions),
    ]
    return next((device for device in devices if source == f"/dev/{device.name}"), None)


# --- remount --------------------------------------------------------------------------------------------------------


def remount(machine: Machine, point: str, words: Sequence[str]) -> None:
    """Change options of the topmost mount at ``point``; all of them or, with one bad word, none (EINVAL)."""
    found = [mount for mount in machine.mount_points if mount.spec.point == point]
    if not found:
        refuse(errno.EINVAL)
    mount = found[-1]
    options = list(mount.options)
    rest = [word for word in words if not _mount_flag(options, word)]
    fs = machine.filesystems.get(mount.spec.device)
    if fs is not None:
        _remount_ext4(machine, fs, rest)
    elif mount.spec.fstype == "cgroup2":
        _remount_cgroup2(machine, mount, [word for word in rest if word not in _SUPER_FLAGS])
    elif mount.spec.fstype not in _FLAGS_ONLY or any(word not in ("ro", "rw") for word in rest):
        refuse(errno.EINVAL)
    for word in ("ro", "rw"):
        if word in rest:
            options = [word if o in ("ro", "rw") else o for o in options]
    mount.options = [word for word in _ORDER if word in options]


def _mount_flag(options: list[str], word: str) -> bool:
    """Apply a word that belongs to the mount itself; False when it is for the file system."""
    clears = {off: on for on, off in _MOUNT_FLAGS.items()}
    if word in _MOUNT_FLAGS:
        options.append(word)
    elif word in clears:
        options[:] = [o for o in options if o != clears[word]]
    elif word in _ATIME:
        options[:] = [o for o in options if o not in _ATIME] + [word]
    else:
        return False
    return True


def _remount_cgroup2(machine: Machine, mount: MountPoint, words: list[str]) -> None:
    """cgroup2_parse_param: EINVAL for an unknown word; options that are not named are cleared."""
    for word in words:
        if word not in _CGROUP2 or not since(machine.spec, *_CGROUP2_SINCE.get(word, (0, 0))):
            refuse(errno.EINVAL)
    mount.spec = mount.spec._replace(super_options=("rw", *(word for word in _CGROUP2 if word in words)))


def _remount_ext4(machine: Machine, fs: FileSystem, words: list[str]) -> None:
    own = [word for word in words if word not in _SUPER_FLAGS]
    numbers, texts = ext4.change(fs, own, ext4.Rules(machine.spec))
    fs.numbers, fs.words = numbers, texts
    for word in words:
        if word in ("ro", "rw"):
            fs.read_only = word == "ro"
        elif word in ("lazytime", "nolazytime"):
            # On 4.19 only the literal nolazytime clears it; leaving the word out keeps it.
            fs.lazytime = word == "lazytime"


# --- /proc/fs -------------------------------------------------------------------------------------------------------


def files(machine: Machine) -> Iterator[tuple[str, HostFile]]:
    """/proc/fs/ext4/DEV/options and, on ANCK, /proc/fs/jbd2/DEV-8/*."""
    rules = ext4.Rules(machine.spec)
    for mount in _superblocks(machine):
        fs = machine.filesystems[mount.spec.device]
        name = mount.spec.source.removeprefix("/dev/")
        yield f"/proc/fs/ext4/{name}/options", _options_file(fs, rules)
        journal = _journal(mount.spec.source)
        info = "0 transactions (0 requested), each up to 8192 blocks\n"
        stats = " ".join(["0"] * 15) + "\n" if machine.spec.anck else info
        yield f"{journal}/info", HostFile(lambda text=info: text, mode=0o444, no_write=errno.EIO)  # type: ignore[misc]
        if machine.spec.anck:
            yield f"{journal}/stats", HostFile(lambda text=stats: text, mode=0o444, no_write=errno.EIO)  # type: ignore[misc]
            yield f"{journal}/force_copy", _number(machine, f"{journal}/force_copy", U32_MAX)
            yield f"{journal}/stall_thresh", _number(machine, f"{journal}/stall_thresh", U64_MAX)


def _superblocks(machine: Machine) -> list[MountPoint]:
    """The first mount of every ext4 file system."""
    first = {mount.spec.device: mount for mount in reversed(machine.mount_points) if mount.spec.fstype == "ext4"}
    return list(first.values())


def _options_file(fs: FileSystem, rules: ext4.Rules) -> HostFile:
    return HostFile(lambda: ext4.options_file(fs, rules), mode=0o444, no_write=errno.EIO)


def boot(machine: Machine) -> None:
    """jbd2 numbers of mounted file systems; superblocks of those that are not mounted; /etc/fstab.

    The default of stall_thresh (ms) is in no source read; 100 is our assumption.
    """
    for spec in machine.spec.unmounted:
        if spec.ext4 is not None:
            machine.filesystems[spec.device] = FileSystem(spec.ext4)
    for fs in machine.filesystems.values():
        ext4.complete(fs)
    for spec in machine.spec.unmounted:
        machine.plain[spec.point] = None
    machine.plain["/etc/fstab"] = _fstab(machine.spec)
    for mount in _superblocks(machine):
        _start_journal(machine, mount.spec.source)


def _fstab(spec: HostSpec) -> str:
    """fstab(5): what has a disk below it, mounted or not."""
    lines = [
        f"{m.source} {m.point} {m.fstype} {'noauto' if m in spec.unmounted else 'defaults'} 0 {1 + (m.point != '/')}\n"
        for m in (*spec.mounts, *spec.unmounted)
        if m.source.startswith("/dev/")
    ]
    return "".join(lines)


def _start_journal(machine: Machine, source: str) -> None:
    if machine.spec.anck:
        journal = _journal(source)
        machine.numbers[f"{journal}/force_copy"] = [0]
        machine.numbers[f"{journal}/stall_thresh"] = [100]


def _journal(source: str) -> str:
    """The journal is inode 8, whence the name."""
    return f"/proc/fs/jbd2/{source.removeprefix('/dev/')}-8"


def _number(machine: Machine, path: str, high: int) -> HostFile:
    def write(text: str) -> None:
        value = parse_u64(text.strip())
        if value > high:
            refuse(errno.EINVAL)
        machine.numbers[path] = [value]

    return HostFile(lambda: f"{machine.numbers[path][0]}\n", write)
