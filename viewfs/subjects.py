"""Whose figures can be shown: the host and its containers, each with its sources and rendered views."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from time import CLOCK_BOOTTIME, clock_gettime, monotonic
from typing import TypeVar

from viewfs.container import Groups
from viewfs.handles import Snapshot
from viewfs.processes import Gone, Process
from viewfs.recent import Kept, file_room
from viewfs.sources import Host, Sources, Vanished
from viewfs.types import Container
from viewfs.views import View, cpu_directories, find_view

T = TypeVar("T")
Load = Callable[[Container], tuple[float, float, float, int, int, int]]

#: Containers whose files are kept open, about 30 each, three quarters of all there may be.
_SUBJECTS, _FILES = 1024, 30
#: Seconds after which the cgroup of a first process is looked at again.
_RECHECK = 0.1
#: Seconds after its start until which nothing of a container is kept, and ticks a second of start times.
_SETTLES, _HZ = 2.0, os.sysconf("SC_CLK_TCK")
#: Seconds that a file of the host's, which is no view, is shown unchanged.
_HOST_FILE_TTL = 0.05


def _lasts(view: View | None) -> float:
    """For how many seconds a view that is rendered next may be shown; a file of the host's without one."""
    if view is None:
        return _HOST_FILE_TTL
    if view.ttl_ms is None:
        return (1.0 - clock_gettime(CLOCK_BOOTTIME) * _HZ % 1.0) / _HZ
    return view.ttl_ms / 1000


class HostSubject:
    """The host: its files verbatim."""

    key: object = "host"

    def __init__(self, host: Host) -> None:
        self.open_handles = 0
        self._host = host
        self._snapshots: dict[str, Snapshot] = {}

    def snapshot(self, path: str) -> Snapshot:
        """See handles.Subject."""
        now = monotonic()
        snapshot = self._snapshots.get(path)
        if snapshot is None or now >= snapshot.expires:
            view = find_view(path)
            lasts = _lasts(view)
            if view is not None and view.ttl_ms is not None and path.startswith("proc/"):
                data = self._host.text(path)
            else:
                data = _read(f"{self._host.root}/{path}")
            snapshot = Snapshot(data, now + lasts)
            if len(self._snapshots) >= 256:  # the files of a host's CPUs are many, and each is read once
                self._snapshots.clear()
            self._snapshots[path] = snapshot
        return snapshot


class ContainerSubject:
    """One container. Its sources are opened when needed and may be closed at any time."""

    def __init__(
        self, key: object, find: Callable[[], Container | None], container: Container, host: Host, load: Load | None
    ) -> None:
        """``find`` looks the container up again; None when it is gone."""
        self.key = key
        self.container = container
        self.open_handles = 0
        self.checked = monotonic()
        self._find = find
        self._host = host
        self._load = load
        self._sources: Sources | None = None
        self._snapshots: dict[str, Snapshot] = {}
        self._is_settled = False

    def snapshot(self, path: str) -> Snapshot:
        """See handles.Subject."""
        now = monotonic()
        snapshot = self._snapshots.get(path)
        if snapshot is None or now >= snapshot.expires:
            view = find_view(path)
            if view is None:
                raise OSError(errno.ENOENT, path)
            lasts = _lasts(view)
            data = self._ask(lambda sources: view.render(sources, self.container))
            snapshot = self._snapshots[path] = Snapshot(data, now + (lasts if self._settled() else 0.0))
        return snapshot

    def _settled(self) -> bool:
        """Whether the container has run for a moment: a runtime binds the files first and sets the limits after."""
        if not self._is_settled and self.container.init_pid:
            age = clock_gettime(CLOCK_BOOTTIME) - self.container.starttime / _HZ
            self._is_settled = age > _SETTLES
        return self._is_settled

    def cpu_directories(self) -> frozenset[int]:
        """The N of the cpuN directories it sees. Raises OSError."""
        return frozenset(self._ask(lambda sources: cpu_directories(sources, self.container)))

    def _ask(self, question: Callable[[Sources], T]) -> T:
        """Ask the sources; once more after looking the container up again. Raises OSError."""
        if not self.container.init_pid and monotonic() - self.checked > _RECHECK:
            self._look_again()
        try:
            return question(self._opened())
        except Vanished:
            self._look_again()
        try:
            return question(self._opened())
        except Vanished as error:
            raise OSError(errno.ENOENT, str(error)) from None

    def _opened(self) -> Sources:
        if self._sources is None:
            self._sources = Sources(self.container, self._host, self._load)
        return self._sources

    def _look_again(self) -> None:
        """Raises OSError when the container is gone."""
        found = self._find()
        self.checked = monotonic()
        if found is None:
            self.close()
            raise OSError(errno.ENOENT, f"the cgroup {self.container.id} is gone")
        if found != self.container or self._sources is not None:
            self.close()
            self.container = found

    def close(self) -> None:
        """Close the sources; the next question opens them again."""
        self._snapshots.clear()
        if self._sources is not None:
            self._sources.close()
            self._sources = None


class Subjects:
    """The host's subject and those of its containers."""

    def __init__(self, groups: Groups, host: Host, load: Load | None) -> None:
        self.host = HostSubject(host)
        self._groups = groups
        self._host = host
        self._load = load
        room = file_room(_FILES * 4 // 3, _SUBJECTS)
        #: by first process (its number and start time) and by group
        self._known: Kept[tuple[int, int] | str, ContainerSubject] = Kept(room, ContainerSubject.close)

    def of_process(self, process: Process) -> ContainerSubject:
        """The container whose first process this is. Raises OSError."""
        key = (process.pid, process.starttime)
        subject = self._known.get(key)
        now = monotonic()
        if subject is not None and now - subject.checked < _RECHECK:
            return subject
        container = self._groups.of_process(process)
        if subject is not None and subject.container == container:
            subject.checked = now
            return subject
        made = ContainerSubject(key, lambda: _again(self._groups, process), container, self._host, self._load)
        return self._known.put(key, made)

    def of_group(self, path: str) -> ContainerSubject:
        """The container whose group this is. Raises OSError, ENOENT when there is none."""
        subject = self._known.get(path)
        if subject is not None:
            return subject
        container = self._groups.of_path(path)
        if container is None:
            raise OSError(errno.ENOENT, f"no cgroup {path}")
        made = ContainerSubject(path, lambda: self._groups.of_path(path), container, self._host, self._load)
        return self._known.put(path, made)

    def close(self) -> None:
        """Close all sources."""
        self._known.clear()


def _again(groups: Groups, process: Process) -> Container | None:
    try:
        return groups.of_process(process)
    except Gone:
        return None


def _read(path: str) -> bytes:
    """A short file of the host's as it is now, in one read. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return os.read(fd, 1 << 16)
    finally:
        os.close(fd)
