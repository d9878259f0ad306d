"""What reading a script brings: effects on the kernel, what was not read, and remarks."""

from __future__ import annotations

from typing import NamedTuple

from cotune.importing.effects import Effect, Made, Mounted, Remount, Unread, Write
from cotune.importing.expand import Field, Unresolved
from cotune.importing.places import clean_path, is_kernel_path

MOST_TEXT = 120


def printable(text: str) -> str:
    """Text that cannot steer a terminal nor end a comment."""
    return text if text.isprintable() else "".join(sign if sign.isprintable() else "\ufffd" for sign in text)


class Withheld(NamedTuple):
    """Why commands are not taken at present; ``making`` says that directories they make are, all the same."""

    reason: str
    making: bool = False


class Record:
    """Collects the results while a script is read; ``line`` is where the reading is."""

    def __init__(self, source: str) -> None:
        self.lines = source.split("\n")
        self.line = 1
        self.effects: list[Effect] = []
        self.unread: dict[tuple[int, str], Unread] = {}
        self.notes: dict[tuple[int, str], None] = {}
        #: cgroup hierarchies that the script mounted itself: mount point → version
        self.mounted: dict[str, int] = {}
        self.directory: Field | Unresolved | None = None
        self.withheld: Withheld | None = None

    def text(self, line: int) -> str:
        """A line of the script, shortened and printable."""
        text = " ".join(self.lines[line - 1].split()) if 0 < line <= len(self.lines) else ""
        text = printable(text)
        return text if len(text) <= MOST_TEXT else text[: MOST_TEXT - 1] + "…"

    def list_unread(self, reason: str) -> None:
        """List the present line."""
        reason = printable(reason)
        self.unread.setdefault((self.line, reason), Unread(self.line, self.text(self.line), reason))

    def note(self, line: int, text: str) -> None:
        """A remark on a line that was read."""
        self.notes[line, printable(text)] = None

    def effect(self, effect: Effect) -> None:
        """Keep an effect, unless it depends on what nobody knows here."""
        if isinstance(effect, (Write, Made)):
            path = self.absolute(effect.path)
            if path is None or not is_kernel_path(path.text, self.mounted):
                return
            effect = effect._replace(path=path)
        if self.withheld and not (isinstance(effect, Made) and self.withheld.making):
            self.list_unread(self.withheld.reason)
            return
        if isinstance(effect, Mounted):
            self.mounted[clean_path(effect.point)] = effect.version
            raise Unresolved("a profile mounts nothing; cotune uses the hierarchies the host has")
        if isinstance(effect, Remount):
            effect = effect._replace(point=clean_path(effect.point))
        self.effects.append(effect)

    def absolute(self, path: Field) -> Field | None:
        """A path from the root; None for one below a directory nobody named, which is none of the kernel's."""
        if path.text.startswith("/"):
            return Field(clean_path(path.text), path.wild)
        if isinstance(self.directory, Unresolved):
            raise self.directory
        if self.directory is None:
            return None
        return Field(clean_path(f"{self.directory.text}/{path.text}"), path.wild or self.directory.wild)
