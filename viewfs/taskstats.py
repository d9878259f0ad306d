"""The kernel's own count of the threads of a cgroup by state: CGROUPSTATS of the taskstats netlink family.

One request answers for all threads of one group (not of the groups below it) of a version 1 hierarchy; a version 2
group is refused with EINVAL (kernel/cgroup/cgroup-v1.c cgroupstats_build). Numbers are those of
include/uapi/linux/taskstats.h, cgroupstats.h and genetlink.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
import threading
from typing import NamedTuple

_NETLINK_GENERIC = 16
_NLM_F_REQUEST = 1
_NLMSG_ERROR = 2
_GENL_ID_CTRL = 16
_CTRL_CMD_GETFAMILY = 3
_CTRL_ATTR_FAMILY_ID = 1
_CTRL_ATTR_FAMILY_NAME = 2
_CGROUPSTATS_CMD_GET = 4
_CGROUPSTATS_CMD_ATTR_FD = 1
_CGROUPSTATS_TYPE_CGROUP_STATS = 1
_HEADER = struct.Struct("=IHHII")
_GENERIC = struct.Struct("=BBH")
_ATTRIBUTE = struct.Struct("=HH")
_STATS = struct.Struct("=5Q")
#: An answer comes at once; without one something other than the kernel is at the far end.
_TIMEOUT = 2
_TIMEVAL = struct.Struct("@ll")


class GroupStats(NamedTuple):
    """struct cgroupstats: threads of one group by exact state.

    ``io_wait`` are threads in none of the other states (killable waits for a page, for example) that wait for a disk.
    Threads in other killable waits, traced and idle ones are in none of the five.
    """

    sleeping: int
    running: int
    stopped: int
    uninterruptible: int
    io_wait: int

    @property
    def active(self) -> int:
        """What counts for the load."""
        return self.running + self.uninterruptible + self.io_wait


class Taskstats:
    """A socket to the family. Raises OSError when the kernel has none (CONFIG_TASKSTATS) or forbids it (needs root)."""

    def __init__(self) -> None:
        self._sequence = 0
        self._lock = threading.Lock()
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_GENERIC)
        try:
            # not settimeout, which takes another system call for each
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL.pack(_TIMEOUT, 0))
            self._socket.bind((0, 0))
            self._family = self._find_family()
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def read(self, directory: int) -> GroupStats:
        """The threads of the group whose directory an open descriptor names.

        Raises OSError: EINVAL when it is no version 1 group, ENOENT when the group is gone, EPERM without privilege.
        """
        answer = self._ask(self._family, _CGROUPSTATS_CMD_GET, _CGROUPSTATS_CMD_ATTR_FD, struct.pack("=I", directory))
        stats = answer.get(_CGROUPSTATS_TYPE_CGROUP_STATS, b"")
        if len(stats) < _STATS.size:
            raise OSError(errno.EPROTO, "taskstats: no cgroupstats in the answer")
        return GroupStats(*_STATS.unpack_from(stats))

    def _find_family(self) -> int:
        answer = self._ask(_GENL_ID_CTRL, _CTRL_CMD_GETFAMILY, _CTRL_ATTR_FAMILY_NAME, b"TASKSTATS\0")
        return int.from_bytes(answer[_CTRL_ATTR_FAMILY_ID][:2], sys.byteorder)

    def _ask(self, family: int, command: int, attribute: int, value: bytes) -> dict[int, bytes]:
        """Send one request and return the attributes of its answer. Raises OSError with the kernel's errno."""
        with self._lock:
            return self._ask_alone(family, command, attribute, value)

    def _ask_alone(self, family: int, command: int, attribute: int, value: bytes) -> dict[int, bytes]:
        self._sequence = self._sequence % 0xFFFFFFFF + 1
        padded = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), attribute) + value + b"\0" * (-len(value) % 4)
        body = _GENERIC.pack(command, 1, 0) + padded
        header = _HEADER.pack(_HEADER.size + len(body), family, _NLM_F_REQUEST, self._sequence, 0)
        self._socket.send(header + body)
        while True:
            message, sender = self._socket.recvfrom(8192)
            length, kind, _, sequence, _ = _HEADER.unpack_from(message)
            # only the kernel (port 0) is believed, and a late answer to a request that timed out is not ours
            if sender[0] != 0 or sequence != self._sequence:
                continue
            if kind == _NLMSG_ERROR:
                error = -struct.unpack_from("=i", message, _HEADER.size)[0]
                raise OSError(error, f"taskstats: {os.strerror(error)}")
            return _attributes(message[_HEADER.size + _GENERIC.size : length])


def _attributes(body: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    offset = 0
    while offset + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, offset)
        if length < _ATTRIBUTE.size:
            break
        found[kind] = body[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    return found
