"""Controls of ext4: mount options, features, the journal, and project quota.

Sources: fs/ext4/super.c, fs/jbd2/journal.c, fs/quota/quota.c, e2fsprogs misc/tune2fs.c. What a remount changes was
seen on Linux 6.1 and 6.18.
"""

from __future__ import annotations

from cotune.controls.base import UNLIMITED, Bound, Control, Part, Value, Values, Wanted
from cotune.kernel.port import Project
from cotune.knobs.base import ValueContext
from cotune.units import human_size

EXT4_NUMBERS = {
    "commit": 5,
    "max_batch_time": 15000,
    "min_batch_time": 0,
    "stripe": 0,
    "inode_readahead_blks": 32,
    "init_itable": 10,
    "max_dir_size_kb": 0,
    "resuid": 0,
    "resgid": 0,
}
"""ext4 options with a number → the number in force when nothing shows one. ``init_itable`` is -1 when it is off."""
EXT4_WORDS = {"errors": "continue", "data": "ordered", "atime": "relatime"}
"""ext4 options with a word → the usual one. ``data`` is empty on a file system without a journal."""
EXT4_FLAGS = {
    "diratime": True,
    "barrier": True,
    "lazytime": False,
    "delalloc": True,
    "discard": False,
    "auto_da_alloc": True,
    "dioread_nolock": True,
    "block_validity": True,
    "grpid": False,
    "acl": True,
    "user_xattr": True,
    "prjquota": False,
    "journal_checksum": True,
    "journal_async_commit": False,
    "mbcache": True,
    "dax": False,
}
"""ext4 flag options → whether they are on when nothing says otherwise."""
EXT4_HIDDEN = {"journal_ioprio": 3}
"""ext4 options that the kernel shows nowhere → what a mount starts with."""
EXT4_OFF = {"dioread_lock": "dioread_nolock"}
"""Words that switch a flag off and are not just its name with ``no`` before it (4.19 knows no other)."""
EXT4_DEFAULTS: dict[str, Value] = {**{k: int(v) for k, v in EXT4_FLAGS.items()}, **EXT4_NUMBERS, **EXT4_WORDS}
"""ext4 option → its value when nobody asked for another."""
PER_MOUNT = ("atime", "diratime")
"""Options of a mount, not of the file system: other mounts of it can have other ones."""
#: Options that only a mount can change; a remount refuses them, or accepts them and changes nothing.
_MOUNT_ONLY = ("data", "journal_checksum", "mbcache", "dax")
_OF_THE_JOURNAL = ("data", "journal_checksum", "journal_async_commit", "commit", "journal_ioprio")
_UNMOUNT = "unmount it, and mount it with {word} (in /etc/fstab, too)"
#: Key beside the options: whether the file system has all that project quota needs.
PROJECT_QUOTA = "project_quota"


class Ext4(Control):
    """Options of one mounted ext4 file system; all changes go in one remount, which is refused or done as a whole.

    The part is the option's name and also the target's row.
    """

    name = "mount.ext4"
    scope = "mount"
    reversible = "partial"
    hidden = EXT4_HIDDEN
    causes = {"EINVAL": "the kernel refuses this combination of options on a mounted file system"}

    def show(self, part: str, value: Value) -> str:
        if part == "init_itable" and value == -1:
            return "off"
        if part in EXT4_FLAGS:
            return "on" if value else "off"
        return str(value)

    def format(self, part: str, value: Value, row: str | None) -> str:
        if part == "init_itable" and value == -1:
            return "noinit_itable"
        if part == "atime":
            return str(value)
        if part not in EXT4_FLAGS:
            return f"{part}={value}"
        off = {name: word for word, name in EXT4_OFF.items()}
        return part if value else off.get(part, f"no{part}")

    def blocked(self, old: Values, wanted: Wanted) -> dict[str, tuple[str, str]]:
        if old.get("data") != "":
            return {}
        reason = "this file system has no journal"
        return {part: (reason, "tune2fs -j on the unmounted device") for part in wanted if part in _OF_THE_JOURNAL}

    def pending(self, old: Values, wanted: Wanted) -> dict[str, tuple[str, str]]:
        found = {}
        for part, value in wanted.items():
            if value == old.get(part):
                continue
            word = self.format(part, value, None) if isinstance(value, (int, str)) else part
            if part in _MOUNT_ONLY:
                found[part] = ("a remount cannot change it: it needs an unmount", _UNMOUNT.format(word=word))
            elif part == "journal_async_commit" and not value:
                remedy = "unmount it, and mount it without journal_async_commit"
                found[part] = ("a remount cannot switch it off: it needs an unmount", remedy)
            elif part == "journal_async_commit" and old.get("data") == "ordered":
                remedy = "unmount it, and mount it with data=writeback and journal_async_commit"
                found[part] = ("data=ordered excludes it, and a remount cannot change that", remedy)
            elif part == "prjquota" and not value:
                remedy = "unmount it, and mount it without prjquota (quotaoff -P lifts the limits meanwhile)"
                found[part] = ("enforcement ends only with the mount: it needs an unmount", remedy)
            elif part == "prjquota" and not old.get(PROJECT_QUOTA):
                found[part] = ("the file system lacks the features project and quota", NEED_FEATURES)
        return found

    def bounds(self, old: Values, new: Values, context: ValueContext) -> list[Bound]:
        if old.get("prjquota") == 0 and new.get("prjquota") == 1:
            text = "prjquota cannot be switched off again while the file system is mounted"
            return [Bound(text, ("allow-irreversible",))]
        return []


