"""cotune why: where a value comes from, and what decides over it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cotune.cli.context import Cli, Line, command

if TYPE_CHECKING:
    from cotune.controls.base import Value
    from cotune.host.facts import Host
    from cotune.inventory import Place
    from cotune.journal import Transaction
    from cotune.knobs.base import Knob
    from cotune.model import Target
    from cotune.why import Finding


def register(app: typer.Typer) -> None:
    """Add the verb to the application."""

    @app.command()
    @command
    def why(
        cli: Cli,
        place: Annotated[
            str,
            typer.Argument(
                metavar="CGROUP",
                help="A cgroup path, / for the root, a sysctl, or a resource as diff names it, e.g. block:sda or host.",
            ),
        ],
        file: Annotated[
            str | None,
            typer.Argument(metavar="FILE", help="A knob or a kernel file, e.g. memory.limit, memory.max, cpu.max."),
        ] = None,
        everything: Annotated[
            bool, typer.Option("--all", help="Every value a knob can set there, held by cotune or not.")
        ] = False,
    ) -> int:
        """Tell why a value is what it is: who set it, what it was before, and what decides over it.

        For each value cotune holds there: what it reads now, what was applied, from which line of which profile,
        who wrote it last, and which ancestor or switch keeps it from counting.

        Examples:

            cotune why offline

            cotune why kubepods/besteffort memory.wmark_min_adj

            cotune why vm.swappiness

            cotune why block:sda --all
        """
        from cotune.inventory import find_place
        from cotune.ledger import Ledger
        from cotune.why import all_targets, belongs, find_why

        with cli.session() as session:
            host, transactions = session.host, session.journal.load()
            held = [owned.entry.target for owned in Ledger(transactions, host.boot_id).held().values()]
            where = find_place(host, place, {target.resource for target in held})
            wanted: list[Target] | None = None
            if file is not None:
                wanted = _named(host, transactions, where, file)
            elif everything or (where.kind == "sysctl" and where.name):
                wanted = all_targets(host, transactions, where)
            findings = find_why(host, transactions, where, wanted)
        nothing = wanted is None and not any(belongs(target, where) for target in held)
        record = {"resource": where.resource, "values": [_record(finding) for finding in findings]}
        cli.emit("why", record, lambda: _lines(where.resource, findings, nothing, everything))
        return 0


def _named(host: Host, transactions: list[Transaction], place: Place, word: str) -> list[Target]:
    """The values of a place that a word means. Raises UsageError, or Unsupported when this host has no such file."""
    from cotune.errors import Unsupported, UsageError
    from cotune.host.support import probe
    from cotune.knobs.lookup import knob_forms, need_knobs
    from cotune.places import operation
    from cotune.why import all_targets

    targets = all_targets(host, transactions, place)
    files = [t for t in targets if not operation(t.control) and f"/{t.path}".endswith(f"/{word}")]
    if files:
        return files
    knobs = need_knobs(word.rpartition("/")[2])
    # a knob without a file of its own is part of another's: smt_expeller of the identity
    parts = {
        (form.name, knob.part if knob.part in form.parts else next(iter(form.parts), ""))
        for knob in knobs
        for form in knob_forms(knob)
    }
    keys = {knob.key for knob in knobs}
    found = [target for target in targets if target.knob in keys or (target.control, target.part) in parts]
    if found:
        return found
    if not any(_can_hold(place, knob) for knob in knobs):
        hint = f"cotune explain {knobs[0].key} says where it is"
        raise UsageError(f"{word} is not a value of {place.resource}", hint)
    support = probe(host, knobs[0])
    if support.state == "no":
        raise Unsupported(f"{word}: {support.reason}", f"needs: {support.remedy}" if support.remedy else "")
    empty = [target for knob in knobs for target in _without_row(host, place, knob)]
    if not empty:
        raise UsageError(f"{place.resource} has no {word}", f"cotune why {place.name or '/'} --all lists what it has")
    return empty


#: Section of the catalogue → kind of place, where the two have different names.
_KIND_OF = {
    "group": "cgroup",
    "throttle": "cgroup",
    "weight": "cgroup",
    "latency": "cgroup",
    "feature": "mount",
    "jbd2": "mount",
}


def _can_hold(place: Place, knob: Knob) -> bool:
    """Whether a place is of the kind whose values a knob sets."""
    from cotune.controls import CONTROLS

    return place.kind in (_KIND_OF.get(knob.section, knob.section), CONTROLS[knob.control].scope)


def _without_row(host: Host, place: Place, knob: Knob) -> list[Target]:
    """The value of a table that has no row for any disk."""
    from cotune.host.forms import find_form, part_file
    from cotune.model import Target

    form, hierarchy = find_form(host, knob.control)
    part = form.parts.get(knob.part)
    file = part_file(host, hierarchy, part) if hierarchy else None
    if place.kind != "cgroup" or not form.rows or hierarchy is None or part is None or file is None:
        return []
    unit = hierarchy.dir(place.name)
    return [Target(form.name, part.name, place.resource, unit, f"{unit}/{file}", None, part.knob)]


def _record(finding: Finding) -> dict[str, Any]:
    owned, target = finding.owned, finding.target
    return {
        "resource": target.resource,
        "knob": target.knob,
        "path": target.path,
        "row": target.row,
        "current": finding.now,
        "error": finding.error,
        "applied": owned.entry.new if owned else None,
        "drift": finding.drifted,
        "profile": owned.profile if owned else None,
        "version": finding.version,
        "transaction": owned.transaction if owned else None,
        "time": finding.time,
        "origin": owned.entry.origin if owned else None,
        "original": owned.original if owned else None,
        "created_by": finding.created or None,
        "writer": finding.writer,
        "effective": finding.effective or None,
        "masked_by": finding.mask._asdict() if finding.mask else None,
        "switches": [switch._asdict() for switch in finding.switches],
    }


def _lines(resource: str, findings: list[Finding], nothing: bool, brief: bool) -> Iterator[Line]:
    yield [("bold", resource)]
    if nothing:
        name = resource.partition(":")[2] if resource.startswith("cgroup:") else resource
        yield [("", "  cotune holds no value here"), ("dim", f" (cotune why {name} --all shows what there is)")]
    elif not findings:
        yield [("", "  no knob has a value here")]
    for finding in findings:
        yield from _finding_lines(finding, brief)


def _finding_lines(finding: Finding, brief: bool) -> Iterator[Line]:
    """``brief`` keeps values of which nothing is known but their number to one line."""
    from cotune.why import NOBODY_KNOWN

    target, owned = finding.target, finding.owned
    yield [("bold", f"  {_name(target)}"), ("", " = "), *_now(finding)]
    if owned:
        by = f"{owned.profile} {finding.version}".strip()
        applied = _shown(target, owned.entry.new)
        yield _field("applied", f"{applied} by {by}, transaction {owned.transaction}, {finding.time}")
        yield _field("from", owned.entry.origin or "cotune itself")
        yield _field("original", _original(finding))
    known = finding.writer != NOBODY_KNOWN
    if known or not brief:
        yield _field("last writer", finding.writer, "red" if finding.drifted else "")
    if finding.effective and finding.effective != finding.now:
        yield _field("in force", finding.effective)
    if finding.mask:
        mask = finding.mask
        yield _field("hidden by", f"{mask.resource}, {mask.value}: {mask.why}", "yellow")
    for switch in finding.switches:
        yield _field("held off by", f"{switch.name} = {switch.value}: {switch.why}", "yellow")
    if target.resource.partition(":")[0] != "mount" and (owned or not brief):
        yield _field("file", target.path, "dim")


def _name(target: Target) -> str:
    """The knob with its table row, or with the file where it is the second one of the knob."""
    from cotune.controls import CONTROLS

    if target.row and ":" in target.row and not target.resource.startswith("block:"):
        return f"{target.knob} [{target.row.partition(' ')[0]}]"
    same = [part.name for part in CONTROLS[target.control].parts.values() if part.knob == target.knob]
    return f"{target.knob} ({target.part})" if target.part in same[1:] else target.knob


def _now(finding: Finding) -> Line:
    if finding.error == "ENOENT":
        return [("red", "gone"), ("dim", "  its cgroup, device or mount went away")]
    if finding.error:
        return [("red", f"unreadable ({finding.error})")]
    shown = _shown(finding.target, finding.now)
    if finding.owned is None:
        return [("", shown), ("dim", "  not held by cotune")]
    if finding.drifted:
        return [("red", shown), ("red", "  drifted")]
    from cotune.controls import CONTROLS

    if finding.target.part in CONTROLS[finding.target.control].hidden:
        return [("", shown), ("dim", "  the kernel shows it nowhere: never verified")]
    return [("green", shown), ("dim", "  as applied")]


def _original(finding: Finding) -> str:
    owned = finding.owned
    if finding.created:
        made = "class" if finding.target.resource.startswith("resctrl:") else "cgroup"
        return f"none: transaction {finding.created} created the {made}"
    if owned is None or (owned.original is None and owned.entry.read is None):
        return "unknown"
    if owned.original is None:
        return f"unknown (it read {_shown(finding.target, owned.entry.read)})"
    return _shown(finding.target, owned.original)


def _field(name: str, text: str, style: str = "") -> Line:
    return [("dim", f"      {name:<12}"), (style, text)]


def _shown(target: Target, value: Value | None) -> str:
    from cotune.planning import show_value

    return show_value(target, value)
