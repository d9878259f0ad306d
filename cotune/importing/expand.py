"""Words to texts: variables, arithmetic and braces, as far as a script determines them by itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cotune.importing.tokens import Part, Word

_MOST_WORDS = 1000
_LONGEST = 64 * 1024
_GLOB = re.compile(r"[*?\[]")
_DEEPEST = 20
_BRACES = re.compile(r"\{([^{}\s]*)\}")
_RANGE = re.compile(r"(-?\d{1,6})\.\.(-?\d{1,6})|([A-Za-z])\.\.([A-Za-z])")


class Unresolved(Exception):
    """What only a running shell could tell, or what cotune does not understand; the message says what."""


@dataclass(frozen=True, slots=True)
class Field:
    """A text after expansion; ``wild`` when the shell would match files with it."""

    text: str
    wild: bool = False


#: A variable: its text, the elements of an array, or why it is not known.
Value = Field | tuple[Field, ...] | Unresolved
_EMPTY = Field("")
_SPECIAL = {
    "?": "is the exit code of a command",
    "$": "is the process of the script itself",
    "!": "is a process the script started",
    "#": "counts the arguments of the script",
    "@": "are the arguments of the script",
    "*": "are the arguments of the script",
    "-": "are the options of the shell",
}


class Variables(dict[str, Value]):
    """The variables of a script at one point of it."""

    def known(self, name: str) -> Field:
        """The text of a variable. Raises Unresolved."""
        value = self.get(name.removesuffix("[@]"))
        if value is None:
            if name in _SPECIAL:
                raise Unresolved(f"${name} {_SPECIAL[name]}")
            if name.isdecimal():
                raise Unresolved(f"${name} is an argument of the script" if name != "0" else "$0 names the script")
            raise Unresolved(f"${name} is not set in the script")
        if isinstance(value, Unresolved):
            raise value
        if isinstance(value, tuple):
            return Field(" ".join(field.text for field in value), any(field.wild for field in value))
        return value

    def number(self, name: str) -> int:
        """The number a variable holds; an empty one holds 0. Raises Unresolved."""
        text = self.known(name).text.strip() or "0"
        try:
            return _number(text)
        except ValueError:
            raise Unresolved(f"${name} holds {text[:40]!r}, which is no number") from None


class Expander:
    """Expands words. ``remark`` is told where a default value was taken for a variable nobody set."""

    def __init__(self, variables: Variables, remark: Callable[[str], None]) -> None:
        self.variables, self.remark = variables, remark

    def fields(self, words: tuple[Word, ...] | list[Word]) -> list[Field]:
        """The arguments that words become. Raises Unresolved."""
        found: list[Field] = []
        for word in words:
            for parts in _braces(word.parts):
                found += self._fields(parts)
                if len(found) > _MOST_WORDS:
                    raise Unresolved(f"more than {_MOST_WORDS} words")
        return found

    def single(self, parts: tuple[Part, ...]) -> Field:
        """The text of an assignment, a file name or a here-document: nothing is split. Raises Unresolved."""
        text, wild = "", False
        for part in parts:
            field = self._part(part)
            text, wild = text + field.text, wild or field.wild
            if len(text) > _LONGEST:
                raise Unresolved("a text longer than 64 KiB")
        return Field(text, wild)

    def _fields(self, parts: tuple[Part, ...]) -> Iterator[Field]:
        """One word's fields: unquoted variables are split at blanks, arrays at their elements."""
        open_field: Field | None = None
        for part in parts:
            pieces, begins, ends = self._pieces(part)
            for index, piece in enumerate(pieces):
                if open_field is not None and (index or begins):
                    yield open_field
                    open_field = None
                before = open_field or _EMPTY
                open_field = Field(before.text + piece.text, before.wild or piece.wild)
                if len(open_field.text) > _LONGEST:
                    raise Unresolved("a text longer than 64 KiB")
            if ends and open_field is not None:
                yield open_field
                open_field = None
        if open_field is not None:
            yield open_field

    def _pieces(self, part: Part) -> tuple[list[Field], bool, bool]:
        """The pieces of a part, and whether a field begins and ends with them."""
        array = self.variables.get(part.text[:-3]) if part.text.endswith("[@]") else None
        if part.kind == "variable" and isinstance(array, tuple):
            return list(array), False, False
        field = self._part(part)
        if part.kind != "variable" or part.quoted:
            return [field], False, False
        pieces = [Field(text, field.wild) for text in field.text.split()]
        return pieces, field.text[:1].isspace(), field.text[-1:].isspace()

    def _part(self, part: Part) -> Field:
        if part.kind == "text":
            return Field(part.text, not part.quoted and bool(_GLOB.search(part.text)))
        if part.kind == "arithmetic":
            return Field(str(calculate(part.text, self.variables.number)))
        if part.kind == "dynamic":
            shown = " ".join(part.text.split())
            raise Unresolved(f"{shown[:60]}{'…' if len(shown) > 60 else ''} is known only when the script runs")
        try:
            field = self.variables.known(part.text)
        except Unresolved:
            if part.default is None or isinstance(self.variables.get(part.text), Unresolved):
                raise
            return self._default(part, part.default)
        if part.default is None or field.text:
            return field
        return self._kept(part, self.single(part.default))

    def _default(self, part: Part, default: tuple[Part, ...]) -> Field:
        field = self.single(default)
        self.remark(f"${part.text} is taken to be unset: its default is {field.text!r}")
        return self._kept(part, field)

    def _kept(self, part: Part, field: Field) -> Field:
        if part.assigns:
            self.variables[part.text] = field
        return field


