"""The guest's first files: a cpio archive with busybox, ``init.sh`` and the kernel modules in the order they load.

The format is the "newc" of Documentation/driver-api/early-userspace/buffer-format.rst: for each file a header of
thirteen eight-digit hexadecimal numbers after the magic, the name and the content, each padded to four bytes.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

_DEPENDS = re.compile(rb"\0depends=([^\0]*)\0")


def archive(files: Mapping[str, tuple[int, bytes]]) -> bytes:
    """A cpio archive of name → (mode, content); directories come before what lies in them."""
    parts = [_entry(number, name, mode, data) for number, (name, (mode, data)) in enumerate(files.items(), 1)]
    return b"".join(parts) + _entry(0, "TRAILER!!!", 0, b"")


def _entry(number: int, name: str, mode: int, data: bytes) -> bytes:
    path = name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    fields = (number, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(path), 0)
    header = b"070701" + b"".join(b"%08x" % field for field in fields) + path
    return _padded(header) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def in_load_order(folder: Path, wanted: Iterable[str]) -> list[Path]:
    """The module files of ``wanted`` and of what they depend on, dependencies first.

    A name without a file is built into this kernel, or belongs to another version of it.
    """
    files = {path.stem.replace("-", "_"): path for path in sorted(folder.glob("*.ko"))}
    ordered: dict[str, Path] = {}

    def add(name: str) -> None:
        path = files.get(name.replace("-", "_"))
        if path is None or path.stem in ordered:
            return
        found = _DEPENDS.search(path.read_bytes())
        for dependency in found[1].decode().split(",") if found else ():
            add(dependency)
        ordered[path.stem] = path

    for name in wanted:
        add(name)
    return list(ordered.values())


def initramfs(busybox: Path, init: Path, modules: list[Path]) -> bytes:
    """The archive QEMU hands to the kernel."""
    folder, program = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o755
    files: dict[str, tuple[int, bytes]] = dict.fromkeys(("bin", "modules"), (folder, b""))
    files["bin/busybox"] = (program, busybox.read_bytes())
    files["init"] = (program, init.read_bytes())
    for path in modules:
        files[f"modules/{path.name}"] = (stat.S_IFREG | 0o644, path.read_bytes())
    files["modules/order"] = (stat.S_IFREG | 0o644, "".join(f"{path.name}\n" for path in modules).encode())
    return archive(files)
