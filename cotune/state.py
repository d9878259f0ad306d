"""The state directory: where transactions and the lock are kept.

``/var/lib/cotune`` and ``/run/cotune`` below the root; for an ordinary user ``$XDG_STATE_HOME/cotune``. Directories
are 0700 and files 0600: journals name processes and paths of the whole host.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cotune.errors import Locked, NotPermitted, UsageError


@dataclass(frozen=True)
class StateDir:
    """``path`` holds the transactions, ``lock`` is the lock file."""

    path: Path
    lock: Path

    @property
    def transactions(self) -> Path:
        """The directory of the journals."""
        return self.path / "transactions"

    @contextmanager
    def locked(self, wait: float = 0.0) -> Iterator[None]:
        """Hold the lock, waiting at most ``wait`` seconds. Raises Locked, NotPermitted.

        The journals' own directory is locked as well: the same state may be named by different ways.
        """
        with ExitStack() as stack:
            for path in dict.fromkeys((self.lock, self.path / "lock")):
                make_private(path.parent)
                stack.enter_context(held(path, wait))
            yield


@contextmanager
def held(path: Path, wait: float, hint: str = "wait for it, or pass --wait 30s") -> Iterator[None]:
    """Hold a lock file exclusively, waiting at most ``wait`` seconds. Raises Locked (with ``hint``), NotPermitted."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise NotPermitted(f"{path}: {error.strerror}", "run as root, or pass --state-dir") from None
    try:
        _acquire(fd, path, wait, hint)
        yield
    finally:
        os.close(fd)


def _acquire(fd: int, path: Path, wait: float, hint: str) -> None:
    deadline = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= deadline:
                holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
                raise Locked(f"another run holds the lock {path} (pid {holder})", hint) from None
            time.sleep(0.05)
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)


def default_state(root: str, realpath: Callable[[str], str] = str) -> StateDir:
    """Where state lives for a host below ``root`` when nothing else is said.

    ``realpath`` resolves symbolic links inside that root, so that none leads out of it. Raises UsageError.
    """
    if os.geteuid() == 0 or root != "/":
        path, run = (Path(root + realpath(name)) for name in ("/var/lib/cotune", "/run/cotune"))
        return StateDir(path, run / "lock")
    try:
        home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
    except RuntimeError:
        raise UsageError("this user has no home directory to keep state in", "pass --state-dir") from None
    return given_state(home / "cotune")


def given_state(path: Path) -> StateDir:
    """A state directory named by the caller; the lock is in it."""
    return StateDir(path, path / "lock")


def make_private(path: Path) -> None:
    """Create a directory with its parents, each 0700. Raises NotPermitted."""
    try:
        for directory in (*reversed(path.parents), path):
            if not directory.exists():
                directory.mkdir(mode=0o700, exist_ok=True)
        os.listdir(path)
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise NotPermitted(f"{path}: {error.strerror}", "run as root, or pass --state-dir") from None
    except OSError as error:
        raise NotPermitted(
            f"{path}: {error.strerror}", "pass --state-dir with a directory on a writable disk"
        ) from None


def replace_file(path: Path, text: str, sync: bool = True) -> None:
    """Replace a file in one step, readable for its owner only. Raises OSError.

    The step outlasts a power cut, or without ``sync`` the end of this process only.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    if not sync:
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
