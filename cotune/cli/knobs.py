"""cotune knobs: everything a profile can set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cotune.cli.context import Cli, Line, command

if TYPE_CHECKING:
    from cotune.host.support import Support
    from cotune.knobs.base import Knob

_STYLES = {"yes": "green", "gated": "cyan", "no": "yellow", "unknown": "magenta"}


def register(app: typer.Typer) -> None:
    """Add the verb to the application."""

    @app.command()
    @command
    def knobs(
        cli: Cli,
        section: Annotated[
            str | None,
            typer.Option(
                "--section", metavar="S", help="Only of a section (group, host, sysctl, …) or family (cpu, memory, …)."
            ),
        ] = None,
        supported: Annotated[bool, typer.Option("--supported", help="Only those that work on this host.")] = False,
    ) -> int:
        """List everything a profile can set, and whether it works on this host.

        Examples:

            cotune knobs

            cotune knobs --section memory

            cotune knobs --supported --json
        """
        from cotune.host.support import probe

        chosen = _chosen(section)
        with cli.session() as session:
            rows = [(knob, probe(session.host, knob)) for knob in chosen]
        if supported:
            rows = [(knob, support) for knob, support in rows if support.state in ("yes", "gated")]
        cli.emit("knobs", {"knobs": [knob_json(knob, support) for knob, support in rows]}, lambda: _lines(rows))
        return 0


def knob_json(knob: Knob, support: Support) -> dict[str, Any]:
    """A knob with everything its record says."""
    from cotune.knobs.lookup import knob_files

    return {
        "key": knob.key,
        "section": knob.section,
        "title": knob.title,
        "doc": knob.doc,
        "expected": knob.type.expected,
        "unit": knob.unit,
        "files": knob_files(knob),
        "source": knob.source,
        "confidence": knob.confidence,
        "here": support._asdict(),
    }


def _chosen(section: str | None) -> list[Knob]:
    """Knobs of a section of the profile or of a family of keys. Raises UsageError."""
    from difflib import get_close_matches

    from cotune.errors import UsageError
    from cotune.knobs import KNOBS

    chosen = [k for k in KNOBS if section is None or section == k.section or k.key.startswith(f"{section}.")]
    if not chosen:
        names = sorted({k.section for k in KNOBS} | {k.key.partition(".")[0] for k in KNOBS})
        close = get_close_matches(section or "", names, n=1)
        hint = f"did you mean {close[0]}?" if close else f"one of {', '.join(names)}"
        raise UsageError(f"--section {section}: there is no such section or family of knobs", hint)
    return chosen


def _lines(rows: list[tuple[Knob, Support]]) -> Iterator[Line]:
    if not rows:
        yield [("bold", "no knob works on this host"), ("", "; cotune doctor says why")]
        return
    width = max(len(knob.key) for knob, _ in rows)
    for knob, support in rows:
        mark = "" if support.state == "yes" else f"  ({_word(support.state)})"
        yield [
            (_STYLES[support.state], f"{knob.key:<{width}}"),
            ("", f"  {knob.title}"),
            ("dim", mark),
        ]
    missing = sum(support.state == "no" for _, support in rows)
    count = f"{len(rows)} knob{'s' if len(rows) > 1 else ''}"
    tail = f", {missing} of them not available here" if missing else ""
    yield [("bold", count + tail), ("dim", "; cotune explain KNOB tells more")]


def _word(state: str) -> str:
    return {"no": "not available here", "gated": "behind a switch", "unknown": "unknown here"}[state]
