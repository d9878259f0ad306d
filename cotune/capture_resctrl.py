"""Capture of resctrl: its classes as they are, as a profile would write them. Only reads."""

from __future__ import annotations

from typing import Any

from cotune.controls.resctrl import DEFAULT, EXCLUSIVE, read_schemata
from cotune.host.facts import Host
from cotune.host.resctrl import Resctrl, class_dir, read_resctrl
from cotune.knobs import section


def capture_resctrl(host: Host) -> dict[str, Any]:
    """The ``host.resctrl`` section; empty where nothing is mounted or everything is as it is after mounting."""
    resctrl = read_resctrl(host)
    if resctrl is None:
        return {}
    classes = {name: _class(host, resctrl, name) for name in (DEFAULT, *resctrl.classes)}
    if not classes[DEFAULT]:
        del classes[DEFAULT]
    options = {"mount": dict.fromkeys(resctrl.options, True)} if resctrl.options else {}
    return {**options, "classes": classes} if classes else {}


def _class(host: Host, resctrl: Resctrl, name: str) -> dict[str, Any]:
    """One class; of the default class only what is not as it is after mounting."""
    unit = class_dir(name)
    found: dict[str, Any] = {}
    for resource, cells in read_schemata(host.text(f"{unit}/schemata")).items():
        if f"resctrl.{resource.lower()}" not in section("resctrl"):
            continue  # a resource that profiles cannot set
        limits = resctrl.caches.get(resource)
        whole = limits.mask if limits else resctrl.bandwidth.high if resctrl.bandwidth else 0
        if name != DEFAULT or set(cells.values()) != {whole}:
            values = {str(cache): _written(resctrl, resource, value) for cache, value in cells.items()}
            same = len(set(values.values())) == 1
            found[resource.lower()] = next(iter(values.values())) if same else values
    if host.text(f"{unit}/mode") == EXCLUSIVE:
        found["mode"] = EXCLUSIVE
    if name != DEFAULT and (cpus := host.text(f"{unit}/cpus_list")):
        found["cpus"] = cpus
    if resctrl.monitors and (monitors := host.kernel.subdirs(f"{unit}/mon_groups")):
        found["monitor"] = monitors
    return found


def _written(resctrl: Resctrl, resource: str, value: int) -> int | str:
    if resource != "MB":
        return f"0x{value:x}"
    assert resctrl.bandwidth is not None
    if value == resctrl.bandwidth.high:
        return "max"
    return {"percent": f"{value}%", "MBps": f"{value}MBps"}.get(resctrl.bandwidth.unit, value)
