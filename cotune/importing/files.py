"""Files of settings that a script writes itself and then has sysctl(8) load."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cotune.importing.expand import Field, Unresolved

_MAIN = "/etc/sysctl.conf"
#: Where sysctl --system looks, besides the main file (sysctl.d(5)).
_FOLDERS = ("/etc/sysctl.d/", "/run/sysctl.d/", "/usr/local/lib/sysctl.d/", "/usr/lib/sysctl.d/", "/lib/sysctl.d/")
_STDIN = ("-", "/dev/stdin")


class _Known(NamedTuple):
    """What a script wrote to a file, on which lines; ``whole`` unless it only added to what was there."""

    text: str | None
    whole: bool
    lines: tuple[int, ...] = ()


class SettingFiles:
    """The files of settings below /etc and in other places that the script wrote, by path."""

    def __init__(self) -> None:
        self.known: dict[str, _Known] = {}
        self.loaded: set[str] = set()

    def written(self, path: str, output: Field | Unresolved | None, append: bool, line: int) -> None:
        """Keep what the script writes to a file."""
        before = self.known.get(path)
        text = f"{output.text}\n" if isinstance(output, Field) else None
        if append and before is not None:
            text = None if text is None or before.text is None else before.text + text
        lines = (*before.lines, line) if append and before is not None else (line,)
        self.known[path] = _Known(text, not append or (before is not None and before.whole), lines)

    def only_at_boot(self) -> list[int]:
        """Lines that write settings which the script itself never loads."""
        left = [known for path, known in self.known.items() if self.is_setting(path) and path not in self.loaded]
        return sorted(line for known in left if known.text is not None for line in known.lines)

    @staticmethod
    def is_setting(path: str) -> bool:
        """Whether the next boot loads this file."""
        return path == _MAIN or (path.startswith(_FOLDERS) and path.endswith(".conf"))

    def load(self, arguments: Sequence[str], given: Field | Unresolved | None) -> Iterator[tuple[str, str, bool]]:
        """Name, value and whether more is in the file than the script wrote, for ``sysctl -p`` and its kin.

        Raises Unresolved where nothing is known of what is loaded.
        """
        for path in self._paths(arguments):
            if path in _STDIN:
                found = _Known(given.text if isinstance(given, Field) else None, True)
            else:
                found = self.known.get(path, _Known(None, False))
                self.loaded.add(path)
            if found.text is None:
                raise Unresolved(
                    "its settings are in a file of sysctl.d(5), which is not read: import them as sysctl -w lines"
                )
            for name, value in _settings(found.text):
                yield name, value, not found.whole

    def _paths(self, arguments: Sequence[str]) -> list[str]:
        if "--system" in arguments:
            return sorted(path for path in self.known if self.is_setting(path)) or [_MAIN]
        named = [word for word in arguments if not word.startswith("-") or word in _STDIN]
        named += [word.partition("=")[2] for word in arguments if word.startswith("--load=")]
        return named or [_MAIN]


def _settings(text: str) -> Iterator[tuple[str, str]]:
    """The assignments of a file (sysctl.conf(5)): comments and blanks are passed over, ``-`` ignores a refusal."""
    for line in text.splitlines():
        match = re.fullmatch(r"\s*-?\s*([^\s#;=][^=]*?)\s*=\s*(.*?)\s*", line)
        if match:
            yield match[1], match[2]


def loads(arguments: Sequence[str]) -> bool:
    """Whether a call of sysctl reads its settings from files."""
    return any(
        re.match(r"-[a-zA-Z]*p", word) or word in ("--load", "--system") or word.startswith("--load=")
        for word in arguments
    )
