"""Telling systemd how the service does: the protocol of sd_notify(3)."""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def notify(state: str) -> bool:
    """Send a line such as ``READY=1``; False when nobody listens (no NOTIFY_SOCKET, or nothing behind it)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):  # the abstract namespace of unix(7)
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
        # the kernel copies the message at once, unless systemd's queue is full; the service must not wait for that
        out.setblocking(False)
        out.sendto(state.encode(), address)
        return True
    return False
