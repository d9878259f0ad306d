"""Controller ``hugetlb`` of cgroup v2 for 2 MiB pages (mm/hugetlb_cgroup.c): limits are kept, nothing is charged."""

from __future__ import annotations

from cotune.sim.files import PAGE, PAGES_UNLIMITED, CgroupFile, Controller, Where, parse_pages, report_file
from cotune.sim.hosts import HostSpec
from cotune.sim.machine import Group

_SIZE = "2MB"
_PAGES = 512
#: PAGE_COUNTER_MAX in whole huge pages, the default.
_UNLIMITED = PAGES_UNLIMITED // _PAGES * _PAGES
_LIMITS = (f"hugetlb.{_SIZE}.max", f"hugetlb.{_SIZE}.rsvd.max")


def hugetlb_v2(_spec: HostSpec) -> Controller:
    """The hugetlb controller."""
    files = [_limit_file(name) for name in _LIMITS]
    files += [report_file(f"hugetlb.{_SIZE}.{name}", "0\n", Where.CHILD) for name in ("current", "rsvd.current")]
    files += [report_file(f"hugetlb.{_SIZE}.{name}", "max 0\n", Where.CHILD) for name in ("events", "events.local")]
    return Controller("hugetlb", tuple(files), lambda group: group.numbers.update(dict.fromkeys(_LIMITS, _UNLIMITED)))


def _limit_file(name: str) -> CgroupFile:
    """Bytes in whole huge pages, rounded down, or ``max``."""

    def show(group: Group) -> str:
        pages = group.numbers[name]
        return "max\n" if pages == _UNLIMITED else f"{pages * PAGE}\n"

    def write(group: Group, text: str) -> None:
        group.numbers[name] = parse_pages(text, "max") // _PAGES * _PAGES

    return CgroupFile(name, show, write, Where.CHILD)
