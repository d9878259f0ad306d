"""What a profile sets of an ext4 file system beside its mount options: features, the journal, project quota."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cotune.knobs.base import Knob, ValueContext
from cotune.knobs.types import Boolean, Integer, Size

_TUNE2FS = "e2fsprogs misc/tune2fs.c"
_QUOTA = "fs/quota/quota.c"
_JBD2 = "fs/jbd2/journal.c (ANCK)"
#: include/uapi/linux/projid.h: the last id is no project; 0 is that of everything nobody assigned
_LAST_PROJECT = 2**32 - 2


@dataclass(frozen=True)
class DiskSize(Size):
    """A size of a file system; percentages, which are of MemTotal elsewhere, make no sense here."""

    unit: int = 1024

    @property
    def expected(self) -> str:
        return "a size such as 20GiB, a number of KiB, or max"

    def resolve(self, value: Any, context: ValueContext) -> int:
        if isinstance(value, str) and "%" in value:
            raise ValueError(self.expected)
        return super().resolve(value, context)


def _feature(name: str, title: str, doc: str) -> Knob:
    return Knob(f"mount.features.{name}", "feature", title, Boolean(), "ext4.features", name, doc, _TUNE2FS)


def _journal(name: str, title: str, high: int, doc: str, unit: str = "") -> Knob:
    kind = Integer(0, high)
    return Knob(f"mount.jbd2.{name}", "jbd2", title, kind, "jbd2", name, doc, _JBD2, "source", unit)


def _limit(name: str, title: str, doc: str) -> Knob:
    kind = Integer(0, 2**63 - 1, unlimited=True) if name.startswith("inodes") else DiskSize()
    return Knob(f"mount.quota.project.{name}", "quota", title, kind, "quota.limits", name, doc, _QUOTA)


KNOBS = (
    _feature(
        "fast_commit",
        "Fast commits",
        "Writes small changes to a compact area of the journal. Linux 5.10 or later; needs an unmounted file system.",
    ),
    _feature(
        "project",
        "Project ids",
        "Keeps a project id for every file, for project quota. Needs an unmounted file system.",
    ),
    _feature(
        "quota",
        "Quota in the file system",
        "Keeps limits and usage in hidden files; beside project, those of projects. Needs an unmounted file system.",
    ),
    _journal(
        "stall_thresh",
        "Threshold of journal stalls",
        2**63 - 1,
        "Time in ms from which a handle that waits for the journal counts as stalled in its statistics.",
        "ms",
    ),
    _journal(
        "force_copy",
        "Copy buffers to commit",
        2**32 - 1,
        "Not 0: the journal copies each metadata buffer it commits, so that writers need not wait for the commit.",
    ),
    Knob(
        "mount.quota.project.id",
        "quota",
        "Project of a directory",
        Integer(1, _LAST_PROJECT),
        "quota.directory",
        "id",
        "Project id of the directory, which everything made in it inherits. A directory that is not empty must have "
        "it already, unless assign: true gives it to everything below (--allow-irreversible).",
        "fs/ext4/ioctl.c",
    ),
    _limit("hard", "Hard limit of space", "Writing beyond it fails with EDQUOT; max or 0 is no limit."),
    _limit("soft", "Soft limit of space", "May be exceeded for a grace time; max or 0 is no limit."),
    _limit("inodes_hard", "Hard limit of inodes", "Most files and directories; max or 0 is no limit."),
    _limit("inodes_soft", "Soft limit of inodes", "May be exceeded for a grace time; max or 0 is no limit."),
)
