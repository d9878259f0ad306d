"""cotune profiles: the ready profiles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from cotune.cli.context import Cli, Line, command

if TYPE_CHECKING:
    from cotune.profile.load import ShippedProfile


def register(app: typer.Typer) -> None:
    """Add the verb to the application."""

    @app.command()
    @command
    def profiles(
        cli: Cli,
        action: Annotated[str | None, typer.Argument(metavar="show", help="The word show.")] = None,
        name: Annotated[str | None, typer.Argument(metavar="NAME", help="Name of a profile.")] = None,
    ) -> int:
        """List the profiles that come with cotune, or print one of them.

        Examples:

            cotune profiles

            cotune profiles show online-offline > site.yaml
        """
        from cotune.errors import UsageError
        from cotune.profile.load import list_profiles

        if action is None:
            shipped = list_profiles()
            cli.emit("profiles", {"profiles": [one._asdict() for one in shipped]}, lambda: _lines(shipped))
            return 0
        if action != "show" or name is None:
            given = " ".join(filter(None, (action, name)))
            hint = f"cotune profiles show {name or (action if action != 'show' else 'NAME')}"
            raise UsageError(f"cotune profiles takes nothing or: show NAME, not: {given}", hint)
        path, text = _read(name)
        record = {"name": name, "path": path, "text": text}
        cli.emit("profiles", record, lambda: ([("", row)] for row in text.splitlines()))
        return 0


def _read(name: str) -> tuple[str, str]:
    """Path and text of a profile by name. Raises UsageError."""
    from cotune.errors import UsageError
    from cotune.profile.files import read_file
    from cotune.profile.include import find_profile, known_names
    from cotune.profile.text import similar

    path = find_profile(name)
    if path is None:
        names = known_names()
        hint = similar(name, names, 0.5) or f"profiles: {', '.join(names)}"
        raise UsageError(f"there is no profile called {name}", hint)
    return path, read_file(path).decode("utf-8", "replace")


def _lines(shipped: tuple[ShippedProfile, ...]) -> Iterator[Line]:
    width = max((len(one.name) for one in shipped), default=0)
    for one in shipped:
        yield [("bold", f"{one.name:<{width}}"), ("", f"  {one.description}")]
    yield [("dim", "cotune profiles show NAME prints one; cotune diff NAME compares it with this host")]
