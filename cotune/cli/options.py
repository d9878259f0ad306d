"""Arguments and options that several verbs take."""

from __future__ import annotations

from typing import Annotated

import typer

from cotune.errors import UsageError

Profiles = Annotated[
    list[str], typer.Argument(metavar="PROFILE...", help="Profile files or names; several merge left to right.")
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only", metavar="GLOB", help="Only resources matching GLOB, as diff names them, e.g. 'cgroup:off*'."
    ),
]
Pids = Annotated[
    list[str] | None,
    typer.Option("--pid", metavar="GROUP=PID", help="Also move a process into a group of the profile."),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Fail when something is unsupported or pending, instead of reporting it.")
]
NoTakeover = Annotated[
    bool, typer.Option("--no-takeover", help="Refuse (exit 2) to take over values another profile owns.")
]

Force = Annotated[
    bool, typer.Option("--force", help="Allow what a bound refuses, such as a limit under the current usage.")
]
AllowOom = Annotated[
    bool, typer.Option("--allow-oom", help="Let the kernel kill where a memory limit is lowered below the usage.")
]
AllowIrreversible = Annotated[
    bool, typer.Option("--allow-irreversible", help="Allow changes that no rollback can undo.")
]


def consents(force: bool, allow_oom: bool, allow_irreversible: bool) -> frozenset[str]:
    """The names of the given options, as plans ask for them."""
    given = {"force": force, "allow-oom": allow_oom, "allow-irreversible": allow_irreversible}
    return frozenset(name for name, value in given.items() if value)


def need_words(*options: tuple[str, str | None]) -> None:
    """Raises UsageError for an option given without text, as by a script whose variable is not set."""
    for option, value in options:
        if value is not None and not value.strip():
            raise UsageError(f"{option} is empty", f"name one, or leave {option} out")


def parse_pids(words: list[str] | None) -> dict[str, list[int]]:
    """Group name → processes, from ``GROUP=PID`` words. Raises UsageError."""
    pids: dict[str, list[int]] = {}
    for word in words or []:
        group, separator, number = word.partition("=")
        if not separator or not group or not number.isdecimal():
            raise UsageError(f"--pid {word}: expected GROUP=PID", "for example --pid offline=10080")
        pids.setdefault(group, []).append(int(number))
    return pids


def parse_wait(text: str | None) -> float:
    """Seconds of a ``--wait`` duration. Raises UsageError."""
    from cotune.units import parse_duration

    if text is None:
        return 0.0
    try:
        return parse_duration(text) / 1e6
    except ValueError as error:
        raise UsageError(f"--wait {text}: expected {error}", "for example --wait 30s") from None
