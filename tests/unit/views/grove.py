"""A directory that looks like a host with cgroups, made from a table, and the views of one container in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from viewfs.sources import Host, Sources
from viewfs.types import Container, Policy
from viewfs.views import find_view

CASES = Path(__file__).resolve().parents[2] / "cases" / "views"
HOST: dict[str, str] = yaml.safe_load((CASES / "host.yaml").read_text(encoding="utf-8"))
CPU = "sys/devices/system/cpu"
INIT = 4242
V1_CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "blkio")


def plant(root: Path, files: Mapping[str, str]) -> None:
    """Write ``files`` below ``root``."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def plant_groups(root: Path, groups: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the files of ``groups``; every folder from the top of its hierarchy down is a cgroup."""
    for group, files in groups.items():
        folder = root / "cgroup"
        for part in group.split("/"):
            folder /= part
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "cgroup.procs").touch()
        plant(folder, {name: f"{text}".rstrip("\n") + "\n" for name, text in files.items()})


def make_sources(
    root: Path,
    groups: Mapping[str, Mapping[str, Any]],
    container: str,
    version: int,
    policy: Mapping[str, Any] = {},
    host: Mapping[str, str] = {},
    starttime: int = 0,
) -> Sources:
    """The sources of ``container``, a path below the hierarchies: ``v2`` or one folder per controller."""
    plant(root, {**HOST, **host})
    plant(root, {f"proc/{INIT}/stat": "4242 (a b) S", **{k: v for k, v in host.items() if k.startswith("proc/4242")}})
    for controller in {1: V1_CONTROLLERS, 2: ("v2",), 0: ("v2", *V1_CONTROLLERS)}[version]:
        plant_groups(root, {controller: {}, f"{controller}/{container}": {}})
    plant_groups(root, groups)
    if version == 2:
        cgroups = dict.fromkeys(("cpu", "cpuset", "memory", "io"), str(root / "cgroup/v2" / container))
    else:
        cgroups = {name: str(root / "cgroup" / name / container) for name in V1_CONTROLLERS}
    if version == 0:
        cgroups[""] = cgroups["io"] = str(root / "cgroup/v2" / container)
    record = Container("ct", cgroups, version, INIT, starttime, Policy(**policy))
    return Sources(record, Host(str(root), fresh=0.0))


def show(sources: Sources, path: str) -> str:
    """What the container reads at ``path``."""
    view = find_view(path)
    assert view is not None, path
    return view.render(sources, sources.container).decode()


def meminfo(text: str) -> dict[str, int]:
    """/proc/meminfo as numbers; every line has the kernel's form."""
    lines = text.splitlines()
    assert all(re.fullmatch(r"\S+: +\d+( kB)?", line) for line in lines), lines
    return {key: int(rest.split()[0]) for key, _, rest in (line.partition(":") for line in lines)}


def cpu_rows(text: str) -> dict[str, list[int]]:
    """The CPU lines of /proc/stat; each has ten numbers."""
    rows = {name: [int(word) for word in words] for name, *words in map(str.split, text.splitlines()) if "cpu" in name}
    assert all(len(row) == 10 for row in rows.values()), rows
    return rows


def processors(text: str) -> list[int]:
    """The numbers in /proc/cpuinfo."""
    return [int(number) for number in re.findall(r"^processor\s*: (\d+)", text, re.MULTILINE)]


def seen(sources: Sources, what: str) -> Any:
    """The view ``what`` in the form the tables of expectations use."""
    if what in ("online", "offline", "possible", "present") or "/online" in what:
        return show(sources, f"{CPU}/{what}").rstrip("\n")
    text = show(sources, f"proc/{what}")
    if what == "meminfo":
        return meminfo(text)
    if what == "stat":
        rest = dict(line.split(" ", 1) for line in text.splitlines() if not line.startswith("cpu"))
        return {**{name: row[:4] for name, row in cpu_rows(text).items()}, "btime": int(rest["btime"])}
    if what == "cpuinfo":
        return processors(text)
    return text
