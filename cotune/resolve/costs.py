"""Weights of single disks: the kernel takes one only for a disk whose cost model was set up."""

from __future__ import annotations

from cotune.host.facts import Host
from cotune.host.forms import find_form, part_file
from cotune.model import Resolved, Setting, UnsupportedKnob

_WEIGHTS = ("io.weight", "io.weight.v2")


def check_costs(host: Host, resolved: Resolved) -> None:
    """Take out the weights of disks without a cost model (EOPNOTSUPP, block/blk-iocost.c ioc_weight_write).

    Mainline takes them once the disk has a row, ANCK and openEuler on version 1 only while that row is enabled.
    """
    rows = [s for s in resolved.settings if s.target.control in _WEIGHTS and s.target.part == "device"]
    modelled = _disks_with_model(host)
    if not rows or modelled is None:
        return
    for setting in resolved.settings:
        disk = (setting.target.row or "").partition(" ")[0]
        if setting.target.control == "io.cost.qos" and setting.target.part == "enable":
            modelled[disk] = setting.value == 1
        elif setting.target.control in ("io.cost.qos.v2", "io.cost.model.v2"):
            modelled[disk] = True
    for setting in rows:
        if not modelled.get(setting.target.row or "", False):
            resolved.settings.remove(setting)
            resolved.unsupported.append(_without_model(setting, setting.target.row in modelled))


def _disks_with_model(host: Host) -> dict[str, bool] | None:
    """Disk → whether the kernel takes weights for it, for those that have a row in the root group's file of the cost
    model; None when there is no such file."""
    control, hierarchy = find_form(host, "io.cost.qos")
    file = part_file(host, hierarchy, control.parts["enable"]) if hierarchy else None
    path = f"{hierarchy.point}/{file}" if hierarchy and file else ""
    if not hierarchy or not path or not host.kernel.exists(path):
        return None
    rows = [line.split() for line in host.text(path).splitlines()]
    return {row[0]: hierarchy.version == 2 or "enable=1" in row for row in rows if row}


def _without_model(setting: Setting, has_row: bool) -> UnsupportedKnob:
    target = setting.target
    state = "is switched off" if has_row else "was never set up"
    reason = f"the cost model of disk {target.row} {state}, and the kernel takes no weight for it then"
    remedy = "host.block with iocost: {enable: true} for this disk"
    return UnsupportedKnob(target.resource, target.knob, reason, remedy, setting.origin)
