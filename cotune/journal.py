"""Journals: one file per transaction, complete on disk before the first kernel write.

The first line is the transaction: every original, every value that may be written, the groups to be created and the
processes to be moved. Each later line is a change of state. The file appears under its name by rename after it was
fsynced; later lines are appended and fsynced. A last line that is cut off never happened.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cotune.controls.base import Value
from cotune.errors import NotPermitted, Origin, UsageError
from cotune.model import Entry, Key, Move, Target
from cotune.state import StateDir, make_private

VERSION = 1
#: States a transaction can be in; ``applying`` and ``rolling-back`` mean that a crash cut it off.
APPLYING, COMMITTED, ROLLING_BACK, ROLLED_BACK, PARTIAL = (
    "applying",
    "committed",
    "rolling-back",
    "rolled-back",
    "partly-rolled-back",
)
STATES = (APPLYING, COMMITTED, ROLLING_BACK, ROLLED_BACK, PARTIAL)
_NAME = re.compile(r"\d{6,}\.jsonl\Z")


@dataclass
class Transaction:
    """One apply.

    ``files`` are the profile files it came from; ``created`` cgroup directories, parents first; ``witnessed`` own
    values (file → value) that could be read before and are hidden by what this transaction wrote.
    """

    id: str
    boot_id: str
    time: str
    profile: str
    version: str
    label: str
    files: list[str]
    entries: list[Entry]
    created: list[str]
    moves: list[Move]
    witnessed: list[tuple[str, Value]] = field(default_factory=list)
    state: str = APPLYING
    updated: str = ""
    notes: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    #: values written while rolling back, by key
    undo_values: dict[Key, list[Value | None]] = field(default_factory=dict)
    #: keys a rollback had to leave
    kept: set[Key] = field(default_factory=set)
    #: keys the apply could not write and left out
    skipped: set[Key] = field(default_factory=set)
    #: groups of ``created`` that the apply could not make, so that what is there is somebody else's
    not_made: list[str] = field(default_factory=list)

    @property
    def in_force(self) -> bool:
        """Whether values of it may still be on the host."""
        return self.state in (COMMITTED, PARTIAL, APPLYING, ROLLING_BACK)

    @property
    def cut_off(self) -> bool:
        """Whether a crash interrupted it."""
        return self.state in (APPLYING, ROLLING_BACK)

    def live_entries(self) -> list[Entry]:
        """Entries that still count: not skipped, and not put back by a rollback that had to leave others."""
        return [
            entry
            for entry in self.entries
            if entry.target.key not in self.skipped and (self.state != PARTIAL or entry.target.key in self.kept)
        ]


class Journal:
    """The journals of one state directory."""

    def __init__(self, state: StateDir) -> None:
        self.state = state

    def load(self) -> list[Transaction]:
        """All transactions, oldest first. Raises CotuneError for a damaged file."""
        return [self._read(self.state.transactions / name) for name in self._names()]

    def next_id(self) -> str:
        """The number of the next transaction. Call with the lock held."""
        names = self._names()
        return f"{_number(names[-1]) + 1 if names else 1:06d}"

    def _names(self) -> list[str]:
        """File names of the journals, oldest first."""
        try:
            names = [name for name in os.listdir(self.state.transactions) if _NAME.match(name)]
        except FileNotFoundError:
            return []
        except PermissionError as error:
            raise NotPermitted(f"{self.state.transactions}: {error.strerror}", "run as the user who applied") from None
        except OSError as error:
            raise UsageError(f"{self.state.transactions}: {error.strerror}", "pass another --state-dir") from None
        return sorted(names, key=_number)

    def begin(self, transaction: Transaction) -> None:
        """Put a transaction on disk for good; the first kernel write may follow."""
        make_private(self.state.transactions)
        path = self._path(transaction.id)
        temporary = path.with_suffix(".tmp")
        fresh = not path.exists()
        data = json.dumps(_encode(transaction), separators=(",", ":")) + "\n"
        try:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                _write_all(fd, data.encode())
                os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(temporary, path)
            _fsync_dir(self.state.transactions)
        except BaseException:
            # a full disk or Ctrl-C: nothing was written to the kernel yet, so the transaction never was; one that was
            # begun with a mount stays as it is on disk
            temporary.unlink(missing_ok=True)
            if fresh:
                path.unlink(missing_ok=True)
            raise

    def append(self, transaction: Transaction, state: str, time: str, **details: Any) -> None:
        """Record a change of state, fsynced, and reflect it in ``transaction``."""
        record = {"state": state, "time": time, **details}
        fd = os.open(self._path(transaction.id), os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            size = os.fstat(fd).st_size
            # a line that a crash cut off must not swallow this one
            torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
            line = ("\n" if torn else "") + json.dumps(record, separators=(",", ":")) + "\n"
            _write_all(fd, line.encode())
            os.fsync(fd)
        finally:
            os.close(fd)
        _update(transaction, record)

    def clean(self) -> None:
        """Remove what a crash before the rename left behind. Call with the lock held."""
        for path in self.state.transactions.glob("*.tmp"):
            path.unlink(missing_ok=True)

    def _path(self, number: str) -> Path:
        return self.state.transactions / f"{number}.jsonl"

    def _read(self, path: Path) -> Transaction:
        try:
            first, *rest = path.read_text(encoding="utf-8").split("\n")
            transaction = _decode(json.loads(first))
            for number, line in enumerate(rest):
                # the last line is empty, unless a crash cut it off: then it never happened
                if line and number < len(rest) - 1:
                    self._follow(transaction, line)
        except PermissionError as error:
            raise NotPermitted(f"{path}: {error.strerror}", "run as the user who applied") from None
        except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise UsageError(
                f"{path}: the journal is damaged ({error})", "move the file away; its transaction cannot be undone then"
            ) from None
        return transaction

    def _follow(self, transaction: Transaction, line: str) -> None:
        """Take in one later line. A line that is no JSON at all was cut off by a crash and continued after it."""
        try:
            record = json.loads(line)
        except ValueError:
            return
        if record["state"] not in STATES:
            raise ValueError(f"unknown state {record['state']!r}")
        _update(transaction, record)


def _number(name: str) -> int:
    """The number of the transaction in a journal's file name."""
    return int(name.removesuffix(".jsonl"))


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _fsync_dir(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _encode(transaction: Transaction) -> dict[str, Any]:
    return {
        "journal": VERSION,
        "id": transaction.id,
        "boot_id": transaction.boot_id,
        "time": transaction.time,
        "profile": transaction.profile,
        "version": transaction.version,
        "label": transaction.label,
        "files": transaction.files,
        "created": transaction.created,
        "moves": [[*move[:6], str(move.origin), move.file] for move in transaction.moves],
        "witnessed": transaction.witnessed,
        "entries": [[list(entry.target), *entry[1:]] for entry in transaction.entries],
    }


def _decode(record: dict[str, Any]) -> Transaction:
    if record["journal"] != VERSION:
        raise ValueError(f"journal version {record['journal']}, this cotune reads {VERSION}")
    return Transaction(
        record["id"],
        record["boot_id"],
        record["time"],
        record["profile"],
        record["version"],
        record["label"],
        record["files"],
        [_entry(fields) for fields in record["entries"]],
        record["created"],
        [_move(fields) for fields in record["moves"]],
        [(path, value) for path, value in record["witnessed"]],
    )


def _move(fields: list[Any]) -> Move:
    pid, start, comm, resource, path, origin_path, origin, file = fields
    return Move(pid, start, comm, resource, path, origin_path, Origin(origin), file)


def _entry(fields: list[Any]) -> Entry:
    target, old, new, ours, *rest = fields
    return Entry(Target(*target), old, new, tuple(ours), *rest)


def _update(transaction: Transaction, record: dict[str, Any]) -> None:
    transaction.state = record["state"]
    transaction.updated = record["time"]
    transaction.notes += record.get("notes", [])
    transaction.left = record.get("left", [])
    transaction.not_made = record.get("not_made", transaction.not_made)
    transaction.kept = {(path, row) for path, row in record.get("kept", [])}
    transaction.skipped |= {(path, row) for path, row in record.get("skipped", [])}
    for path, row, values in record.get("undo", []):
        transaction.undo_values.setdefault((path, row), []).extend(values)


def encode_keys(keys: Iterable[Key]) -> list[list[str | None]]:
    """Keys in the form a journal line holds."""
    return [[path, row] for path, row in sorted(keys, key=lambda key: (key[0], key[1] or ""))]
