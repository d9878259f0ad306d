"""The statements of a shell script: what belongs together, without a thought about what it does.

Follows the shell grammar of POSIX (XCU 2.10) with bash's arrays, ``[[``, ``((`` and ``function``.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from cotune.importing.tokens import MAX_DEPTH, REDIRECTS, HereDocument, Lexer, Part, ShellError, Token, Word

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\[[^\]]*\])?(\+?)=")
_RESERVED = frozenset(("then", "do", "done", "fi", "else", "elif", "esac", "}"))
_DECLARERS = frozenset(("export", "readonly", "local", "declare", "typeset"))


class Assignment(NamedTuple):
    """``name=value``; ``values`` has more than one word for an array, ``element`` is set for ``name[…]=value``."""

    name: str
    values: tuple[Word, ...]
    array: bool
    append: bool
    element: bool


class Redirect(NamedTuple):
    """A redirection of descriptor ``number`` (-1: both outputs) to or from ``word`` or a here-document."""

    operator: str
    number: int
    word: Word
    document: HereDocument | None = None


class Simple(NamedTuple):
    """A command with its arguments."""

    line: int
    assignments: tuple[Assignment, ...]
    words: tuple[Word, ...]
    redirects: tuple[Redirect, ...]


class Pipeline(NamedTuple):
    """Commands joined by ``|``."""

    line: int
    negated: bool
    commands: tuple[Command, ...]


class Chain(NamedTuple):
    """Pipelines joined by ``&&`` and ``||``."""

    first: Pipeline
    rest: tuple[tuple[str, Pipeline], ...]


class If(NamedTuple):
    """``branches`` are pairs of condition and body; ``otherwise`` is the body of ``else``."""

    line: int
    branches: tuple[tuple[list[Chain], list[Chain]], ...]
    otherwise: list[Chain]


class For(NamedTuple):
    """``for name in words``."""

    line: int
    name: str
    words: tuple[Word, ...]
    body: list[Chain]


class Choice(NamedTuple):
    """Bodies of which only a running shell knows whether, or how often, they run; ``what`` names the statement."""

    line: int
    what: str
    bodies: tuple[list[Chain], ...]


class Function(NamedTuple):
    """The definition of a function."""

    line: int
    name: str
    body: Command


class Block(NamedTuple):
    """``{ … }``, or ``( … )`` with ``own_shell``, or a loop with redirections."""

    line: int
    body: list[Chain]
    own_shell: bool
    redirects: tuple[Redirect, ...]


class Arithmetic(NamedTuple):
    """``((…))``."""

    line: int
    text: str


Command = Simple | If | For | Choice | Function | Block | Arithmetic


class Script(NamedTuple):
    """What could be parsed, and where and why the rest could not."""

    statements: list[Chain]
    error: ShellError | None


def parse(source: str, line: int = 1, depth: int = 0) -> Script:
    """The statements of ``source``; after a syntax error, those before it."""
    try:
        parser = _Parser(source, line, depth)
    except ShellError as error:
        return Script([], error)
    return parser.script()


class _Parser:
    def __init__(self, source: str, line: int, depth: int) -> None:
        self.lexer = Lexer(source, line, depth)
        self.depth = depth
        self.token = self.lexer.next()

    def script(self) -> Script:
        statements: list[Chain] = []
        try:
            while self.token.kind != "end":
                if self._skip(";", "&"):
                    continue
                statements.append(self._chain())
                if not self._skip(";", "&") and self.token.kind != "end":
                    raise self._unexpected()
        except ShellError as error:
            return Script(statements, error)
        return Script(statements, None)

    # --- tokens ------------------------------------------------------------------------------------------------------

    def _advance(self) -> Token:
        token = self.token
        self.token = self.lexer.next()
        return token

    def _at(self, *texts: str) -> bool:
        """Whether the next token is one of these operators or keywords."""
        return self._text() in texts

    def _text(self) -> str:
        token = self.token
        return (token.word.plain or "") if token.word else token.text

    def _skip(self, *texts: str) -> bool:
        """Pass over newlines and one of ``texts``; whether there was any."""
        found = False
        while self.token.kind == "newline" or (not found and texts and self._at(*texts)):
            found = True
            self._advance()
        return found

    def _expect(self, text: str) -> None:
        if not self._at(text):
            raise self._unexpected(text)
        self._advance()

    def _unexpected(self, wanted: str = "") -> ShellError:
        token = self.token
        found = (
            "the end of the script" if token.kind == "end" else "the end of the line" if token.kind == "newline" else ""
        )
        found = found or self._text() or "a word"
        return ShellError(token.line, f"expected {wanted}, found {found}" if wanted else f"unexpected {found}")

    # --- lists -------------------------------------------------------------------------------------------------------

    def _list(self, *ends: str) -> list[Chain]:
        """Statements up to one of the tokens ``ends``, which stays."""
        statements: list[Chain] = []
        self._skip()
        while not self._at(*ends):
            if self.token.kind == "end":
                raise self._unexpected(ends[0])
            statements.append(self._chain())
            if not self._skip(";", "&") and not self._at(*ends):
                raise self._unexpected()
        return statements

    def _chain(self) -> Chain:
        first = self._pipeline()
        rest: list[tuple[str, Pipeline]] = []
        while self._at("&&", "||") and self.token.kind == "operator":
            operator = self._advance().text
            self._skip()
            rest.append((operator, self._pipeline()))
        return Chain(first, tuple(rest))

    def _pipeline(self) -> Pipeline:
        line, negated = self.token.line, False
        while self._at("!", "time"):
            negated ^= self._text() == "!"
            self._advance()
        commands = [self._command()]
        while self._at("|", "|&") and self.token.kind == "operator":
            self._advance()
            self._skip()
            commands.append(self._command())
        return Pipeline(line, negated, tuple(commands))

    def _command(self) -> Command:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ShellError(self.token.line, f"nested deeper than {MAX_DEPTH} levels")
        compound = self._compound()
        self.depth -= 1
        if compound is None:
            return self._simple()
        if redirects := self._redirects():
            return Block(compound.line, [Chain(Pipeline(compound.line, False, (compound,)), ())], False, redirects)
        return compound

    def _compound(self) -> Command | None:
        line = self.token.line
        if self.token.kind == "operator" and self._at("("):
            return self._parenthesis(line)
        match self._text():
            case "{":
                self._advance()
                body = self._list("}")
                self._expect("}")
                return Block(line, body, False, ())
            case "if":
                return self._if(line)
            case "for" | "select":
                return self._for(line)
            case "while" | "until" as word:
                self._advance()
                condition = self._list("do")
                return Choice(line, f"a {word} loop", (condition, self._do()))
            case "case":
                return self._case(line)
            case "function":
                self._advance()
                name = self._text()
                self._advance()
                if self._at("("):
                    self._advance()
                    self._expect(")")
                self._skip()
                return Function(line, name, self._command())
        return None

    def _parenthesis(self, line: int) -> Command:
        if self.lexer.source.startswith("(", self.lexer.position):
            text = self.lexer.arithmetic_command()
            self.token = self.lexer.next()
            return Arithmetic(line, text)
        self._advance()
        body = self._list(")")
        self._expect(")")
        return Block(line, body, True, ())

    def _do(self) -> list[Chain]:
        self._skip(";")
        self._expect("do")
        body = self._list("done")
        self._expect("done")
        return body

    def _if(self, line: int) -> If:
        branches = []
        while self._at("if", "elif"):
            self._advance()
            condition = self._list("then")
            self._expect("then")
            branches.append((condition, self._list("elif", "else", "fi")))
        otherwise: list[Chain] = []
        if self._at("else"):
            self._advance()
            otherwise = self._list("fi")
        self._expect("fi")
        return If(line, tuple(branches), otherwise)

    def _for(self, line: int) -> Command:
        select = self._text() == "select"
        self._advance()
        if self._at("("):
            if not self.lexer.source.startswith("(", self.lexer.position):
                raise self._unexpected("a name")
            self.lexer.arithmetic_command()
            self.token = self.lexer.next()
            return Choice(line, "a counting loop", (self._do(),))
        name = self._text()
        self._advance()
        self._skip()
        if select or not self._at("in"):
            while self.token.kind == "word" and not self._at("do"):
                self._advance()
            what = "a menu of the user" if select else "a loop over the arguments of the script"
            return Choice(line, what, (self._do(),))
        self._advance()
        words = []
        while self.token.word is not None:
            words.append(self.token.word)
            self._advance()
        return For(line, name, tuple(words), self._do())

    def _case(self, line: int) -> Choice:
        self._advance()
        self._advance()
        self._skip()
        self._expect("in")
        self._skip()
        bodies = []
        while not self._at("esac"):
            while not self._at(")"):
                if self.token.kind == "end":
                    raise self._unexpected("esac")
                self._advance()
            self._advance()
            bodies.append(self._list(";;", ";&", ";;&", "esac"))
            if not self._at("esac"):
                self._advance()
            self._skip()
        self._expect("esac")
        return Choice(line, "a case statement", tuple(bodies))

    # --- simple commands ---------------------------------------------------------------------------------------------

    def _simple(self) -> Command:
        line = self.token.line
        assignments: list[Assignment] = []
        words: list[Word] = []
        redirects: list[Redirect] = []
        if self._text() in _RESERVED:
            raise self._unexpected()
        while True:
            if self.token.kind == "operator" and self.token.text in REDIRECTS:
                redirects += self._redirects()
            elif self._at("(") and self.token.kind == "operator" and len(words) == 1 and not assignments:
                return self._function(line, words[0].plain or "")
            elif self.token.word is None:
                break
            elif not words and self._at("[["):
                words += self._double_brackets()
            elif (not words or words[0].plain in _DECLARERS) and (found := self._assignment()):
                assignments.append(found)
            else:
                words.append(self.token.word)
                self._advance()
        if not words and not assignments and not redirects:
            raise self._unexpected()
        return Simple(line, tuple(assignments), tuple(words), tuple(redirects))

    def _function(self, line: int, name: str) -> Function:
        self._advance()
        self._expect(")")
        self._skip()
        return Function(line, name, self._command())

    def _assignment(self) -> Assignment | None:
        word = self.token.word
        first = word.parts[0] if word and word.parts else None
        if word is None or first is None or first.quoted or first.kind != "text":
            return None
        match = _ASSIGNMENT.match(first.text)
        if match is None:
            return None
        rest = first.text[match.end() :]
        parts = ((Part("text", rest, False),) if rest else ()) + word.parts[1:]
        self._advance()
        values: tuple[Word, ...] = (Word(parts, word.line),)
        array = not parts and self._at("(") and self.token.close
        if array:
            values = self._array()
        return Assignment(match[1], values, array, bool(match[3]), bool(match[2]))

    def _array(self) -> tuple[Word, ...]:
        self._advance()
        values = []
        self._skip()
        while self.token.word is not None:
            values.append(self.token.word)
            self._advance()
            self._skip()
        self._expect(")")
        return tuple(values)

    def _double_brackets(self) -> list[Word]:
        """``[[ … ]]`` as words; its operators become words too."""
        words: list[Word] = []
        while self.token.kind != "end":
            token = self._advance()
            words.append(token.word or Word((Part("text", token.text, False),), token.line))
            if token.word and token.word.plain == "]]":
                return words
        raise self._unexpected("]]")

    def _redirects(self) -> tuple[Redirect, ...]:
        redirects = []
        while self.token.kind == "operator" and self.token.text in REDIRECTS:
            operator, number = self.token.text, self.token.number
            self._advance_to_target(operator)
            word = self.token.word
            if word is None:
                raise self._unexpected("a file name")
            document = self._await(operator, word) if operator in ("<<", "<<-") else None
            default = -1 if operator in ("&>", "&>>") else 0 if operator.startswith("<") else 1
            redirects.append(Redirect(operator, default if number is None else number, word, document))
            self._advance()
        return tuple(redirects)

    def _advance_to_target(self, operator: str) -> None:
        self._advance()
        if self.token.word is None:
            raise self._unexpected(f"a word after {operator}")

    def _await(self, operator: str, word: Word) -> HereDocument:
        """Ask for a here-document before the end of the line is read."""
        text = "".join(part.text for part in word.parts)
        document = HereDocument(text, any(part.quoted for part in word.parts), operator == "<<-")
        self.lexer.awaited.append(document)
        return document
