"""What the probes' texts and conditions mean on one host."""

from __future__ import annotations

import re
from functools import cached_property

from cotune.host.devices import find_disks
from cotune.host.dialect import find_dialect
from cotune.host.facts import Host
from cotune.selftest.steps import Step
from cotune.units import parse_cpulist

_TOKEN = re.compile(r"\{([^}]+)\}")
_COMPARISON = re.compile(r"(<|>=)(\d+)\.(\d+)")
#: A throttle row can leave a policy switched on for its disk, so disks that carry nothing come first.
_IDLE_DISKS = ("loop", "ram", "zram")


class Places:
    """Texts of one family: ``group`` is its directory, ``scratch`` the one above it."""

    def __init__(self, host: Host, scratch: str, group: str) -> None:
        self.host, self.scratch, self.group = host, scratch, group

    def path(self, group: str, file: str) -> str:
        """The path of a file of a group below the family's."""
        return "/".join(part for part in (self.group, group, file) if part)

    def fill(self, text: str) -> str | None:
        """A text with its names replaced; None when one of them has no value here."""
        values = {name: self._value(name) for name in _TOKEN.findall(text)}
        if None in values.values():
            return None
        return _TOKEN.sub(lambda match: values[match[1]] or "", text)

    def lacking(self, step: Step) -> str:
        """The names in a step that have no value here."""
        names = _TOKEN.findall(step.input + (step.reads or ""))
        return ", ".join(dict.fromkeys(name for name in names if self._value(name) is None))

    def _value(self, name: str) -> str | None:
        kind, _, file = name.partition(":")
        if kind == "parent":
            return self.host.text(f"{self.scratch}/{file}")
        return self._values.get(name)

    @cached_property
    def _values(self) -> dict[str, str]:
        page = self.host.page_size
        values = {"page": f"{page}", "page-1": f"{page - 1}", "page+1": f"{page + 1}"}
        values["unlimited"] = f"{(2**63 - 1) // page * page}"
        for kind, first, last in (("cpus", "cpu", "cpu2"), ("mems", "mem", "mem2")):
            text = self._allowed(kind)
            ids = sorted(parse_cpulist(text))
            values |= {kind: text} if text else {}
            values |= {first: f"{ids[0]}"} if ids else {}
            values |= {last: f"{ids[-1]}"} if len(ids) > 1 else {}
        return values | _disks(self.host)

    def _allowed(self, kind: str) -> str:
        """CPUs or nodes the scratch group may use: v1 by its own file, v2 by what is in force there."""
        own = f"{self.scratch}/cpuset.{kind}"
        return self.host.text(f"{own}.effective") or self.host.text(own)


def _disks(host: Host) -> dict[str, str]:
    """Two whole disks and a partition, as far as there are any."""
    disks = find_disks(host.kernel, {"device": "*"}) if host.kernel.exists("/sys/block") else []
    disks = [disk for disk in disks if disk.name.startswith(_IDLE_DISKS)] + [
        disk for disk in disks if not disk.name.startswith(_IDLE_DISKS)
    ]
    values = {name: disk.device for name, disk in zip(("disk", "disk2"), disks, strict=False)}
    # a disk that is in use has the richer queue directory
    values |= {"disk_sysfs": disks[-1].sysfs} if disks else {}
    for disk in disks:
        for child in host.kernel.subdirs(disk.sysfs):
            if host.kernel.exists(f"{disk.sysfs}/{child}/partition"):
                return values | {"partition": host.text(f"{disk.sysfs}/{child}/dev")}
    return values


def holds(host: Host, condition: str) -> bool:
    """Whether all words of a condition hold; steps.py says what they mean."""
    return all(_word_holds(host, word) for word in condition.split())


def _word_holds(host: Host, word: str) -> bool:
    match = _COMPARISON.fullmatch(word)
    if match:
        here = tuple(int(number) for number in re.findall(r"\d+", host.release)[:2])
        bound = (int(match[2]), int(match[3]))
        return here < bound if match[1] == "<" else here >= bound
    name, equals, value = word.partition("=")
    if name == "build":
        return host.release.startswith(value)
    if equals:
        return host.text("/proc/sys/" + name.replace(".", "/")) == value
    return find_dialect(host).name.split("-")[0] == word
