"""What is attached, so that a restarted service attaches it again.

One JSON file, readable for its owner only, replaced in one step under a lock.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cotune.errors import CotuneError, UsageError
from cotune.state import default_state, given_state, held, make_private, replace_file
from viewfs.attach import attach
from viewfs.targets import Target, find_target

if TYPE_CHECKING:
    from viewfs.static import StaticFiles

FORMAT = 1
#: Seconds to wait for another command that changes the file.
_WAIT = 5.0


class Record(NamedTuple):
    """A container with views: from which mount of the service, and which files were asked for."""

    target: Target
    mount: str
    files: tuple[str, ...]


class Book:
    """The records of one state directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file = directory / "views.json"

    def read(self) -> list[Record]:
        """All records. Raises UsageError when the file cannot be read or is of another version."""
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise UsageError(f"{self._file} cannot be read: {error}") from None
        try:
            if found["format"] == FORMAT:
                return [
                    Record(Target(**entry["target"]), entry["mount"], tuple(entry["files"]))
                    for entry in found["attached"]
                ]
        except (KeyError, TypeError):
            pass
        raise UsageError(f"{self._file} was written by another version", "detach all, and remove it")

    def put(self, record: Record) -> None:
        """Add a record in the place of an earlier one of the same container."""
        with self._changing() as records:
            records[:] = [other for other in records if not _same(other.target, record.target)] + [record]

    def drop(self, target: Target) -> None:
        """Forget a container."""
        with self._changing() as records:
            records[:] = [other for other in records if not _same(other.target, target)]

    def attach_again(
        self, mount: str, static: StaticFiles | None = None, wanted: Callable[[Record], bool] = lambda record: True
    ) -> dict[str, str]:
        """Attach everything recorded for a mount that is ``wanted`` once more; called when the service is up.

        A container that a runtime started again is found by its id; one that is gone is forgotten, unless its runtime
        may start it again. Returns target → reason for what could not be attached.
        """
        # a runtime that is asked may take long to answer: nobody else should have to wait for the lock meanwhile
        found = {record: current(record.target) for record in self.read() if record.mount == mount and wanted(record)}
        failed: dict[str, str] = {}
        with self._changing() as records:
            for number, record in reversed(list(enumerate(records))):
                if record not in found:
                    continue
                target = found[record]
                if target is None:
                    if not record.target.id:
                        del records[number]
                    continue
                try:
                    attach(target, mount, record.files, static)
                    records[number] = record._replace(target=target)
                except CotuneError as error:
                    failed[str(target)] = error.message
        return failed

    @contextmanager
    def _changing(self) -> Iterator[list[Record]]:
        make_private(self._directory)
        with held(self._directory / "views.lock", _WAIT):
            records = self.read()
            before = list(records)
            yield records
            if records != before:
                self._write(records)

    def _write(self, records: list[Record]) -> None:
        entries = [
            {"target": record.target._asdict(), "mount": record.mount, "files": record.files} for record in records
        ]
        replace_file(self._file, json.dumps({"format": FORMAT, "attached": entries}))


def open_book(state_dir: Path | None) -> Book:
    """The records in the state directory named, or else in the default one."""
    return Book((default_state("/") if state_dir is None else given_state(state_dir)).path)


def _same(one: Target, other: Target) -> bool:
    """By id where a runtime gave one, else by the very process."""
    if one.id or other.id:
        return (one.runtime, one.id) == (other.runtime, other.id)
    return (one.pid, one.starttime) == (other.pid, other.starttime)


def current(target: Target) -> Target | None:
    """The container as it runs now, None when it does not."""
    with suppress(UsageError):
        found = find_target(str(target))
        if target.id or found.starttime == target.starttime:
            return found
    return None
