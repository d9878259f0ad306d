"""Which CPUs a container sees: /sys/devices/system/cpu/{online,offline,possible,present} and cpuN/online.

The container looks like a host whose other CPUs are unplugged: ``online`` is the view, everything that sizes arrays
stays the host's (Documentation/admin-guide/cputopology.rst), unless its policy hides the rest.
"""

from __future__ import annotations

from collections.abc import Iterable

from cotune.units import format_cpulist, parse_cpulist
from viewfs.types import Policy
from viewfs.views.records import Cpus


def visible(cpus: Cpus, policy: Policy) -> tuple[int, ...]:
    """The numbers of the CPUs a container sees, ascending, never none.

    A cpuset keeps its physical numbers; a quota of q CPUs shows the first ⌈q⌉ of what is left.
    """
    ids = cpus.online
    if policy.cpu in ("cpuset", "min") and cpus.cpuset:
        # a cpuset file lists offline CPUs in version 1
        ids = tuple(cpu for cpu in ids if cpu in cpus.cpuset) or ids
    if policy.cpu in ("quota", "min") and cpus.quota:
        quota, period = cpus.quota
        ids = ids[: max(1, -(-quota // period))]
    return ids


def cpu_list(numbers: Iterable[int]) -> bytes:
    """A list as sysfs prints it; an empty one is an empty line."""
    return format_cpulist(numbers).encode() + b"\n"


def directories(cpus: Cpus, policy: Policy) -> tuple[int, ...]:
    """The N of the cpuN directories a container sees."""
    return visible(cpus, policy) if policy.topology == "view" else cpus.present


def render_online(cpus: Cpus, policy: Policy) -> bytes:
    """``online``: the view."""
    return cpu_list(visible(cpus, policy))


def render_offline(cpus: Cpus, policy: Policy, host: bytes) -> bytes:
    """``offline``: the rest. ``host``, the host's list, also has numbers it could have but has not."""
    if policy.topology == "view":
        return b"\n"
    hidden = set(cpus.online).difference(visible(cpus, policy))
    return cpu_list(parse_cpulist(host.decode()) | hidden)


def render_all(cpus: Cpus, policy: Policy, host: bytes) -> bytes:
    """``possible`` and ``present``: ``host``, the host's list, unless the topology is hidden."""
    return cpu_list(visible(cpus, policy)) if policy.topology == "view" else host


def render_one(cpus: Cpus, policy: Policy, number: int) -> bytes:
    """``cpuN/online``."""
    return b"1\n" if number in visible(cpus, policy) else b"0\n"
