"""Serving a FUSE file system with pyfuse3, under the loop of :mod:`cotune.fuse_loop` or under trio.

pyfuse3 (the ``views`` extra) is imported only when a file system is served.
"""

from __future__ import annotations

import errno
import functools
import gc
import logging
import os
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, Protocol, TypeVar

from cotune.errors import NotPermitted, Unsupported, UsageError
from cotune.fuse_device import Device, Quick
from cotune.fuse_loop import ENDING, OwnLoop, invalidate_inode

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger("cotune.fuse")


class Loop(Protocol):
    """What a file system needs of its event loop."""

    name: str
    #: The signal that ended it, 0 for none.
    ended_by: int

    def run(self) -> None:
        """Serve requests until the file system is unmounted or SIGTERM or SIGINT arrives."""

    async def in_thread(self, function: Callable[..., T], *args: object) -> T:
        """The result of ``function(*args)``, which may take long; other requests are served meanwhile."""
        ...

    def invalidate(self, inode: int) -> None:
        """Empty the page cache of an inode. Waits for pages that are being read. Raises OSError."""


def require() -> None:
    """Raises Unsupported, saying what to install, when pyfuse3 or ``/dev/fuse`` is missing."""
    try:
        import pyfuse3  # noqa: F401
    except ImportError as error:
        raise Unsupported(
            f"pyfuse3 is not installed ({error})",
            "apt-get install gcc pkg-config libfuse3-dev python3-dev fuse3, then pip install 'cotune[views]'",
        ) from None
    if not os.path.exists("/dev/fuse"):
        raise Unsupported("/dev/fuse does not exist", "load the kernel module: modprobe fuse")


def make_loop(kind: str) -> Loop:
    """``auto`` is the own loop, ``trio`` the fallback. Raises UsageError."""
    if kind == "auto":
        return OwnLoop()
    if kind == "trio":
        return TrioLoop()
    raise UsageError(f"--loop {kind}: expected auto or trio")


def serve(
    operations: object, mountpoint: str, options: set[str], loop: Loop, ready: Callable[[], None] = lambda: None
) -> None:
    """Mount, serve and unmount again; ``ready`` is called once the mount is there.

    pyfuse3 serves one file system per process. Raises NotPermitted when the kernel refuses the mount.
    """
    import pyfuse3

    device = None
    try:
        if isinstance(loop, OwnLoop) and isinstance(operations, Quick):
            device = loop.device = Device(mountpoint, options, operations)
        pyfuse3.init(operations, mountpoint if device is None else device.inner, options)  # type: ignore[arg-type]
    except (OSError, RuntimeError) as error:
        if device is not None:
            device.close()
        raise NotPermitted(
            f"{mountpoint} cannot be mounted: {error}", "run as root, with /dev/fuse accessible"
        ) from None
    try:
        ready()
        # what is loaded now stays for good: no collection needs to look at it again
        gc.collect()
        gc.freeze()
        loop.run()
    finally:
        pyfuse3.close(unmount=device is None)
        if device is not None:
            device.close()


def guarded(operation: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """An operation of pyfuse3 whose errors become errno values; one that nobody expects is logged and ends nothing."""
    import pyfuse3

    @functools.wraps(operation)
    async def answer(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await operation(*args, **kwargs)
        except pyfuse3.FUSEError:
            raise
        except OSError as error:
            raise pyfuse3.FUSEError(error.errno or errno.EIO) from None
        except Exception:
            _log.exception("%s failed", operation.__name__)
            raise pyfuse3.FUSEError(errno.EIO) from None

    return answer


class TrioLoop:
    """pyfuse3 under trio, as its authors run it."""

    name = "trio"
    ended_by = 0

    def run(self) -> None:
        """See :class:`Loop`."""
        import trio

        trio.run(self._main)

    async def in_thread(self, function: Callable[..., T], *args: object) -> T:
        """See :class:`Loop`."""
        import trio

        return await trio.to_thread.run_sync(function, *args)

    def invalidate(self, inode: int) -> None:
        """See :class:`Loop`."""
        invalidate_inode(inode)

    async def _main(self) -> None:
        import pyfuse3
        import trio

        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._signals)
            await pyfuse3.main()
            nursery.cancel_scope.cancel()

    async def _signals(self) -> None:
        import pyfuse3
        import trio

        with trio.open_signal_receiver(*ENDING) as received:
            async for self.ended_by in received:
                pyfuse3.terminate()
