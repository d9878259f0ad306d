"""Controls of a resctrl class, and what a machine's limits make of the values of a profile.

Rules: fs/resctrl/ctrlmondata.c and rdtgroup.c of Linux (until 6.15 in arch/x86/kernel/cpu/resctrl), and
Documentation/arch/x86/resctrl.rst; checked on kernels 6.1, 6.12 and 7.3.
"""

from __future__ import annotations

from typing import NamedTuple

from cotune.controls.base import Control, Part, Value, Values
from cotune.knobs.resctrl import WHOLE, Portion, Rate
from cotune.units import format_cpulist, parse_cpulist

EXCLUSIVE, SHAREABLE = "exclusive", "shareable"
BANDWIDTH = "mb"
#: What the root group is called in profiles.
DEFAULT = "default"
#: Directories in the root that are no classes.
RESERVED = ("info", "mon_data", "mon_groups")
#: Bandwidth of a class that nothing limits while the kernel counts in MBps (mba_MBps): MBA_MAX_MBPS.
MAX_MBPS = 2**32 - 1
#: The same on AMD, in 1/8 GB/s: MAX_MBA_BW_AMD.
MAX_AMD = 2048


class CacheLimits(NamedTuple):
    """What one cache takes (info/L3): ``mask`` has all its bits, ``shareable`` those other hardware uses as well."""

    mask: int
    min_bits: int
    shareable: int = 0
    sparse: bool = False


class RateLimits(NamedTuple):
    """What memory bandwidth takes (info/MB). ``unit`` of its numbers is ``percent``, ``MBps`` or ``GBps`` (eighths)."""

    unit: str
    low: int
    step: int
    high: int


