"""Everything a host's files read, to compare it with itself later. Meant for simulated hosts: it reads every file."""

from __future__ import annotations

import errno

from cotune.kernel.port import Kernel


def take(kernel: Kernel) -> dict[str, str]:
    """Path → text of every file and every directory (as ``dir``); what cannot be read stands as its errno.

    Files that read differently twice in a row (random numbers) are left out.
    """
    found: dict[str, str] = {}
    _walk(kernel, "/", found)
    return {path: text for path, text in found.items() if text == "dir" or _text(kernel, path) == text}


def differences(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """What differs, a line each: files that appeared, vanished or read differently."""
    lines = [f"{path} appeared" for path in sorted(after.keys() - before.keys())]
    lines += [f"{path} vanished" for path in sorted(before.keys() - after.keys())]
    for path in sorted(before.keys() & after.keys()):
        if before[path] != after[path]:
            lines.append(f"{path} reads {after[path].strip()!r}, it was {before[path].strip()!r}")
    return lines


def _walk(kernel: Kernel, directory: str, found: dict[str, str]) -> None:
    below = set(kernel.subdirs(directory))
    for name in kernel.listdir(directory):
        path = f"{directory.rstrip('/')}/{name}"
        if name in below:
            found[path] = "dir"
            _walk(kernel, path, found)
        else:
            found[path] = _text(kernel, path)


def _text(kernel: Kernel, path: str) -> str:
    try:
        return kernel.read(path)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "EIO")
