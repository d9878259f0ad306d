"""How values, kinds of values and paths are written in messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Path = tuple[str | int, ...]

_LONGEST = 60


def shown(value: object) -> str:
    """``value`` for a message: one short line of printable characters, text in double quotes.

    Profiles come from outside, so control characters (a terminal would obey them) are escaped.
    """
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        return kind(value)
    if not isinstance(value, str):
        return str(value)
    cut = value if len(value) <= _LONGEST else value[:_LONGEST] + "…"
    return '"' + printable(cut) + '"'


def printable(text: str) -> str:
    """``text`` with every character that does not print as itself escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def kind(value: object) -> str:
    """What a value is, in the words of the error messages: ``a mapping``, ``a list``, ``text``, …"""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true or false"
    for types, name in ((dict, "a mapping"), (list, "a list"), (str, "text"), (int, "a whole number")):
        if isinstance(value, types):
            return name
    return "a number"


def found(value: object) -> str:
    """The end of the sentence "expected …, found …": the kind of a collection, the value of a scalar."""
    if isinstance(value, str):
        return f"the text {shown(value)}"
    return "an empty list" if value == [] else shown(value)


def join_path(prefix: str, part: str | int) -> str:
    """The dotted path of the entry ``part`` of the collection at ``prefix``."""
    if isinstance(part, int):
        return f"{prefix}[{part}]"
    text = part if part.isprintable() and len(part) <= _LONGEST else shown(part)
    return f"{prefix}.{text}" if prefix else text


def dotted(path: Iterable[str | int]) -> str:
    """``groups.offline.io.throttle[0].write_bps`` for the path of that value."""
    result = ""
    for part in path:
        result = join_path(result, part)
    return result


def at(data: Any, path: Path) -> Any:
    """The value at ``path`` in nested maps and lists, or None where it does not exist."""
    for part in path:
        if isinstance(data, dict) and isinstance(part, str):
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and 0 <= part < len(data):
            data = data[part]
        else:
            return None
    return data


def similar(word: str, choices: Iterable[str], cutoff: float = 0.78) -> str:
    """``did you mean …?`` for the closest of ``choices``, or an empty string."""
    from difflib import get_close_matches

    # difflib is quadratic in the length of the word, and no key is that long
    close = get_close_matches(word, sorted(choices), n=1, cutoff=cutoff) if len(word) <= _LONGEST else []
    return f"did you mean {close[0]}?" if close else ""
