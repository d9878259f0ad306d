"""The release of a simulated kernel, as far as rules depend on it."""

from __future__ import annotations

import re

from cotune.sim.hosts.specs import HostSpec


def since(spec: HostSpec, major: int, minor: int) -> bool:
    """Whether the kernel is of this release or a later one: ``5.10.134-16.al8`` is since 5.10 and 4.19."""
    match = re.match(r"(\d+)\.(\d+)", spec.release)
    if match is None:
        raise ValueError(f"{spec.name}: no kernel release: {spec.release!r}")
    return (int(match[1]), int(match[2])) >= (major, minor)


def hz(spec: HostSpec) -> int:
    """Ticks per second: 250 on the probed mainline kernels. 1000 on vendor kernels before 6.6 is our assumption."""
    vendor = spec.anck or bool(spec.features & {"tencentos", "rue", "bt", "openeuler"})
    return 1000 if vendor and not since(spec, 6, 6) else 250
