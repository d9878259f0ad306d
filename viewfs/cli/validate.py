"""viewfs validate: check a file of policies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cotune.cli.context import Cli
from viewfs.cli.options import command
from viewfs.policy import DEFAULT_PATH


def register(app: typer.Typer) -> None:
    """Add the verb to the application."""

    @app.command()
    @command
    def validate(
        cli: Cli,
        file: Annotated[Path, typer.Argument(metavar="FILE", help="The file of policies.")] = Path(DEFAULT_PATH),
    ) -> int:
        """Check a file of policies: its form, its keys and its patterns. Looks at no container.

        A service reads the file when it starts.

        Examples:

            viewfs validate

            viewfs validate views.yaml --json
        """
        from viewfs.policy import load_policies

        rules = len(load_policies(str(file)).rules)
        text = f"{file}: valid, {rules} rule{'' if rules == 1 else 's'} beside the default"
        cli.emit("views.validate", {"valid": True, "rules": rules, "errors": []}, lambda: [[("bold", text)]])
        return 0
