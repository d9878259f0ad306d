"""cotune demo: the whole job on a simulated host."""

from __future__ import annotations

import io
import shutil
import tempfile
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cotune.cli.context import Cli, Line, command

if TYPE_CHECKING:
    from cotune.ledger import Owned

_KERNEL, _PROFILE = "anck-4.19", "online-offline"
_WIDTH = 96


def register(app: typer.Typer) -> None:
    """Add the verb to the application."""

    @app.command()
    @command
    def demo(
        cli: Cli,
        profile: Annotated[
            str, typer.Option("--profile", metavar="PROFILE", help="Rehearse this profile instead.")
        ] = _PROFILE,
        keep: Annotated[bool, typer.Option("--keep", help="Keep the simulated host to play with.")] = False,
    ) -> int:
        """Show the whole job on a simulated host: diff, apply, drift, status, why, mending, rollback.

        Takes seconds, needs no root and touches nothing of this machine. Every command shown is really run. Ends by
        checking that the simulated host reads as at the start; exit code 0 if every step behaved, else 1.

        Examples:

            cotune demo

            cotune demo --keep

            cotune demo --profile site.yaml --sim mainline-v1
        """
        from cotune.errors import UsageError
        from cotune.state import make_private

        if cli.options.root is not None:
            raise UsageError("demo works on a simulated host only", "leave out --root; --sim KERNEL picks another host")
        if cli.options.state_dir is not None:
            make_private(cli.options.state_dir)
        directory = Path(tempfile.mkdtemp(prefix="cotune-demo-", dir=cli.options.state_dir))
        rehearsal = _Rehearsal(cli, cli.options.sim or _KERNEL, profile, directory)
        try:
            rehearsal.run()
        finally:
            if not keep:
                shutil.rmtree(directory, ignore_errors=True)
        if keep:
            again = f"cotune --sim {rehearsal.kernel} --state-dir {directory} history"
            rehearsal.tell(f"The simulated host is kept: {again}")
        record = {
            "kernel": rehearsal.kernel,
            "profile": profile,
            "state_dir": str(directory) if keep else None,
            "steps": rehearsal.steps,
            "compared": rehearsal.compared,
            "ok": not rehearsal.wrong,
            "errors": rehearsal.wrong,
        }
        cli.emit("demo", record, lambda: _verdict(rehearsal.wrong))
        return 1 if rehearsal.wrong else 0


def _verdict(wrong: list[str]) -> Iterator[Line]:
    for text in wrong:
        yield [("red", f"! {text}")]
    yield [("bold red", "the demo did not go as it should")] if wrong else [("bold green", "every step behaved")]


