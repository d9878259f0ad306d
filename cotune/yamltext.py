"""Writing YAML that people read: block style, readable scalars, comments beside values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import groupby
from typing import Any, NamedTuple

from cotune.profile.scalars import as_text, plain_scalar

# conservative: what no YAML parser takes for anything but text, and no person has to think about
_PLAIN = re.compile(r"[A-Za-z0-9_/.][A-Za-z0-9_/.%+-]*(?: [A-Za-z0-9_/.(][A-Za-z0-9_/.%+()-]*)*")
_YAML_1_1 = re.compile(r"(?i)y|n|yes|no|on|off|true|false|null|[0-9_]+(?::[0-9_]+)*|0[xob]?[0-9a-f_]+")


class Noted(NamedTuple):
    """A value with a comment: behind a scalar, above a mapping or list."""

    value: Any
    comment: str


class _Line(NamedTuple):
    text: str
    comment: str = ""


def render(data: Any) -> str:
    """``data`` (mappings, lists, scalars, each perhaps :class:`Noted`) as YAML text."""
    return "".join(f"{line}\n" for line in _aligned(list(_block(data, ""))))


def _aligned(lines: list[_Line]) -> Iterator[str]:
    """The lines with the comments of neighbours in one column."""
    for commented, run in groupby(lines, key=lambda line: bool(line.comment)):
        members = list(run)
        width = max(len(line.text) for line in members)
        yield from (f"{line.text:<{width}}  # {line.comment}" if commented else line.text for line in members)


def scalar(value: str | int | float | bool | None) -> str:
    """One scalar; text is quoted unless it is plain in every version of YAML."""
    if not isinstance(value, str):
        return as_text(value)
    return value if _is_plain(value) else "".join(map(_escaped, json.dumps(value, ensure_ascii=False)))


def _escaped(character: str) -> str:
    """A character of a double-quoted scalar; YAML takes some that JSON leaves alone for line ends (U+2028)."""
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _is_plain(text: str) -> bool:
    try:
        return bool(_PLAIN.fullmatch(text)) and not _YAML_1_1.fullmatch(text) and plain_scalar(text) == text
    except ValueError:
        return False  # .inf and the like


def _block(data: Any, indent: str) -> Iterator[_Line]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _entry(f"{indent}{scalar(key)}:", value, indent)
        return
    for value in data:
        if isinstance(_bare(value), dict) and _bare(value):
            first, *rest = _block(_bare(value), indent + "  ")
            yield _Line(f"{indent}- {first.text.lstrip()}", first.comment)
            yield from rest
        else:
            yield from _entry(f"{indent}-", value, indent)


def _entry(head: str, value: Any, indent: str) -> Iterator[_Line]:
    content = _bare(value)
    comment = value.comment if isinstance(value, Noted) else ""
    if isinstance(content, (dict, list)) and not _is_small(content):
        if comment:
            yield _Line(f"{indent}# {comment}")
        yield _Line(head)
        yield from _block(content, indent + "  ")
    else:
        yield _Line(f"{head} {_inline(content)}", comment)


def _is_small(data: Any) -> bool:
    """Whether a collection is written on one line: it is empty or has a single scalar without a comment."""
    return len(data) < 2 and all(not isinstance(v, (dict, list, Noted)) for v in _items(data))


def _items(data: Any) -> list[Any]:
    return list(data.values()) if isinstance(data, dict) else list(data)


def _inline(data: Any) -> str:
    if isinstance(data, dict):
        return "{" + ", ".join(f"{scalar(key)}: {scalar(value)}" for key, value in data.items()) + "}"
    return "[" + ", ".join(scalar(value) for value in data) + "]" if isinstance(data, list) else scalar(data)


def _bare(value: Any) -> Any:
    return value.value if isinstance(value, Noted) else value


def enter(tree: dict[str, Any], keys: list[str], value: Any) -> None:
    """Put ``value`` below ``keys``, one mapping inside the other; those that are there already are kept."""
    *above, last = keys
    for key in above:
        tree = tree.setdefault(key, {})
    tree[last] = value


def bare(data: Any) -> Any:
    """``data`` without its comments."""
    data = _bare(data)
    if isinstance(data, dict):
        return {key: bare(value) for key, value in data.items()}
    return [bare(value) for value in data] if isinstance(data, list) else data
