"""FaultyKernel: a Kernel that fails on purpose, at places that can be counted.

What is counted is the operations of one kind (writes by default) whose path matches the fault's glob. A fault strikes
at its n-th such operation, once, or from there on with a ``+`` after the number.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from cotune.errors import UsageError
from cotune.kernel.port import Kernel, Mount, Project, Quota

OPERATIONS = (
    "read", "write", "listdir", "mkdir", "rmdir", "remount", "mount", "unmount", "tool", "project", "quota",
)  # fmt: skip
#: The word that counts operations of every kind.
ANY = "op"
_ACTIONS = ("errno", "vanish", "thirdparty", "kill")
_KEYS = (*_ACTIONS, *OPERATIONS, ANY, "path")
_EXAMPLE = "such as errno=EBUSY,write=3,path=*/memory.limit_in_bytes"


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong at the ``nth`` operation ``on`` a path that matches the glob ``pattern`` and, if given,
    is ``below`` or lies below it.

    Exactly one of: ``number`` (the operation fails with this errno and is not carried out), ``vanish`` (this cgroup is
    removed with its tasks first), ``third_party`` (this path and text are written first), ``kill`` (whoever asks for
    the operation is killed, and it is not carried out).
    """

    nth: int
    on: str = "write"
    pattern: str = "*"
    below: str = ""
    number: int = 0
    vanish: str = ""
    third_party: tuple[str, str] | None = None
    kill: bool = False
    lasting: bool = False


@runtime_checkable
class _Vanishing(Protocol):
    def vanish(self, cgroup: str) -> None: ...


class FaultyKernel:
    """Passes everything on to ``inner``, and lets the faults strike. ``counts`` holds the operations seen so far."""

    def __init__(self, inner: Kernel, faults: Sequence[Fault], caller: Callable[[], int] = os.getpid) -> None:
        """``caller`` tells the process that asks, 0 when it cannot be seen from here."""
        self.inner = inner
        self._caller = caller
        self.faults = tuple(faults)
        self.counts: Counter[str] = Counter()
        self._matched = [0] * len(self.faults)

    @property
    def writes(self) -> int:
        """How many writes were tried."""
        return self.counts["write"]

    @property
    def name(self) -> str:
        """The name of the kernel inside."""
        return self.inner.name

    def read(self, path: str) -> str:
        """Kernel.read."""
        self._strike("read", path)
        return self.inner.read(path)

    def write(self, path: str, text: str) -> None:
        """Kernel.write."""
        self._strike("write", path)
        self.inner.write(path, text)

    def listdir(self, path: str) -> list[str]:
        """Kernel.listdir."""
        self._strike("listdir", path)
        return self.inner.listdir(path)

    def subdirs(self, path: str) -> list[str]:
        """Kernel.subdirs; counts as listdir."""
        self._strike("listdir", path)
        return self.inner.subdirs(path)

    def exists(self, path: str) -> bool:
        """Kernel.exists; not counted, as it cannot fail."""
        return self.inner.exists(path)

    def writable(self, path: str) -> bool:
        """Kernel.writable; not counted."""
        return self.inner.writable(path)

    def mkdir(self, path: str) -> None:
        """Kernel.mkdir."""
        self._strike("mkdir", path)
        self.inner.mkdir(path)

    def rmdir(self, path: str) -> None:
        """Kernel.rmdir."""
        self._strike("rmdir", path)
        self.inner.rmdir(path)

    def realpath(self, path: str) -> str:
        """Kernel.realpath; not counted."""
        return self.inner.realpath(path)

    def mounts(self) -> list[Mount]:
        """Kernel.mounts; not counted."""
        return self.inner.mounts()

    def remount(self, point: str, options: Sequence[str]) -> None:
        """Kernel.remount."""
        self._strike("remount", point)
        self.inner.remount(point, options)

    def mount(self, fstype: str, source: str, point: str, options: Sequence[str]) -> None:
        """Kernel.mount."""
        self._strike("mount", point)
        self.inner.mount(fstype, source, point, options)

    def unmount(self, point: str) -> None:
        """Kernel.unmount."""
        self._strike("unmount", point)
        self.inner.unmount(point)

    def tool(self, name: str, arguments: Sequence[str]) -> str:
        """Kernel.tool; its path is the last argument, such as the device."""
        self._strike("tool", arguments[-1] if arguments else name)
        return self.inner.tool(name, arguments)

    def project(self, path: str) -> Project:
        """Kernel.project; counts as read."""
        self._strike("read", path)
        return self.inner.project(path)

    def set_project(self, path: str, project: Project) -> None:
        """Kernel.set_project; counts as project."""
        self._strike("project", path)
        self.inner.set_project(path, project)

    def quota(self, point: str, project: int) -> Quota:
        """Kernel.quota; counts as read."""
        self._strike("read", point)
        return self.inner.quota(point, project)

    def set_quota(self, point: str, project: int, quota: Quota) -> None:
        """Kernel.set_quota; counts as quota."""
        self._strike("quota", point)
        self.inner.set_quota(point, project, quota)

    def quota_enforced(self, point: str) -> bool:
        """Kernel.quota_enforced; not counted."""
        return self.inner.quota_enforced(point)

    def _strike(self, operation: str, path: str) -> None:
        """Count, then carry out every fault that is due; the first errno among them ends the operation."""
        self.counts[operation] += 1
        failure = 0
        for i, fault in enumerate(self.faults):
            if fault.on not in (operation, ANY) or not self._concerns(fault, path):
                continue
            self._matched[i] += 1
            if self._matched[i] == fault.nth or (fault.lasting and self._matched[i] > fault.nth):
                failure = failure or fault.number
                self._interfere(fault)
        if failure:
            raise OSError(failure, os.strerror(failure), path)

    def _concerns(self, fault: Fault, path: str) -> bool:
        """Paths are compared as spelled and with links resolved: ``cpu`` is a link on co-mounted hierarchies."""
        spellings = {path, self.inner.realpath(path)}
        if not any(fnmatch.fnmatchcase(spelling, fault.pattern) for spelling in spellings):
            return False
        if not fault.below:
            return True
        above, resolved = self.inner.realpath(fault.below), self.inner.realpath(path)
        return resolved == above or resolved.startswith(f"{above}/")

    def _interfere(self, fault: Fault) -> None:
        if fault.vanish and self.inner.exists(fault.vanish):
            if isinstance(self.inner, _Vanishing):
                self.inner.vanish(fault.vanish)
            else:
                _evacuate(self.inner, fault.vanish)
        if fault.third_party is not None:
            self.inner.write(*fault.third_party)
        if fault.kill and (pid := self._caller()):
            os.kill(pid, signal.SIGKILL)