class Unfit(Exception):
    """A way of writing a value that this machine cannot take: ``reason`` and ``remedy``."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason, self.remedy = reason, remedy


def cache_mask(portion: Portion, limits: CacheLimits) -> int:
    """The capacity mask for a part of a cache. Raises ValueError with what is wrong with it."""
    first = (limits.mask & -limits.mask).bit_length() - 1
    count = limits.mask.bit_count()
    if portion.kind == "percent":
        low, high = portion.low * count // WHOLE, -(-portion.high * count // WHOLE)
        missing = limits.min_bits - (high - low)
        if missing > 0:
            high = min(high + missing, count)
            low = max(0, high - limits.min_bits)
        return ((1 << high) - (1 << low)) << first
    mask = portion.low if portion.kind == "mask" else (1 << portion.high + 1) - (1 << portion.low)
    if mask & ~limits.mask:
        raise ValueError(f"mask {mask:x} reaches past the {count} bits of the cache (cbm_mask {limits.mask:x})")
    if not _is_run(mask) and not limits.sparse:
        raise ValueError(f"mask {mask:x} has holes, which this machine does not take")
    if mask.bit_count() < limits.min_bits:
        raise ValueError(f"mask {mask:x} has fewer than {limits.min_bits} bits (min_cbm_bits)")
    return mask


def rate(wanted: Rate, limits: RateLimits) -> int:
    """The number to write for a bandwidth. Raises Unfit for a unit this machine does not count in, and ValueError."""
    if wanted.unit == "max" or (limits.unit == "GBps" and wanted == Rate("percent", WHOLE)):
        return limits.high
    amount = wanted.amount
    if limits.unit == "percent" and wanted.unit == "percent":
        amount = -(-amount // 100)
    elif wanted.unit not in (limits.unit, "file"):
        raise Unfit(*_UNFIT[limits.unit])
    if not limits.low <= amount <= limits.high:
        raise ValueError(f"{amount} is outside {limits.low} to {limits.high}, which this machine takes")
    return min(-(-amount // limits.step) * limits.step, limits.high)


_UNFIT = {
    "percent": (
        "this machine counts memory bandwidth in percent",
        "write a percentage; or, for MBps, unmount resctrl and set host.resctrl.mount: {mba_MBps: true}",
    ),
    "MBps": ("resctrl is mounted with mba_MBps: bandwidth is in MBps here", "write it like 5000MBps"),
    "GBps": (
        "AMD counts memory bandwidth in 1/8 GB/s and does not tell how much the whole is",
        "write it like 12.5GBps, or max",
    ),
}


def _is_run(mask: int) -> bool:
    """Whether the bits of a mask have no hole between them."""
    return mask & (mask + (mask & -mask)) == 0


class Schemata(Control):
    """``schemata``: a row ``L3:0=f`` per resource and cache, here ``L3:0``; the kernel pads as it likes, so numbers
    are compared."""

    name = "resctrl.schemata"
    scope = "resctrl"
    rows = True
    causes = {"EINVAL": "a cache whose CPUs are offline, or bits that an exclusive class has"}

    def parse(self, part: str, text: str, row: str | None) -> Value:
        resource, _, cache = (row or "").partition(":")
        value = read_schemata(text).get(resource, {}).get(int(cache))
        if value is None:
            raise ValueError(f"no cache {row}")
        return value

    def format(self, part: str, value: Value, row: str | None) -> str:
        number = str(value) if part == BANDWIDTH else f"{value:x}"
        return f"{row}={number}\n"  # without the newline the kernel refuses it

    def show(self, part: str, value: Value) -> str:
        return str(value) if part == BANDWIDTH else f"0x{value:x}"

    def looser(self, old: Values, new: Values) -> Values:
        """Bits are given up before others take them, so that no exclusive class meets bits still in use.

        What old and new have in common is a mask the machine takes, as they are, but where info/ asks for two bits at
        least (Haswell) and it is only one.
        """
        return {part: value if part == BANDWIDTH else _shrunk(old.get(part), value) for part, value in new.items()}


def _shrunk(old: Value | None, new: Value | None) -> Value | None:
    common = old & new if isinstance(old, int) and isinstance(new, int) else 0
    return common or old


def read_schemata(text: str) -> dict[str, dict[int, int]]:
    """Resource → cache id → value of a schemata file."""
    found: dict[str, dict[int, int]] = {}
    for line in text.splitlines():
        resource, colon, cells = line.strip().partition(":")
        if colon:
            base = 16 if resource.startswith("L") else 10  # L2 and L3 are caches; MB and SMBA are bandwidth
            pairs = (cell.split("=") for cell in cells.split(";") if cell)
            found[resource] = {int(cache): int(value, base) for cache, value in pairs}
    return found


class Mode(Control):
    """``mode``: becoming exclusive comes last of all, when nobody else has the bits any more."""

    name = "resctrl.mode"
    scope = "resctrl"
    last = frozenset((EXCLUSIVE,))
    causes = {"EINVAL": "its bits overlap those of another class, the class default's included, or hardware's"}

    def parse(self, part: str, text: str, row: str | None) -> Value:
        return text.strip()

    def format(self, part: str, value: Value, row: str | None) -> str:
        return f"{value}\n"


class Cpus(Control):
    """``cpus_list`` of a class."""

    name = "resctrl.cpus"
    scope = "resctrl"
    causes = {"EINVAL": "a CPU that is offline", "ERANGE": "a CPU this machine cannot have"}

    def parse(self, part: str, text: str, row: str | None) -> Value:
        return format_cpulist(parse_cpulist(text))

    def format(self, part: str, value: Value, row: str | None) -> str:
        return f"{value}\n"

    def show(self, part: str, value: Value) -> str:
        return str(value) or "none"


_ROWS = ("l3", "l3code", "l3data", "l2", "l2code", "l2data", BANDWIDTH)
CONTROLS: tuple[Control, ...] = (
    Schemata(*(Part(name, f"resctrl.{name}", {"any": "schemata"}) for name in _ROWS)),
    Mode(Part("mode", "resctrl.mode", {"any": "mode"}, SHAREABLE)),
    Cpus(Part("cpus", "resctrl.cpus", {"any": "cpus_list"}, "")),
)