@dataclass
class _Rehearsal:
    """One run. ``steps`` and ``wrong`` (what did not behave) are for the report."""

    cli: Cli
    kernel: str
    profile: str
    directory: Path
    steps: list[dict[str, Any]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    compared: int = 0

    def run(self) -> None:
        """All steps in order; after one that fails the rest would make no sense, except the check at the end."""
        before = self._begin()
        self.tell("What would the profile change? diff writes nothing; exit code 1 means that there are differences.")
        applied = self._step(1, "diff", self.profile) and self._apply()
        if applied:
            self._drift()
            self.tell("Undo: everything goes back to what it was before the profile first touched it.")
            self._step(0, "rollback", "--profile", self._name())
            self._step(0, "status")
        self._compare(before)

    def _begin(self) -> dict[str, str]:
        from cotune.snapshot import take
        from cotune.units import human_size

        with self._session() as session:
            host = session.host
            about = f"kernel {host.release}, {len(host.online)} CPUs, {human_size(host.mem_total)}"
            before = take(host.kernel)
        self.tell(
            f"This is a simulated host ({self.kernel}: {about}), kept in a temporary directory. Nothing of this "
            "machine is touched; each command below is really run."
        )
        return before

    def _apply(self) -> bool:
        self.tell("Apply it: one transaction, everything or nothing.")
        if not self._step(0, "apply", self.profile, brief=True):
            return False
        count = self._transactions()
        self.tell("Apply it again: what is right already is not written, and no transaction is made.")
        self._step(0, "apply", self.profile, brief=True)
        self._expect(self._transactions() == count, "the second apply made a transaction, though nothing had to change")
        return True

    def _drift(self) -> None:
        """A third party writes; status finds it, why explains it, apply mends it."""
        owned = self._victim()
        if owned is None:
            self.tell("The profile sets no value with a known original, so nobody is made to change one.")
            return
        target = owned.entry.target
        value = self._write(owned)
        self.tell(f"Now somebody else interferes: another agent writes {value} to {target.path}.")
        self._step(1, "status")
        place = target.resource.removeprefix("cgroup:") if target.resource != "sysctl" else target.knob
        self.tell("Whose value is it, where did it come from, and who changed it?")
        self._step(0, "why", place, *([] if target.resource == "sysctl" else [target.knob]))
        self.tell("Apply mends it: only what differs is written.")
        self._step(0, "apply", self.profile)
        self._step(0, "status")

    def _compare(self, before: dict[str, str]) -> None:
        from cotune.snapshot import differences, take

        with self._session() as session:
            after = take(session.host.kernel)
        self.compared = len(after)
        wrong = differences(before, after)
        self.wrong.extend(wrong[:10])
        if not wrong:
            self.tell(f"The simulated host reads as at the start: all {len(after)} files and directories are the same.")

    # --- doing things -----------------------------------------------------------------------------------------------

    def _session(self) -> Any:
        from cotune.session import open_session

        return open_session(None, self.directory, self.kernel)

    def _step(self, expected: int, *arguments: str, brief: bool = False) -> bool:
        """Run one command line as a user would; whether it ended with the expected exit code.

        ``brief`` shows the last line of the output only: the rest has been seen.
        """
        from cotune.cli.app import run

        options = [f"--sim={self.kernel}", f"--state-dir={self.directory}"]
        options += ["--no-color"] if self.cli.options.no_color else []
        self._show([[("bold", f"$ cotune {' '.join(arguments)}")]])
        output = io.StringIO()
        with ExitStack() as stack:
            if self.cli.options.json or brief:
                stack.enter_context(redirect_stdout(output))
            if self.cli.options.json:
                stack.enter_context(redirect_stderr(output))
            code = run([arguments[0], *options, *arguments[1:]])
        if brief:
            *hidden, last = output.getvalue().splitlines() or [""]
            self._show([*([[("dim", f"  … {len(hidden)} lines as above")]] if hidden else []), [("", last)]])
        step = {"command": list(arguments), "exit": code, "expected": expected, "output": output.getvalue()}
        self.steps.append(step)
        self._expect(code == expected, f"cotune {' '.join(arguments)}: exit code {code}, expected {expected}")
        return code == expected

    def _expect(self, condition: bool, otherwise: str) -> None:
        if not condition:
            self.wrong.append(otherwise)

    def _transactions(self) -> int:
        with self._session() as session:
            return len(session.journal.load())

    def _name(self) -> str:
        with self._session() as session:
            name: str = session.journal.load()[-1].profile
            return name

    def _victim(self) -> Owned | None:
        """A value for the third party to put back to what it was: the shares of a group if possible."""
        with self._session() as session:
            held = [owned for owned in session.ledger().held().values() if not owned.entry.effect]
        held.sort(key=lambda owned: (owned.entry.target.part != "shares", owned.entry.target.path))
        fitting = (
            owned
            for owned in held
            if owned.original not in (None, owned.entry.new) and owned.entry.target.control != "mount.ext4"
        )
        return next(fitting, None)

    def _write(self, owned: Owned) -> str:
        """The third party's write; returns the text."""
        from cotune.controls import CONTROLS

        target = owned.entry.target
        text = CONTROLS[target.control].format(target.part, owned.original or 0, target.row)
        with self._session() as session:
            session.host.kernel.write(target.path, text)
        return text

    # --- telling ----------------------------------------------------------------------------------------------------

    def tell(self, text: str) -> None:
        """A sentence of the narration."""
        rows = textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
        self._show([[], *([("cyan", row)] for row in rows)])

    def _show(self, lines: Iterable[Line]) -> None:
        if not self.cli.options.json:
            self.cli.print(lines)