def _evacuate(kernel: Kernel, cgroup: str) -> None:
    """Remove a cgroup of a kernel whose processes must live: its tasks move to the group above."""
    for name in kernel.subdirs(cgroup):
        _evacuate(kernel, f"{cgroup}/{name}")
    above = f"{os.path.dirname(cgroup)}/cgroup.procs"
    for pid in kernel.read(f"{cgroup}/cgroup.procs").split():
        kernel.write(above, pid)
    kernel.rmdir(cgroup)


# --- text form ------------------------------------------------------------------------------------------------------


def parse_fault(spec: str) -> Fault:
    """A fault from ``errno=NAME``, ``vanish=CGROUP``, ``thirdparty=PATH:TEXT`` or ``kill=caller``, an operation and its
    count, and ``path=GLOB``, separated by commas; UsageError says what is wrong.

    Counts are ``write=3`` (the third) or ``write=3+`` (the third and all after); ``op=3`` counts every operation. For
    ``vanish`` with ``op`` and no ``path``, only operations on that cgroup or below count.
    """
    parts = _split(spec)
    actions = [key for key in _ACTIONS if key in parts]
    counted = [key for key in (*OPERATIONS, ANY) if key in parts]
    if len(actions) != 1:
        raise _bad(spec, f"wants one of {', '.join(f'{a}=' for a in _ACTIONS)}")
    if len(counted) != 1:
        raise _bad(spec, f"wants one of {', '.join(f'{o}=N' for o in (*OPERATIONS, ANY))}")
    action, on = actions[0], counted[0]
    nth = re.fullmatch(r"([1-9]\d*)(\+?)", parts[on])
    if nth is None:
        raise _bad(spec, f"{on}= wants a number from 1, or one with a + after it")
    fault = Fault(int(nth[1]), on, parts.get("path", "*"), lasting=bool(nth[2]))
    return _with_action(spec, fault, action, parts[action], "path" in parts)


def _split(spec: str) -> dict[str, str]:
    """``key=value`` pairs; a comma belongs to the value unless a known key follows it."""
    keys = "|".join(_KEYS)
    if not re.match(rf"(?:{keys})=", spec):
        raise _bad(spec, f"begins with none of {', '.join(_KEYS)}")
    parts: dict[str, str] = {}
    for piece in re.split(rf",(?=(?:{keys})=)", spec):
        key, _, value = piece.partition("=")
        if key in parts:
            raise _bad(spec, f"{key} is given twice")
        if not value:
            raise _bad(spec, f"{key}= has no value")
        parts[key] = value
    return parts


def _with_action(spec: str, fault: Fault, action: str, value: str, has_path: bool) -> Fault:
    if action == "errno":
        number = getattr(errno, value, None)
        if not re.fullmatch(r"E[A-Z0-9]+", value) or not isinstance(number, int):
            raise _bad(spec, f"{value} is no errno name")
        return replace(fault, number=number)
    if action == "vanish":
        if not value.startswith("/"):
            raise _bad(spec, "vanish= wants an absolute path")
        cgroup = value.rstrip("/")
        below = "" if has_path or fault.on != ANY else cgroup
        return replace(fault, vanish=cgroup, below=below)
    if action == "kill":
        if value != "caller":
            raise _bad(spec, "kill= wants the word caller")
        return replace(fault, kill=True, number=errno.EINTR)
    path, colon, text = value.partition(":")
    if not colon or not path.startswith("/"):
        raise _bad(spec, "thirdparty= wants an absolute path, a colon and the text")
    return replace(fault, third_party=(path, text))


def _bad(spec: str, why: str) -> UsageError:
    return UsageError(f"fault {spec!r}: {why}", _EXAMPLE)
