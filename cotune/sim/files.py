"""The machinery of simulated kernel files: number parsers, file records and the refusal every rule raises.

The parsers follow the kernel's own: ``kstrtoull`` and ``kstrtoll`` (lib/kstrtox.c), ``memparse`` (lib/cmdline.c),
``page_counter_memparse`` (mm/page_counter.c) and ``proc_dointvec`` (kernel/sysctl.c). They are kept apart because the
number syntax differs per file family.
"""

from __future__ import annotations

import enum
import errno
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple, NoReturn

if TYPE_CHECKING:
    from cotune.sim.machine import Group

PAGE = 4096
U64_MAX = 2**64 - 1
U32_MAX = 2**32 - 1
INT_MAX = 2**31 - 1
INT_MIN = -(2**31)
S64_MAX = 2**63 - 1
#: PAGE_COUNTER_MAX on 64 bit (include/linux/page_counter.h), in pages: the "unlimited" of every v1 byte file.
PAGES_UNLIMITED = S64_MAX // PAGE


class Refusal(Exception):
    """The kernel's answer to a bad operation; SimKernel turns it into an OSError that names the path."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.errno = number


def refuse(number: int) -> NoReturn:
    """Raise :class:`Refusal` with this errno."""
    raise Refusal(number)


# --- number parsers -------------------------------------------------------------------------------------------------

_DIGITS = {8: "01234567", 10: "0123456789", 16: "0123456789abcdef"}


def take_integer(text: str, base: int = 0) -> tuple[int, str] | None:
    """Leading digits of ``text`` and the rest, or None; base 0 knows ``0x`` and the octal leading 0."""
    if base == 0:
        base = 10
        if text[:1] == "0":
            base = 16 if text[1:2] in ("x", "X") and text[2:3].lower() in tuple(_DIGITS[16]) else 8
    if base == 16 and text[:2].lower() == "0x":
        text = text[2:]
    end = 0
    while end < len(text) and text[end].lower() in _DIGITS[base]:
        end += 1
    return (int(text[:end], base), text[end:]) if end else None


def parse_u64(text: str, base: int = 0) -> int:
    """kstrtoull: digits and at most one newline; blanks, signs and text are EINVAL, overflow is ERANGE."""
    found = take_integer(text[1:] if text[:1] == "+" else text, base)
    if found is None or found[1] not in ("", "\n"):
        refuse(errno.EINVAL)
    if found[0] > U64_MAX:
        refuse(errno.ERANGE)
    return found[0]


def parse_s64(text: str, base: int = 0) -> int:
    """kstrtoll: as :func:`parse_u64` with a minus sign; outside 64 signed bits is ERANGE."""
    negative = text[:1] == "-"
    if text[:2] == "-+":
        refuse(errno.EINVAL)
    value = parse_u64(text[1:] if negative else text, base)
    if value > S64_MAX + negative:
        refuse(errno.ERANGE)
    return -value if negative else value


def parse_s32(text: str) -> int:
    """kstrtoint of a stripped text: ERANGE outside 32 signed bits."""
    value = parse_s64(text.strip())
    if not INT_MIN <= value <= INT_MAX:
        refuse(errno.ERANGE)
    return value


def parse_u32_decimal(text: str) -> int:
    """A sysfs queue number (block/blk-sysfs.c queue_var_store): decimal, at most 32 bits, else EINVAL."""
    try:
        value = parse_u64(text, 10)
    except Refusal:
        refuse(errno.EINVAL)
    if value > U32_MAX:
        refuse(errno.EINVAL)
    return value


def parse_pages(text: str, unlimited: str) -> int:
    """page_counter_memparse: bytes with an optional K…E suffix, or the word for unlimited; returns whole pages.

    Sizes are rounded down to pages. A text without digits counts as 0 as long as nothing but a suffix follows, as in
    the kernel, so a lone newline means 0.
    """
    text = text.strip()
    if text == unlimited:
        return PAGES_UNLIMITED
    value, rest = take_integer(text) or (0, text)
    if rest[:1].lower() in tuple("kmgtpe"):
        value <<= 10 * ("kmgtpe".index(rest[0].lower()) + 1)
        rest = rest[1:]
    if rest:
        refuse(errno.EINVAL)
    return min((value & U64_MAX) // PAGE, PAGES_UNLIMITED)


_SYSCTL_NUMBER = re.compile(r"(-?)(0[xX][0-9a-fA-F]+|[0-9]+)(?=\s|\0|$)")


def parse_sysctl(text: str, count: int) -> list[int]:
    """proc_dointvec: up to ``count`` numbers separated by blanks; a first word that is no number is EINVAL.

    Words past ``count`` are ignored and fewer are accepted (only the leading fields change). Base as kstrtoull 0.
    """
    numbers: list[int] = []
    rest = text.lstrip()
    while rest and len(numbers) < count:
        match = _SYSCTL_NUMBER.match(rest)
        found = take_integer(match[2]) if match else None
        if match is None or found is None or found[1]:
            refuse(errno.EINVAL)
        numbers.append(-found[0] if match[1] else found[0])
        rest = rest[match.end() :].lstrip("\0 \t\r\n\v\f")
    if not numbers:
        refuse(errno.EINVAL)
    return numbers


# --- id lists (lib/bitmap.c) ----------------------------------------------------------------------------------------

_REGION = re.compile(r"(?:(?i:all)|(\d+|N)(?:-(\d+|N))?)(?::(\d+)/(\d+))?")


def parse_ids(text: str, bits: int, words: bool) -> list[int]:
    """bitmap_parselist: ``0-3,5,8-15:1/2``. ERANGE for ids at or past ``bits``, EOVERFLOW past 32 bits, else EINVAL.

    ``words`` admits ``all`` and ``N`` (the last bit), which kernels before 5.12 do not know.
    """
    ids: set[int] = set()
    for region in re.split(r"[,\s]+", text.strip()):
        if not region:
            continue
        match = _REGION.fullmatch(region)
        if match is None or (not words and re.search("[A-Za-z]", region)):
            refuse(errno.EINVAL)
        ids.update(_region_ids(match, bits))
    return sorted(ids)


def _region_ids(match: re.Match[str], bits: int) -> Iterable[int]:
    def bound(word: str) -> int:
        return bits - 1 if word == "N" else int(word)

    first, last, used, size = match.groups()
    low, high = (bound(first), bound(last or first)) if first is not None else (0, bits - 1)
    step, take = (int(size), int(used)) if size is not None else (high - low + 1, high - low + 1)
    if max(low, high, step, take) > U32_MAX:
        refuse(errno.EOVERFLOW)
    if low > high or step == 0 or take > step:
        refuse(errno.EINVAL)
    if high >= bits:
        refuse(errno.ERANGE)
    return [i for i in range(low, high + 1) if (i - low) % step < take]


def format_ids(ids: Iterable[int]) -> str:
    """``%*pbl``: canonical ranges, ``0-3,5``; empty for none."""
    parts: list[str] = []
    run: list[int] = []
    for i in [*sorted(ids), -1]:
        if run and i == run[-1] + 1:
            run.append(i)
            continue
        if run:
            parts.append(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}")
        run = [i]
    return ",".join(parts)


# --- file records ---------------------------------------------------------------------------------------------------


class Where(enum.Enum):
    """In which cgroups of a hierarchy a file exists (CFTYPE_NOT_ON_ROOT, CFTYPE_ONLY_ON_ROOT)."""

    BOTH = "both"
    CHILD = "child"
    ROOT = "root"


class HostFile(NamedTuple):
    """A file outside the cgroup trees. ``no_write`` is the errno of a write when there is no handler.

    sysfs and /proc/sys refuse the open of a file without a handler (EACCES, also for root); procfs answers EIO.
    """

    read: Callable[[], str] | None
    write: Callable[[str], None] | None = None
    mode: int = 0o644
    no_write: int = errno.EACCES


class CgroupFile(NamedTuple):
    """One cftype (include/linux/cgroup-defs.h). A missing handler is EINVAL, whatever the mode says."""

    name: str
    read: Callable[[Group], str] | None
    write: Callable[[Group, str], None] | None = None
    where: Where = Where.BOTH
    fixed_mode: int | None = None
    #: In which groups it can be seen, for a file that another one hides.
    shown: Callable[[Group], bool] = lambda _group: True

    @property
    def mode(self) -> int:
        """Mode bits the kernel derives from the handlers (cgroup_file_mode), unless the cftype names them."""
        if self.fixed_mode is not None:
            return self.fixed_mode
        return (0o444 if self.read else 0) | (0o200 if self.write else 0)


class Controller(NamedTuple):
    """A cgroup controller: its files, what mkdir initialises, and what attaching a task demands."""

    name: str
    files: tuple[CgroupFile, ...]
    created: Callable[[Group], None]
    attach: Callable[[Group], None] = lambda _group: None
    #: What the parent of a new group may object to.
    mkdir: Callable[[Group], None] = lambda _parent: None


def number_file(
    name: str,
    low: int,
    high: int,
    *,
    parse: Callable[[str], int] = parse_u64,
    bad: int = errno.EINVAL,
    where: Where = Where.BOTH,
    root_writes: bool = True,
) -> CgroupFile:
    """A number kept as written; ``bad`` is the errno outside ``low…high``. The value lives under the file's name."""

    def write(group: Group, text: str) -> None:
        if group.parent is None and not root_writes:
            refuse(errno.EINVAL)
        value = parse(text)
        if not low <= value <= high:
            refuse(bad)
        group.numbers[name] = value

    return CgroupFile(name, lambda group: f"{group.numbers[name]}\n", write, where)


def bool_file(name: str, where: Where = Where.BOTH, mask: int = U64_MAX) -> CgroupFile:
    """A flag written as a number: any non-zero value, of the bits in ``mask``, becomes 1."""

    def write(group: Group, text: str) -> None:
        group.numbers[name] = int(parse_u64(text) & mask != 0)

    return CgroupFile(name, lambda group: f"{group.numbers[name]}\n", write, where)


def report_file(name: str, text: str | Callable[[Group], str], where: Where = Where.BOTH) -> CgroupFile:
    """A read-only report."""
    return CgroupFile(name, text if callable(text) else lambda _group: text, None, where)


def reset_file(name: str, text: str) -> CgroupFile:
    """A report that takes only 0, which resets it; anything else is EINVAL."""

    def write(_group: Group, written: str) -> None:
        if parse_u64(written) != 0:
            refuse(errno.EINVAL)

    return CgroupFile(name, lambda _group: text, write)
