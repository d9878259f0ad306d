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
#: What is wrong, or how a knob works nevertheless → title, style, and the word before the remedy; in this order.
_CHAPTERS = {
    "file": ("This kernel lacks", "yellow", "needs"),
    "version": ("Of the other cgroup version", "yellow", "needs"),
    "boot": ("Need a word on the kernel command line", "yellow", "needs"),
    "controller": ("Need a controller that is not there", "yellow", "needs"),
    "mount": ("Need something mounted", "yellow", "needs"),
    "device": ("No device, CPU or file system here has", "yellow", "needs"),
    "access": ("Not readable", "yellow", "needs"),
    "yes": ("Work in part", "cyan", "for all of it"),
    "gated": ("Off until cotune switches them on", "cyan", "then"),
    "unknown": ("Cannot be told yet", "magenta", "then"),
}
_MARK = {"yes": "~", "gated": "~", "unknown": "?"}


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
    absent = sum(len(gap.knobs) for gap in diagnosis.gaps if gap.state == "no")
    yield [("bold", f"{diagnosis.knobs - absent} of {diagnosis.knobs} knobs work here")]
    chapters: dict[str, list[KnobGap]] = {}
    for gap in diagnosis.gaps:
        chapters.setdefault(gap.kind if gap.state == "no" else gap.state, []).append(gap)
    for chapter in sorted(chapters, key=list(_CHAPTERS).index):
        yield from _chapter_lines(chapter, chapters[chapter])


def _chapter_lines(chapter: str, gaps: list[KnobGap]) -> Iterator[Line]:
    """The gaps of one kind, those with the same remedy together."""
    title, style, word = _CHAPTERS[chapter]
    yield [(style, f"{title} ({sum(len(gap.knobs) for gap in gaps)})")]
    by_remedy: dict[str, list[KnobGap]] = {}
    for gap in gaps:
        by_remedy.setdefault(gap.remedy, []).append(gap)
    for remedy, same in by_remedy.items():
        knobs = ", ".join(knob for gap in same for knob in gap.knobs)
        yield from _indented(f"  {_MARK.get(chapter, '!')} ", style, knobs)
        for reason in _reasons(same):
            yield from _indented("      ", "", reason)
        yield from _indented(f"      {word}: ", "dim", remedy)


def _indented(head: str, style: str, text: str) -> Iterator[Line]:
    """Text wrapped to the right of its head; nothing when there is none."""
    for number, row in enumerate(textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)):
        yield [(style, f"{head if number == 0 else '':<{len(head)}}{row}")]


def _reasons(gaps: list[KnobGap]) -> list[str]:
    """The reasons of several gaps: of files that this kernel lacks only those that are named unlike their knobs."""
    knobs = ", ".join(knob for gap in gaps for knob in gap.knobs)
    files: dict[str, None] = {}
    others: dict[str, None] = {}
    for gap in gaps:
        head, has_no, file = gap.reason.partition(" has no ")
        if not (has_no and head.startswith("this kernel")):
            others[gap.reason] = None
        elif file.removeprefix("such scheduler feature: ").removeprefix("sysctl ") not in knobs:
            files[file] = None
    return [*([f"no {', '.join(files)}"] if files else []), *others]


def _wrapped(head: str, style: str, mark: str, text: str) -> Iterator[Line]:
    first, *rest = textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False) or [""]
    yield [("dim", head), (style, mark), ("", first)]
    for row in rest:
        yield [("", f"{'':<{len(head) + len(mark)}}{row}")]