NEED_FEATURES = (
    "unmount it, apply features: {project: true, quota: true} (tune2fs -O project,quota -Q prjquota), and mount it "
    "with prjquota"
)


class Ext4Features(Control):
    """Features in the superblock of one ext4 file system, by tune2fs; only while it is mounted nowhere.

    The unit is the device node, part and row the feature. ``mounted`` beside them is where it is mounted, or what else
    holds it. A changed feature outlives a reboot, the record of the transaction does not.
    """

    name = "ext4.features"
    scope = "feature"
    reversible = "partial"
    causes = {
        "EBUSY": "it has been mounted meanwhile",
        "EIO": "tune2fs refuses it; the text says why",
    }
    absent = {
        "ENOENT": ("tune2fs is not installed", "install e2fsprogs"),
        "ENOTSUP": ("programs cannot be run below another root", "run cotune on that host"),
        "EIO": ("tune2fs cannot read this device", "run as root, on a device with an ext4 file system"),
    }

    def format(self, part: str, value: Value, row: str | None) -> str:
        return part if value else f"^{part}"

    def show(self, part: str, value: Value) -> str:
        return "on" if value else "off"

    def pending(self, old: Values, wanted: Wanted) -> dict[str, tuple[str, str]]:
        where = old.get("mounted")
        if not where:
            return {}
        return {
            part: (
                f"it is in use ({where}), and features change only on an unmounted file system",
                f"unmount it, then apply again (tune2fs -O {self.format(part, value, None)})",
            )
            for part, value in wanted.items()
            if isinstance(value, (int, str)) and value != old.get(part)
        }


class Jbd2(Control):
    """A file of one journal in ``/proc/fs/jbd2`` (fs/jbd2/journal.c, ANCK). Every mount starts it anew."""

    name = "jbd2"
    scope = "file"
    causes = {"EINVAL": "outside the range this kernel takes"}
    absent = {
        "ENOENT": ("this kernel has no such file for the journal", "an ANCK kernel (Alibaba Cloud Linux or Anolis)")
    }


class ProjectLimits(Control):
    """Limits of one project on one file system, by quotactl(2): KiB and inodes, 0 for no limit.

    The unit is the mount point, the row the project id and the part.
    """

    name = "quota.limits"
    scope = "quota"
    rows = True
    causes = {"ESRCH": "the file system has no project quota", "EPERM": "needs CAP_SYS_ADMIN"}
    absent = {
        "ESRCH": ("the file system has no project quota", NEED_FEATURES),
        "ENOSYS": ("this kernel has no quotas", "a kernel with CONFIG_QUOTACTL and CONFIG_QFMT_V2"),
        "ENOTSUP": ("quotas below another root cannot be read", "run cotune on that host"),
    }

    def row(self, part: str, device: str | None) -> str | None:
        return f"{device} {part}"

    def format(self, part: str, value: Value, row: str | None) -> str:
        return f"{part}={value}"

    def canonical(self, part: str, value: Value, context: ValueContext) -> Value:
        return 0 if value == UNLIMITED else value

    def show(self, part: str, value: Value) -> str:
        if value == 0:
            return "no limit"
        return str(value) if part.startswith("inodes") else human_size(int(value) * 1024)


class ProjectOf(Control):
    """The project of one directory: the id, which everything made below it inherits (FS_IOC_FSSETXATTR).

    What was made below it meanwhile keeps the id when the directory gets its old one back.
    """

    name = "quota.directory"
    scope = "project"
    reversible = "partial"
    causes = {"ENOTSUP": "the file system has no project feature", "EPERM": "needs CAP_FOWNER or an owner"}
    absent = {
        "ENOTTY": ("the file system keeps no projects", "an ext4 file system with the feature project"),
        "ENOTSUP": ("projects below another root cannot be read", "run cotune on that host"),
    }

    def show(self, part: str, value: Value) -> str:
        return str(value)


class ProjectOfTree(ProjectOf):
    """The project of a directory and of everything below it. The ids the files had are not kept."""

    name = "quota.tree"
    reversible = "no"
    causes = {**ProjectOf.causes, "EDQUOT": "more lies below the directory than the limits allow"}


_NOT_INHERITED = " (not inherited)"


def project_value(project: Project) -> Value:
    """A project as a value: the id, or a text where new files do not inherit it."""
    return project.id if project.inherit else f"{project.id}{_NOT_INHERITED}"


def value_project(value: Value) -> Project:
    """The project a value stands for; the other way round."""
    return Project(int(str(value).removesuffix(_NOT_INHERITED)), isinstance(value, int))


FEATURES = ("fast_commit", "project", "quota")
LIMITS = ("hard", "soft", "inodes_hard", "inodes_soft")

CONTROLS: tuple[Control, ...] = (
    Ext4Features(*(Part(name, f"mount.features.{name}", {}) for name in FEATURES)),
    Ext4(*(Part(name, f"mount.{name}", {}) for name in (*EXT4_DEFAULTS, *EXT4_HIDDEN))),
    Jbd2(*(Part(name, f"mount.jbd2.{name}", {"any": name}) for name in ("stall_thresh", "force_copy"))),
    ProjectLimits(*(Part(name, f"mount.quota.project.{name}", {}) for name in LIMITS)),
    ProjectOf(Part("id", "mount.quota.project.id", {})),
    ProjectOfTree(Part("id", "mount.quota.project.id", {})),
)
