"""/proc/diskstats: what a container did to the disks (Documentation/admin-guide/iostats.rst)."""

from __future__ import annotations

from collections.abc import Mapping

from viewfs.views.records import Disk, DiskSum

_SECTOR = 512


def render(host: bytes, disks: Mapping[bytes, Disk]) -> bytes:
    """A line for every disk of the host the container has used, in the host's order and with as many columns.

    Nothing is ever in flight: no kernel counts that by group. Flushes belong to no group either.
    """
    lines = []
    for line in host.splitlines():
        fields = line.split()
        disk = disks.get(b"%s:%s" % (fields[0], fields[1]))
        if disk is not None and any(kind.ios for kind in disk[:3]):
            lines.append(_line(fields, disk))
    return b"".join(lines)


def _line(fields: list[bytes], disk: Disk) -> bytes:
    weighted = disk.read.ms + disk.write.ms + disk.discard.ms
    columns = [
        *request_columns(disk.read),
        *request_columns(disk.write),
        0,
        disk.busy_ms,
        weighted,
        *request_columns(disk.discard),
        0,
        0,
    ]
    shown = b" ".join(b"%d" % column for column in columns[: len(fields) - 3])
    return b"%4d %7d %s %s\n" % (int(fields[0]), int(fields[1]), fields[2], shown)


def request_columns(kind: DiskSum) -> tuple[int, int, int, int]:
    """Requests, merged requests, sectors of 512 bytes and milliseconds."""
    return kind.ios, kind.merged, kind.size // _SECTOR, kind.ms
