"""What all of a capture have in common: reading a value, and entering it in the profile or saying why not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cotune.controls import CONTROLS
from cotune.controls.base import Value
from cotune.execute import ReadBack
from cotune.host.facts import Host
from cotune.model import Target
from cotune.spell import Inexpressible, Written
from cotune.yamltext import Noted, enter


def value_of(reader: ReadBack, target: Target) -> Value | None:
    """What a target reads; None when it is gone, or cannot be read or understood."""
    try:
        return reader.value(target)
    except OSError:
        return None


def number(value: Value) -> Value:
    """A number that was kept as text (files of the whole host) as a number; other values as they are."""
    return int(value) if isinstance(value, str) and value.removeprefix("-").isdecimal() else value


def put(
    tree: dict[str, Any], keys: list[str], write: Callable[[], Written | Noted], left_out: list[str], label: str
) -> bool:
    """Enter what ``write`` returns at ``keys``, or in ``left_out`` the reason why there is nothing to enter.

    Returns whether it was entered.
    """
    try:
        enter(tree, keys, write())
    except Inexpressible as why:
        left_out.append(f"{label}: {why}")
        return False
    return True


def check_gate(host: Host, target: Target) -> None:
    """Raises Inexpressible where a profile that sets the value would change a switch as well."""
    part = CONTROLS[target.control].parts[target.part]
    if part.gate is None or not host.kernel.exists(part.gate.path):
        return
    now = host.text(part.gate.path)
    if now != part.gate.value:
        raise Inexpressible(f"{part.gate.name} is {now}, and a profile that sets it makes that {part.gate.value}")
