"""``cotune sim mount``: a simulated host as files, for ``--root``, shells and everything else that opens files.

The kernel's part is a :class:`SimKernel`, saved after every operation that changes it and before its caller hears of
it: what a write(2) returned from outlasts the end of this process, however it ends. (A power cut may take the last
ones; everything is synced when the mount ends in good order.) Ordinary files are real ones in ``files`` below the state
directory. The transactions are those of ``--sim``, so that both ways see one host.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from cotune import fuse
from cotune.errors import NotPermitted, UsageError
from cotune.fuse_loop import ENDING
from cotune.kernel import admin
from cotune.kernel.real import RealKernel
from cotune.session import mounted_mark, simulated_file, simulated_host
from cotune.sim.disk import Binds, open_root
from cotune.sim.faults import parse_fault
from cotune.sim.kernel import SimKernel
from cotune.sim.nodes import Simulated
from cotune.state import StateDir, make_private

_SUBTYPE = "cotune-sim"
#: The type the mount has in /proc/mounts.
FSTYPE = f"fuse.{_SUBTYPE}"
_TRANSACTIONS = "var/lib/cotune/transactions"


class Mounted(NamedTuple):
    """What is served: where, which kernel, from which state directory, and whether a dead mount was in the way."""

    point: str
    kernel: str
    state: Path
    replaced: bool


def serve_host(
    directory: Path, kernel: str, faults: Sequence[str], state_dir: Path | None, ready: Callable[[Mounted], None]
) -> int:
    """Mount a simulated host at an empty directory and serve it until a signal or an unmount; returns the signal or 0.

    ``ready`` is called once it is there. Raises Unsupported, UsageError, Locked, NotPermitted.
    """
    struck = [parse_fault(spec) for spec in faults]
    fuse.require()
    from cotune.sim.mountfs import SimFs

    loop = fuse.make_loop("auto")
    point = os.path.realpath(directory)
    replaced = _clear_stale(point)
    _need_empty(point)
    with simulated_host(kernel, state_dir, wait=0.0) as (sim, state):
        _need_apart(point, state)
        path, mark = simulated_file(state, kernel), mounted_mark(state)
        host = Simulated(sim, struck, lambda: sim.save(path, sync=False))
        root = open_root(*_ordinary_files(sim, state), host)
        options = {f"fsname={sim.name}", f"subtype={_SUBTYPE}"}
        served = Mounted(point, kernel, state.path, replaced)
        _settle_process()
        try:
            mark.touch()
            fuse.serve(SimFs(root), point, options, loop, lambda: ready(served))
        except _Ended as ended:
            return ended.number
        finally:
            mark.unlink(missing_ok=True)
    return loop.ended_by


class _Ended(Exception):
    """A signal arrived before the event loop took over."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _end(number: int, frame: FrameType | None) -> None:
    raise _Ended(number)


def _clear_stale(point: str) -> bool:
    """Take away what a process that died left mounted there; whether there was anything. Raises UsageError."""
    with closing(RealKernel()) as kernel:
        found = [mount for mount in kernel.mounts() if mount.point == point and mount.fstype == FSTYPE]
    for _ in found:
        try:
            os.statvfs(point)
        except OSError:  # ENOTCONN: nobody serves it any more
            _detach(point)
        else:
            raise UsageError(f"{point} shows a simulated host already", "name another directory, or end that mount")
    return bool(found)


def _detach(point: str) -> None:
    try:
        if os.geteuid() == 0:
            admin.unmount(point, detach=True)
        else:
            admin.run_tool("fusermount3", ["-u", "-z", point])
    except OSError as error:
        raise NotPermitted(
            f"{point}: what a mount that died left there cannot be unmounted: {error.strerror}", "run as root"
        ) from None


def _need_empty(point: str) -> None:
    """Raises UsageError for what cannot be a mount point."""
    hint = "name an empty directory"
    try:
        names = os.listdir(point)
    except OSError as error:
        raise UsageError(f"{point}: {error.strerror}", hint) from None
    if names:
        raise UsageError(f"{point} is not empty", hint)


def _need_apart(point: str, state: StateDir) -> None:
    """Raises UsageError for a mount that would have to read itself."""
    kept = os.path.realpath(state.path)
    if os.path.commonpath((kept, point)) in (kept, point):
        raise UsageError(f"{point} and the state directory {kept} lie one in the other", "pass another --state-dir")


def _ordinary_files(sim: SimKernel, state: StateDir) -> tuple[Path, Binds]:
    """The directory of the ordinary files, with at least those the host begins with."""
    top = state.path / "files"
    make_private(top)
    for path, text in sim.ordinary().items():
        place = top / path[1:]
        if place.is_symlink() or place.exists():
            continue
        if text is None:
            place.mkdir(mode=0o755)
            place.chmod(0o1777 if path == "/tmp" else 0o755)
        else:
            place.write_text(text, encoding="utf-8")
    make_private(top / _TRANSACTIONS)
    make_private(state.transactions)
    covered = os.stat(top / _TRANSACTIONS)
    return top, {(covered.st_dev, covered.st_ino): state.transactions}


def _settle_process() -> None:
    """What a process needs that serves for long, unlike a command: a descriptor per node, modes as they are asked for,
    an end in good order at any time, and garbage collected."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.umask(0)
    for number in ENDING:
        signal.signal(number, _end)
    gc.enable()
