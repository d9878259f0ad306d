"""cotune rollback: undo transactions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from cotune.cli.context import Cli, Line, command
from cotune.cli.options import need_words, parse_wait
from cotune.errors import UsageError
from cotune.journal import COMMITTED, Transaction
from cotune.planning import show_value
from cotune.recover import Recovered
from cotune.undo import UndoResult
from cotune.units import count


def register(app: typer.Typer) -> None:
    """Add the verb to the application."""

    @app.command()
    @command
    def rollback(
        cli: Cli,
        transaction: Annotated[
            str | None, typer.Argument(metavar="TXN", help="Number of the transaction; the newest if left out.")
        ] = None,
        profile: Annotated[
            str | None,
            typer.Option("--profile", metavar="NAME", help="Back to before this profile was first applied."),
        ] = None,
        label: Annotated[
            str | None, typer.Option("--label", metavar="RUN", help="Every transaction with this label.")
        ] = None,
        dry_run: Annotated[
            bool, typer.Option("--dry-run", help="Only show; exit 1 when something would be undone.")
        ] = False,
        force: Annotated[
            bool, typer.Option("--force", help="Also overwrite values that somebody else has set since.")
        ] = False,
        wait: Annotated[
            str | None, typer.Option("--wait", metavar="DURATION", help="Wait for the lock, e.g. 30s.")
        ] = None,
    ) -> int:
        """Put back what was there before, newest transaction first.

        Without arguments: the newest transaction still in force; again: the next older one. A value that
        somebody else has changed since is left alone and named (exit 5).

        Examples:

            cotune rollback

            cotune rollback 7

            cotune rollback --profile online-offline

            cotune rollback --label run-2026-11-30
        """
        from cotune.recover import recover_cut_off
        from cotune.rollback import Selection, preview
        from cotune.rollback import rollback as roll
        from cotune.session import timestamp

        if sum(value is not None for value in (transaction, profile, label)) > 1:
            raise UsageError("name a transaction, --profile or --label, not several", "see cotune rollback --help")
        need_words(("--profile", profile), ("--label", label))
        selection = Selection(transaction, profile, label)
        if dry_run:
            with cli.session() as session:
                chosen, result = preview(session.host, session.journal, selection, force)
                cut_off = [Recovered(t, "to be ended first", [], 0) for t in session.journal.load() if t.cut_off]
            _emit(cli, chosen, result, cut_off, done=False)
            return 1 if chosen or cut_off else 0
        with cli.session() as session, session.state.locked(parse_wait(wait)):
            session.journal.clean()
            recovered = recover_cut_off(session.host, session.journal, timestamp)
            if _fulfilled(recovered, transaction, profile or label):
                chosen, result = [], UndoResult([], [], [], [])
            else:
                chosen, result = roll(session.host, session.journal, selection, timestamp, force)
        if not chosen and not recovered:
            result.notes.extend(_none(profile, label))
        result.left.extend(text for one in recovered for text in one.left)
        _emit(cli, chosen, result, recovered, done=True)
        return 5 if result.left else 0


def _emit(cli: Cli, chosen: list[Transaction], result: UndoResult, recovered: list[Recovered], done: bool) -> None:
    cli.emit("rollback", _record(chosen, result, recovered), lambda: _lines(chosen, result, recovered, done))


def _fulfilled(recovered: list[Recovered], transaction: str | None, several: str | None) -> bool:
    """Whether undoing what a crash cut off was the very thing asked for: the newest transaction, or this one."""
    undone = [one.transaction.id for one in recovered if one.transaction.state != COMMITTED]
    return bool(undone) and not several and (transaction is None or transaction.zfill(6) in undone)


def _none(profile: str | None, label: str | None) -> Iterator[str]:
    """Why there is nothing to undo: a host that had nothing to do has no transaction of a run either."""
    if profile is not None:
        yield f"no transaction of the profile {profile} is in force"
    if label is not None:
        yield f"no transaction with the label {label} is in force"


def _record(chosen: list[Transaction], result: UndoResult, recovered: list[Recovered]) -> dict[str, Any]:
    return {
        "transactions": [{"transaction": one.id, "profile": one.profile, "state": one.state} for one in chosen],
        "recovered": [{"transaction": one.transaction.id, "outcome": one.outcome} for one in recovered],
        "restored": [
            {
                "resource": entry.target.resource,
                "knob": entry.target.knob,
                "path": entry.target.path,
                "value": entry.new,
            }
            for entry in result.restored
        ],
        "removed": result.removed,
        "left": result.left,
        "notes": result.notes,
        "errors": list(result.left),
    }


def _lines(chosen: list[Transaction], result: UndoResult, recovered: list[Recovered], done: bool) -> Iterator[Line]:
    from cotune.host.resctrl import in_resctrl

    for one in recovered:
        yield [("bold", f"transaction {one.transaction.id}, cut off by a crash, is {'now ' * done}{one.outcome}")]
    if not chosen and not recovered:
        yield [("bold", ": ".join(("nothing to roll back", *result.notes)))]
        return
    for transaction in chosen:
        name = f"{transaction.profile} {transaction.version}".strip()
        yield [("bold", f"transaction {transaction.id} ({name})")]
    for entry in result.restored:
        yield [
            ("magenta", f"  < {entry.target.resource} {entry.target.knob}"),
            ("", f" → {show_value(entry.target, entry.new)}"),
        ]
    for path in result.removed:
        yield [("red", f"  - {'resctrl' if in_resctrl(path) else 'cgroup'} {path}")]
    for note in result.notes:
        yield [("dim", f"  note: {note}")]
    for text in result.left:
        yield [("yellow", f"  ! left: {text}")]
    if chosen:
        will = "" if done else "to be "
        values, groups = count(len(result.restored), "value"), count(len(result.removed), "group")
        text = f"{values} {will}put back, {groups} {will}removed, {len(result.left)} {will}left as found"
        yield [("bold", text)]
