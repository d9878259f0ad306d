"""cotune show: one transaction in full."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from cotune.cli.context import Cli, Line, command
from cotune.cli.history import state_word, summary_json
from cotune.errors import UsageError
from cotune.journal import Transaction
from cotune.planning import show_value


def register(app: typer.Typer) -> None:
    """Add the verb to the application."""

    @app.command()
    @command
    def show(
        cli: Cli, transaction: Annotated[str, typer.Argument(metavar="TXN", help="Number of the transaction.")]
    ) -> int:
        """Show one transaction: every value with its original, groups created, processes moved.

        Example:

            cotune show 7
        """
        with cli.session() as session:
            boot_id = session.host.boot_id
            found = next((t for t in session.journal.load() if t.id == transaction.zfill(6)), None)
        if found is None:
            raise UsageError(f"there is no transaction {transaction}", "cotune history lists them")
        record = {
            **summary_json(found, boot_id),
            "files": found.files,
            "entries": [
                {
                    "resource": entry.target.resource,
                    "knob": entry.target.knob,
                    "path": entry.target.path,
                    "row": entry.target.row,
                    "old": entry.old if entry.old is not None else entry.read,
                    "new": entry.new,
                    "origin": entry.origin,
                    "effect": entry.effect,
                    "implied": entry.implied,
                    "released": entry.released,
                }
                for entry in found.entries
            ],
            "created_groups": found.created,
            "moved_tasks": [{"pid": m.pid, "comm": m.comm, "from": m.origin_path, "to": m.path} for m in found.moves],
            "notes": found.notes,
            "left": found.left,
        }
        cli.emit("show", record, lambda: _lines(found, boot_id))
        return 0


def _lines(found: Transaction, boot_id: str) -> Iterator[Line]:
    from cotune.host.resctrl import in_resctrl

    name = f"{found.profile} {found.version}".strip()
    yield [("bold", f"transaction {found.id}"), ("", f"  {found.time}  {name}  {state_word(found, boot_id)}")]
    for path in found.created:
        yield [("green", f"  + {'resctrl' if in_resctrl(path) else 'cgroup'} {path}")]
    for entry in found.entries:
        old = show_value(entry.target, entry.old if entry.old is not None else entry.read)
        new = show_value(entry.target, entry.new)
        yield [("", f"  {entry.target.resource} {entry.target.knob}: {old} → {new}"), ("dim", f"  {entry.origin}")]
    for move in found.moves:
        kind = "thread" if move.file == "tasks" else "process"
        yield [("cyan", f"  > {kind} {move.pid} ({move.comm}): {move.origin_path} → {move.path}")]
    for note in found.notes:
        yield [("dim", f"  note: {note}")]
    for text in found.left:
        yield [("yellow", f"  ! left: {text}")]
