"""cotune validate: check profiles without a host."""

from __future__ import annotations

from collections.abc import Iterator

import typer

from cotune.cli.context import Cli, Line, command
from cotune.cli.options import Profiles
from cotune.errors import Problem


def register(app: typer.Typer) -> None:
    """Add the verb to the application."""

    @app.command()
    @command
    def validate(cli: Cli, profiles: Profiles) -> int:
        """Check profiles: format, keys, values, includes and variables. Needs no host.

        Examples:

            cotune validate site.yaml

            cotune validate base.yaml site.yaml --json
        """
        from cotune.profile.load import load_profile

        profile = load_profile(profiles)
        record = {
            "valid": True,
            "name": profile.name,
            "version": profile.version,
            "files": list(profile.files),
            "warnings": [_problem(warning) for warning in profile.warnings],
            "errors": [],
        }

        def lines() -> Iterator[Line]:
            for warning in profile.warnings:
                yield [("yellow", f"warning: {warning}")]
            yield [("green", "valid"), ("", f": {profile.name} {profile.version}, from {', '.join(profile.files)}")]

        cli.emit("validate", record, lines)
        return 0


def _problem(problem: Problem) -> dict[str, str]:
    return {"where": str(problem.origin), "path": problem.origin.path, "message": problem.message, "hint": problem.hint}
