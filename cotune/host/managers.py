"""Other programs on this host that write the same kernel files, found by the names of their processes."""

from __future__ import annotations

from typing import NamedTuple

from cotune.host.facts import Host


class Manager(NamedTuple):
    """A program that manages cgroups or tuning: its name, its processes, and what it writes."""

    name: str
    pids: tuple[int, ...]
    writes: str


#: Process name (comm, at most 15 characters) → the program and what it writes.
_KNOWN = {
    "koordlet": ("koordlet", "identity, quota, cpuset, watermarks and resctrl of kubepods, again and again"),
    "kubelet": ("kubelet", "shares, quota and memory limits below kubepods"),
    "rubik": ("rubik", "qos_level, quota and memory limits of pods"),
    "rubik-agent": ("rubik", "qos_level, quota and memory limits of pods"),
    "tuned": ("tuned", "sysctls, block queues and CPU settings, when its profile changes"),
    "crane-agent": ("crane", "quota and evictions of pods"),
    "katalyst-agent": ("katalyst", "cpuset, quota and memory of pods"),
    "containerd": ("containerd", "limits of containers, when they start or are updated"),
    "dockerd": ("docker", "limits of containers, when they start or are updated"),
    "crio": ("cri-o", "limits of containers, when they start or are updated"),
}
_SCRIPTS = ("python", "platform-python")
_SYSTEMD = "shares and limits of slices and services, when a unit starts or daemon-reload runs"


def find_managers(host: Host) -> list[Manager]:
    """The managers that run, by name. tuned is a Python script, so its command line is looked at."""
    found: dict[str, list[int]] = {}
    writes: dict[str, str] = {}
    for entry in host.kernel.listdir("/proc"):
        if not entry.isdecimal():
            continue
        comm = host.text(f"/proc/{entry}/comm")
        if comm.startswith(_SCRIPTS):
            comm = _script(host, entry)
        name, does = _KNOWN.get(comm, ("", ""))
        if entry == "1" and comm == "systemd":
            name, does = "systemd", _SYSTEMD
        if name:
            found.setdefault(name, []).append(int(entry))
            writes[name] = does
    return [Manager(name, tuple(sorted(found[name])), writes[name]) for name in sorted(found)]


def _script(host: Host, pid: str) -> str:
    """The file name of the script an interpreter runs."""
    words = host.text(f"/proc/{pid}/cmdline").split("\0")[1:]
    script = next((word for word in words if word and not word.startswith("-")), "")
    return script.rpartition("/")[2]