def _braces(parts: tuple[Part, ...], depth: int = 0) -> Iterator[tuple[Part, ...]]:
    """The words that ``{a,b}`` and ``{1..3}`` make of one."""
    if depth > _DEEPEST:
        raise Unresolved(f"more than {_DEEPEST} pairs of braces in a word")
    for index, part in enumerate(parts):
        if part.kind != "text" or part.quoted:
            continue
        for match in _BRACES.finditer(part.text):
            if (choices := _choices(match[1])) is None:
                continue
            for choice in choices:
                text = part.text[: match.start()] + choice + part.text[match.end() :]
                yield from _braces((*parts[:index], Part("text", text, False), *parts[index + 1 :]), depth + 1)
            return
    yield parts


def _choices(text: str) -> list[str] | None:
    if "," in text:
        return text.split(",")
    match = _RANGE.fullmatch(text)
    if match is None:
        return None
    first, last = (int(match[1]), int(match[2])) if match[1] else (ord(match[3]), ord(match[4]))
    step = 1 if last >= first else -1
    numbers = range(first, last + step, step)
    if len(numbers) > _MOST_WORDS:
        raise Unresolved(f"more than {_MOST_WORDS} words")
    width = max((len(end) for end in match.groups()[:2] if end and re.match(r"-?0\d", end)), default=0)
    return [f"{number:0{width}d}" if match[1] else chr(number) for number in numbers]


# --- arithmetic ------------------------------------------------------------------------------------------------------

_TOKEN = re.compile(r"\s*(?:(\d\w*)|\$?\{?([A-Za-z_]\w*)\}?|(\*\*|<<|>>|<=|>=|==|!=|[-+*/%()&|^~<>]))")
_LEVELS: tuple[tuple[str, ...], ...] = (
    ("|",), ("^",), ("&",), ("==", "!="), ("<", ">", "<=", ">="), ("<<", ">>"), ("+", "-"), ("*", "/", "%"),
)  # fmt: skip


def calculate(text: str, lookup: Callable[[str], int]) -> int:
    """The value of a shell's arithmetic expression of whole numbers. Raises Unresolved."""
    tokens: list[str] = []
    position, stripped = 0, text.rstrip()
    while position < len(stripped):
        match = _TOKEN.match(stripped, position)
        if match is None or len(tokens) > _MOST_WORDS:
            raise Unresolved(f"the arithmetic {text.strip()[:60]!r} is more than cotune works out")
        tokens.append(match[1] or match[2] or match[3])
        position = match.end()
    calculator = _Calculator(tokens, lookup)
    value = calculator.level(0)
    if calculator.tokens:
        raise Unresolved(f"the arithmetic {text.strip()[:60]!r} is more than cotune works out")
    return value


def _number(text: str) -> int:
    """A number as the shell reads it: decimal, 0x… or, after a 0, octal. Raises ValueError."""
    octal = re.fullmatch(r"-?0[0-7]+", text)
    return int(text, 8) if octal else int(text, 16) if re.match(r"-?0[xX]", text) else int(text)


class _Calculator:
    """Precedence climbing with the levels of C; ``tokens`` is what is left."""

    def __init__(self, tokens: list[str], lookup: Callable[[str], int]) -> None:
        self.tokens, self.lookup, self.depth = tokens[::-1], lookup, 0

    def level(self, level: int) -> int:
        if level == len(_LEVELS):
            return self._power()
        value = self.level(level + 1)
        while self.tokens and self.tokens[-1] in _LEVELS[level]:
            value = _checked(_apply(self.tokens.pop(), value, self.level(level + 1)))
        return value

    def _power(self) -> int:
        base = self._unary()
        if self.tokens and self.tokens[-1] == "**":
            self.tokens.pop()
            exponent = self._nested(self._power)
            if not 0 <= exponent <= 64:
                raise Unresolved(f"** {exponent} is more than cotune works out")
            return _checked(base**exponent)
        return base

    def _unary(self) -> int:
        token = self.tokens.pop() if self.tokens else ""
        if token in ("-", "+", "~"):
            value = self._nested(self._unary)
            return -value if token == "-" else ~value if token == "~" else value
        if token == "(":
            value = self._nested(lambda: self.level(0))
            if not self.tokens or self.tokens.pop() != ")":
                raise Unresolved("arithmetic with a ( that is not closed")
            return value
        if token[:1].isdecimal():
            try:
                return _checked(_number(token))
            except ValueError:
                raise Unresolved(f"{token[:40]} is no number") from None
        if token[:1].isalpha() or token[:1] == "_":
            return _checked(self.lookup(token))
        raise Unresolved("arithmetic with something missing")

    def _nested(self, inner: Callable[[], int]) -> int:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise Unresolved(f"arithmetic nested deeper than {_DEEPEST} levels")
        value = inner()
        self.depth -= 1
        return value


def _apply(operator: str, left: int, right: int) -> int:
    if operator in ("/", "%"):
        if right == 0:
            raise Unresolved("a division by zero")
        quotient = abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)  # towards zero, as in C
        return quotient if operator == "/" else left - quotient * right
    if operator in ("<<", ">>"):
        if not 0 <= right < 64:
            raise Unresolved("a shift by more than 63 bits")
        return left << right if operator == "<<" else left >> right
    results = {"+": left + right, "-": left - right, "*": left * right, "&": left & right, "|": left | right}
    results |= {"^": left ^ right, "==": int(left == right), "!=": int(left != right)}
    results |= {"<": int(left < right), ">": int(left > right), "<=": int(left <= right), ">=": int(left >= right)}
    return results[operator]


def _checked(value: int) -> int:
    if not -(2**63) <= value < 2**63:
        raise Unresolved("arithmetic beyond 64 bits")
    return value
