"""Controls by name. One module a family; what a control is stands in ``base``."""

from __future__ import annotations

from cotune.controls import cpu, host, io, memory, pids
from cotune.controls.base import Control

CONTROLS: dict[str, Control] = {
    control.name: control
    for family in (cpu.CONTROLS, memory.CONTROLS, io.CONTROLS, pids.CONTROLS, host.CONTROLS)
    for control in family
}
