"""Mounts: the mountinfo text, remounting, and the files of ext4 and jbd2 in /proc/fs.

Sources: fs/namespace.c, fs/proc_namespace.c, fs/ext4/super.c, fs/jbd2/journal.c.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence

from cotune.kernel.port import Mount
from cotune.sim import ext4
from cotune.sim.files import U32_MAX, U64_MAX, HostFile, parse_u64, refuse
from cotune.sim.machine import FileSystem, Machine, MountPoint

#: Flags of one mount, each with the word that takes it away.
_MOUNT_FLAGS = {"nosuid": "suid", "nodev": "dev", "noexec": "exec", "nodiratime": "diratime"}
_ATIME = ("noatime", "relatime", "strictatime")
#: The order in which show_mnt_opts prints the flags of a mount.
_ORDER = ("rw", "ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "relatime")
#: File systems that take a change of mount flags, and nothing else, here.
_FLAGS_ONLY = ("tmpfs", "proc", "sysfs", "devtmpfs", "debugfs")


def mounts(machine: Machine) -> list[Mount]:
    """All mounts, in mount order."""
    rules = ext4.Rules(machine.spec.anck)
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


def _remount_ext4(machine: Machine, fs: FileSystem, words: list[str]) -> None:
    own = [word for word in words if word not in ("ro", "rw", "lazytime", "nolazytime")]
    numbers, texts = ext4.change(fs, own, ext4.Rules(machine.spec.anck))
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
    rules = ext4.Rules(machine.spec.anck)
    for mount in _superblocks(machine):
        fs = machine.filesystems[mount.spec.device]
        name = mount.spec.source.removeprefix("/dev/")
        yield f"/proc/fs/ext4/{name}/options", _options_file(fs, rules)
        journal = f"/proc/fs/jbd2/{name}-8"
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
    """jbd2 numbers. The default of stall_thresh (ms) is in no source read; 100 is our assumption."""
    if machine.spec.anck:
        for mount in _superblocks(machine):
            journal = f"/proc/fs/jbd2/{mount.spec.source.removeprefix('/dev/')}-8"
            machine.numbers[f"{journal}/force_copy"] = [0]
            machine.numbers[f"{journal}/stall_thresh"] = [100]


def _number(machine: Machine, path: str, high: int) -> HostFile:
    def write(text: str) -> None:
        value = parse_u64(text.strip())
        if value > high:
            refuse(errno.EINVAL)
        machine.numbers[path] = [value]

    return HostFile(lambda: f"{machine.numbers[path][0]}\n", write)
