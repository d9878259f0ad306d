"""Which variables a piece of a script could set."""

from __future__ import annotations

import re
from collections.abc import Collection

from cotune.importing.shell import Arithmetic, Block, Chain, Choice, Command, For, If, Simple


def assigned_names(source: Collection[Chain]) -> set[str]:
    """The variables that running ``source`` could set."""
    names: set[str] = set()
    for chain in source:
        for pipeline in (chain.first, *(pipeline for _, pipeline in chain.rest)):
            for command in pipeline.commands:
                names |= _assigned(command)
    return names


def _assigned(command: Command) -> set[str]:
    if isinstance(command, Simple):
        names = {assignment.name for assignment in command.assignments}
        plain = [word.plain or "" for word in command.words]
        return names | (set(plain[1:]) if plain[:1] in (["read"], ["let"], ["unset"]) else set())
    if isinstance(command, If):
        bodies = [*(chains for branch in command.branches for chains in branch), command.otherwise]
        return set().union(*map(assigned_names, bodies))
    if isinstance(command, For):
        return {command.name} | assigned_names(command.body)
    if isinstance(command, Choice):
        return set().union(*map(assigned_names, command.bodies))
    if isinstance(command, Block):
        return set() if command.own_shell else assigned_names(command.body)
    if isinstance(command, Arithmetic):
        return set(re.findall(r"[A-Za-z_]\w*", command.text))
    return set()
