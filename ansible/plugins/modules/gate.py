#!/usr/bin/python
# Copyright: the cotune authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Whether a host is healthy after a change."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gate
short_description: Check that a host is healthy after a change
description:
  - Watches a host for some seconds and fails when tasks waited too much, or when a command of your own fails.
  - Reads pressure stall information (PSI) of the named groups, or of the host without any. Where it cannot be read (a
    kernel without it, not booted with V(psi=1), or groups of cgroup v1 without V(psi_v1=1)), throttling and the
    latency histograms of ANCK kernels of the groups count instead.
  - The gate is closed when none of these can be read.
  - Reads only.
version_added: 0.1.0
author:
  - The cotune authors (@cotune)
options:
  groups:
    description:
      - Cgroups to look at, as in profiles, for instance those of online services.
    type: list
    elements: str
    default: []
  seconds:
    description:
      - How long to watch. With V(0) the averages of the last ten seconds count; only PSI has any.
    type: int
    default: 10
  pressure:
    description:
      - Most percent of that time that tasks may have waited. The keys are C(cpu), C(memory) or C(io), a dot, and
        C(some) (at least one task waited) or C(full) (all tasks did).
    type: dict
    default: {memory.full: 10, io.full: 50}
  throttled:
    description:
      - Without PSI, most percent of its periods in which a group was throttled.
    type: float
    default: 25
  latency_ms:
    description:
      - Without PSI, from how many milliseconds on a wait of the latency histograms counts as long.
    type: int
    default: 100
  latency:
    description:
      - Without PSI, most percent of waits that may be long.
    type: float
    default: 1
  check:
    description:
      - A command that has to succeed on the host, as a list of words. It runs without a shell, after the watch.
    type: list
    elements: str
  root:
    description:
      - Work on the host whose C(/) is this directory. O(check) runs in the true one.
    type: path
    default: /
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  platform:
    platforms: linux
seealso:
  - module: cotune.host.profile
"""

EXAMPLES = r"""
- name: Fail when the host is short of memory or its disks are overrun
  cotune.host.gate:
    seconds: 30

- name: Fail when online services wait for CPUs, or the web server does not answer
  cotune.host.gate:
    groups: [online]
    pressure: {cpu.some: 20, memory.full: 5}
    check: [curl, --fail, --silent, "http://localhost/health"]
"""

RETURN = r"""
readings:
  description: What was read, in percent.
  returned: always
  type: dict
  sample: {"host memory.full": 0.4, "host io.full": 12.5}
problems:
  description: Why the gate is closed.
  returned: failure
  type: list
  elements: str
