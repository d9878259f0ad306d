"""A run of the probes in words, as a record, and as the text of a transcript."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from cotune.selftest.runner import FamilyResult, Result

#: One line of output: pieces of (style, text).
Line = list[tuple[str, str]]
_WIDTH = 26


def differing(result: Result) -> int:
    """How many probes came out differently than known."""
    return sum(family.count("differs") for family in result.families)


def record(result: Result) -> dict[str, Any]:
    """The result for ``--json``."""
    return {
        "known": sum(family.count("known") for family in result.families),
        "differs": differing(result),
        "families": [_family(family) for family in result.families],
        "notes": result.notes,
        "not_probed": result.refused,
        "left": result.left,
        "operations": len(result.records),
    }


def _family(family: FamilyResult) -> dict[str, Any]:
    return {
        "family": family.name,
        "parent": family.parent,
        "known": family.count("known"),
        "differs": [v._asdict() for v in family.verdicts if v.status == "differs"],
        "noted": [v._asdict() for v in family.verdicts if v.status == "noted"],
        "not_here": family.absent,
        "left_out": family.left_out,
    }


def transcript(result: Result) -> str:
    """The transcript: a JSON list with one operation per line."""
    return "[\n" + ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in result.records) + "\n]\n"


def lines(result: Result, verbose: bool) -> Iterator[Line]:
    """The report. ``verbose`` also lists what was left out and what has no known rule."""
    nowhere = []
    for family in result.families:
        if family.verdicts or family.left_out:
            yield from _family_lines(family, verbose)
        else:
            nowhere.append(family.name)
    if nowhere:
        yield [("dim", "  not here  "), ("", ", ".join(nowhere))]
    for note in [*result.notes, *(f"not probed: {reason}" for reason in result.refused)]:
        yield [("yellow", "  note      "), ("", note)]
    for path in result.left:
        yield [("red", "  left      "), ("", path)]
    count = differing(result)
    known = sum(family.count("known") for family in result.families)
    style = "yellow" if count else "green"
    yield [(style, f"{known} as known, {count} differ"), ("", f"; {len(result.records)} operations on this kernel")]


def _family_lines(family: FamilyResult, verbose: bool) -> Iterator[Line]:
    differs = family.count("differs")
    style, mark = ("yellow", "differs") if differs else ("green", "✓")
    counts = [f"{family.count('known')} as known"]
    for number, words in (
        (differs, "differ"),
        (family.count("noted"), "without a known rule"),
        (len(family.absent), "not here"),
        (len(family.left_out), "left out"),
    ):
        counts += [f"{number} {words}"] if number else []
    if not family.verdicts:
        style, mark, counts = "dim", "left out", family.left_out
    yield [(style, f"  {mark:<9} "), ("bold", f"{family.name:<{_WIDTH}}"), ("", ", ".join(counts))]
    if family.absent and (verbose or family.parent):
        yield [("dim", f"            not here: {', '.join(family.absent)}")]
    for verdict in family.verdicts:
        if verdict.status == "differs" or (verbose and verdict.status == "noted"):
            yield [("yellow", f"            {verdict.file}"), ("", f", {verdict.what}: this kernel {verdict.seen}")]
            yield [("dim", f"              known: {verdict.known} ({verdict.source})")]
    if verbose and family.verdicts:
        for reason in family.left_out:
            yield [("dim", f"            left out: {reason}")]
