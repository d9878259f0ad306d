"""The running host, or a directory that looks like one (``--root``).

Files are opened relative to a descriptor of their directory, without following symbolic links, and for writing
without O_CREAT and O_TRUNC: a plain ``open(path, "w")`` on a controller that is not mounted would leave a stray file
on the cgroup tmpfs.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import stat
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from cotune.kernel.mountinfo import parse_mountinfo
from cotune.kernel.port import Mount, Project, Quota

_DIR_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# without O_NONBLOCK a FIFO in a hostile tree would stop us for ever
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_WRITE_FLAGS = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_GONE = (errno.ENOENT, errno.ENODEV, errno.ESTALE)
_MAX_DIRS = 8192
_MAX_LINKS = 40

T = TypeVar("T")


class RealKernel:
    """Kernel port over real files below ``root``."""

    def __init__(self, root: str = "/") -> None:
        """``root`` is the directory taken as ``/``. Raises OSError when it is no directory."""
        self._root = os.path.realpath(root)
        self._dirs: OrderedDict[str, int] = OrderedDict()
        self._room = min(_MAX_DIRS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
        self._top = os.open(self._root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    @property
    def name(self) -> str:
        return self._root

    def close(self) -> None:
        """Close every directory kept open."""
        for fd in self._dirs.values():
            os.close(fd)
        self._dirs.clear()
        os.close(self._top)

    def read(self, path: str) -> str:
        fd = self._open(path, _READ_FLAGS)
        try:
            # seq_file may return less than asked for before the end, so read until nothing comes
            chunks = [os.read(fd, 65536)]
            while chunks[-1]:
                chunks.append(os.read(fd, 65536))
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from None
        finally:
            os.close(fd)
        return b"".join(chunks).decode("utf-8", "surrogateescape")

    def write(self, path: str, text: str) -> None:
        data = text.encode("utf-8", "surrogateescape")
        if self._root != "/":
            self._need_regular(path)
        fd = self._open(path, _WRITE_FLAGS)
        try:
            done = os.write(fd, data)
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from None
        finally:
            os.close(fd)
        if done != len(data):
            raise OSError(errno.EIO, f"only {done} of {len(data)} bytes were taken", path)

    def listdir(self, path: str) -> list[str]:
        fd = self._open(path, _READ_FLAGS | os.O_DIRECTORY)
        try:
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)

    def subdirs(self, path: str) -> list[str]:
        fd = self._open(path, _READ_FLAGS | os.O_DIRECTORY)
        try:
            with os.scandir(fd) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        finally:
            os.close(fd)

    def exists(self, path: str) -> bool:
        try:
            return self._is_there(path)
        except OSError as error:
            # a symbolic link on the way; the common path without one is kept fast
            return error.errno in (errno.ENOTDIR, errno.ELOOP) and self._resolved_exists(path)

    def writable(self, path: str) -> bool:
        parent, name = _split(path)
        try:
            return os.access(name, os.W_OK, dir_fd=self._dir(parent), effective_ids=True, follow_symlinks=False)
        except OSError:
            return False

    def mkdir(self, path: str) -> None:
        parent, name = _split(path)
        self._named(path, lambda: os.mkdir(name, 0o755, dir_fd=self._dir(parent)))

    def rmdir(self, path: str) -> None:
        parent, name = _split(path)
        self._forget(path)
        self._named(path, lambda: os.rmdir(name, dir_fd=self._dir(parent)))

    def realpath(self, path: str) -> str:
        done: list[str] = []
        todo = path.split("/")[::-1]
        links = 0
        while todo:
            part = todo.pop()
            if part in ("", "."):
                continue
            if part == "..":
                del done[-1:]
                continue
            try:
                target = os.readlink(self._host_path("/" + "/".join([*done, part])))
            except OSError:
                done.append(part)
                continue
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            if target.startswith("/"):
                done.clear()
            todo.extend(target.split("/")[::-1])
        return "/" + "/".join(done)

    def mounts(self) -> list[Mount]:
        # below another root, PID 1 of the proc that is mounted there knows the host's mounts
        names = ("self", "1") if self._root == "/" else ("1", "self")
        for name in names:
            try:
                return parse_mountinfo(self.read(self.realpath(f"/proc/{name}/mountinfo")))
            except OSError:
                continue
        return []

    def remount(self, point: str, options: Sequence[str]) -> None:
        self._need_running_host(point)
        from cotune.kernel.remount import remount

        remount(self._mounted(point), options)
        if "prjquota" in options:
            from cotune.kernel import admin

            admin.enforce_quota(self._device_of(point))

    def mount(self, fstype: str, source: str, point: str, options: Sequence[str]) -> None:
        self._need_running_host(point)
        from cotune.kernel import admin

        admin.mount(fstype, source, point, options)
        self._forget_below(point)

    def unmount(self, point: str) -> None:
        self._need_running_host(point)
        from cotune.kernel import admin

        self._forget_below(point)
        admin.unmount(point)

    def tool(self, name: str, arguments: Sequence[str]) -> str:
        self._need_running_host(name)
        from cotune.kernel import admin

        return admin.run_tool(name, arguments)

    def project(self, path: str) -> Project:
        self._need_running_host(path)
        from cotune.kernel import admin

        with self._attributes(path) as fd:
            return admin.get_project(fd)

    def set_project(self, path: str, project: Project) -> None:
        self._need_running_host(path)
        from cotune.kernel import admin

        with self._attributes(path) as fd:
            admin.set_project(fd, project)

    def quota(self, point: str, project: int) -> Quota:
        self._need_running_host(point)
        from cotune.kernel import admin

        return admin.get_quota(self._device_of(point), project)

    def set_quota(self, point: str, project: int, quota: Quota) -> None:
        self._need_running_host(point)
        from cotune.kernel import admin

        admin.set_quota(self._device_of(point), project, quota)

    def quota_enforced(self, point: str) -> bool:
        self._need_running_host(point)
        from cotune.kernel import admin

        return admin.quota_enforced(self._device_of(point))

    def _need_running_host(self, path: str) -> None:
        if self._root != "/":
            raise OSError(errno.EOPNOTSUPP, "not possible below another root", path)

    def _mounted(self, point: str) -> Mount:
        mount = next((m for m in reversed(self.mounts()) if m.point == point), None)
        if mount is None:
            raise OSError(errno.EINVAL, "nothing is mounted here", point)
        return mount

    def _device_of(self, point: str) -> str:
        """The node of the device below a mount: its source may be a name that is no file, such as /dev/root."""
        name = self.realpath(f"/sys/dev/block/{self._mounted(point).device}").rpartition("/")[2]
        return "/dev/" + name.replace("!", "/")

    @contextlib.contextmanager
    def _attributes(self, path: str) -> Iterator[int]:
        """A descriptor of a file or directory, of nothing else: opening a device can have effects."""
        parent, name = _split(path)
        kind = stat.S_IFMT(os.stat(name or ".", dir_fd=self._dir(parent), follow_symlinks=False).st_mode)
        if kind not in (stat.S_IFREG, stat.S_IFDIR):
            raise OSError(errno.ENOTTY, "neither a file nor a directory", path)
        fd = self._open(path, _READ_FLAGS)
        try:
            yield fd
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from None
        finally:
            os.close(fd)

    def _need_regular(self, path: str) -> None:
        """Refuse to open a FIFO or device for writing, which a directory tree that is no kernel's may hold."""
        parent, name = _split(path)
        if not stat.S_ISREG(os.stat(name, dir_fd=self._dir(parent), follow_symlinks=False).st_mode):
            raise OSError(errno.ELOOP, "no regular file: symbolic links and devices are not written to", path)

    def _host_path(self, path: str) -> str:
        return path if self._root == "/" else self._root + path

    def _is_there(self, path: str) -> bool:
        """Whether a path without symbolic links exists. Raises OSError (ENOTDIR, ELOOP) when it has one."""
        parent, name = _split(path)
        if not name:
            return True
        try:
            status = self._retry(parent, lambda: os.stat(name, dir_fd=self._dir(parent), follow_symlinks=False))
        except FileNotFoundError:
            return False
        if stat.S_ISLNK(status.st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        return True

    def _resolved_exists(self, path: str) -> bool:
        try:
            return self._is_there(self.realpath(path))
        except OSError:
            return False

    def _open(self, path: str, flags: int) -> int:
        parent, name = _split(path)
        try:
            return self._retry(parent, lambda: os.open(name or ".", flags, dir_fd=self._dir(parent)))
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from None

    def _retry(self, parent: str, call: Callable[[], T]) -> T:
        """Call once more when a directory kept open may have been removed and made anew since."""
        known = parent in self._dirs
        try:
            return call()
        except OSError as error:
            if error.errno not in _GONE or not known:
                raise
        # any directory on the way may be the one that was replaced
        while parent:
            self._forget(parent)
            parent = parent.rpartition("/")[0]
        return call()

    def _dir(self, path: str) -> int:
        """A descriptor of a directory, opened component by component without following symbolic links."""
        if path in ("", "/"):
            return self._top
        fd = self._dirs.get(path)
        if fd is not None:
            self._dirs.move_to_end(path)
            return fd
        parent, name = _split(path)
        if name == "..":
            raise OSError(errno.EINVAL, "a path may not contain ..", path)
        try:
            fd = os.open(name, _DIR_FLAGS, dir_fd=self._dir(parent))
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from None
        self._dirs[path] = fd
        if len(self._dirs) > self._room:
            os.close(self._dirs.popitem(last=False)[1])
        return fd

    def _forget(self, path: str) -> None:
        fd = self._dirs.pop(path, None)
        if fd is not None:
            os.close(fd)

    def _forget_below(self, point: str) -> None:
        """Close what is kept open below a mount point: it would be another file system, or keep this one busy."""
        for path in [kept for kept in self._dirs if kept == point or kept.startswith(f"{point}/")]:
            self._forget(path)

    def _named(self, path: str, call: Callable[[], None]) -> None:
        try:
            call()
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from None


def _split(path: str) -> tuple[str, str]:
    parent, _, name = path.rpartition("/")
    return parent, name