"""

import os
import re
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

_MOUNTS = ("", "unified", "cpu,cpuacct", "cpuacct", "cpu", "memory")
_LATENCIES = ("cpuacct.wait_latency", "memory.direct_reclaim_memcg_latency", "cpu.wait_latency")
_PRESSURE = re.compile(r"(cpu|memory|io)\.(some|full)")
#: PSI counts microseconds.
_PER_SECOND = 1e6


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec=dict(
            groups={"type": "list", "elements": "str", "default": []},
            seconds={"type": "int", "default": 10},
            pressure={"type": "dict", "default": {"memory.full": 10, "io.full": 50}},
            throttled={"type": "float", "default": 25},
            latency_ms={"type": "int", "default": 100},
            latency={"type": "float", "default": 1},
            check={"type": "list", "elements": "str"},
            root={"type": "path", "default": "/"},
        ),
        supports_check_mode=True,
    )
    limits = _limits(module)
    watch = _Watch(module, limits)
    before = watch.look()
    time.sleep(max(module.params["seconds"], 0))
    watch.judge(before, watch.look())
    problems = watch.problems + _check(module)
    if problems:
        module.fail_json(msg="the gate is closed: " + "; ".join(problems), problems=problems, readings=watch.readings)
    module.exit_json(readings=watch.readings)


def _limits(module: Any) -> dict[str, float]:
    limits = {}
    for key, value in module.params["pressure"].items():
        try:
            limits[key] = float(value)
        except (TypeError, ValueError):
            module.fail_json(msg="pressure: %s: expected a percentage, found %r" % (key, value))
        if not _PRESSURE.fullmatch(key):
            module.fail_json(msg="pressure: %s: expected cpu, memory or io, a dot, and some or full" % key)
    return limits


class _Watch:
    """Counters of the host or the groups, read twice; what cannot be read is not in them."""

    def __init__(self, module: Any, limits: dict[str, float]) -> None:
        self.params = module.params
        self.limits = limits
        self.readings: dict[str, float] = {}
        self.problems: list[str] = []

    def look(self) -> dict[tuple[str, str], dict[str, float]]:
        """(group, what) → the counters found there. The empty group is the host."""
        found = {}
        for group in self.params["groups"] or [""]:
            for key in sorted({key.partition(".")[0] for key in self.limits}):
                found[group, key] = _psi(self._text(group, key))
            if group:
                found[group, "cpu.stat"] = _pairs(self._read(group, "cpu.stat"))
                for name in _LATENCIES:
                    found[group, name] = _histogram(self._read(group, name), self.params["latency_ms"])
        return {key: counters for key, counters in found.items() if counters}

    def judge(
        self, before: dict[tuple[str, str], dict[str, float]], after: dict[tuple[str, str], dict[str, float]]
    ) -> None:
        """Compare what happened in between with the limits."""
        for group in self.params["groups"] or [""]:
            if all((group, key.partition(".")[0]) in after for key in self.limits):
                for key, limit in self.limits.items():
                    self._pressure(group, key, limit, before, after)
            else:
                self._without_pressure(group, before, after)

    def _pressure(self, group: str, key: str, limit: float, before: Any, after: Any) -> None:
        file, _dot, kind = key.partition(".")
        now = after[group, file]
        if self.params["seconds"] > 0:
            waited = now[kind + " total"] - before.get((group, file), now)[kind + " total"]
            percent = 100 * waited / _PER_SECOND / self.params["seconds"]
        else:
            percent = now[kind + " avg10"]
        self._compare(group, key, percent, limit)

    def _without_pressure(self, group: str, before: Any, after: Any) -> None:
        """Throttling and latency in its place; nothing to read at all closes the gate."""
        seen = False
        for name in ("cpu.stat", *_LATENCIES):
            if (group, name) not in after or self.params["seconds"] <= 0:
                continue
            seen = True
            part, whole, limit = ("nr_throttled", "nr_periods", self.params["throttled"])
            if name != "cpu.stat":
                part, whole, limit = ("long", "all", self.params["latency"])
            now = after[group, name]
            then = before.get((group, name), now)
            events = now.get(whole, 0) - then.get(whole, 0)
            percent = 100 * (now.get(part, 0) - then.get(part, 0)) / events if events > 0 else 0.0
            self._compare(group, part if name == "cpu.stat" else name, percent, limit)
        if not seen:
            hint = "boot with psi_v1=1" if group else "boot with psi=1, or name groups whose throttling can be read"
            self.problems.append("pressure of %s cannot be read (%s)" % (group or "the host", hint))

    def _compare(self, group: str, what: str, percent: float, limit: float) -> None:
        name = "%s %s" % (group or "host", what)
        self.readings[name] = round(percent, 2)
        if percent > limit:
            self.problems.append("%s is %.1f percent, at most %g are allowed" % (name, percent, limit))

    def _text(self, group: str, resource: str) -> str:
        if group:
            return self._read(group, resource + ".pressure")
        return _file(os.path.join(self.params["root"], "proc/pressure", resource))

    def _read(self, group: str, name: str) -> str:
        """A file of a group, from the first hierarchy that has it."""
        for mount in _MOUNTS:
            text = _file(os.path.join(self.params["root"], "sys/fs/cgroup", mount, group.strip("/"), name))
            if text:
                return text
        return ""


def _file(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _psi(text: str) -> dict[str, float]:
    """``some avg10`` and the like → number."""
    found = {}
    for line in text.splitlines():
        kind, *fields = line.split()
        for field in fields:
            name, _equals, value = field.partition("=")
            found["%s %s" % (kind, name)] = float(value)
    # kernels before 5.13 have no "full" for CPUs: nothing can be short of all of them there
    if found:
        found.setdefault("full total", 0.0)
        found.setdefault("full avg10", 0.0)
    return found


def _pairs(text: str) -> dict[str, float]:
    return {words[0]: float(words[1]) for words in map(str.split, text.splitlines()) if len(words) == 2}


def _histogram(text: str, long: int) -> dict[str, float]:
    """All waits, and those of at least ``long`` milliseconds, of lines such as ``10-100ms: 3`` and ``>=10000ms: 0``."""
    counts = {"all": 0.0, "long": 0.0}
    for lowest, number in re.findall(r"^\D*?(\d+)(?:-\d+)?\s*ms\s*:\s*(\d+)", text, re.MULTILINE):
        counts["all"] += int(number)
        counts["long"] += int(number) if int(lowest) >= long else 0
    return counts if text else {}


def _check(module: Any) -> list[str]:
    if not module.params["check"]:
        return []
    code, output, errors = module.run_command(module.params["check"])
    if code == 0:
        return []
    last = ((errors or output).strip().splitlines() or ["no output"])[-1]
    return ["%s: exit %d: %s" % (" ".join(module.params["check"]), code, last)]


if __name__ == "__main__":
    main()
