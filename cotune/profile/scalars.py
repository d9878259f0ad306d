"""Plain YAML scalars by the core schema of YAML 1.2.

PyYAML follows YAML 1.1, where ``on`` is true, ``8:32`` is the number 512, ``010`` is 8 and ``2026-01-01`` a date.
Here only ``true``/``false``, ``null`` and plain numbers are more than text.
"""

from __future__ import annotations

import re

Scalar = str | int | float | bool | None

_WORDS: dict[str, Scalar] = dict.fromkeys(("", "~", "null", "Null", "NULL"))
_WORDS |= dict.fromkeys(("true", "True", "TRUE"), True) | dict.fromkeys(("false", "False", "FALSE"), False)
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
# Longer digit strings are refused before int() sees them: it is quadratic, and raises above 4300 digits.
_LONGEST_NUMBER = 40
_BOUND = 2**64


def plain_scalar(text: str) -> Scalar:
    """The value of the plain (unquoted) scalar ``text``. Raises ValueError with what is wrong with the number."""
    if text in _WORDS:
        return _WORDS[text]
    first = text[0]
    if not (first in "+-." or "0" <= first <= "9"):
        return text
    if _NOT_FINITE.fullmatch(text):
        raise ValueError("infinite and not-a-number values are not allowed")
    is_integer = _INTEGER.fullmatch(text) is not None
    if not is_integer and not _FLOAT.fullmatch(text):
        return text
    if len(text) > _LONGEST_NUMBER:
        raise ValueError("this number has too many digits")
    value = _integer(text) if is_integer else float(text)
    if not -_BOUND < value < _BOUND:
        raise ValueError("this number does not fit into 64 bits")
    return value


def _integer(text: str) -> int:
    if text.startswith(("0o", "0x")):
        return int(text[2:], 8 if text[1] == "o" else 16)
    return int(text)


def as_text(value: Scalar) -> str:
    """A scalar as people write it in YAML; the inverse of :func:`plain_scalar` for everything but text."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
