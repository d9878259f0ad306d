"""What a test says about the commands that depend on it."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from enum import Enum
from typing import NamedTuple

from cotune.importing.expand import Field

_NUMBERS: dict[str, Callable[[int, int], bool]] = {
    "-eq": operator.eq,
    "-ne": operator.ne,
    "-lt": operator.lt,
    "-le": operator.le,
    "-gt": operator.gt,
    "-ge": operator.ge,
}
_MOST_WORDS = 40
_EXISTENCE = frozenset(("-e", "-f", "-d", "-w", "-r", "-x", "-s", "-b", "-a"))


class Truth(Enum):
    """How a command ends: ``THERE`` and ``MISSING`` depend on whether a file exists."""

    DONE = "done"
    FAILED = "failed"
    THERE = "there"
    MISSING = "missing"
    UNSURE = "unsure"

    def negated(self) -> Truth:
        """The outcome of ``! command``."""
        pairs = ((Truth.DONE, Truth.FAILED), (Truth.THERE, Truth.MISSING))
        swap = {one: other for pair in pairs for one, other in (pair, pair[::-1])}
        return swap.get(self, self)


class Outcome(NamedTuple):
    """How a command ends, with the words of the test behind it."""

    truth: Truth
    text: str = ""


def judge(arguments: Sequence[Field]) -> Truth:
    """What ``[ … ]``, ``[[ … ]]`` or ``test …`` gives; ``arguments`` without the brackets."""
    words = [field.text for field in arguments]
    if len(words) > _MOST_WORDS:
        return Truth.UNSURE
    if any(word in ("-a", "-o", "&&", "||") for word in words[1:]):
        return _joined(arguments, words)
    if words[:1] == ["!"]:
        return judge(arguments[1:]).negated()
    if len(words) == 2 and words[0] in _EXISTENCE:
        return Truth.THERE
    if len(words) == 2 and words[0] in ("-n", "-z"):
        return _known(bool(words[1]) == (words[0] == "-n"))
    if len(words) == 3:
        return _compared(arguments, words)
    return Truth.UNSURE


def _joined(arguments: Sequence[Field], words: list[str]) -> Truth:
    """Tests joined by "and" hold when all do; what "or" joins is not decided here."""
    if any(word in ("-o", "||") for word in words):
        return Truth.UNSURE
    index = next(i for i, word in enumerate(words) if i and word in ("-a", "&&"))
    first, second = judge(arguments[:index]), judge(arguments[index + 1 :])
    if first == second and first in (Truth.THERE, Truth.DONE):
        return first
    if {first, second} == {Truth.THERE, Truth.DONE}:
        return Truth.THERE
    return Truth.FAILED if Truth.FAILED in (first, second) else Truth.UNSURE


def _compared(arguments: Sequence[Field], words: list[str]) -> Truth:
    left, sign, right = words
    if sign in _NUMBERS and all(re.fullmatch(r"-?\d{1,18}", word) for word in (left, right)):
        return _known(_NUMBERS[sign](int(left), int(right)))
    if sign in ("=", "==", "!=") and not arguments[2].wild:
        return _known((left == right) == (sign != "!="))
    return Truth.UNSURE


def _known(value: bool) -> Truth:
    return Truth.DONE if value else Truth.FAILED
