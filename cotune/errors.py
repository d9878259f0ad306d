"""One exception class per exit code.

Every error a person can meet is a :class:`CotuneError`: a message that says where and what, a ``hint`` that says
how to mend it, and the exit code of the command it ends. The only place that turns one into an exit status is
``cotune/cli/__main__.py``.
"""

from __future__ import annotations

from typing import NamedTuple


class Origin(NamedTuple):
    """Where in which file a value was written. ``line`` and ``column`` count from 1; 0 means unknown."""

    file: str
    line: int = 0
    column: int = 0
    path: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


class Problem(NamedTuple):
    """One thing wrong in a profile: where, what, and what was expected or how to mend it."""

    origin: Origin
    message: str
    hint: str = ""

    def __str__(self) -> str:
        where = f"{self.origin}: " + (f"{self.origin.path}: " if self.origin.path else "")
        return where + self.message + (f" ({self.hint})" if self.hint else "")


class CotuneError(Exception):
    """Base of all errors that are reported without a traceback."""

    exit_code = 70

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(CotuneError):
    """The command line, a profile or a file it names is wrong."""

    exit_code = 2


class ProfileError(UsageError):
    """A profile has one or more problems; ``problems`` holds them in the order of the file."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(p) for p in problems))
        self.problems = problems


class PlanRefused(UsageError):
    """The plan itself is refused: an exclusion, a tie between groups, a bound, a takeover that was forbidden."""


class Unsupported(CotuneError):
    """Something the profile requires does not exist on this kernel or host."""

    exit_code = 3


class ApplyFailed(CotuneError):
    """The kernel refused a step; everything written before it was undone."""

    exit_code = 4


class RollbackIncomplete(CotuneError):
    """Some values or groups could not be put back; ``left`` names them."""

    exit_code = 5

    def __init__(self, message: str, hint: str = "", left: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint)
        self.left = left


class Locked(CotuneError):
    """Another run holds the lock."""

    exit_code = 6


class NotPermitted(CotuneError):
    """The caller lacks the privilege a step needs."""

    exit_code = 7


class Interrupted(CotuneError):
    """A signal asked the command to stop."""

    exit_code = 130
