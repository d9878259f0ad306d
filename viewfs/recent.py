"""The most recently used of something, as many as there is room for."""

from __future__ import annotations

import resource
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Kept(Generic[K, V]):
    """The most recently used entries, at most ``room``; what is dropped is closed first."""

    def __init__(self, room: int, close: Callable[[V], None] = lambda value: None) -> None:
        self._entries: dict[K, V] = {}
        self._room = room
        self._close = close

    def get(self, key: K) -> V | None:
        """The entry, which becomes the youngest, or None."""
        value = self._entries.pop(key, None)
        if value is not None:
            self._entries[key] = value
        return value

    def put(self, key: K, value: V) -> V:
        """Keep an entry; the oldest one gives way."""
        self.drop(key)
        self._entries[key] = value
        if len(self._entries) > self._room:
            self.drop(next(iter(self._entries)))
        return value

    def drop(self, key: K) -> None:
        """Forget an entry."""
        if (value := self._entries.pop(key, None)) is not None:
            self._close(value)

    def clear(self) -> None:
        """Forget everything."""
        for key in list(self._entries):
            self.drop(key)


def file_room(part: int, most: int) -> int:
    """How many entries may keep files open when all of them get one ``part``-th of the limit; at most ``most``."""
    return max(16, min(most, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // part))
