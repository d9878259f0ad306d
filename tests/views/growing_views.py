"""The service with made-up figures, run as a program: MNT/proc/stat is another snapshot, of another length, every
TTL_US microseconds. Everything between the kernel and the snapshot is the real thing.

usage: growing_views.py MNT TTL_US
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pyfuse3

from cotune import fuse
from cotune.fuse_device import FOPEN_DIRECT_IO
from cotune.host.cgroups import read_layout
from cotune.kernel.real import RealKernel
from viewfs.callers import Callers
from viewfs.container import Groups
from viewfs.daemon import ViewFs
from viewfs.handles import Snapshot
from viewfs.policy import Policies
from viewfs.service import WINDOW
from viewfs.tree import Tree
from viewfs.views import VIEWS, find_view

#: Lines of a snapshot, 32 bytes each: within a page, up to the next page's edge, and several pages.
LENGTHS = (1, 2, 20, 100, 127, 128, 129, 200, 384)


class Growing:
    """A subject whose every view is numbered, dated and says how long it is, in every line."""

    key = "growing"

    def __init__(self, ttl: float) -> None:
        self.open_handles = 0
        self.container = SimpleNamespace(id="growing")
        self._ttl = ttl
        self._number = 0
        self._random = random.Random(1)
        self._snapshot = Snapshot(b"", 0.0)

    def snapshot(self, path: str) -> Snapshot:
        """See handles.Subject."""
        now = time.monotonic()
        if now >= self._snapshot.expires:
            self._number += 1
            lines = self._random.choice(LENGTHS)
            line = b"%010d %012d %07d\n" % (self._number, int(now * 1e6), 32 * lines)
            self._snapshot = Snapshot(line * lines, now + self._ttl)
        return self._snapshot


class Counting(ViewFs):
    """Counts the handles it gives out: direct ones, and those that are read from the page cache."""

    handed: Counter[bool] = Counter()

    def open_now(self, inode: int, flags: int, thread: int) -> tuple[int, int] | None:
        """See ViewFs."""
        opened = super().open_now(inode, flags, thread)
        if opened is not None:
            self.handed[bool(opened[1] & FOPEN_DIRECT_IO)] += 1
        return opened

    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        """See ViewFs."""
        info = await super().open(inode, flags, ctx)
        self.handed[bool(info.direct_io)] += 1
        return info


def main(mount: str, ttl: float) -> None:
    """Serve until SIGTERM; then print how many handles were direct, and how many were not."""
    loop = fuse.make_loop("auto")
    subject: Any = SimpleNamespace(host=Growing(ttl))
    tree = Tree(VIEWS, lambda path: find_view(path) is not None)
    operations = Counting(loop, tree, Groups(read_layout(RealKernel()), Policies().of), Callers(), subject, WINDOW)
    options = {"fsname=viewfs", "subtype=viewfs", "allow_other", "ro"}
    fuse.serve(operations, mount, options, loop, lambda: print("ready", flush=True))
    print(operations.handed[True], operations.handed[False], flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) / 1e6)
