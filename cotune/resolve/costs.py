"""Weights of single disks: the kernel takes one only for a disk whose cost model was set up."""

from __future__ import annotations

from cotune.host.facts import Host
from cotune.host.forms import find_form, part_file
from cotune.model import Resolved, Setting, UnsupportedKnob

_WEIGHTS = ("io.weight", "io.weight.v2")


def check_costs(host: Host, resolved: Resolved) -> None:
    """Take out the weights of disks without a cost model (EOPNOTSUPP, block/blk-iocost.c ioc_weight_write)."""
    rows = [s for s in resolved.settings if s.target.control in _WEIGHTS and s.target.part == "device"]
    modelled = _disks_with_model(host)
    if not rows or modelled is None:
        return
    known = modelled | {
        (setting.target.row or "").partition(" ")[0]
        for setting in resolved.settings
        if setting.target.control.startswith("io.cost.")
    }
    for setting in rows:
        if setting.target.row not in known:
            resolved.settings.remove(setting)
            resolved.unsupported.append(_without_model(setting))


def _disks_with_model(host: Host) -> set[str] | None:
    """The disks that have a row in the root group's file of the cost model; None when there is no such file."""
    control, hierarchy = find_form(host, "io.cost.qos")
    file = part_file(host, hierarchy, control.parts["enable"]) if hierarchy else None
    path = f"{hierarchy.point}/{file}" if hierarchy and file else ""
    if not path or not host.kernel.exists(path):
        return None
    return {line.partition(" ")[0] for line in host.text(path).splitlines()}


def _without_model(setting: Setting) -> UnsupportedKnob:
    target = setting.target
    reason = f"the cost model of disk {target.row} was never set up, and the kernel takes no weight for it then"
    remedy = "host.block with iocost: {enable: true} for this disk"
    return UnsupportedKnob(target.resource, target.knob, reason, remedy, setting.origin)
