"""Controls by name. One module a family; what a control is stands in ``base``."""

from __future__ import annotations

from cotune.controls import block, cpu, host, io, memory, mounts, pids, resctrl, vendor
from cotune.controls.base import Control

CONTROLS: dict[str, Control] = {
    control.name: control
    for family in (
        cpu.CONTROLS,
        memory.CONTROLS,
        io.CONTROLS,
        pids.CONTROLS,
        host.CONTROLS,
        block.CONTROLS,
        mounts.CONTROLS,
        vendor.CONTROLS,
        resctrl.CONTROLS,
    )
    for control in family
}
