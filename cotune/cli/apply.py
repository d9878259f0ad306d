"""cotune apply: bring the host to what a profile wants."""

from __future__ import annotations

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
    need_words,
    parse_pids,
    parse_wait,
)


def register(app: typer.Typer) -> None:
    """Add the verb to the application."""

    @app.command()
    @command
    def apply(
        cli: Cli,
        profiles: Profiles,
        dry_run: Annotated[
            bool, typer.Option("--dry-run", help="Only show; exit 1 when something would change.")
        ] = False,
        only: Only = None,
        pid: Pids = None,
        label: Annotated[
            str | None, typer.Option("--label", metavar="RUN", help="Name this run, for rollback --label.")
        ] = None,
        wait: Annotated[
            str | None, typer.Option("--wait", metavar="DURATION", help="Wait for the lock, e.g. 30s.")
        ] = None,
        strict: Strict = False,
        no_takeover: NoTakeover = False,
        force: Force = False,
        allow_oom: AllowOom = False,
        allow_irreversible: AllowIrreversible = False,
    ) -> int:
        """Apply profiles as one transaction: everything or nothing.

        Values that are right already are not written. What the kernel refuses undoes the whole transaction.

        Examples:

            cotune apply online-offline

            cotune apply --dry-run base.yaml site.yaml

            cotune apply online-offline --pid offline=10080 --label rollout-7
        """
        from cotune.apply import apply as apply_profile
        from cotune.planning import Options, make_plan
        from cotune.profile.load import load_profile
        from cotune.report import plan_json, plan_lines
        from cotune.session import timestamp

        need_words(("--label", label))
        profile = load_profile(profiles)
        for warning in profile.warnings:
            cli.note(f"warning: {warning}")
        flags = consents(force, allow_oom, allow_irreversible)
        options = Options(tuple(only or ()), parse_pids(pid), strict, not no_takeover, label or "", flags)
        with cli.session() as session:
            if dry_run:
                plan = make_plan(profile, session.host, session.ledger(), options)
                cli.emit("apply", plan_json(plan), lambda: plan_lines(plan))
                return 1 if plan.changes or (strict and plan.pending) else 0
            with session.state.locked(parse_wait(wait)), cli.progress("applying") as progress:
                result = apply_profile(profile, session.host, session.journal, options, timestamp, progress)
        for note in result.notes:
            cli.note(f"note: {note}")
        record = plan_json(result.plan, result.transaction)
        record["notes"] = [*result.notes, *record["notes"]]
        cli.emit("apply", record, lambda: plan_lines(result.plan, done=True))
        if result.transaction:
            again = " ".join(["cotune", *cli.options.words(), "rollback", result.transaction])
            cli.note(f"transaction {result.transaction}; undo it with: {again}")
        return 0
