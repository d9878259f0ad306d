"""cotune explain: one knob in full."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cotune.cli.context import Cli, Line, command

if TYPE_CHECKING:
    from cotune.host.support import Support
    from cotune.knobs.base import Knob

_ANCK = "What is said about ANCK was read in its source and documentation; none of it was run on an ANCK kernel."
_STATES = {
    "yes": ("green", "works"),
    "gated": ("cyan", "works once a switch is set"),
    "no": ("yellow", "does not work"),
    "unknown": ("magenta", "cannot be told"),
}
_WIDTH = 92


def register(app: typer.Typer) -> None:
    """Add the verb to the application."""

    @app.command()
    @command
    def explain(
        cli: Cli,
        knob: Annotated[
            str, typer.Argument(metavar="KNOB", help="A key such as cpu.identity, or a kernel file or sysctl.")
        ],
    ) -> int:
        """Explain a knob: what it does, what it sets, what values it takes, and whether it works here.

        Examples:

            cotune explain memory.wmark_min_adj

            cotune explain cpu.cfs_quota_us

            cotune explain identity --sim anck-4.19
        """
        from cotune.host.support import probe
        from cotune.knobs.lookup import need_knobs

        found = need_knobs(knob)
        with cli.session() as session:
            supports = [probe(session.host, one) for one in found]
        records = [_record(one, support) for one, support in zip(found, supports, strict=True)]
        cli.emit("explain", {"knobs": records}, lambda: _all_lines(records))
        return 0


def _record(knob: Knob, support: Support) -> dict[str, Any]:
    from cotune.cli.knobs import knob_json
    from cotune.knobs.examples import example
    from cotune.knobs.lookup import knob_forms
    from cotune.reference import CONFIDENCE, partners_of
    from cotune.yamltext import render

    control = knob_forms(knob)[0]
    part = control.parts.get(knob.part)
    gate = part.gate if part else None
    return {
        **knob_json(knob, support),
        "scope": control.scope,
        "controller": control.controller,
        "statement": CONFIDENCE[knob.confidence],
        "remark": _ANCK if "ANCK" in f"{knob.doc} {knob.source}" or knob.confidence in ("source", "talk") else "",
        "settled_with": partners_of(knob),
        "gate": gate._asdict() | {"name": gate.name} if gate else None,
        "owner": control.owner,
        "reversible": control.reversible,
        "resets": list(control.resets),
        "reach": control.reach,
        "refusals": dict(control.causes),
        "example": render(example(knob)),
    }


def _all_lines(records: list[dict[str, Any]]) -> Iterator[Line]:
    for index, record in enumerate(records):
        if index:
            yield []
        yield from _lines(record)


def _lines(record: dict[str, Any]) -> Iterator[Line]:
    from cotune.reference import REVERSIBLE

    style, word = _STATES[record["here"]["state"]]
    yield [("bold", record["key"]), ("", f"  {record['title']}")]
    yield from _paragraph(record["doc"])
    yield from _field("sets", _where(record))
    unit = f"; a bare number is {record['unit']}" if record["unit"] else ""
    yield from _field("expected", record["expected"] + unit)
    yield from _field("here", word + (f": {record['here']['reason']}" if record["here"]["reason"] else ""), style)
    if record["here"]["remedy"]:
        yield from _field("", f"{'needs: ' if record['here']['state'] == 'no' else ''}{record['here']['remedy']}")
    if record["settled_with"]:
        yield from _field("together", f"with {', '.join(record['settled_with'])}: writing one can change the other")
    if record["gate"]:
        gate = record["gate"]
        text = f"{gate['name']} must be {gate['value']}, on kernels that have it; cotune sets and restores it"
        yield from _field("switch", text)
    if record["reach"] == "subtree":
        yield from _field("reach", "the group and every group below it that no more specific group matches")
    if record["owner"] == "runtime":
        yield from _field("owner", "kubelet, runc and systemd set it too in their own cgroups")
    if record["reversible"] != "yes":
        yield from _field("undo", REVERSIBLE[record["reversible"]])
    if record["resets"]:
        yield from _field("resets", ", ".join(record["resets"]))
    for index, (symbol, cause) in enumerate(record["refusals"].items()):
        yield from _field("" if index else "refused", f"{symbol}: {cause}", "dim")
    yield from _field("source", f"{record['source'] or 'none named'}; {record['statement']}")
    if record["remark"]:
        yield from _field("", record["remark"], "dim")
    yield from _field("example", "")
    for row in record["example"].splitlines():
        yield [("cyan", f"    {row}")]


_EXT4 = {
    "mount": "the option {} of a mounted ext4 file system, by a remount",
    "jbd2": "{} of the journal of an ext4 file system, below /proc/fs/jbd2",
    "feature": "the feature {} of an ext4 file system, by tune2fs",
    "quota": "{} of a project of an ext4 file system, by quotactl(2) or an ioctl",
}


def _where(record: dict[str, Any]) -> str:
    """The kernel files by cgroup version, or where else it is."""
    files = record["files"]
    if record["scope"] == "sysctl":
        return f"/proc/sys/{files['any'].replace('.', '/')}"
    if record["section"] in _EXT4:
        return _EXT4[record["section"]].format(record["key"].rpartition(".")[2])
    if record["scope"] == "resctrl":
        return f"{files['any']} of a resctrl class, below /sys/fs/resctrl"
    if record["scope"] == "block":
        return f"queue/{files['any']} of a disk"
    if record["scope"] == "file":
        return files["any"] if files["any"].startswith("/") else f"{files['any']} in the list of scheduler features"
    versions = [f"{file} (cgroup {version})" for version, file in files.items()]
    missing = [version for version in ("v1", "v2") if version not in files]
    none = f"; no form on cgroup {' and '.join(missing)}" if missing else ""
    return f"{', '.join(versions)} of the {record['controller']} controller{none}"


def _paragraph(text: str) -> Iterator[Line]:
    for row in textwrap.wrap(text, _WIDTH):
        yield [("", f"  {row}")]


def _field(name: str, text: str, style: str = "") -> Iterator[Line]:
    rows = textwrap.wrap(text, _WIDTH - 12, break_on_hyphens=False) or [""]
    yield [("dim", f"  {name:<10} "), (style, rows[0])]
    for row in rows[1:]:
        yield [(style, f"{'':<13}{row}")]
