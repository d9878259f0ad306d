"""ext4 mount options that a remount can change."""

from __future__ import annotations

from cotune.knobs.base import Knob
from cotune.knobs.types import Boolean, Integer, Words

_EXT4 = "fs/ext4/super.c"


def _flag(name: str, title: str, doc: str) -> Knob:
    return Knob(f"mount.{name}", "mount", title, Boolean(), "mount.ext4", name, doc, _EXT4)


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
    Knob(
        "mount.commit",
        "mount",
        "Journal commit interval",
        Integer(1, 8589934),
        "mount.ext4",
        "commit",
        "Seconds between journal commits; 5 is the default.",
        _EXT4,
        unit="s",
    ),
    Knob(
        "mount.max_batch_time",
        "mount",
        "Longest wait for more transactions",
        Integer(0, 2**31 - 1),
        "mount.ext4",
        "max_batch_time",
        "Longest time in µs a synchronous write waits to be committed with others.",
        _EXT4,
        unit="µs",
    ),
    Knob(
        "mount.min_batch_time",
        "mount",
        "Shortest wait for more transactions",
        Integer(0, 2**31 - 1),
        "mount.ext4",
        "min_batch_time",
        "Shortest time in µs a synchronous write waits to be committed with others.",
        _EXT4,
        unit="µs",
    ),
    Knob(
        "mount.errors",
        "mount",
        "Behaviour on errors",
        Words({"continue": "continue", "remount-ro": "remount-ro", "panic": "panic"}),
        "mount.ext4",
        "errors",
        "What the file system does when it finds itself damaged.",
        _EXT4,
    ),
)
