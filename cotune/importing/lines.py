"""From the statements of a script to what they do to the kernel, as if it ran once and nothing failed.

Nothing is run. A condition that asks whether a file exists is taken to hold, with a remark; what depends on anything
else, and every value that only a running shell knows, is listed as unread.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from cotune.importing.assigned import assigned_names
from cotune.importing.conditions import Outcome, Truth
from cotune.importing.expand import Unresolved, Variables
from cotune.importing.record import MOST_TEXT, Withheld
from cotune.importing.shell import (
    Arithmetic,
    Block,
    Chain,
    Choice,
    Command,
    For,
    Function,
    If,
    Pipeline,
    Simple,
    parse,
)
from cotune.importing.simple import NOT_FOLLOWED, Beyond, End, KnownFunction, Output, SimpleReader

MAX_ITERATIONS = 1000
_MOST_COMMANDS = 50_000


class Reader(SimpleReader):
    """Reads one script; the results are ``effects``, ``unread`` and ``notes``."""

    def __init__(self, source: str) -> None:
        super().__init__(source)
        self.source = source
        self.iterations, self.commands = 0, 0

    def run(self) -> None:
        """Read the whole script."""
        try:
            self.script(self.source, 1)
        except Beyond:
            pass
        except End:
            if any(line.strip() and not line.strip().startswith("#") for line in self.lines[self.line :]):
                self.note(self.line, "the script ends here; what follows is not read")
        for line in self.files.only_at_boot():
            self.line = line
            self.list_unread(NOT_FOLLOWED)

    def script(self, source: str, line: int) -> None:
        script = parse(source, line, self.depth)
        self._body(script.statements)
        if script.error is not None:
            self.line = script.error.line
            self.list_unread(f"from here on this is not understood: {script.error.reason}")

    # --- statements --------------------------------------------------------------------------------------------------

    def _body(self, body: list[Chain]) -> Outcome:
        outcome = Outcome(Truth.DONE)
        for chain in body:
            outcome = self._chain(chain)
        return outcome

    def _under(self, withheld: Withheld | None, run: Callable[[], Outcome]) -> Outcome:
        """Run with a reason to withhold; an outer reason stays."""
        before = self.withheld
        if before is None or (before.making and withheld and not withheld.making):
            self.withheld = withheld
        try:
            return run()
        finally:
            self.withheld = before

    def _chain(self, chain: Chain) -> Outcome:
        outcome = self._pipeline(chain.first)
        for sign, pipeline in chain.rest:
            outcome = self._linked(outcome, sign == "&&", pipeline)
        return outcome

    def _linked(self, before: Outcome, both: bool, pipeline: Pipeline) -> Outcome:
        """A pipeline after ``&&`` (``both``) or ``||``."""
        truth = before.truth if both else before.truth.negated()

        def run() -> Outcome:
            return self._pipeline(pipeline)

        if truth is Truth.DONE:
            return run()
        if truth is Truth.THERE:
            self._taken(before, both)
            return self._assuming(run)
        if truth is Truth.MISSING:
            self._under(Withheld(f"it runs only where this fails: {before.text}", making=True), run)
            return Outcome(Truth.UNSURE if both else Truth.DONE, before.text)
        if truth is Truth.FAILED:
            self._under(Withheld(f"it runs only where this {'succeeds' if both else 'fails'}: {before.text}"), run)
            return before
        self._under(Withheld(f"it depends on a condition that is known only when the script runs: {before.text}"), run)
        return Outcome(Truth.UNSURE, before.text)

    def _assuming(self, run: Callable[[], Outcome]) -> Outcome:
        """Run what depends on an assumption: the script does not end there, for then it would set nothing."""
        self.assumed += 1
        try:
            return run()
        finally:
            self.assumed -= 1

    def _taken(self, condition: Outcome, holds: bool = True) -> None:
        if self.withheld is None:
            self.note(self.line, f"taken {'' if holds else 'not '}to hold: {condition.text}")

    def _pipeline(self, pipeline: Pipeline) -> Outcome:
        output: Output = None
        outcome = Outcome(Truth.DONE)
        for command in pipeline.commands:
            self.commands += 1
            if self.commands > _MOST_COMMANDS:
                self.list_unread(f"from here on nothing is read: the script runs more than {_MOST_COMMANDS} commands")
                raise Beyond
            outcome, output = self._command(command, output)
        self.line = pipeline.line
        text = outcome.text or self.text(pipeline.line)
        return Outcome(outcome.truth.negated() if pipeline.negated else outcome.truth, text)

    def _command(self, command: Command, given: Output) -> tuple[Outcome, Output]:
        self.line = command.line
        if isinstance(command, Simple):
            return self.simple(command, given)
        if isinstance(command, Function):
            self._function(command)
        elif isinstance(command, If):
            self._if(command)
        elif isinstance(command, For):
            self._for(command)
        elif isinstance(command, Choice):
            reason = f"it stands in {command.what} (line {command.line})"
            for body in command.bodies:
                self._hidden(reason, body)
        elif isinstance(command, Block):
            self._block(command)
        else:
            return self._arithmetic(command), None
        unknown = Unresolved("what a compound command prints is known only when the script runs")
        return Outcome(Truth.DONE), unknown

    def _arithmetic(self, command: Arithmetic) -> Outcome:
        for name in re.findall(r"[A-Za-z_]\w*", command.text)[:MAX_ITERATIONS]:
            self.variables[name] = Unresolved(f"${name} is computed on line {command.line}")
        return Outcome(Truth.UNSURE, f"(({command.text.strip()[:MOST_TEXT]}))")

    def _hidden(self, reason: str, body: list[Chain]) -> None:
        """Go through a body whose commands are only listed; what it sets is not known afterwards."""
        for name in assigned_names(body):
            self.variables[name] = Unresolved(f"${name} is set in a part that is not read: {reason}")
        self._under(Withheld(reason), lambda: self._body(body))
        for name in assigned_names(body):
            self.variables[name] = Unresolved(f"${name} is set in a part that is not read: {reason}")

    def _if(self, command: If) -> None:
        """Bodies of which at most one runs."""
        rest: list[tuple[list[Chain], list[Chain]]] = [*command.branches, ([], command.otherwise)]
        while rest:
            condition, body = rest.pop(0)
            outcome = self._body(condition)
            self.line = command.line
            if outcome.truth is Truth.FAILED:
                continue
            if outcome.truth in (Truth.DONE, Truth.THERE):
                if outcome.truth is Truth.THERE:
                    self._taken(outcome)
                    self._assuming(partial(self._body, body))
                else:
                    self._body(body)
                for _, other in rest:
                    self._hidden(f"it runs only where this fails: {outcome.text}", other)
                return
            if outcome.truth is Truth.MISSING:
                withheld = Withheld(f"it runs only where this holds: {outcome.text}", making=True)
                self._under(withheld, partial(self._body, body))
                if any(other for _, other in rest):
                    self._taken(outcome, holds=False)
                continue
            reason = f"it depends on a condition that is known only when the script runs: {outcome.text}"
            for _, other in [(condition, body), *rest]:
                self._hidden(reason, other)
            return

    def _for(self, command: For) -> None:
        try:
            values = self.expander().fields(command.words)
        except Unresolved as why:
            self._hidden(f"the words of the loop on line {command.line} are not known: {why}", command.body)
            self.variables[command.name] = why
            return
        if self.withheld:
            self.variables[command.name] = Unresolved(f"${command.name} is set in a part that is not read")
            self._body(command.body)
            return
        for value in values:
            self.iterations += 1
            if self.iterations > MAX_ITERATIONS:
                self.line = command.line
                self.list_unread(f"from here on nothing is read: loops run more than {MAX_ITERATIONS} times")
                raise Beyond
            self.variables[command.name] = value
            self._body(command.body)

    def _block(self, command: Block) -> None:
        before = (Variables(self.variables), self.directory)
        for redirect in command.redirects:
            if redirect.operator.startswith(("<",)):
                continue
            self.deliver(redirect, Unresolved("what several commands print together is known only when they run"))
        try:
            self._body(command.body)
        except End:
            if not command.own_shell:
                raise
        if command.own_shell:
            self.variables, self.directory = before

    def _function(self, command: Function) -> None:
        """A function is not followed: what it would do is listed, and so are its calls."""
        body = [Chain(Pipeline(command.line, False, (command.body,)), ())]
        known, directory, before = dict(self.variables), self.directory, len(self.unread)
        self._hidden(f"it stands in the function {command.name}", body)
        moves = self.directory is not directory
        self.variables, self.directory = Variables(known), directory
        effective = len(self.unread) > before
        self.functions[command.name] = KnownFunction(command.line, assigned_names(body), effective, moves)
