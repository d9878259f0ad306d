"""A knob: one key of a profile, as one record.

The JSON Schema, ``cotune knobs``, ``cotune explain`` and the documentation are derived from these records. What a
knob does to the kernel is the business of the control it names (``cotune/controls``).
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol


class ValueContext(NamedTuple):
    """What the value of a knob may depend on.

    ``mem_total`` in bytes; ``page_size`` in bytes; ``online`` the online CPUs; ``nodes`` NUMA node → its CPUs;
    ``free_burst`` tells a kernel that lets a burst be above the quota (ANCK 4.19 and 5.10).
    """

    mem_total: int
    page_size: int
    online: frozenset[int]
    nodes: dict[int, frozenset[int]]
    free_burst: bool = False


_ALL_CPUS = frozenset(range(8192))  # the most any mainline build has (CONFIG_NR_CPUS, arch/x86/Kconfig)
#: Stands in for a host when a profile is only validated: every percentage and node then resolves to something.
NO_HOST = ValueContext(2**36, 4096, _ALL_CPUS, dict.fromkeys(range(1024), _ALL_CPUS))


class ValueType(Protocol):
    """How the value of a knob is written, checked and resolved."""

    @property
    def expected(self) -> str:
        """What a correct value looks like, as the end of the sentence "expected …"."""

    def schema(self) -> dict[str, Any]:
        """The JSON Schema (draft 2020-12) of the value as written in a profile."""

    def resolve(self, value: Any, context: ValueContext) -> Any:
        """The wanted value in the control's terms. Raises ValueError with what was expected."""


class Knob(NamedTuple):
    """One profile key.

    ``key`` is the dotted key below its section (``cpu.shares``, ``block.nr_requests``); ``section`` is where in
    a profile it stands (``group``, ``host``, ``sysctl``, ``block``, ``mount``, a list below ``io``, …); ``control``
    and ``part`` say what it sets. ``confidence`` is ``live`` (seen on
    a running kernel), ``source`` (read in kernel source), ``docs`` or ``talk``.
    """

    key: str
    section: str
    title: str
    type: ValueType
    control: str
    part: str
    doc: str
    source: str
    confidence: str = "live"
    unit: str = ""
