"""What the verbs that write a profile share: its name, the file it goes to, and how it is shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cotune.cli.context import Line
from cotune.units import count


def show_text(text: str) -> Iterator[Line]:
    """A profile on standard output, comments dimmed."""
    for line in text.splitlines():
        code, mark, comment = line.partition("  # ") if not line.startswith("#") else ("", "", line)
        yield [("", code), ("dim", mark + comment)]


def show_written(output: Path, groups: list[str]) -> Iterator[Line]:
    """What to say once a profile is in a file."""
    names = f": {', '.join(groups)}" if groups else ""
    yield [("bold", f"{output}"), ("", f" holds {count(len(groups), 'group')}{names}")]
    yield [("dim", f"check it with: cotune diff {output}")]


def check_name(name: str) -> None:
    """Raises UsageError for what cannot be the name of a profile."""
    import re

    from cotune.errors import UsageError
    from cotune.profile.schema import PATTERNS, PROFILE_NAME

    if not re.fullmatch(PROFILE_NAME, name):
        raise UsageError(f"--name {name}: expected {PATTERNS[f'^{PROFILE_NAME}$']}", "for example --name captured")


def check_output(output: Path, force: bool) -> None:
    """Raises UsageError for a file that exists already, unless ``force`` allows to overwrite it."""
    from cotune.errors import UsageError

    if output.exists() and not force:
        raise UsageError(f"{output} exists already", "pass --force to overwrite it, or name another file")


def write_output(output: Path, text: str, force: bool) -> None:
    """Write a new file, or replace one with ``force``. Raises UsageError."""
    from cotune.errors import UsageError

    try:
        with open(output, "w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        check_output(output, force)
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}", "name a file in a writable folder") from None
