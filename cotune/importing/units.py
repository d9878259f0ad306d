"""Properties of systemd units in terms of knobs (systemd.resource-control(5))."""

from __future__ import annotations

import re

from cotune.controls import CONTROLS
from cotune.importing.expand import Unresolved
from cotune.importing.values import Meaning, kernel_number
from cotune.knobs import BY_KEY

_DEFAULT_PERIOD = 100_000
_KNOBS = {
    "AllowedCPUs": "cpu.cpus",
    "AllowedMemoryNodes": "cpu.mems",
    "CPUQuota": "cpu.quota",
    "CPUShares": "cpu.shares",
    "CPUWeight": "cpu.weight",
    "MemoryHigh": "memory.high",
    "MemoryLimit": "memory.limit",
    "MemoryLow": "memory.low",
    "MemoryMax": "memory.limit",
    "MemoryMin": "memory.min",
    "MemorySwapMax": "memory.swap_max",
    "TasksMax": "pids.max",
}


def unit_meaning(name: str, text: str) -> Meaning:
    """What ``name=text`` of ``systemctl set-property`` sets. Raises Unresolved."""
    knob = BY_KEY.get(_KNOBS.get(name, ""))
    if knob is None:
        raise Unresolved(f"cotune has no knob for the unit property {name[:40]}")
    control = CONTROLS[knob.control]
    if text == "infinity":
        text = "-1"
    elif name == "CPUQuota":
        if (match := re.fullmatch(r"(\d{1,6})%", text)) is None:
            raise Unresolved(f"{text[:40]!r} is not what CPUQuota takes")
        text = str(int(match[1]) * _DEFAULT_PERIOD // 100)
    number = kernel_number(text, sized=name.startswith("Memory"))
    try:
        value = control.parse(knob.part, text, None) if number is None else number
    except (ValueError, IndexError, KeyError):
        raise Unresolved(f"{text[:40]!r} is not a value of {name} that cotune understands") from None
    return Meaning(knob, control, knob.part, value)
