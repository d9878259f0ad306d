"""The keeper: a process beside the service that keeps containers attached and their plain files up to date.

It attaches everything again when the service has started, follows containers that their runtime starts anew, and looks
at the limits of those with plain files. It is forked by the service, has no part in serving, and ends with it however
that ends: entering a container's namespaces needs a process with one thread, and readers must not wait for any of this.
"""

from __future__ import annotations

import logging
import os
import select
import signal
from collections.abc import Collection
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import NoReturn

from cotune.errors import CotuneError, UsageError
from viewfs.attach import attached
from viewfs.container import PolicyOf
from viewfs.processes import still_runs
from viewfs.state import Book, Record
from viewfs.static import StaticFiles
from viewfs.targets import Target

_log = logging.getLogger("viewfs")
#: Seconds between two looks.
PERIOD = 1.0
#: Every so many looks also at containers that only a program can find.
_SELDOM = 5
_PROGRAMS = ("docker", "podman")


class Keeper:
    """What the keeper does; :func:`start` is how it is run."""

    def __init__(self, mount: str, book: Book, static: StaticFiles) -> None:
        self._mount = mount
        self._book = book
        self._static = static
        self._told: dict[str, str] = {}
        self._held: set[Target] = set()

    def begin(self) -> None:
        """Attach everything again: the mounts are those of a service that is gone."""
        self._tell(self._book.attach_again(self._mount, self._static))

    def look(self, number: int) -> None:
        """Attach the containers that have lost their views, and bring the plain files up to date."""
        records = [record for record in self._book.read() if record.mount == self._mount]
        known = self._held if number % _SELDOM else set()
        held = {record.target for record in records if holds(record, known)}
        self._held = held
        lost = [record.target for record in records if record.target not in held]
        if any(number % _SELDOM == 0 or target.runtime not in _PROGRAMS for target in lost):
            self._tell(self._book.attach_again(self._mount, self._static, lambda record: not holds(record)))
        self._static.refresh()

    def run(self, service: int) -> None:
        """Go on until the other end of the pipe ``service`` is closed."""
        for number in count():
            try:
                self.look(number) if number else self.begin()
            except (CotuneError, OSError) as error:
                self._tell({"keeper": str(error)})
            if select.select([service], [], [], PERIOD if number else 0)[0]:
                return

    def _tell(self, failed: dict[str, str]) -> None:
        """Log what failed, once."""
        for what, reason in failed.items():
            if self._told.get(what) != reason:
                _log.warning("%s: %s", what, reason)
        self._told = failed


def holds(record: Record, known: Collection[Target] = ()) -> bool:
    """Whether the container runs as recorded and shows a view; of those ``known`` to, whether they run.

    A runtime may tell the process before the container has its files: what was bound then is lost.
    """
    target = record.target
    if not still_runs(target.pid, target.starttime):
        return False
    try:
        return target in known or bool(attached(target))
    except UsageError:
        return False


def start(mount: str, directory: Path, book: Book, policy_of: PolicyOf) -> int:
    """Fork the keeper; returns the end of the pipe that keeps it running. Call it before any thread is started."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        _child(mount, directory, book, policy_of, reading)
    os.close(reading)
    return writing


def _child(mount: str, directory: Path, book: Book, policy_of: PolicyOf, reading: int) -> NoReturn:
    code = 70
    try:
        # ends with the service, not with its terminal
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        # the service's files, above all that of FUSE: while one is open here its mount would not be dead
        os.closerange(3, reading)
        os.closerange(reading + 1, os.sysconf("SC_OPEN_MAX"))
        Keeper(mount, book, StaticFiles(directory, policy_of)).run(reading)
        code = 0
    except Exception:
        with suppress(Exception):
            _log.exception("the keeper failed")
    finally:
        os._exit(code)
