"""Views that change only with configuration, as plain files: cpuinfo and the lists of CPUs.

They lie on a small tmpfs of the host's, one directory per container, and are bound into it like those of the service.
Reading one asks nobody, so they are fast and stay readable while the service is dead. The service looks at the limits
every second and rewrites a file in place when they have changed (bind mounts show an inode, not a name).
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from cotune.errors import ApplyFailed
from cotune.host.cgroups import read_layout
from cotune.kernel.real import RealKernel
from cotune.state import held, make_private
from cotune.units import parse_cpulist
from viewfs.container import Groups
from viewfs.mountapi import SOURCE, mount_tmpfs, read_mounts
from viewfs.processes import Gone, Process, still_runs
from viewfs.sharing import first_process
from viewfs.sources import Host, Sources, Vanished
from viewfs.types import Container, Policy
from viewfs.views import VIEWS
from viewfs.views.records import Cpus

#: The files, as the container names them.
STATIC = tuple(f"/{path}" for path, view in VIEWS.items() if view.static)
#: Seconds that the files of a group without a container stay: a runtime needs some time to make it.
GRACE = 60.0
_RECORD = "container.json"
#: Every so many looks a container that is known is searched again.
_SELDOM = 10
#: The period of a quota that an OCI configuration leaves out, in microseconds (cpu.cfs_period_us).
_PERIOD = 100_000


class Owner(NamedTuple):
    """Whose files they are: those of a first process, or of a group that a runtime is about to make (pid 0)."""

    group: str
    pid: int = 0
    starttime: int = 0


class _Planned(Sources):
    """A container that is still to be made: the limits above it, with those of its OCI configuration."""

    def __init__(self, container: Container, host: Host, limits: Mapping[str, Any]) -> None:
        super().__init__(container, host)
        self._limits = limits

    def cpus(self) -> Cpus:
        """See Sources."""
        return tighten(super().cpus(), self._limits)


class _Kept:
    """A container that is looked at: its limits at the last look, and those its files were written with."""

    def __init__(self, container: Container, sources: Sources) -> None:
        self.container = container
        self.sources = sources
        self.seen: Cpus | None = None
        self.written: Cpus | None = None


class StaticFiles:
    """The files of all containers below one directory."""

    def __init__(self, directory: Path, policy_of: Callable[[str], Policy]) -> None:
        """``policy_of`` tells how a group is shown."""
        self.root = directory / "static"
        self._directory = directory
        self._policy_of = policy_of
        self._groups = Groups(read_layout(RealKernel()), self._policy_of)
        self._host = Host()
        self._open: dict[Path, _Kept] = {}
        self._owners: dict[Path, Owner] = {}
        self._looks = 0

    def of_process(self, pid: int) -> Path:
        """The directory with the files of the container a process belongs to, made and up to date.

        Raises Gone, ApplyFailed.
        """
        first = first_process(pid)
        try:
            container = self._groups.of_process(first)
        finally:
            first.close()
        owner = Owner(container.id, container.init_pid, container.starttime)
        return self._make(owner, container, Sources(container, self._host))

    def of_group(self, path: str, limits: Mapping[str, Any] | None = None) -> Path:
        """The same for the container whose group is at ``path``.

        ``limits`` are those that a runtime is going to set (``linux.resources.cpu`` of the configuration). Raises
        ApplyFailed.
        """
        path = path.strip("/")
        above = path
        while above and not self._groups.exists(above):
            above = above.rpartition("/")[0]
        found = self._groups.of_path(above)
        if found is None:
            raise ApplyFailed("no cgroup hierarchy is mounted")
        container = found._replace(id=path, policy=self._policy_of(path))
        return self._make(Owner(path), container, _Planned(container, self._host, limits or {}))

    def refresh(self) -> None:
        """Bring all files up to date and remove those of containers that are gone.

        A change is written when two looks agree: a runtime makes a group first and sets its limits then.
        """
        self._looks += 1
        entries = self._entries()
        for directory in self._open.keys() - entries.keys():
            self._close(directory)
        for directory, owner in entries.items():
            kept = self._open.get(directory)
            # its limits tell when its group is gone; whether it is in another one by now, only the search
            container = kept.container if kept and self._looks % _SELDOM else self._find(owner)
            if container is not None:
                self._update(directory, container)
            elif owner.pid or time.time() - (directory / _RECORD).stat().st_mtime > GRACE:
                self._close(directory)
                shutil.rmtree(directory, ignore_errors=True)

    def close(self) -> None:
        """Close what is kept open. The files stay."""
        for directory in list(self._open):
            self._close(directory)
        self._host.close()

    def _make(self, owner: Owner, container: Container, sources: Sources) -> Path:
        directory = self.root / sha256(repr(tuple(owner)).encode("utf-8", "surrogateescape")).hexdigest()[:32]
        try:
            make_private(self._directory)
            with held(self._directory / "static.lock", 5.0):
                if not any(mount.point == str(self.root) and mount.source == SOURCE for mount in read_mounts()):
                    self.root.mkdir(exist_ok=True)
                    mount_tmpfs(str(self.root))
            for path, data in _rendered(container, sources).items():
                file = directory / path[1:]
                file.parent.mkdir(parents=True, exist_ok=True)
                rewrite(file, data)
            (directory / _RECORD).write_text(json.dumps(owner), encoding="utf-8")
        except (OSError, Vanished) as error:
            raise ApplyFailed(f"{container.id or '/'}: {error}") from error
        finally:
            sources.close()
        return directory

    def _entries(self) -> dict[Path, Owner]:
        """The directories there are; their owners never change."""
        names: set[str] = set()
        with suppress(OSError):
            names.update(os.listdir(self.root))
        known = {directory.name: directory for directory in self._owners}
        for name in known.keys() - names:
            del self._owners[known[name]]
        for name in names - known.keys():
            with suppress(OSError, ValueError, TypeError):
                record = json.loads((self.root / name / _RECORD).read_text(encoding="utf-8"))
                self._owners[self.root / name] = Owner(*record)
        return self._owners

    def _find(self, owner: Owner) -> Container | None:
        if not owner.pid:
            return self._groups.of_path(owner.group)
        if not still_runs(owner.pid, owner.starttime):
            return None
        try:
            process = Process(owner.pid)
        except Gone:
            return None
        try:
            return self._groups.of_process(process)
        except Gone:
            return None
        finally:
            process.close()

    def _update(self, directory: Path, container: Container) -> None:
        kept = self._open.get(directory)
        try:
            if kept is None or kept.container != container:
                self._close(directory)
                kept = self._open[directory] = _Kept(container, Sources(container, self._host))
            # not the files themselves: cpuinfo also has the frequency of the moment
            seen = kept.sources.cpus()
            if seen == kept.seen != kept.written:
                for path, data in _rendered(container, kept.sources).items():
                    rewrite(directory / path[1:], data)
                kept.written = seen
            kept.seen = seen
        except Vanished:
            self._close(directory)  # going away; the next look tells

    def _close(self, directory: Path) -> None:
        if directory in self._open:
            self._open.pop(directory).sources.close()


def tighten(cpus: Cpus, limits: Mapping[str, Any]) -> Cpus:
    """The CPUs left to a group with ``limits`` (runtime-spec config-linux.md: cpus, quota and period in µs)."""
    if limits.get("cpus"):
        wanted = frozenset(parse_cpulist(limits["cpus"]))
        cpus = cpus._replace(cpuset=wanted & cpus.cpuset if cpus.cpuset else wanted)
    if (quota := limits.get("quota") or 0) > 0:
        own = (quota, limits.get("period") or _PERIOD)
        if cpus.quota is None or own[0] * cpus.quota[1] < cpus.quota[0] * own[1]:
            cpus = cpus._replace(quota=own)
    return cpus


def rewrite(file: Path, data: bytes) -> bool:
    """Replace the contents of a file in place, so that bind mounts of it show them; False when they were the same.

    One write, then the old end is cut off: a reader in between sees the new contents and the rest of longer old ones.
    """
    fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o444)
    try:
        if os.pread(fd, len(data) + 1, 0) == data:
            return False
        os.fchmod(fd, 0o444)
        os.pwrite(fd, data, 0)
        os.ftruncate(fd, len(data))
        return True
    finally:
        os.close(fd)


def _rendered(container: Container, sources: Sources) -> dict[str, bytes]:
    """Path → contents of the files the host has, too. Raises Vanished."""
    found = {}
    for path in STATIC:
        with suppress(FileNotFoundError):
            found[path] = VIEWS[path[1:]].render(sources, container)
    return found
