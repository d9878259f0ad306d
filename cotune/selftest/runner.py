"""Runs the probes: every operation through the Kernel port, inside scratch groups, noted for the transcript."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from cotune.host.cgroups import Hierarchy
from cotune.host.facts import Host
from cotune.selftest import probes_host, probes_v1, probes_v1_memory, probes_v2, probes_vendor
from cotune.selftest.places import Places, holds
from cotune.selftest.scratch import Scratch, Unusable, candidates, clear_leftovers, new_name, remove_tree, scratch_group
from cotune.selftest.steps import Family, File, Step

FAMILIES: tuple[Family, ...] = tuple(
    found
    for module in (probes_v1, probes_v1_memory, probes_v2, probes_vendor)
    for found in vars(module).values()
    if isinstance(found, Family)
)


class Verdict(NamedTuple):
    """What came of one step. ``status`` is ``known``, ``differs`` or ``noted`` (there is no known rule)."""

    file: str
    what: str
    status: str
    seen: str
    known: str
    source: str


@dataclass
class FamilyResult:
    """One family: verdicts, files that are not on this kernel, and what was left out with the reason.

    ``parent`` is the group the scratch group was made in.
    """

    name: str
    parent: str = ""
    verdicts: list[Verdict] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def count(self, status: str) -> int:
        """How many verdicts have this status."""
        return sum(verdict.status == status for verdict in self.verdicts)


@dataclass
class Result:
    """All families, the transcript, remarks, and groups that could not be removed.

    ``refused`` says why hierarchies took no scratch group; ``forbidden`` whether only privileges lacked.
    """

    families: list[FamilyResult] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    forbidden: bool = True
    probed: int = 0


class Wish(NamedTuple):
    """What to run: ``below`` is the group to make scratch groups in, ``irreversible`` asks for those files too.

    ``areas`` are controllers, ``cgroup`` (the core of v2) and ``host``; empty for all. Hierarchies without one of them
    are left alone altogether.
    """

    below: str | None = None
    irreversible: bool = False
    areas: frozenset[str] = frozenset()


def run(host: Host, wish: Wish) -> Result:
    """Run every probe that fits this host and the wish. Writes nowhere but in scratch groups, and removes them."""
    runner = _Runner(host, wish)
    layout = host.layout
    hierarchies = list(dict.fromkeys([*layout.hierarchies(), *([layout.unified] if layout.unified else [])]))
    for hierarchy in hierarchies:
        runner.hierarchy(hierarchy)
    if _wants(wish, "host") and (runner.result.probed or wish.areas):
        runner.host_files()
    return runner.result


class _Runner:
    def __init__(self, host: Host, wish: Wish) -> None:
        self.host, self.kernel, self.wish = host, host.kernel, wish
        self.name = new_name(host.kernel)
        self.holds = partial(holds, host)
        self.result = Result()

    # --- one hierarchy ----------------------------------------------------------------------------------------------

    def hierarchy(self, hierarchy: Hierarchy) -> None:
        """All families of a hierarchy, in one scratch group."""
        controllers = {name for name, where in self.host.layout.controllers.items() if where == hierarchy}
        families = [family for family in FAMILIES if self.wanted(family, hierarchy.version, controllers)]
        if not families:
            return
        places = candidates(self.kernel, self.host.layout, hierarchy, self.wish.below)
        for directory in places:
            self.result.notes += [
                f"{path}: left by a run that was killed; removed" for path in clear_leftovers(self.kernel, directory)
            ]
        try:
            with scratch_group(self.kernel, places, self.name, self.result.left) as scratch:
                self.result.probed += 1
                self.note_made(scratch.directory, f"cgroup v{hierarchy.version}")
                self.prepare(hierarchy, scratch, {family.controller for family in families} - {""})
                for family in families:
                    self.result.families.append(self.family(hierarchy, scratch, family))
                self.call("rmdir", self.kernel.rmdir, scratch.directory)
        except Unusable as error:
            self.result.refused.append(str(error) if places else f"{hierarchy.point}: no group {self.wish.below}")
            self.result.forbidden = self.result.forbidden and error.forbidden

    def wanted(self, family: Family, version: int, controllers: set[str]) -> bool:
        """Whether a family belongs to a hierarchy and was asked for; the core of v2 goes with every v2 hierarchy."""
        belongs = version in family.versions and (not family.controller or family.controller in controllers)
        return belongs and _wants(self.wish, family.controller or "cgroup")

    def prepare(self, hierarchy: Hierarchy, scratch: Scratch, controllers: set[str]) -> None:
        """What a scratch group needs before its children can do anything."""
        if hierarchy.version == 1 and "cpuset" in controllers:
            for file in ("cpuset.mems", "cpuset.cpus"):
                self.write(f"{scratch.directory}/{file}", self.text(f"{scratch.parent}/{file}").strip())
        if hierarchy.version == 2:
            offered = self.text(f"{scratch.directory}/cgroup.controllers").split()
            lacking = sorted(controllers - set(offered))
            if lacking:
                self.result.notes.append(
                    f"{scratch.parent}/cgroup.subtree_control does not hand on {', '.join(lacking)}: not probed, "
                    "since only scratch groups are written"
                )
            for name in offered:
                self.write(f"{scratch.directory}/cgroup.subtree_control", f"+{name}")

    def family(self, hierarchy: Hierarchy, scratch: Scratch, family: Family) -> FamilyResult:
        """All files of a family, in a group of its own."""
        result = FamilyResult(family.name, scratch.parent)
        offered = self.text(f"{scratch.directory}/cgroup.controllers").split()
        if hierarchy.version == 2 and family.controller and family.controller not in offered:
            result.left_out.append(f"{scratch.parent} does not hand on the {family.controller} controller")
            return result
        if family.unsafe and self.holds(family.unsafe[0]):
            result.left_out.append(family.unsafe[1])
            return result
        group = f"{scratch.directory}/{family.name.replace(' ', '-')}"
        self.call("mkdir", self.kernel.mkdir, group)
        if hierarchy.version == 2 and family.controller:
            self.write(f"{group}/cgroup.subtree_control", f"+{family.controller}")
        places = Places(self.host, scratch.directory, group)
        for file in family.files:
            self.file(places, file, result)
        for name in self.kernel.subdirs(group):
            self.result.left += remove_tree(self.kernel, f"{group}/{name}")
        self.call("rmdir", self.kernel.rmdir, group)
        return result

    def file(self, places: Places, file: File, result: FamilyResult) -> None:
        """All steps of one file."""
        path = places.path("", file.name)
        if not self.kernel.exists(path):
            self.read(path, "not here")
            result.absent.append(file.name)
        elif file.irreversible and not self.wish.irreversible:
            result.left_out.append(f"{file.name}: only with --irreversible")
        else:
            for step in file.steps:
                self.step(places, file, step, result)

    # --- one step ---------------------------------------------------------------------------------------------------

    def step(self, places: Places, file: File, step: Step, result: FamilyResult) -> None:
        """Do one step and judge it; left out when this host lacks what it names."""
        name = step.file or file.name
        text, known = places.fill(step.input), places.fill(step.reads or "")
        if text is None or known is None:
            result.left_out.append(f"{name}: {step.what}: needs {places.lacking(step)}")
            return
        path = places.path(step.group, name)
        if step.op in ("mkdir", "rmdir"):
            path = places.path(step.group, "")
            number = self.call(step.op, getattr(self.kernel, step.op), path, step.what)
            before = after = ""
        elif not self.kernel.exists(path):
            return
        elif step.op == "read":
            number, before, after = "OK", "", self.read(path, step.what)
        elif not self.kernel.writable(path):
            # an ordinary user, in a group of its own making: reports and some files are root's alone
            result.left_out.append(f"{name}: {step.what}: this user may not write the file")
            return
        else:
            number, before, after = self.write(path, text, step.what)
        expected = self.rule(step, known if step.reads is not None else None)
        result.verdicts.append(_judge(name, file.source, step, text, (number, before.strip(), after.strip()), expected))

    def rule(self, step: Step, reads: str | None) -> tuple[str, str | None] | None:
        """The errno and read-back known for a step on this kernel; None when there is no rule."""
        for condition, known in step.other:
            if self.holds(condition):
                number, _, text = known.partition(" ")
                return (number, text or None) if known else None
        return step.errno, reads

    # --- operations, each of them in the transcript -----------------------------------------------------------------

    def text(self, path: str) -> str:
        """The text of a file, or words for a read that failed."""
        try:
            return self.kernel.read(path)
        except OSError as error:
            return f"<{'open' if error.errno == errno.ENOENT else 'read'} {_name(error)}>"

    def read(self, path: str, note: str = "") -> str:
        text = self.text(path)
        self.record("read", path, "", "OK", "fail" if text.startswith("<open ") else None, None, text, note)
        return text

    def write(self, path: str, text: str, note: str = "") -> tuple[str, str, str]:
        before, number = self.text(path), "OK"
        stage = "write" if self.kernel.writable(path) else "open"
        try:
            self.kernel.write(path, text)
        except OSError as error:
            number = _name(error)
        after = self.text(path)
        self.record("write", path, text, number, stage, before, after, note)
        return number, before, after

    def call(self, op: str, operation: Callable[[str], None], path: str, note: str = "") -> str:
        number = "OK"
        try:
            operation(path)
        except OSError as error:
            number = _name(error)
        self.record(op, path, "", number, None, None, None, note)
        return number

    def note_made(self, path: str, note: str) -> None:
        """The scratch group itself, which was made before."""
        self.record("mkdir", path, "", "OK", None, None, None, note)

    def record(
        self,
        op: str,
        file: str,
        text: str,
        number: str,
        stage: str | None,
        before: str | None,
        after: str | None,
        note: str,
    ) -> None:
        entry = {"i": len(self.result.records), "kernel": self.host.release, "host": self.kernel.name, "op": op}
        entry |= {"file": file, "input": text, "errno": number, "stage": stage, "before": before, "readback": after}
        self.result.records.append({**entry, "note": note})

    # --- the host ---------------------------------------------------------------------------------------------------

    def host_files(self) -> None:
        """Files of the whole host: whether they are there and have the known form."""
        result = FamilyResult("host files (only read)")
        places = Places(self.host, "", "")
        for file in probes_host.HOST_FILES:
            path = places.fill(file.path)
            if path is None:
                result.left_out.append(f"{file.path}: needs a disk")
            elif not self.kernel.exists(path):
                result.absent.append(path)
            else:
                text = self.read(path, "form").strip()
                status = "known" if re.fullmatch(file.form, text, re.DOTALL) else "differs"
                known = f"has the form {file.form}"
                result.verdicts.append(Verdict(path, "form", status, f"reads {text!r}", known, file.source))
        self.result.families.append(result)


def _wants(wish: Wish, area: str) -> bool:
    return not wish.areas or area in wish.areas


#: What ``Wish.areas`` may name.
AREAS = tuple(dict.fromkeys([*(family.controller or "cgroup" for family in FAMILIES), "host"]))


def _name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, str(error.errno))


def _judge(
    file: str, source: str, step: Step, text: str, seen: tuple[str, str, str], rule: tuple[str, str | None] | None
) -> Verdict:
    """Compare an operation (errno, text before and after) with the rule for it (errno, read-back)."""
    number, before, after = seen
    if rule is None:
        return Verdict(file, step.what, "noted", _seen(step.op, text, *seen), "no rule is known", source)
    errno_known, reads = rule
    unchanged = number == "OK" or after == before
    fits = number == errno_known and unchanged and (reads is None or after == reads.strip())
    known = _known(step.op, errno_known, reads)
    return Verdict(file, step.what, "known" if fits else "differs", _seen(step.op, text, *seen), known, source)


def _seen(op: str, text: str, number: str, before: str, after: str) -> str:
    if op in ("mkdir", "rmdir"):
        return f"{op} is done" if number == "OK" else f"{op} is refused with {number}"
    if op == "read":
        return f"reads {after!r}"
    if number == "OK":
        return f"takes {text!r} and reads {after!r}"
    return f"refuses {text!r} with {number}" + ("" if before == after else f" and yet changes to {after!r}")


def _known(op: str, number: str, reads: str | None) -> str:
    if number != "OK":
        return f"refused with {number}"
    if op in ("mkdir", "rmdir"):
        return "done"
    return ("" if op == "read" else "taken, ") + (f"reads {reads!r}" if reads is not None else "whatever it reads")
