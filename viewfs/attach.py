"""Views for containers that already run: single files of the service bound over theirs.

The service's file is cloned as a detached mount in the host's mount namespace; a child process enters the container's
namespace and root directory and moves the clone over the container's file. Nothing is executed inside the container,
and the service's own mount point is never visible there.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cotune.errors import ApplyFailed, NotPermitted, Unsupported, UsageError
from cotune.host.cgroups import read_layout
from cotune.kernel.port import Mount
from cotune.kernel.real import RealKernel
from viewfs.container import Groups
from viewfs.mountapi import SOURCE, clone_file, enter_mounts, move_mount, read_mounts, unmount
from viewfs.processes import Gone, space_of, start_time
from viewfs.sharing import guest_group
from viewfs.targets import Target
from viewfs.types import Policy

if TYPE_CHECKING:
    from viewfs.static import StaticFiles

#: Files that are bound where the service and the container have them.
FILES = (
    *(f"/proc/{name}" for name in ("cpuinfo", "stat", "meminfo", "loadavg", "uptime", "diskstats", "swaps")),
    *(f"/proc/pressure/{name}" for name in ("cpu", "io", "memory")),
    *(f"/sys/devices/system/cpu/{name}" for name in ("online", "offline", "possible", "present")),
)


class Attached(NamedTuple):
    """What attaching did: files that show the view now, and files left out with the reason."""

    files: tuple[str, ...]
    skipped: dict[str, str]


def attach(target: Target, mount: str, files: Iterable[str] = FILES, static: StaticFiles | None = None) -> Attached:
    """Bind the views of the service mounted at ``mount`` over the files of a container.

    Those that change only with configuration come from ``static``, when it is given. What was attached before is
    replaced. Raises UsageError (unknown file, host's own mounts, service not mounted),
    NotPermitted, Unsupported (Linux before 5.12), ApplyFailed when the container refuses; then nothing is left bound.
    """
    wanted = _known(files)
    with _Inside(target) as inside:
        base, kept = inside.sources(mount, static)
        trees = _clone_all(wanted, base, kept)
        try:
            if not trees:
                raise UsageError(f"no view service is mounted at {mount}", f"viewfs mount {mount}")
            inside.refuse_shared(trees)
            done, skipped = inside.run(lambda: _bind_all(trees, inside.mountinfo))
        finally:
            for tree in trees.values():
                os.close(tree)
    left_out = {path: "the service has no such view" for path in wanted if path not in trees}
    return Attached(tuple(done), {**left_out, **skipped})


def detach(target: Target, files: Iterable[str] = FILES) -> tuple[str, ...]:
    """Take the views of a container away; returns the files that had one. Raises like :func:`attach`."""
    wanted = _known(files)
    with _Inside(target) as inside:
        return tuple(inside.run(lambda: [path for path in wanted if _unbind(path, inside.mountinfo)]))


def attached(target: Target) -> tuple[str, ...]:
    """The files of a container that show a view now. Raises UsageError when it is gone."""
    try:
        mounts = read_mounts(f"/proc/{target.pid}/mountinfo")
    except OSError as error:
        raise UsageError(f"container {target} has ended") from error
    return tuple(path for path in FILES if _ours(mounts, path))


def bind_views(base: str, root: str, static: Path | None = None) -> tuple[str, ...]:
    """Bind the files below ``static`` and ``base`` over those below ``root``, in this mount namespace. Raises OSError.

    For the hook of a runtime, whose container has its mounts but not yet its own root directory.
    """
    done = []
    for path, tree in _clone_all(FILES, base, static).items():
        try:
            move_mount(tree, f"{root}{path}")
            done.append(path)
        except FileNotFoundError:
            continue
        finally:
            os.close(tree)
    return tuple(done)


def _known(files: Iterable[str]) -> list[str]:
    wanted = list(dict.fromkeys(files))
    for path in wanted:
        if path not in FILES:
            raise UsageError(f"there is no view of {path}", f"views are {', '.join(FILES)}")
    return wanted


def _clone_all(paths: Iterable[str], base: str, static: Path | None) -> dict[str, int]:
    """Path → detached mount, of the views there are: a plain file where there is one, or else the service's."""
    trees = {}
    for path in paths:
        tree = None if static is None else _clone(f"{static}{path}")
        if tree is None:
            tree = _clone(f"{base}{path}")
        if tree is not None:
            trees[path] = tree
    return trees


def _clone(path: str) -> int | None:
    """A detached mount of a view, or None when the service has no such file."""
    try:
        return clone_file(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        raise NotPermitted("attaching needs root (CAP_SYS_ADMIN)", "run as root") from None
    except OSError as error:
        if error.errno == errno.ENOSYS:
            raise Unsupported("this kernel has no open_tree and mount_setattr", "needs: Linux 5.12") from None
        raise UsageError(f"{path}: {error.strerror}", "is the view service running? viewfs status") from None


def _ours(mounts: list[Mount], path: str) -> bool:
    """Whether what is topmost at a path is a view."""
    return next((mount.source == SOURCE for mount in reversed(mounts) if mount.point == path), False)


def _unbind(path: str, mountinfo: int) -> bool:
    found = False
    while _ours(read_mounts(mountinfo), path):
        unmount(path)
        found = True
    return found


def _bind_all(trees: dict[str, int], mountinfo: int) -> tuple[list[str], dict[str, str]]:
    """Runs inside the container. After a refusal what was bound before it is taken away again."""
    done: list[str] = []
    skipped: dict[str, str] = {}
    try:
        for path, tree in trees.items():
            _unbind(path, mountinfo)
            try:
                move_mount(tree, path)
            except FileNotFoundError:
                skipped[path] = "the container has no such file"
            else:
                done.append(path)
    except OSError:
        for path in done:
            unmount(path)
        raise
    return done, skipped


class _Inside:
    """The mount namespace and root directory of a container, held open so that they stay that very container's."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._fds: list[int] = []

    def __enter__(self) -> _Inside:
        base = f"/proc/{self._target.pid}"
        try:
            self._fds.append(os.open(f"{base}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC))
            self._fds.append(os.open(f"{base}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            # opened here: in the container's /proc this command has no place
            self._fds.append(os.open(f"{base}/mountinfo", os.O_RDONLY | os.O_CLOEXEC))
            if start_time(self._target.pid) != self._target.starttime:
                raise Gone("another process by now")
            if os.path.samestat(os.fstat(self._fds[0]), os.stat("/proc/self/ns/mnt")):
                self.__exit__()
                raise UsageError(
                    f"{self._target} has the same mount namespace as this command",
                    "attaching would change the files of the host: name a process of a container",
                )
        except PermissionError:
            self.__exit__()
            raise NotPermitted("attaching needs root (CAP_SYS_ADMIN)", "run as root") from None
        except OSError as error:
            self.__exit__()
            raise UsageError(f"container {self._target} has ended") from error
        return self

    def __exit__(self, *_: object) -> None:
        while self._fds:
            os.close(self._fds.pop())

    @property
    def mountinfo(self) -> int:
        """The container's mountinfo file."""
        return self._fds[2]

    def sources(self, mount: str, static: StaticFiles | None) -> tuple[str, Path | None]:
        """Where its views and its plain files are. Raises UsageError, ApplyFailed."""
        pid = self._target.pid
        try:
            if space_of(pid) == os.stat("/proc/self/ns/pid").st_ino:
                # who reads does not tell the container: it is shown the host, and plain files have to agree
                return f"{mount}/pid/{pid}", None
            guest = guest_group(Groups(read_layout(RealKernel()), lambda group: Policy()), pid)
            if guest:
                return f"{mount}/cgroup/{guest}", None if static is None else static.of_group(guest)
            return mount, None if static is None else static.of_process(pid)
        except Gone as error:
            raise UsageError(f"container {self._target} has ended") from error

    def refuse_shared(self, paths: Iterable[str]) -> None:
        """A mount that is shared with the host would carry what is bound below it to the host."""
        mounts = [mount for mount in read_mounts(self.mountinfo) if mount.source != SOURCE]
        ours = {mount.shared for mount in read_mounts()} - {0}
        for path in paths:
            below = [mount for mount in mounts if mount.point == "/" or f"{path}/".startswith(f"{mount.point}/")]
            deepest = max(below, key=lambda mount: len(mount.point), default=None)
            if deepest is not None and deepest.shared in ours:
                hint = f"make it private inside: mount --make-rslave {deepest.point}"
                raise UsageError(f"{deepest.point} of {self._target} propagates to the host", hint)

    def run(self, work: Callable[[], Any]) -> Any:
        """Do work in a child process inside the container and return what it returns, as JSON has it.

        Raises ApplyFailed.
        """
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            self._child(work, writing)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            answer = pipe.read()
        os.waitpid(child, 0)
        result, reason = json.loads(answer or b'[null, "the child process died"]')
        if reason is not None:
            raise ApplyFailed(f"{self._target}: {reason}", "nothing was left attached")
        return result

    def _child(self, work: Callable[[], Any], writing: int) -> None:
        """Never returns. Only the pipe leads out: no exception, no buffered output, no exit handler."""
        answer: tuple[Any, str | None] = (None, "unexpected error")
        try:
            # from here on the files are the container's: no code may be loaded from them
            sys.meta_path.clear()
            enter_mounts(self._fds[0])
            os.fchdir(self._fds[1])
            os.chroot(".")
            answer = (work(), None)
        except OSError as error:
            answer = (None, f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror))
        finally:
            try:
                os.write(writing, json.dumps(answer).encode())
            finally:
                os._exit(0)
