"""/proc/loadavg from the figures of the load sampler."""

from __future__ import annotations

from viewfs.views.records import Load


def render(load: Load) -> bytes:
    """The line of fs/proc/loadavg.c."""
    return b"%.2f %.2f %.2f %d/%d %d\n" % load
