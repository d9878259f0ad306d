"""Reading profile files: bounded, and every failure one sentence."""

from __future__ import annotations

import os
import stat
import sys

from cotune.errors import Origin, Problem, ProfileError
from cotune.profile.document import MAX_BYTES

STDIN = "-"
STDIN_NAME = "<stdin>"


def display_name(path: str) -> str:
    """``path`` for messages: file names may hold bytes that are not UTF-8, which could not be printed."""
    return path.encode("utf-8", "backslashreplace").decode()


def read_file(path: str, blame: Origin | None = None) -> bytes:
    """The contents of ``path``, at most a little over the size limit.

    ``blame`` is where the file was asked for (an ``include`` entry); without it the file itself is blamed.
    Raises ProfileError.
    """
    where = blame or Origin(display_name(path))
    name = f"{display_name(path)}: " if blame else ""
    try:
        # O_NONBLOCK is not wanted: `cotune apply <(generate)` passes a pipe
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if stat.S_ISREG(status.st_mode) and status.st_size > MAX_BYTES:
                size = f"{status.st_size / 2**20:.1f} MiB"
                hint = "a profile is a few kilobytes: is this the right file?"
                raise ProfileError([Problem(where, f"{name}the file is larger than 1 MiB ({size})", hint)])
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ProfileError([Problem(where, name + _reason(error), _HINTS.get(type(error), ""))]) from None


_HINTS: dict[type[Exception], str] = {
    FileNotFoundError: "check the name; `cotune profiles` lists the shipped profiles",
    IsADirectoryError: "name a file in it",
    PermissionError: "run as a user who may read it",
}


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, IsADirectoryError):
        return "this is a directory, not a profile"
    if isinstance(error, OSError):
        return f"the file cannot be read: {(error.strerror or str(error)).lower()}"
    return "no file can have this name"


def read_stdin() -> bytes:
    """Standard input, at most a little over the size limit. Raises ProfileError."""
    stream = getattr(sys.stdin, "buffer", None)
    try:
        if stream is None:
            raise OSError("it is closed")
        data: bytes = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ProfileError([Problem(Origin(STDIN_NAME), f"standard input cannot be read: {error}", "")]) from None
    return data
