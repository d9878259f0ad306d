"""ext4 mounts and the options in force on them."""

from __future__ import annotations

from cotune.controls.base import Value
from cotune.controls.host import EXT4_FLAGS, EXT4_NUMBERS, EXT4_OFF
from cotune.kernel.port import Kernel, Mount


def find_mount(kernel: Kernel, point: str) -> Mount | None:
    """The topmost mount at ``point``, or None."""
    wanted = point.rstrip("/") or "/"
    return next((mount for mount in reversed(kernel.mounts()) if mount.point == wanted), None)


def ext4_options(kernel: Kernel, mount: Mount) -> dict[str, Value]:
    """Options in force on a mounted ext4 file system: name → 1/0, a number, or the word of ``errors``.

    ``/proc/fs/ext4/DEV/options`` shows every state; ``/proc/mounts`` hides defaults (fs/ext4/super.c
    _ext4_show_options). lazytime is a flag of the VFS and stands in the mount table only.
    """
    words = list(mount.super_options) + _options_file(kernel, mount)
    options: dict[str, Value] = {name: int(on) for name, on in EXT4_FLAGS.items()}
    options.update(EXT4_NUMBERS)
    for word in words:
        name, _, value = word.partition("=")
        if name in EXT4_NUMBERS and value.isdecimal():
            options[name] = int(value)
        elif name == "errors":
            options[name] = value
        elif word in EXT4_FLAGS:
            options[word] = 1
        elif word in EXT4_OFF:
            options[EXT4_OFF[word]] = 0
        elif word.removeprefix("no") in EXT4_FLAGS:
            options[word.removeprefix("no")] = 0
    return options


def _options_file(kernel: Kernel, mount: Mount) -> list[str]:
    name = kernel.realpath(f"/sys/dev/block/{mount.device}").rpartition("/")[2]
    try:
        return kernel.read(f"/proc/fs/ext4/{name}/options").split()
    except OSError:
        return []
