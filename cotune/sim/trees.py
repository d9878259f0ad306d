"""Directory trees whose directories and files come and go with what is written to them, such as a mounted resctrl."""

from __future__ import annotations

from typing import Protocol


class Tree(Protocol):
    """One such tree. Paths are relative to its top and without a slash in front; the top itself is ``""``.

    Every operation is only called for what :meth:`exists` (mkdir: for a parent that does), and raises
    :class:`cotune.sim.files.Refusal` with the kernel's errno.
    """

    def exists(self, path: str) -> bool:
        """Whether a file or directory is there."""

    def isdir(self, path: str) -> bool:
        """Whether it is a directory."""

    def mode(self, path: str) -> int:
        """Permission bits."""

    def read(self, path: str) -> str:
        """The whole text of a file."""

    def write(self, path: str, text: str) -> None:
        """One write(2) of at least one byte."""

    def listdir(self, path: str) -> list[str]:
        """Names in a directory."""

    def mkdir(self, path: str) -> None:
        """Create a directory that does not exist."""

    def rmdir(self, path: str) -> None:
        """Remove a directory."""
