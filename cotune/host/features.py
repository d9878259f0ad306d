"""Features of an ext4 file system, read and changed with tune2fs (e2fsprogs)."""

from __future__ import annotations

import errno
from collections.abc import Iterable

from cotune.controls.base import Value
from cotune.controls.mounts import FEATURES
from cotune.kernel.port import Kernel

_TITLE = "Filesystem features:"


def feature_values(kernel: Kernel, device: str) -> dict[str, Value]:
    """Feature → 1/0, and ``mounted``: what uses the device, empty for nothing. Raises OSError."""
    present = _present(kernel, device)
    return {**{name: int(name in present) for name in FEATURES}, "mounted": in_use(kernel, device)}


def change_features(kernel: Kernel, device: str, words: Iterable[str]) -> None:
    """Switch features on, or off with ``^`` before the name. EBUSY while the device is in use.

    tune2fs itself would change some of them below a mounted file system.
    """
    where = in_use(kernel, device)
    if where:
        raise OSError(errno.EBUSY, f"in use: {where}", device)
    wanted = list(words)
    arguments = ["-O", ",".join(wanted)]
    present = _present(kernel, device) - {word[1:] for word in wanted if word.startswith("^")}
    added = {word for word in wanted if not word.startswith("^")}
    if {"project", "quota"} <= present | added and added & {"project", "quota"}:
        # -O quota alone makes the files for users and groups only
        arguments += ["-Q", "prjquota"]
    kernel.tool("tune2fs", [*arguments, device])


def in_use(kernel: Kernel, device: str) -> str:
    """What uses a block device: a mount, one in another namespace, or a device on top of it. Empty for nothing."""
    name = device.removeprefix("/dev/").replace("/", "!")
    sysfs = kernel.realpath(f"/sys/class/block/{name}")
    try:
        number = kernel.read(f"{sysfs}/dev").strip()
    except OSError:
        number = ""
    point = next((mount.point for mount in kernel.mounts() if mount.device == number), "")
    if point:
        return f"mounted at {point}"
    if kernel.exists(f"/proc/fs/ext4/{name}"):
        return "mounted in another mount namespace"
    try:
        holders = kernel.listdir(f"{sysfs}/holders")
    except OSError:
        holders = []
    return f"held by {', '.join(holders)}" if holders else ""


def _present(kernel: Kernel, device: str) -> set[str]:
    listing = kernel.tool("tune2fs", ["-l", device])
    line = next((line for line in listing.splitlines() if line.startswith(_TITLE)), _TITLE)
    return set(line.removeprefix(_TITLE).split())
