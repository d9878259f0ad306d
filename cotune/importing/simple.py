"""Simple commands: what is assigned, printed, written and called."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import NamedTuple

from cotune.importing import commands
from cotune.importing.conditions import Outcome, Truth, judge
from cotune.importing.effects import Write
from cotune.importing.expand import Expander, Field, Unresolved, Value, Variables
from cotune.importing.files import SettingFiles, loads
from cotune.importing.places import TASK_FILES, clean_path, is_kernel_path
from cotune.importing.record import MOST_TEXT, Record, printable
from cotune.importing.shell import Assignment, Redirect, Simple
from cotune.importing.tokens import MAX_DEPTH, Word
from cotune.resolve.host import sysctl_path

NOT_FOLLOWED = "it changes a file of the configuration, which is not followed"
#: What makes find do more than print.
_FIND_ACTIONS = ("-exec", "-execdir", "-ok", "-okdir", "-delete", "-fprint", "-fprintf", "-fls")
#: What a command prints, None when that is not known or of no interest.
Output = Field | Unresolved | None


class KnownFunction(NamedTuple):
    """A function of the script: the variables it ``assigns``, whether it writes to the kernel, or changes directory."""

    line: int
    assigns: set[str]
    effective: bool
    moves: bool


class End(Exception):
    """The script exits."""


class Beyond(End):
    """The script goes beyond the bounds of what is read."""


class SimpleReader(Record, ABC):
    """Reads simple commands; :class:`~cotune.importing.lines.Reader` adds the statements around them."""

    def __init__(self, source: str) -> None:
        super().__init__(source)
        self.variables = Variables()
        self.functions: dict[str, KnownFunction] = {}
        self.files = SettingFiles()
        #: levels of nested ``sh -c``, and of bodies that are taken because a file is taken to exist
        self.depth, self.assumed = 0, 0

    @abstractmethod
    def script(self, source: str, line: int) -> None:
        """Read statements; ``line`` is the number of the first line."""

    def expander(self) -> Expander:
        return Expander(self.variables, lambda text: self.note(self.line, text))

    def simple(self, command: Simple, given: Output) -> tuple[Outcome, Output]:
        try:
            name = self.expander().fields(command.words[:1])
        except Unresolved as why:
            self.list_unread(f"the command is not known: {why}")
            return Outcome(Truth.UNSURE), None
        declares = command.words and name and name[0].text in ("export", "readonly", "local", "declare", "typeset")
        if not command.words or declares:
            for assignment in command.assignments:
                self._assign(assignment)
        given = self._input(command, given)
        try:
            outcome, output = self._dispatch(command, given)
        except Unresolved as why:
            self.list_unread(self.withheld.reason if self.withheld else str(why))
            outcome, output = Outcome(Truth.DONE), why
        return outcome, self._redirected(command, output)

    def _input(self, command: Simple, given: Output) -> Output:
        """What a command reads: a pipe, a here-document, or something nobody knows."""
        for redirect in command.redirects:
            try:
                if redirect.document is not None:
                    given = self.expander().single(redirect.document.parts)
                elif redirect.operator == "<<<":
                    given = self.expander().single(redirect.word.parts)
                elif redirect.operator == "<":
                    given = Unresolved("what a file holds is known only when the script runs")
            except Unresolved as why:
                given = why
        return given

    def _dispatch(self, command: Simple, given: Output) -> tuple[Outcome, Output]:
        words, problem = self._arguments(command.words)
        if not words:
            return Outcome(Truth.DONE), None
        name, arguments = words[0].text.rpartition("/")[2], words[1:]
        if name in ("echo", "printf", "cat"):
            return Outcome(Truth.DONE), self._printed(name, arguments, problem, given)
        if name in ("[", "[[", "test"):
            truth = Truth.UNSURE if problem else judge(arguments if name == "test" else arguments[:-1])
            return Outcome(truth, self._condition(command, words, problem)), None
        if name in ("true", ":", "false"):
            return Outcome(Truth.FAILED if name == "false" else Truth.DONE), None
        if name in ("exit", "return") and self.withheld is None:
            if not self.assumed:
                raise End
            self.note(command.line, f"taken not to {name} here")
        if name in ("cd", "pushd"):
            self._change_directory(arguments, problem)
            return Outcome(Truth.DONE), None
        if name in ("read", "let", "unset", "mapfile", "readarray", "getopts"):
            self._forget(name, command.words[1:])
            return Outcome(Truth.UNSURE), None
        if name in self.functions:
            return Outcome(Truth.UNSURE), self._call(name)
        return self._program(name, arguments, problem, given)

    def _arguments(self, words: tuple[Word, ...]) -> tuple[list[Field], Unresolved | None]:
        """The words of a command without ``sudo``; with a problem, those before it."""
        found: list[Field] = []
        problem = None
        for word in words:
            try:
                found += self.expander().fields([word])
            except Unresolved as why:
                problem = why
                break
        return commands.unwrap(found), problem

    def _condition(self, command: Simple, words: list[Field], problem: Unresolved | None) -> str:
        if problem is not None:
            return self.text(command.line)
        return _shown([word.text for word in words])

    def _printed(self, name: str, arguments: list[Field], problem: Unresolved | None, given: Output) -> Output:
        if problem is not None:
            return problem
        try:
            if name == "echo":
                return commands.echo(arguments)
            if name == "printf":
                return commands.printf(arguments)
        except Unresolved as why:
            return why
        if all(word.text in ("-", "-u") for word in arguments):
            return given
        return Unresolved("what a file holds is known only when the script runs")

    def _program(
        self, name: str, arguments: list[Field], problem: Unresolved | None, given: Output
    ) -> tuple[Outcome, Output]:
        unknown = Unresolved(f"what {name[:40]} prints is known only when the script runs")
        if name == "tee":
            self._tee(arguments, problem, given)
            return Outcome(Truth.DONE), given
        if name == "sysctl" and problem is None and loads([word.text for word in arguments]):
            self._load(arguments, given)
            return Outcome(Truth.DONE), unknown
        if name in ("sh", "bash", "dash", "ash", "zsh"):
            self._shell(name, arguments, problem, given)
            return Outcome(Truth.DONE), unknown
        if handler := commands.HANDLERS.get(name):
            if problem is not None:
                raise problem
            wild = next((word.text for word in arguments if word.wild), None)
            if wild is not None and name != "mkdir":
                raise Unresolved(f"which files {wild[:60]} matches is known only on the host")
            for effect in handler([word.text for word in arguments], self.line):
                self.effect(effect)
            return Outcome(Truth.DONE), unknown
        if name in commands.HARMLESS:
            self._ordinary(name, arguments)
            truth = Truth.DONE if name in commands.SUCCEEDING else Truth.UNSURE
            return Outcome(truth, "" if problem else _shown([name, *(word.text for word in arguments)])), unknown
        if self.withheld is None or name in commands.REASONS:
            raise Unresolved(commands.REASONS.get(name, f"{name[:40]} is not a command cotune understands"))
        raise Unresolved(self.withheld.reason)

    def _load(self, arguments: list[Field], given: Output) -> None:
        """``sysctl -p`` of files the script wrote itself, or of what it reads."""
        for name, value, more in self.files.load([word.text for word in arguments], given):
            self.effect(Write(self.line, Field(sysctl_path(name)), value))
            if more:
                self.note(self.line, "what else the file holds is not read: it was there before the script")

    def _ordinary(self, name: str, arguments: list[Field]) -> None:
        """Harmless commands are not, when they change files of the kernel, or run others."""
        if name == "find" and (action := next((w.text for w in arguments if w.text in _FIND_ACTIONS), "")):
            raise Unresolved(f"what find {action} meets is known only on the host: match it with a pattern")
        if name in ("cp", "ln", "mv", "rm", "sed", "chmod", "chown", "touch"):
            for word in arguments:
                if word.text.startswith("/") and is_kernel_path(clean_path(word.text), self.mounted):
                    if name == "cp" and word is not arguments[-1]:
                        continue
                    raise Unresolved(f"what {name} does to a file of the kernel is known only when the script runs")

    # --- variables, directories, functions ---------------------------------------------------------------------------

    def _assign(self, assignment: Assignment) -> None:
        value: Value
        if assignment.element:
            value = Unresolved(f"${assignment.name} has elements set one by one")
        elif self.withheld:
            value = Unresolved(f"${assignment.name} is set in a part that is not read: {self.withheld.reason}")
        else:
            value = self._value(assignment)
        self.variables[assignment.name] = value

    def _value(self, assignment: Assignment) -> Value:
        before = self.variables.get(assignment.name, Field(""))
        try:
            if assignment.array:
                elements = tuple(self.expander().fields(assignment.values))
                if not assignment.append:
                    return elements
                return (*before, *elements) if not isinstance(before, (Field, Unresolved)) else elements
            value = self.expander().single(assignment.values[0].parts)
        except Unresolved as why:
            if str(why).startswith("$" + assignment.name + " ") or " on line " in str(why):
                return why
            return Unresolved(f"${assignment.name} is set on line {self.line}, where {why}")
        if not assignment.append:
            return value
        return Field(before.text + value.text, before.wild or value.wild) if isinstance(before, Field) else before

    def _forget(self, name: str, words: tuple[Word, ...]) -> None:
        """What ``read`` and the like set is not known."""
        for word in words:
            if (variable := re.match(r"[A-Za-z_]\w*", word.plain or "")) is not None:
                self.variables[variable[0]] = Unresolved(f"${variable[0]} is set by {name} on line {self.line}")
                if name == "unset":
                    del self.variables[variable[0]]

    def _change_directory(self, arguments: list[Field], problem: Unresolved | None) -> None:
        places = [word for word in arguments if word.text == "-" or not word.text.startswith("-")]
        if problem is not None or not places or places[0].text == "-" or self.withheld:
            why = str(problem) if problem else self.withheld.reason if self.withheld else "cd goes back"
            self.directory = Unresolved(f"the directory is not known since line {self.line}: {why}")
            return
        try:
            self.directory = self.absolute(places[0])
        except Unresolved as unknown:
            self.directory = unknown

    def _call(self, name: str) -> Output:
        function = self.functions[name]
        why = f"is set by the function {name}, which is not read"
        self.variables.update({variable: Unresolved(f"${variable} {why}") for variable in function.assigns})
        if function.moves:
            self.directory = Unresolved(f"the directory is changed by the function {name}, which is not read")
        if function.effective:
            raise Unresolved(f"it calls the function {name} (line {function.line}), which is not read")
        return Unresolved(f"what the function {name} prints is known only when the script runs")

    def _shell(self, name: str, arguments: list[Field], problem: Unresolved | None, given: Output) -> None:
        """``sh -c '…'``, or a shell that reads a here-document: the text is read as part of this script."""
        if problem is not None:
            raise problem
        options = [index for index, word in enumerate(arguments) if word.text.startswith("-") and "c" in word.text]
        plain = all(word.text.startswith("-") for word in arguments)
        if options and options[0] + 1 < len(arguments):
            text, line = arguments[options[0] + 1].text, self.line
        elif plain and isinstance(given, Field):
            text, line = given.text, self.line + 1  # a here-document begins on the next line
        else:
            raise Unresolved(f"{name} runs another script: import it as well")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unresolved(f"nested deeper than {MAX_DEPTH} levels")
        before = (self.variables, self.directory, self.line)
        # only exported variables would be known inside; a script that relies on others would not have worked
        self.variables = Variables(self.variables)
        try:
            self.script(text, line)
        except End:
            pass
        finally:
            self.variables, self.directory, self.line = before
            self.depth -= 1

    # --- output ------------------------------------------------------------------------------------------------------

    def _tee(self, arguments: list[Field], problem: Unresolved | None, given: Output) -> None:
        if problem is not None:
            raise problem
        for word in arguments:
            if not word.text.startswith("-"):
                self._written(word, given, any(option.text in ("-a", "--append") for option in arguments))

    def _redirected(self, command: Simple, output: Output) -> Output:
        """Send the output where the command's redirections say; what is left for a pipe."""
        left = output
        for redirect in command.redirects:
            if redirect.operator in ("<", "<<", "<<-", "<<<", "<&") or redirect.number not in (1, -1):
                continue
            if redirect.operator == ">&" and (redirect.word.plain or "").isdecimal():
                left = None
                continue
            self.deliver(redirect, output)
            left = None
        return left

    def deliver(self, redirect: Redirect, output: Output) -> None:
        try:
            self._written(self.expander().single(redirect.word.parts), output, redirect.operator == ">>")
        except Unresolved as why:
            self.list_unread(self.withheld.reason if self.withheld else str(why))

    def _written(self, file: Field, output: Output, append: bool) -> None:
        """``output`` written to a file."""
        path = self.absolute(file)
        if path is None:
            return
        if not is_kernel_path(path.text, self.mounted):
            known = output if self.withheld is None else Unresolved(self.withheld.reason)
            self.files.written(path.text, known, append, self.line)
            if path.text.startswith("/etc/") and not (isinstance(known, Field) and self.files.is_setting(path.text)):
                raise Unresolved(NOT_FOLLOWED)
            return
        if not isinstance(output, Field) and path.text.endswith(TASK_FILES):
            output = Field("")  # a process in any case, which no profile holds
        if isinstance(output, Unresolved) and self.withheld is None:
            raise output
        if not isinstance(output, Field):
            raise Unresolved("what is written is known only when the script runs")
        if output.wild:
            raise Unresolved(f"the value {output.text[:40]!r} is a pattern that the shell may expand")
        self.effect(Write(self.line, path, output.text.strip()))


def _shown(words: list[str]) -> str:
    """A command for people."""
    return printable(" ".join(words))[:MOST_TEXT]
