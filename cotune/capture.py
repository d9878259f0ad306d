"""Capture: a profile from the host as it is. Only reads.

For each group it holds what differs from a fresh cgroup, so that applying the profile changes nothing here and makes
another host alike. What no profile can say is listed instead.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from cotune.capture_groups import GroupCapture
from cotune.capture_host import ALL, HostCapture
from cotune.capture_resctrl import capture_resctrl
from cotune.errors import UsageError
from cotune.host.cgroups import clean_group, find_groups
from cotune.host.dialect import find_dialect
from cotune.host.facts import Host
from cotune.inventory import near_groups
from cotune.profile.schema import API_VERSION, KIND
from cotune.yamltext import render


class Wish(NamedTuple):
    """What to capture. ``groups`` are patterns (none: the top-level groups); ``sysctls`` names, or ``all``.

    ``files`` are those of the whole host that are no sysctls; ``everything`` is all of that, and values that are only
    there while something else is as it is.
    """

    name: str
    groups: tuple[str, ...] = ()
    sysctls: tuple[str, ...] = ()
    files: bool = False
    block: bool = False
    mounts: bool = False
    everything: bool = False


class Captured(NamedTuple):
    """``data`` is the profile with comments, ``left_out`` what it could not hold and why."""

    data: dict[str, Any]
    groups: list[str]
    left_out: list[str]


def capture(host: Host, wish: Wish) -> Captured:
    """The profile of a host. Raises UsageError for groups and sysctls that do not exist."""
    left_out: list[str] = []
    groups = GroupCapture(host, left_out)
    found = groups.run(_groups(host, wish.groups))
    host_part = _host(host, wish, left_out)
    data: dict[str, Any] = {"apiVersion": API_VERSION, "kind": KIND, "metadata": _metadata(host, wish.name)}
    data |= {key: value for key, value in (("host", host_part), ("groups", found)) if value}
    return Captured(data, list(found), left_out)


def profile_text(host: Host, captured: Captured, time: str, version: str) -> str:
    """The profile as YAML, with where it comes from at its head. ``version`` is cotune's."""
    family = find_dialect(host).name
    head = [
        f"Captured by cotune {version} from {_hostname(host)} on {time}, kernel {host.release} ({family}).",
        "Groups hold what differs from a fresh cgroup; behind each value: its file and what that read.",
    ]
    if captured.left_out:
        head += ["Left out:", *(f"  {line}" for line in captured.left_out)]
    return "".join(f"# {line}\n" for line in head) + render(captured.data)


def _hostname(host: Host) -> str:
    return host.text("/proc/sys/kernel/hostname") or host.kernel.name


def _metadata(host: Host, name: str) -> dict[str, Any]:
    return {"name": name, "version": "1.0.0", "description": f"As captured from {_hostname(host)}"}


def _host(host: Host, wish: Wish, left_out: list[str]) -> dict[str, Any]:
    """The ``host`` section: what was asked for, and without being asked classes of resctrl and the switch of OOM
    priorities, which groups rely on."""
    capture = HostCapture(host, left_out, wish.everything)
    parts: dict[str, Any] = {"sysctl": capture.sysctls((ALL,) if wish.everything else wish.sysctls)}
    parts |= capture.files() if wish.files or wish.everything else capture.root_priority()
    if wish.block or wish.everything:
        parts["block"] = capture.queues()
    if wish.mounts or wish.everything:
        parts["mounts"] = capture.mounts()
    parts["resctrl"] = capture_resctrl(host)
    return {key: value for key, value in parts.items() if value}


def _groups(host: Host, patterns: tuple[str, ...]) -> list[str]:
    trees = host.layout.hierarchies()
    found: dict[str, None] = {}
    for pattern in patterns:
        clean = clean_group(pattern.removeprefix("cgroup:"))
        if not clean:
            raise UsageError("the root cgroup cannot be a group of a profile", "name cgroups below it")
        names = find_groups(host.kernel, trees, clean)
        if not names:
            raise UsageError(f"--cgroup {pattern} matches no cgroup on this host", near_groups(host, clean))
        found.update(dict.fromkeys(names))
    if not patterns:
        found.update(dict.fromkeys(find_groups(host.kernel, trees, "*")))
    return [name for name in found if name]
