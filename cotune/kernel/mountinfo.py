"""Parsing ``/proc/PID/mountinfo`` (Documentation/filesystems/proc.rst section 3.5)."""

from __future__ import annotations

import re

from cotune.kernel.port import Mount

_OCTAL = re.compile(r"\\([0-7]{3})")


def parse_mountinfo(text: str) -> list[Mount]:
    """The mounts of a mountinfo text, in its order. Lines that do not parse are left out."""
    mounts = []
    # not splitlines(): a name may hold the other characters that would end a line
    for line in text.split("\n"):
        left, separator, right = line.partition(" - ")
        first, last = left.split(" "), right.split(" ")
        if not separator or len(first) < 6 or len(last) < 3:
            continue
        mounts.append(
            Mount(
                point=unescape(first[4]),
                device=first[2],
                root=unescape(first[3]),
                source=unescape(last[1]),
                fstype=last[0],
                options=tuple(first[5].split(",")),
                super_options=tuple(last[2].split(",")),
                shared=next((int(tag[7:]) for tag in first[6:] if tag.startswith("shared:")), 0),
            )
        )
    return mounts


def unescape(text: str) -> str:
    """Undo the kernel's octal escapes (``\\040`` is a blank; seq_file mangle_path)."""
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)
