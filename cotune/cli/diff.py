"""cotune diff: what apply would do."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from cotune.cli.context import Cli, command
from cotune.cli.options import (
    AllowIrreversible,
    AllowOom,
    Force,
    NoTakeover,
    Only,
    Pids,
    Profiles,
    Strict,
    consents,
    parse_pids,
)


class Format(StrEnum):
    """How the differences are printed."""

    grouped = "grouped"
    unified = "unified"


def register(app: typer.Typer) -> None:
    """Add the verb to the application."""

    @app.command()
    @command
    def diff(
        cli: Cli,
        profiles: Profiles,
        explain: Annotated[bool, typer.Option("--explain", help="Say where each value comes from.")] = False,
        format: Annotated[Format, typer.Option("--format", help="How to print the differences.")] = Format.grouped,
        only: Only = None,
        pid: Pids = None,
        strict: Strict = False,
        no_takeover: NoTakeover = False,
        force: Force = False,
        allow_oom: AllowOom = False,
        allow_irreversible: AllowIrreversible = False,
    ) -> int:
        """Show what apply would change. Writes nothing.

        Exit code 0: no difference, 1: differences.

        Examples:

            cotune diff online-offline

            cotune diff base.yaml site.yaml --explain

            cotune diff --sim anck-4.19 online-offline --json
        """
        from cotune.planning import Options, make_plan
        from cotune.profile.load import load_profile
        from cotune.report import plan_json, plan_lines, unified_lines

        profile = load_profile(profiles)
        flags = consents(force, allow_oom, allow_irreversible)
        options = Options(tuple(only or ()), parse_pids(pid), strict, not no_takeover, flags=flags)
        with cli.session() as session:
            transactions = session.journal.load()
            from cotune.ledger import Ledger

            plan = make_plan(profile, session.host, Ledger(transactions, session.host.boot_id), options)
        for transaction in transactions:
            if transaction.cut_off:
                cli.note(f"note: transaction {transaction.id} was cut off by a crash: run cotune recover")
        title = f"{profile.name} {profile.version}".strip()
        cli.emit(
            "diff",
            plan_json(plan),
            lambda: unified_lines(plan, title) if format is Format.unified else plan_lines(plan, explain),
        )
        return 1 if plan.changes or (strict and plan.pending) else 0
