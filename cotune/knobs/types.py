"""The value types of knobs: how a value is written in a profile and what it resolves to."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from cotune.knobs.base import ValueContext
from cotune.units import (
    DURATION_EXPECTED,
    SIZE_EXPECTED,
    format_cpulist,
    parse_cpulist,
    parse_duration,
    parse_percent,
    parse_size,
)

_BARE = re.compile(r"[0-9.]+")
UNLIMITED = -1
"""Resolved form of ``max`` for every limit; a control turns it into what its file spells."""


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True)
class Boolean:
    """``true`` or ``false``; resolves to 1 or 0."""

    expected: str = "true or false"

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}

    def resolve(self, value: Any, context: ValueContext) -> int:
        if not isinstance(value, bool):
            raise ValueError(self.expected)
        return int(value)


@dataclass(frozen=True)
class Integer:
    """A whole number between ``low`` and ``high``; ``unlimited`` also takes ``max``."""

    low: int
    high: int
    unlimited: bool = False

    @property
    def expected(self) -> str:
        return f"a whole number from {self.low} to {self.high}" + (" or max" if self.unlimited else "")

    def schema(self) -> dict[str, Any]:
        number = {"type": "integer", "minimum": self.low, "maximum": self.high}
        return {"anyOf": [number, {"const": "max"}]} if self.unlimited else number

    def resolve(self, value: Any, context: ValueContext) -> int:
        if self.unlimited and value == "max":
            return UNLIMITED
        if not _is_int(value) or not self.low <= value <= self.high:
            raise ValueError(self.expected)
        return int(value)


@dataclass(frozen=True)
class Percent:
    """A percentage with at most two decimals; resolves to hundredths of a percent."""

    low: int = 0
    high: int = 100

    @property
    def expected(self) -> str:
        return f"a percentage from {self.low} to {self.high} such as 20 or 37.5"

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "number", "minimum": self.low, "maximum": self.high}, {"type": "string"}]}

    def resolve(self, value: Any, context: ValueContext) -> int:
        percent = parse_percent(value) if isinstance(value, str) else value
        if isinstance(percent, bool) or not isinstance(percent, (int, float)):
            raise ValueError(self.expected)
        if not self.low <= percent <= self.high:
            raise ValueError(self.expected)
        return round(percent * 100)


@dataclass(frozen=True)
class Words:
    """One of a few words, each standing for a value."""

    words: dict[str, Any] = field(hash=False)

    @property
    def expected(self) -> str:
        return "one of " + ", ".join(self.words)

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.words)}

    def resolve(self, value: Any, context: ValueContext) -> Any:
        if not isinstance(value, str) or value not in self.words:
            raise ValueError(self.expected)
        return self.words[value]


@dataclass(frozen=True)
class Text:
    """Free text of one line that matches ``pattern``."""

    pattern: str
    expected: str

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^(?:{self.pattern})$"}

    def resolve(self, value: Any, context: ValueContext) -> str:
        if not isinstance(value, str) or re.fullmatch(self.pattern, value) is None:
            raise ValueError(self.expected)
        return value


@dataclass(frozen=True)
class Size:
    """A size; resolves to units of ``unit`` bytes. ``unlimited`` also takes ``max``."""

    unit: int = 1
    unlimited: bool = True
    low: int = 0

    @property
    def expected(self) -> str:
        text = (
            SIZE_EXPECTED
            if self.unlimited
            else SIZE_EXPECTED.replace(" or max", "").replace("3% (of MemTotal), ", "3% (of MemTotal) or ")
        )
        return text + (f", at least {self.low * self.unit} bytes" if self.low else "")

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "integer", "minimum": self.low}, {"type": "string"}]}

    def resolve(self, value: Any, context: ValueContext) -> int:
        if self.unlimited and value == "max":
            return UNLIMITED
        size = parse_size(value, context.mem_total, self.unit)
        if size < self.low or (isinstance(value, str) and value == "max"):
            raise ValueError(self.expected)
        return size


@dataclass(frozen=True)
class Duration:
    """A duration between ``low`` and ``high`` µs; resolves to µs."""

    low: int
    high: int

    @property
    def expected(self) -> str:
        return f"{DURATION_EXPECTED}, from {self.low}us to {self.high}us"

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}]}

    def resolve(self, value: Any, context: ValueContext) -> int:
        duration = parse_duration(value)
        if not self.low <= duration <= self.high:
            raise ValueError(self.expected)
        return duration


@dataclass(frozen=True)
class Share:
    """A part of another value, settled by the control when that value is known: ``kind`` ``cpus`` or ``percent``."""

    kind: str
    amount: float


@dataclass(frozen=True)
class CpuTime:
    """Quota: a number of CPUs (of each period), a duration per period, or ``max``."""

    expected: str = "a number of CPUs such as 2.5, a duration per period such as 50ms, or max"

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string"}]}

    def resolve(self, value: Any, context: ValueContext) -> int | Share:
        if value == "max":
            return UNLIMITED
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            if not 0 < value <= 65536:
                raise ValueError(self.expected)
            return Share("cpus", float(value))
        if isinstance(value, str) and _BARE.fullmatch(value.strip()):
            # as a duration it would be seconds: practically no limit, where the kernel's µs or CPUs were meant
            raise ValueError(f"{self.expected}; a number in quotes could be either")
        try:
            duration = parse_duration(value)
        except ValueError:
            raise ValueError(self.expected) from None
        # kernel/sched/core.c: min_cfs_quota_period 1 ms, max_bw_quota_period_us 2^44 - 1
        if not 1000 <= duration < 2**44:
            raise ValueError("a quota of at least 1ms and below 2^44us")
        return duration


@dataclass(frozen=True)
class Burst:
    """Burst: a percentage of the quota or a duration."""

    expected: str = "a percentage of the quota such as 50%, or a duration such as 20ms"

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}]}

    def resolve(self, value: Any, context: ValueContext) -> int | Share:
        if isinstance(value, str) and (percent := parse_percent(value)) is not None:
            return Share("percent", percent)
        try:
            return parse_duration(value)
        except ValueError:
            raise ValueError(self.expected) from None


@dataclass(frozen=True)
class CpuList:
    """CPUs: a list, ``N%`` of the online ones (lowest numbers first, at least one), ``node:N`` or ``all``."""

    expected: str = "a CPU list such as 0-3,8, a percentage of the online CPUs such as 50%, node:0 or all"

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string"}]}

    def resolve(self, value: Any, context: ValueContext) -> str:
        text = str(value) if _is_int(value) else value
        if not isinstance(text, str) or not text.strip():
            raise ValueError(self.expected)
        if text == "all":
            return format_cpulist(context.online)
        if text.startswith("node:"):
            return self._node(text, context)
        if (percent := parse_percent(text)) is not None:
            if not 0 < percent <= 100:
                raise ValueError("a percentage above 0 and up to 100")
            count = max(1, int(len(context.online) * percent / 100))
            return format_cpulist(sorted(context.online)[:count])
        try:
            return format_cpulist(parse_cpulist(text))
        except ValueError as error:
            raise ValueError(f"{self.expected}: {error}") from None

    def _node(self, text: str, context: ValueContext) -> str:
        number = text[len("node:") :]
        if not number.isdecimal() or int(number) not in context.nodes:
            raise ValueError("node:N with an existing NUMA node: " + format_cpulist(context.nodes))
        return format_cpulist(context.nodes[int(number)])


@dataclass(frozen=True)
class NodeList:
    """NUMA nodes: a list or ``all``."""

    expected: str = "a list of NUMA nodes such as 0 or 0-1, or all"

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string"}]}

    def resolve(self, value: Any, context: ValueContext) -> str:
        if value == "all":
            return format_cpulist(context.nodes)
        text = str(value) if _is_int(value) else value
        if not isinstance(text, str) or not text.strip():
            raise ValueError(self.expected)
        try:
            return format_cpulist(parse_cpulist(text))
        except ValueError:
            raise ValueError(self.expected) from None


@dataclass(frozen=True)
class KernelValue:
    """A sysctl without a record of its own: one line as the kernel takes it; numbers and words alike."""

    expected: str = "a number, true/false or one line of text as the kernel file takes it"

    def schema(self) -> dict[str, Any]:
        return {"type": ["integer", "boolean", "string"]}

    def resolve(self, value: Any, context: ValueContext) -> str:
        if isinstance(value, bool):
            return str(int(value))
        if _is_int(value):
            return str(value)
        if isinstance(value, str) and value.strip() and "\n" not in value and "\0" not in value:
            return " ".join(value.split())
        raise ValueError(self.expected)
