"""ext4 mount options, as a remount can change them; those only a mount can change are compared and listed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cotune.knobs.base import Knob, ValueContext, ValueType
from cotune.knobs.types import Boolean, Integer, Words

_EXT4 = "fs/ext4/super.c"
_INT_MAX = 2**31 - 1


@dataclass(frozen=True)
class NumberOrOff(Integer):
    """A whole number, or ``false``, which resolves to -1."""

    @property
    def expected(self) -> str:
        return f"{super().expected}, or false"

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [super().schema(), {"const": False}]}

    def resolve(self, value: Any, context: ValueContext) -> int:
        return -1 if value is False else super().resolve(value, context)


@dataclass(frozen=True)
class PowerOfTwo(Integer):
    """0 or a power of two."""

    @property
    def expected(self) -> str:
        return f"0 or a power of 2 up to {self.high}"

    def resolve(self, value: Any, context: ValueContext) -> int:
        number = super().resolve(value, context)
        if number & (number - 1):
            raise ValueError(self.expected)
        return number


def _option(name: str, title: str, kind: ValueType, doc: str, unit: str = "", confidence: str = "live") -> Knob:
    return Knob(f"mount.{name}", "mount", title, kind, "mount.ext4", name, doc, _EXT4, confidence, unit)


def _flag(name: str, title: str, doc: str, confidence: str = "live") -> Knob:
    return _option(name, title, Boolean(), doc, confidence=confidence)


KNOBS = (
    _flag(
        "barrier",
        "Write barriers",
        "false skips cache flushes: a power cut can then lose or corrupt data. Needs accept_data_loss.",
    ),
    _flag("lazytime", "Lazy timestamps", "Keeps timestamp updates in memory until they must be written."),
    _flag("delalloc", "Delayed allocation", "Allocates blocks when data is written back instead of at write()."),
    _flag("discard", "Online discard", "Tells the device about freed blocks as they are freed."),
    _flag("auto_da_alloc", "Flush on replace", "Writes data out when a file is replaced by rename or truncate."),
    _flag(
        "dioread_nolock",
        "Direct reads without lock",
        "Uses unwritten extents for buffered writes so that direct reads need no inode lock.",
    ),
    _option(
        "atime",
        "Access times",
        Words({"relatime": "relatime", "noatime": "noatime", "strictatime": "strictatime"}),
        "When reading a file updates its access time: at most once a day and after a change, never, or always. It "
        "belongs to this mount alone, not to the file system.",
    ),
    _flag(
        "diratime", "Access times of directories", "false keeps those of directories. It belongs to this mount alone."
    ),
    _option(
        "commit",
        "Journal commit interval",
        Integer(1, 8589934),
        "Seconds between journal commits; 5 is the default.",
        "s",
    ),
    _option(
        "max_batch_time",
        "Longest wait for more transactions",
        Integer(0, _INT_MAX),
        "Longest time in µs a synchronous write waits to be committed with others.",
        "µs",
    ),
    _option(
        "min_batch_time",
        "Shortest wait for more transactions",
        Integer(0, _INT_MAX),
        "Shortest time in µs a synchronous write waits to be committed with others.",
        "µs",
    ),
    _option(
        "journal_ioprio",
        "IO priority of the journal",
        Integer(0, 7),
        "Best-effort IO priority of journal commits, 0 the highest; 3 is the default. The kernel shows it nowhere: it "
        "is written but cannot be verified, and rollback writes the default where no earlier value is known.",
    ),
    _option(
        "errors",
        "Behaviour on errors",
        Words({"continue": "continue", "remount-ro": "remount-ro", "panic": "panic"}),
        "What the file system does when it finds itself damaged.",
    ),
    _option(
        "stripe",
        "Stripe width",
        Integer(0, _INT_MAX),
        "File system blocks that the allocator aligns to, such as the data disks of a RAID times its chunk.",
        "blocks",
    ),
    _option(
        "inode_readahead_blks",
        "Inode table read-ahead",
        PowerOfTwo(0, 2**30),
        "Most inode table blocks read ahead into the buffer cache; 32 is the default.",
        "blocks",
    ),
    _option(
        "init_itable",
        "Lazy inode table initialisation",
        NumberOrOff(0, _INT_MAX),
        "How slowly the kernel zeroes inode tables in the background: it waits this many times as long as the last "
        "one took. 10 is the default; false stops it.",
    ),
    _flag("block_validity", "Block validity checks", "Keeps files from using blocks that hold metadata."),
    _option(
        "max_dir_size_kb",
        "Largest directory",
        Integer(0, _INT_MAX),
        "Size above which a directory takes no more names (ENOSPC); 0 is no limit.",
        "KiB",
    ),
    _option("resuid", "User of the reserved blocks", Integer(0, _INT_MAX), "User id that may use the reserved blocks."),
    _option(
        "resgid", "Group of the reserved blocks", Integer(0, _INT_MAX), "Group id that may use the reserved blocks."
    ),
    _flag("grpid", "Group of new files", "true gives new files the group of their directory, as in BSD."),
    _flag(
        "prjquota",
        "Project quota enforced",
        "Enforces the limits of projects. Needs the features project and quota. A remount with prjquota only shows the "
        "option, so cotune has the kernel enforce the limits as well (quotactl Q_QUOTAON). The option cannot be taken "
        "away again while the file system is mounted, so switching it on needs --allow-irreversible.",
    ),
    _option(
        "data",
        "Journalling of data",
        Words({"ordered": "ordered", "writeback": "writeback", "journal": "journal"}),
        "Which data goes through the journal. Only a mount can change it.",
    ),
    _flag("journal_checksum", "Checksums in the journal", "Only a mount can change it: a remount ignores it."),
    _flag(
        "journal_async_commit",
        "Asynchronous journal commits",
        "Writes the commit record without waiting for the blocks before it. Excluded by data=ordered; a remount can "
        "switch it on but not off.",
    ),
    _flag("mbcache", "Cache of extended attributes", "Shares blocks of equal attributes. Only a mount can change it."),
    _flag("dax", "Direct access", "Bypasses the page cache on persistent memory. Only a mount can change it."),
    _flag("acl", "Access control lists", "Linux 6.1 and later always have them and know no noacl.", "source"),
    _flag("user_xattr", "User attributes", "Linux 6.1 and later always have them and know no nouser_xattr.", "source"),
)
