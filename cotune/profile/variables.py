"""Variables: ``${name}`` in values becomes what ``vars`` says. Nothing is evaluated.

A value that is nothing but ``${name}`` takes the variable's value with its type; inside text the variable is written
out. ``$$`` is a literal ``$``, and a ``$`` before anything else stands for itself. Variables may use other variables.
Keys, ``include``, ``apiVersion`` and ``kind`` are left alone.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Any, NamedTuple

from cotune.errors import Origin, Problem
from cotune.profile.merge import Tree
from cotune.profile.scalars import Scalar, as_text
from cotune.profile.text import Path, shown, similar

NAME = r"[A-Za-z_][A-Za-z0-9_-]{0,62}"
MAX_TEXT = 64 * 1024
MAX_TOTAL = 2**20
MAX_CHAIN = 64
_MOST_GUESSES = 50

_TOKEN = re.compile(r"\$\$|\$\{(?P<name>" + NAME + r")\}|(?P<bad>\$\{)")
_UNTOUCHED = ("apiVersion", "kind", "include", "vars")


class Substitution(NamedTuple):
    """``used`` holds the names of the variables in the values that had any, by the position of the value."""

    problems: list[Problem]
    used: dict[Origin, tuple[str, ...]]


def substitute(tree: Tree) -> Substitution:
    """Replace all variables in ``tree`` in place, those in ``vars`` too. Returns problems instead of raising."""
    worker = _Substituter(tree)
    for name in worker.definitions:
        worker.variable(name, ())
    for key, value in tree.data.items():
        if key not in _UNTOUCHED:
            tree.data[key] = worker.walk(value, (key,))
    if worker.definitions:
        tree.data["vars"] = {name: worker.values.get(name) for name in worker.definitions}
    return Substitution(worker.problems, worker.used)


def uses_variables(value: object) -> bool:
    """Whether ``value`` is text with a reference to a variable, so that its final type is not known yet."""
    return isinstance(value, str) and any(match["name"] for match in _TOKEN.finditer(value))


class _Failed(Exception):
    """A problem with this value has been recorded."""


class _Substituter:
    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        definitions = tree.data.get("vars")
        # values that are no scalars are the schema's business
        self.definitions: dict[str, Scalar] = {
            name: value
            for name, value in (definitions.items() if isinstance(definitions, dict) else ())
            if not isinstance(value, (dict, list))
        }
        self.values: dict[str, Scalar] = {}
        self.depth: dict[str, int] = {}
        self.failed: set[str] = set()
        self.problems: list[Problem] = []
        self.used: dict[Origin, tuple[str, ...]] = {}
        self.total = 0

    def walk(self, value: Any, path: Path) -> Any:
        """``value`` with its variables replaced; unchanged where a problem was recorded."""
        if isinstance(value, dict):
            return {key: self.walk(child, (*path, key)) for key, child in value.items()}
        if isinstance(value, list):
            return [self.walk(child, (*path, index)) for index, child in enumerate(value)]
        if not isinstance(value, str) or "$" not in value:
            return value
        names = tuple(dict.fromkeys(match["name"] for match in _TOKEN.finditer(value) if match["name"]))
        if names:
            self.used[self.tree.origin(path)] = names
        try:
            return self._replace(value, self.tree.origin(path), ())
        except _Failed:
            return value

    def variable(self, name: str, chain: tuple[str, ...]) -> None:
        """Compute the value of the variable ``name``; ``chain`` are the variables that wait for it."""
        if name in self.values or name in self.failed:
            return
        value = self.definitions[name]
        origin = self.tree.origin(("vars", name))
        try:
            self._check_depth(len(chain), origin)
            self.values[name] = self._replace(value, origin, (*chain, name)) if isinstance(value, str) else value
        except _Failed:
            self.failed.add(name)

    def _replace(self, text: str, origin: Origin, chain: tuple[str, ...]) -> Scalar:
        whole = _TOKEN.fullmatch(text)
        if whole is not None and whole["name"]:
            return self._value(whole["name"], origin, chain)
        parts: list[str] = []
        end = length = 0
        for match in _TOKEN.finditer(text):
            parts += (text[end : match.start()], self._token(match, text, origin, chain))
            end = match.end()
            length += len(parts[-1]) + len(parts[-2])
            if length > MAX_TEXT:
                self._fail(origin, f"with its variables this text is longer than {MAX_TEXT} characters", "shorten it")
        result = "".join(parts) + text[end:]
        self.total += len(result)
        if self.total > MAX_TOTAL:
            self._fail(origin, f"variables expand to more than {MAX_TOTAL} characters in all", "use fewer of them")
        return result

    def _token(self, match: re.Match[str], text: str, origin: Origin, chain: tuple[str, ...]) -> str:
        if match["bad"]:
            rest = shown(text[match.start() : match.start() + 20])
            self._fail(origin, f"no variable can be read from {rest}", "write ${name}, or $${ for a literal ${")
        if not match["name"]:
            return "$"
        return as_text(self._value(match["name"], origin, chain))

    def _value(self, name: str, origin: Origin, chain: tuple[str, ...]) -> Scalar:
        if name in chain:
            steps = [*chain[chain.index(name) :], name]
            self._fail(origin, "variable cycle: " + " -> ".join(steps), "give one of them a plain value")
        if name not in self.definitions:
            known = ", ".join(islice(self.definitions, 8))
            close = similar(name, self.definitions) if len(self.problems) < _MOST_GUESSES else ""
            hint = close or (f"defined are: {known}" if known else "define it under vars")
            self._fail(origin, f"the variable {name} is not defined", hint)
        self.variable(name, chain)
        if name in self.failed:
            raise _Failed  # reported where the variable is defined
        if chain:
            self.depth[chain[-1]] = max(self.depth.get(chain[-1], 0), self.depth.get(name, 0) + 1)
            # a variable that was computed earlier counts with its depth, so the order of definitions does not matter
            self._check_depth(self.depth[chain[-1]], origin)
        return self.values[name]

    def _check_depth(self, depth: int, origin: Origin) -> None:
        if depth > MAX_CHAIN:
            self._fail(origin, f"variables refer to each other more than {MAX_CHAIN} deep", "use fewer steps")

    def _fail(self, origin: Origin, message: str, hint: str) -> None:
        self.problems.append(Problem(origin, message, hint))
        raise _Failed
