"""The kernel's end of a FUSE session: what is asked most often is answered here, the rest by pyfuse3.

A program that looks at a small file opens, reads and closes it. For each of these pyfuse3 takes longer than the answer
itself: coroutines inside coroutines, a context object, a copy into C. :class:`Device` mounts the file system and reads
``/dev/fuse`` itself. Opens, reads and releases that need not wait are answered at once; every other request goes to
pyfuse3 unchanged, through a socket it takes for the device, and its replies are carried back.

The layouts are those of include/uapi/linux/fuse.h, which never change for one request.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, Protocol, runtime_checkable

from cotune.kernel.admin import mount, unmount

_log = logging.getLogger("cotune.fuse")

#: enum fuse_opcode.
_GETATTR, _OPEN, _READ, _RELEASE = 3, 14, 15, 18
#: fuse_init_out, in the very first reply, behind the header and four words: max_background, congestion_threshold,
#: max_write. Releases are sent in the background. By default only twelve may be on their way; later opens overtake the
#: others.
_AGREED = struct.Struct("=32xHHI")
_BACKGROUND = struct.Struct("=HH")
_MOST_RELEASES = 1024
#: enum fuse_notify_code.
_INVALIDATE_INODE = 2
#: Of fuse_in_header opcode, unique, nodeid and pid, then the first eight bytes of what follows it.
_REQUEST = struct.Struct("=4xIQQ8xI4xQ")
#: What follows the header: of fuse_open_in the flags, of fuse_read_in, after the handle, offset and size.
_FLAGS, _RANGE = struct.Struct("=40xI"), struct.Struct("=48xQI")
#: fuse_out_header: length, error (negative), unique.
_REPLY = struct.Struct("=IiQ")
#: fuse_out_header and fuse_open_out: handle, flags, padding.
_OPENED = struct.Struct("=IiQQI4x")
#: fuse_out_header and fuse_attr_out: how long to keep it (s, ns), fuse_attr with inode, size, blocks, three times in
#: seconds and three in ns, mode, links, owner, group, device, block size, flags.
_ATTRIBUTES = struct.Struct("=IiQQI4xQQ8xQQQIIIII4x4x4xI4x")
#: fuse_out_header and fuse_notify_inval_inode_out: inode, from the start, all of it.
_INVALIDATE = struct.Struct("=IiQQqq")
#: Pages of data in a request or reply that libfuse agrees to (FUSE_MAX_MAX_PAGES), and bytes of headers.
_PAGES, _HEADERS = 256, 8192
#: asm-generic/socket.h; half of it is for data.
_SO_SNDBUFFORCE = 32
#: So many requests that were there already make a queue; so many are then read without asking whether there is one.
_QUEUE, _UNASKED = 4, 16
_BLOCK = 4096
FOPEN_DIRECT_IO, FOPEN_KEEP_CACHE = 1, 2


class Attributes(NamedTuple):
    """Of a file of root's: mode, size, time of all kinds (ns), and for how many seconds the kernel may keep them."""

    mode: int
    size: int
    time: int
    keep: int


@runtime_checkable
class Quick(Protocol):
    """Operations that answer some requests at once. All may raise OSError, which becomes the errno of the reply."""

    def getattr_now(self, inode: int, thread: int) -> Attributes | None:
        """The attributes of a file; None when pyfuse3's ``getattr`` has to be asked."""

    def open_now(self, inode: int, flags: int, thread: int) -> tuple[int, int] | None:
        """The handle and the flags (FOPEN_*) of an open file; None when pyfuse3's ``open`` has to be asked."""

    def read_now(self, handle: int, offset: int, size: int) -> bytes:
        """Part of an open file."""

    def release_now(self, handle: int) -> None:
        """Close a file."""


#: How one waited for a request: not at all, a while, or in vain because there is something else to do.
NOT_AT_ALL, A_WHILE, IN_VAIN = 0, 1, 2


