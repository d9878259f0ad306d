"""Reading the file of a script: bounded, and only text."""

from __future__ import annotations

import re
import sys

from cotune.errors import UsageError

MAX_BYTES = 2**20
_SHELLS = re.compile(r"#!\s*\S*?(?:env\s+(?:-\S+\s+)*)?(?:\S*/)?(?:ba|da|a|k|z|mk)?sh\b|#!\s*\S*busybox\s+a?sh\b")


def read_script(path: str) -> str:
    """The text of a shell script; ``-`` is standard input. Raises UsageError for what cannot be one."""
    shown = "standard input" if path == "-" else path.encode("utf-8", "backslashreplace").decode()
    try:
        if path == "-":
            data = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with open(path, "rb") as file:
                data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError, AttributeError) as error:
        reason = (
            error.strerror.lower() if isinstance(error, OSError) and error.strerror else "no file can have this name"
        )
        raise UsageError(f"{shown} cannot be read: {reason}", "name a shell script") from None
    if len(data) > MAX_BYTES:
        raise UsageError(f"{shown} is larger than 1 MiB", "a script is a few kilobytes: is this the right file?")
    if b"\0" in data:
        raise UsageError(f"{shown} is a binary file", "name a shell script")
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise UsageError(f"{shown} is not UTF-8 text", "save it as UTF-8") from None
    if text.startswith("#!") and not _SHELLS.match(text):
        raise UsageError(
            f"{shown} is no shell script: it begins with {text.splitlines()[0][:60]}", "name a shell script"
        )
    return text
