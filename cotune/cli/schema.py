"""cotune schema: the profile format for editors and other programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from cotune.cli.context import Cli, command


def register(app: typer.Typer) -> None:
    """Add the verb to the application."""

    @app.command()
    @command
    def schema(
        cli: Cli,
        output: Annotated[
            Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to FILE, not standard output.")
        ] = None,
    ) -> int:
        """Print the JSON Schema (draft 2020-12) of profiles.

        Editors that speak YAML language server use it when a profile begins with the line
        "# yaml-language-server: $schema=FILE".

        Examples:

            cotune schema

            cotune schema -o /etc/cotune/profile.schema.json
        """
        from cotune.errors import UsageError
        from cotune.profile.schema import schema as build

        document = build()
        text = json.dumps(document, indent=2, ensure_ascii=False)
        if output is not None:
            try:
                output.write_text(text + "\n", encoding="utf-8")
            except OSError as error:
                hint = "name a file in a writable folder"
                raise UsageError(f"{output} cannot be written: {error.strerror}", hint) from None
        record = {"file": str(output) if output else None, "json_schema": document}
        cli.emit("schema", record, lambda: [[("bold", f"{output}"), ("", " written")]] if output else [[("", text)]])
        return 0