class Device:
    """A mounted file system. ``fd`` is readable when there is a request."""

    def __init__(self, mountpoint: str, options: set[str], operations: Quick) -> None:
        """Mount. ``options`` are those of pyfuse3.init. Raises OSError with the kernel's errno."""
        self._point = mountpoint
        self._operations = operations
        self.fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            _mount(self.fd, mountpoint, options)
        except BaseException:
            os.close(self.fd)
            raise
        room = _PAGES * os.sysconf("SC_PAGE_SIZE") + _HEADERS
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setblocking(False)
        with suppress(PermissionError):  # without CAP_NET_ADMIN no listing of a directory may be that long
            theirs.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, 2 * room)
        #: What pyfuse3.init takes for the mount point (libfuse: a descriptor of /dev/fuse that is mounted already).
        self.inner = f"/dev/fd/{theirs.detach()}"
        self._request = bytearray(room)
        self._into = [self._request]
        self._agreed = False

    def serve(self, wait: Callable[[], int]) -> bytes | None:
        """Answer requests until there is one for pyfuse3, which is returned, or ``wait`` says that there is none.

        ``wait`` is asked before each request; while requests queue up, before one in a few. Raises OSError, ENODEV once
        the file system is unmounted.
        """
        fd, request, into, operations = self.fd, self._request, self._into, self._operations
        open_now, read_now, release_now = operations.open_now, operations.read_now, operations.release_now
        queued = 0
        while True:
            if queued >= _QUEUE:
                queued = queued + 1 if queued < _QUEUE + _UNASKED else 0
            else:
                waited = wait()
                if waited == IN_VAIN:
                    return None
                queued = queued + 1 if waited == NOT_AT_ALL else 0
            try:
                size = os.readv(fd, into)
            except BlockingIOError:
                queued = 0
                continue
            code, unique, inode, thread, word = _REQUEST.unpack_from(request)
            try:
                if code == _RELEASE:
                    release_now(word)
                    os.write(fd, _REPLY.pack(16, 0, unique))
                elif code == _OPEN:
                    opened = open_now(inode, _FLAGS.unpack_from(request)[0], thread)
                    if opened is None:
                        return bytes(request[:size])
                    os.write(fd, _OPENED.pack(32, 0, unique, *opened))
                elif code == _GETATTR:
                    found = operations.getattr_now(inode, thread)
                    if found is None:
                        return bytes(request[:size])
                    os.write(fd, _attributes(unique, inode, found))
                elif code == _READ:
                    data = read_now(word, *_RANGE.unpack_from(request))
                    os.writev(fd, (_REPLY.pack(16 + len(data), 0, unique), data))
                else:
                    return bytes(request[:size])
            except OSError as error:
                self._refuse(unique, error.errno or errno.EIO)
            except Exception:
                _log.exception("a request failed")
                self._refuse(unique, errno.EIO)
        return None

    def hand_over(self, request: bytes) -> None:
        """Give a request to pyfuse3, which has to read it before the next one is given."""
        self._ours.send(request)

    def carry_back(self) -> None:
        """Carry what pyfuse3 has replied to the kernel."""
        with suppress(BlockingIOError):
            while size := self._ours.recv_into(self._request):
                if not self._agreed:
                    self._agree()
                with suppress(OSError):  # who asked is gone, or the whole file system
                    os.write(self.fd, memoryview(self._request)[:size])

    def _agree(self) -> None:
        """Change the reply to INIT, and make room for the requests it allows."""
        self._agreed = True
        largest = _AGREED.unpack_from(self._request)[2]
        self._request.extend(bytes(max(0, largest + _HEADERS - len(self._request))))
        _BACKGROUND.pack_into(self._request, _AGREED.size - 8, _MOST_RELEASES, _MOST_RELEASES)

    def invalidate(self, inode: int) -> None:
        """Empty the page cache of an inode. Waits for pages that are being read. Raises OSError."""
        os.write(self.fd, _INVALIDATE.pack(40, _INVALIDATE_INODE, 0, inode, 0, 0))

    def close(self) -> None:
        """Unmount, unless that was done by others."""
        poll = select.poll()
        poll.register(self.fd, 0)
        gone = any(event & select.POLLERR for _, event in poll.poll(0))
        os.close(self.fd)
        self._ours.close()
        if not gone:
            with suppress(OSError):
                unmount(self._point, detach=True)

    def _refuse(self, unique: int, number: int) -> None:
        with suppress(OSError):
            os.write(self.fd, _REPLY.pack(16, -number, unique))


def _attributes(unique: int, inode: int, found: Attributes) -> bytes:
    """The reply to a getattr request."""
    seconds, ns = divmod(found.time, 10**9)
    times = (seconds, seconds, seconds, ns, ns, ns)
    head = (_ATTRIBUTES.size, 0, unique, found.keep, 0, inode, found.size)
    return _ATTRIBUTES.pack(*head, *times, found.mode, 1, _BLOCK)


def _mount(fd: int, point: str, options: set[str]) -> None:
    """mount(2) as libfuse does it (lib/mount.c): the names that fusermount takes as options are arguments there."""
    named = dict(option.split("=", 1) for option in options if "=" in option)
    subtype = named.pop("subtype", "")
    source = named.pop("fsname", subtype or "fuse")
    words = [option for option in options if "=" not in option] + [f"{name}={value}" for name, value in named.items()]
    owner = f"rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
    mount(f"fuse.{subtype}" if subtype else "fuse", source, point, ["nosuid", "nodev", f"fd={fd}", owner, *words])
