"""The words and operators of a shell script, with quotes, variables and here-documents.

Follows the POSIX shell's token recognition (XCU 2.3) and the parts of bash that tuning scripts use.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

MAX_DEPTH = 20

# longer ones first, so that none hides behind its beginning
_OPERATORS = (
    "&>>", "<<<", "<<-", ";;&", "&&", "||", ";;", ";&", "&>", ">>", "<<", ">|", ">&", "<&", "<>", "|&", "&", "|", ";",
    "(", ")", "<", ">",
)  # fmt: skip
REDIRECTS = frozenset(("&>>", "<<<", "<<-", "&>", ">>", "<<", ">|", ">&", "<&", "<>", "<", ">"))
_BLANKS = " \t"
_METACHARACTERS = frozenset(" \t\n;&|<>()")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BRACED = re.compile(r"([A-Za-z_][A-Za-z0-9_]*(?:\[[@*]\])?|[0-9]+|[@*#?$!-])(?:(:?[-=?])(.*))?", re.DOTALL)
_ORDINARY = re.compile(r"[A-Za-z0-9_/.,:=+%@~^-]+")
_ESCAPES = {"n": "\n", "t": "\t", "\\": "\\", "'": "'", '"': '"'}


class ShellError(Exception):
    """The script is not a shell script from ``line`` on, or goes beyond the bounds; the message says why."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line, self.reason = line, reason


class Part(NamedTuple):
    """A piece of a word: ``kind`` is ``text``, ``variable``, ``arithmetic`` or ``dynamic`` (only a shell could tell).

    The text of a variable is its name (``list[@]`` for all of an array); ``default`` is what ``${X:-…}`` names, which
    ``${X:=…}`` ``assigns`` as well.
    """

    kind: str
    text: str
    quoted: bool
    default: tuple[Part, ...] | None = None
    assigns: bool = False


class Word(NamedTuple):
    """One word before expansion."""

    parts: tuple[Part, ...]
    line: int

    @property
    def plain(self) -> str | None:
        """The text of a word that is one unquoted literal, such as a keyword; otherwise None."""
        if len(self.parts) != 1:
            return None
        part = self.parts[0]
        return part.text if part.kind == "text" and not part.quoted else None


@dataclass
class HereDocument:
    """A here-document; ``parts`` are filled in when the line that asks for it ends."""

    delimiter: str
    literal: bool
    strip: bool
    parts: tuple[Part, ...] = ()


class Token(NamedTuple):
    """``kind`` is ``word``, ``operator``, ``newline`` or ``end``. ``number`` is the descriptor before a redirection.

    ``close`` tells that nothing stands between this token and the one before.
    """

    kind: str
    text: str
    line: int
    word: Word | None = None
    number: int | None = None
    close: bool = False


