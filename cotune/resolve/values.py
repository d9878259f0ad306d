"""What a value of a profile means on this host: percentages, NUMA nodes and ``all`` depend on the machine."""

from __future__ import annotations

from typing import Any

from cotune.errors import Origin, PlanRefused
from cotune.host.facts import Host
from cotune.knobs.base import ValueType
from cotune.profile.text import found


def resolve_value(kind: ValueType, written: Any, host: Host, origin: Origin) -> Any:
    """The wanted value in the control's terms. Raises PlanRefused where this machine has no such thing."""
    try:
        return kind.resolve(written, host.context)
    except (ValueError, OverflowError) as error:
        text = f"{origin}: {origin.path}: on this machine expected {error}, found {found(written)}"
        raise PlanRefused(text, "mend the profile for this machine; nothing was written") from None
