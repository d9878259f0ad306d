"""cotune doctor: what does not work here, why, and what would mend it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cotune.cli.context import Cli, Line, command

if TYPE_CHECKING:
    from cotune.doctor import Diagnosis, KnobGap

_MARKS = {
    "ok": ("green", "ok"),
    "info": ("cyan", "note"),
    "warning": ("yellow", "warning"),
    "problem": ("red", "problem"),
}
_WIDTH = 96


def register(app: typer.Typer) -> None:
    """Add the verb to the application."""

    @app.command()
    @command
    def doctor(
        cli: Cli,
        profiles: Annotated[
            list[str] | None, typer.Argument(metavar="PROFILE", help="Only what these profiles need.")
        ] = None,
    ) -> int:
        """Say what does not work on this host, why, and what would make it work. Never writes.

        Looks at privileges, the state directory, drift, other managers on this host, and every knob. With profiles:
        at the knobs they use and at what planning them says.

        Exit code 0; with profiles 3 when they need something this host lacks, 2 when their plan is refused.

        Examples:

            cotune doctor

            cotune doctor online-offline

            cotune doctor --sim anck-4.19 site.yaml --json
        """
        from cotune.doctor import examine
        from cotune.profile.load import load_profile

        profile = load_profile(profiles) if profiles else None
        with cli.session() as session:
            host = session.host
            diagnosis = examine(session, profile)
            kernel = {"kernel": host.kernel.name, "release": host.release, "cgroup_mode": host.layout.mode}
        cli.emit("doctor", {**kernel, **_record(diagnosis)}, lambda: _lines(diagnosis, kernel))
        return 3 if diagnosis.unsupported else 2 if diagnosis.refused else 0


def _record(diagnosis: Diagnosis) -> dict[str, Any]:
    from cotune.doctor import worst

    return {
        "worst": worst(diagnosis.findings),
        "findings": [finding._asdict() for finding in diagnosis.findings],
        "knobs": diagnosis.knobs,
        "gaps": [gap._asdict() for gap in diagnosis.gaps],
        "unsupported": diagnosis.unsupported,
        "refused": diagnosis.refused,
    }


def _lines(diagnosis: Diagnosis, kernel: dict[str, str]) -> Iterator[Line]:
    yield [("bold", f"kernel {kernel['release']}, cgroup {kernel['cgroup_mode']}")]
    for finding in diagnosis.findings:
        style, mark = _MARKS[finding.level]
        yield from _wrapped(f"  {finding.area:<10} ", style, f"{mark}: ", finding.text)
        if finding.remedy:
            yield [("dim", f"               mend: {finding.remedy}")]
    missing = [gap for gap in diagnosis.gaps if gap.state == "no"]
    absent = sum(len(gap.knobs) for gap in missing)
    yield [("bold", f"{diagnosis.knobs - absent} of {diagnosis.knobs} knobs work here")]
    by_remedy: dict[tuple[str, str], list[KnobGap]] = {}
    for gap in diagnosis.gaps:
        by_remedy.setdefault((gap.state, gap.remedy), []).append(gap)
    for (state, remedy), gaps in by_remedy.items():
        yield from _gap_lines([knob for gap in gaps for knob in gap.knobs], state, _reasons(gaps), remedy)


def _reasons(gaps: list[KnobGap]) -> list[str]:
    """The reasons of several gaps; those that only differ in the file that is missing become one."""
    merged: dict[str, list[str]] = {}
    for gap in gaps:
        head, has_no, file = gap.reason.partition(" has no ")
        merged.setdefault(head + has_no, []).append(file)
    return [head + ", ".join(files) for head, files in merged.items()]


def _gap_lines(knobs: list[str], state: str, reasons: list[str], remedy: str) -> Iterator[Line]:
    style = {"no": "yellow", "gated": "cyan"}.get(state, "magenta")
    mark = {"no": "!", "gated": "~"}.get(state, "?")
    for row in textwrap.wrap(", ".join(knobs), _WIDTH, break_on_hyphens=False):
        yield [(style, f"  {mark} {row}")]
    for reason in reasons:
        for row in textwrap.wrap(reason, _WIDTH, break_on_hyphens=False):
            yield [("", f"      {row}")]
    if remedy:
        yield [("dim", f"      {'needs' if state == 'no' else 'then'}: {remedy}")]


def _wrapped(head: str, style: str, mark: str, text: str) -> Iterator[Line]:
    first, *rest = textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False) or [""]
    yield [("dim", head), (style, mark), ("", first)]
    for row in rest:
        yield [("", f"{'':<{len(head) + len(mark)}}{row}")]
