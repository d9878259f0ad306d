"""What a YAML syntax error means, in words for whoever wrote the file.

libyaml and PyYAML's own parser word the same mistake differently; both are recognised by fragments of their text.
"""

from __future__ import annotations

import re
from typing import Any

from cotune.errors import Origin, Problem
from cotune.profile.text import shown

QUOTE = "put the value in quotes"
_NO_CHARACTER = re.compile(r"\\U(?!00(?:0|10))[0-9A-Fa-f]{8}")
_INDENTED_BY_TAB = re.compile(r" *\t")

#: (fragments of the parser's context and problem, message, hint); the first row that matches wins.
_MEANING: tuple[tuple[str, str, str, str], ...] = (
    ("", "mapping values are not allowed", "a second ': ' in one line, or a line indented too far",
     "put text that holds ': ' in quotes; give every key its own line"),
    ("alias", "alphabetic or numeric", "'*' at the start of a value refers to an anchor in YAML",
     'a pattern that begins with * needs quotes: "*"'),
    ("anchor", "alphabetic or numeric", "'&' at the start of a value marks an anchor in YAML", QUOTE),
    ("quoted scalar", "end of stream", "the quotation mark opened here is never closed", "close it"),
    ("quoted scalar", "document indicator", "the quotation mark opened here is never closed", "close it"),
    ("scalar", "unknown escape", "unknown escape after a backslash",
     "in double quotes a backslash starts an escape: use single quotes"),
    ("scalar", "escape", "wrong escape after a backslash", "use single quotes for text with backslashes"),
    ("simple key", "", "expected ': ' after this key", 'write "key: value"'),
    ("flow sequence", "", "the list opened here with '[' is not closed properly", "expected ',' or ']'"),
    ("flow mapping", "", "the mapping opened here with '{' is not closed properly", "expected ',' or '}'"),
    ("block mapping", "", "this line does not fit the lines above",
     "keys of one mapping start in the same column; nothing may follow a quoted text"),
    ("block collection", "", "this line does not fit the list above", "entries of one list start in the same column"),
    ("", "equence entries are not allowed", "a list entry '- ' is not allowed here", "start the list on its own line"),
    ("", "document start", "this line does not fit the lines above", "keys of one mapping start in the same column"),
    ("tag", "", "YAML tags are not allowed", "put text that begins with ! in quotes"),
    ("", "tag handle", "YAML tags are not allowed", "put text that begins with ! in quotes"),
    ("", "incompatible YAML", "this file declares another version of YAML", "remove the %YAML line"),
    ("directive", "", "YAML directives are not allowed", "remove the line that begins with %"),
    ("block scalar", "", "wrong characters after '|' or '>'", "start the text on the next line"),
    ("", "node content", "expected a value here", "remove the stray sign or put it in quotes"),
)  # fmt: skip

#: Rows of _MEANING whose mistake is where the construct begins, not where the parser gave up.
_AT_CONTEXT = ("opened here", "': ' after this key")


def syntax_problem(error: Exception, text: str, name: str) -> Problem:
    """The problem for ``error``, an exception of ``yaml.parse`` over ``text``, in the file ``name``."""
    mark: Any = getattr(error, "problem_mark", None)
    context_mark: Any = getattr(error, "context_mark", None) or mark
    lines = text.split("\n")
    if mark is None:
        return _unplaced(error, lines, name)
    if tab := _tab_line(lines, context_mark.line, mark.line):
        column = len(lines[tab - 1]) - len(lines[tab - 1].lstrip(" ")) + 1
        return Problem(Origin(name, tab, column), "tabs are not allowed in the indentation", "indent with spaces")
    message, hint = _meaning(error, _character(lines, mark))
    if "${" in _line(lines, mark.line):
        hint = 'inside [ ] and { } a variable needs quotes: "${name}"'
    if "value here" in message and not "".join(lines[mark.line :]).strip():
        message, hint = "the file ends before a [ or { is closed", "close it"
    where = context_mark if any(part in message for part in _AT_CONTEXT) else mark
    return Problem(Origin(name, where.line + 1, where.column + 1), message, hint)


def _unplaced(error: Exception, lines: list[str], name: str) -> Problem:
    """PyYAML's own scanner hands escapes above U+10FFFF to chr(), which knows no position."""
    for number, line in enumerate(lines, 1):
        if wrong := _NO_CHARACTER.search(line):
            message, hint = "wrong escape after a backslash", "use single quotes for text with backslashes"
            return Problem(Origin(name, number, wrong.start() + 1), message, hint)
    return Problem(Origin(name), f"not valid YAML: {shown(str(error))}")


def _meaning(error: Exception, character: str) -> tuple[str, str]:
    context, problem = str(getattr(error, "context", "") or ""), str(getattr(error, "problem", "") or "")
    if "cannot start any token" in problem:
        return f"a value cannot begin with {shown(character)}", QUOTE
    for in_context, in_problem, message, hint in _MEANING:
        if in_context in context and in_problem in problem:
            return message, hint
    return f"not valid YAML: {shown(problem)}", ""


def _tab_line(lines: list[str], first: int, last: int) -> int:
    """The number of the line nearest above ``last`` that is indented by a tab, or 0. Looks at a few lines only."""
    for number in range(min(last, len(lines) - 1), max(first, last - 3, 0) - 1, -1):
        if _INDENTED_BY_TAB.match(lines[number]):
            return number + 1
    return 0


def _line(lines: list[str], number: int) -> str:
    return lines[number] if number < len(lines) else ""


def _character(lines: list[str], mark: Any) -> str:
    return _line(lines, mark.line)[mark.column : mark.column + 1]