class Lexer:
    """Hands out the tokens of ``source`` one by one; ``line`` is the number of its first line."""

    def __init__(self, source: str, line: int = 1, depth: int = 0) -> None:
        self.source, self.line, self.depth = source, line, depth
        self.position = 0
        self.awaited: list[HereDocument] = []
        if depth > MAX_DEPTH:
            raise ShellError(line, f"nested deeper than {MAX_DEPTH} levels")

    def next(self) -> Token:
        """The next token. Raises ShellError."""
        close = not self._skip_blanks()
        line, here = self.line, self._ahead()
        if not here:
            return Token("end", "", line)
        if here == "\n":
            self._take(1)
            self._read_here_documents()
            return Token("newline", "\n", line)
        if self.source.startswith(("<(", ">("), self.position):
            return Token("word", "", line, self._word())
        for operator in _OPERATORS if here in "&<>|;()" else ():
            if self.source.startswith(operator, self.position):
                self._take(len(operator))
                return Token("operator", operator, line, close=close)
        word = self._word()
        number = word.plain
        if number and number.isdecimal() and len(number) == 1 and self._ahead() in ("<", ">"):
            return self.next()._replace(number=int(number))
        return Token("word", "", line, word)

    def arithmetic_command(self) -> str:
        """The text of ``((…))`` whose first parenthesis has been taken."""
        begin = self.position + 1
        self._take(1)
        self._skip_to(")")
        end = self.position - 1
        if self._ahead() != ")":
            raise ShellError(self.line, "(( is not closed by ))")
        self._take(1)
        return self.source[begin:end]

    # --- characters --------------------------------------------------------------------------------------------------

    def _ahead(self, count: int = 1) -> str:
        return self.source[self.position : self.position + count]

    def _take(self, count: int) -> str:
        text = self.source[self.position : self.position + count]
        self.position += count
        self.line += text.count("\n")
        return text

    def _skip_blanks(self) -> bool:
        """Pass over blanks, joined lines and comments; whether there were any."""
        begin = self.position
        while here := self._ahead():
            if here in _BLANKS:
                self._take(1)
            elif self._ahead(2) == "\\\n":
                self._take(2)
            elif here == "#" and (self.position == 0 or self.source[self.position - 1] in _METACHARACTERS):
                end = self.source.find("\n", self.position)
                self._take((end if end >= 0 else len(self.source)) - self.position)
            else:
                break
        return self.position > begin

    # --- words -------------------------------------------------------------------------------------------------------

    def _word(self) -> Word:
        line = self.line
        return Word(self._parts("word"), line)

    def _parts(self, mode: str) -> tuple[Part, ...]:
        """Pieces up to the end of a ``word``, of ``double`` quotes, a ``here`` document, or the text (``all``)."""
        parts: list[Part] = []
        quoted = mode in ("double", "here")
        while here := self._ahead():
            if mode == "double" and here == '"':
                break
            if mode == "word" and here in _METACHARACTERS:
                if self._ahead(2) not in ("<(", ">("):
                    break
                parts.append(Part("dynamic", self._bracketed(2, ")"), quoted))
            elif here == "\\":
                self._escape(parts, mode)
            elif here == "$":
                parts.extend(self._dollar(quoted))
            elif here == "`":
                parts.append(Part("dynamic", self._backticks(), quoted))
            elif here in "'\"" and not quoted:
                parts.extend(self._quotes(here))
            else:
                run = _ORDINARY.match(self.source, self.position)
                parts.append(Part("text", self._take(len(run[0]) if run else 1), quoted))
        return tuple(_joined(parts))

    def _escape(self, parts: list[Part], mode: str) -> None:
        self._take(1)
        following = self._take(1)
        if following == "\n":
            return
        if mode in ("double", "here") and following not in ("$", "`", "\\") + (('"',) if mode == "double" else ()):
            following = "\\" + following
        parts.append(Part("text", following, True))

    def _quotes(self, sign: str) -> list[Part]:
        line = self.line
        self._take(1)
        if sign == "'":
            end = self.source.find("'", self.position)
            if end < 0:
                raise ShellError(line, "a ' is not closed")
            text = self._take(end - self.position)
            self._take(1)
            return [Part("text", text, True)]
        parts = self._parts("double")
        if self._take(1) != '"':
            raise ShellError(line, 'a " is not closed')
        return [Part("text", "", True), *parts]

    def _backticks(self) -> str:
        line, begin = self.line, self.position
        self._take(1)
        while (here := self._take(1)) != "`":
            if not here:
                raise ShellError(line, "a ` is not closed")
            if here == "\\":
                self._take(1)
        return self.source[begin : self.position]

    # --- $ -----------------------------------------------------------------------------------------------------------

    def _dollar(self, quoted: bool) -> list[Part]:
        if self._ahead(3) == "$((":
            text = self._bracketed(2, ")")
            if text.endswith("))"):
                return [Part("arithmetic", text[3:-2], quoted)]
            return [Part("dynamic", text, quoted)]
        if self._ahead(2) == "$(":
            return [Part("dynamic", self._bracketed(2, ")"), quoted)]
        if self._ahead(2) == "${":
            return [self._braced(self._bracketed(2, "}"), quoted)]
        if not quoted and self._ahead(2) == "$'":
            return [Part("text", self._ansi(), True)]
        if not quoted and self._ahead(2) == '$"':
            self._take(1)
            return self._quotes('"')
        self._take(1)
        if name := _NAME.match(self.source, self.position):
            return [Part("variable", self._take(len(name[0])), quoted)]
        if self._ahead() and self._ahead() in "0123456789@*#?$!-":
            return [Part("variable", self._take(1), quoted)]
        return [Part("text", "$", quoted)]

    def _braced(self, text: str, quoted: bool) -> Part:
        match = _BRACED.fullmatch(text[2:-1])
        if match is None:
            return Part("dynamic", text, quoted)
        default = None
        if match[2] in ("-", ":-", "=", ":="):
            default = Lexer(match[3], self.line, self.depth + 1)._parts("all")
        return Part("variable", match[1].replace("[*]", "[@]"), quoted, default, match[2] in ("=", ":="))

    def _ansi(self) -> str:
        line = self.line
        self._take(2)
        text = ""
        while (here := self._take(1)) != "'":
            if not here:
                raise ShellError(line, "a $' is not closed")
            if here == "\\":
                sign = self._take(1)
                here = _ESCAPES.get(sign, "\\" + sign)
            text += here
        return text

    def _bracketed(self, opening: int, closing: str) -> str:
        """The text of ``$(…)`` and the like, of which the first ``opening`` characters open it."""
        begin = self.position
        self._take(opening)
        self._skip_to(closing)
        return self.source[begin : self.position]

    def _skip_to(self, closing: str, depth: int = 0) -> None:
        """Pass over everything up to the bracket that closes this level."""
        line = self.line
        if self.depth + depth > MAX_DEPTH:
            raise ShellError(line, f"nested deeper than {MAX_DEPTH} levels")
        while (here := self._ahead()) != closing:
            if not here:
                raise ShellError(line, f"a bracket is not closed by {closing}")
            if here == "\\":
                self._take(2)
            elif here == "'" and closing != '"':
                self._quotes("'")
            elif here == '"' or (here == "(" and closing != '"') or self._ahead(2) in ("$(", "${"):
                sign = {'"': '"', "(": ")"}.get(here) or {"(": ")", "{": "}"}[self._ahead(2)[1]]
                self._take(2 if here == "$" else 1)
                self._skip_to(sign, depth + 1)
            else:
                self._take(1)
        self._take(1)

    # --- here-documents ----------------------------------------------------------------------------------------------

    def _read_here_documents(self) -> None:
        for document in self.awaited:
            line, body = self.line, ""
            while self._ahead():
                end = self.source.find("\n", self.position)
                text = self._take((end + 1 if end >= 0 else len(self.source)) - self.position)
                text = text.lstrip("\t") if document.strip else text
                if text.rstrip("\n") == document.delimiter:
                    break
                body += text
            if document.literal:
                document.parts = (Part("text", body, True),)
            else:
                document.parts = Lexer(body, line, self.depth + 1)._parts("here")
        self.awaited = []


def _joined(parts: Iterable[Part]) -> Iterator[Part]:
    """The parts with neighbouring texts in one."""
    for (kind, quoted), run in groupby(parts, key=lambda part: (part.kind, part.quoted)):
        if kind == "text":
            yield Part(kind, "".join(part.text for part in run), quoted)
        else:
            yield from run
