"""cotune selftest: what this kernel really does with its cgroup files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cotune.cli.context import Cli, command

if TYPE_CHECKING:
    from cotune.selftest.runner import Result, Wish


def register(app: typer.Typer) -> None:
    """Add the verb to the application."""

    @app.command()
    @command
    def selftest(
        cli: Cli,
        below: Annotated[
            str | None,
            typer.Option("--below", metavar="GROUP", help="Make the scratch groups in GROUP, not at the root."),
        ] = None,
        areas: Annotated[
            list[str] | None,
            typer.Option("--area", metavar="NAME", help="Only a controller, 'cgroup' (the core of v2) or 'host'."),
        ] = None,
        irreversible: Annotated[
            bool, typer.Option("--irreversible", help="Also probe files whose values cannot be taken back.")
        ] = False,
        transcript: Annotated[
            Path | None, typer.Option("--record", metavar="FILE", help="Write every operation and its result to FILE.")
        ] = None,
        force: Annotated[bool, typer.Option("--force", help="Overwrite FILE.")] = False,
    ) -> int:
        """Probe what this kernel does with its cgroup files, in scratch groups, and compare it with what is known.

        Writes only in groups of its own, cotune-selftest-*, and removes them. Files of the whole host are only read.
        -v also lists what was left out.

        Exit code 0: all as known; 1: something differs; 3: no cgroup hierarchy can be used; 7: none may be used.

        Examples:

            cotune selftest

            cotune selftest --record this-kernel.json

            cotune selftest --sim mainline-v1 --json
        """
        from cotune.selftest import report
        from cotune.selftest.runner import Wish, run

        if transcript is not None:
            _check_output(transcript, force)
        wish = Wish(_clean(below), irreversible, _areas(areas))
        with cli.session() as session:
            host = session.host
            result = run(host, wish)
            kernel = {"kernel": host.kernel.name, "release": host.release, "cgroup_mode": host.layout.mode}
        _check_probed(result, wish)
        if transcript is not None:
            _write(transcript, report.transcript(result), force)
        record = {**kernel, **report.record(result), "record": str(transcript) if transcript else None}
        cli.emit(
            "selftest",
            record,
            lambda: [
                [("bold", f"kernel {kernel['release']}, cgroup {kernel['cgroup_mode']}")],
                *report.lines(result, cli.options.verbose),
                *([[("", f"recorded in {transcript}")]] if transcript else []),
            ],
        )
        return 1 if report.differing(result) else 0


def _clean(below: str | None) -> str | None:
    """The group path without slashes at its ends. Raises UsageError for one that leads upwards."""
    from cotune.errors import UsageError
    from cotune.host.cgroups import clean_group

    if below is not None and ".." in below.split("/"):
        raise UsageError(f"--below {below}: a group path may not contain ..", "name it from the root of the hierarchy")
    return clean_group(below) if below is not None else None


def _areas(names: list[str] | None) -> frozenset[str]:
    """Raises UsageError for an area that no probe belongs to."""
    from cotune.errors import UsageError
    from cotune.selftest.runner import AREAS

    unknown = sorted(set(names or ()) - set(AREAS))
    if unknown:
        raise UsageError(f"--area {unknown[0]}: no probe belongs to it", f"one of {', '.join(AREAS)}")
    return frozenset(names or ())


def _check_probed(result: Result, wish: Wish) -> None:
    """Raises Unsupported or NotPermitted when not one hierarchy took a scratch group."""
    from cotune.errors import NotPermitted, Unsupported

    if result.probed or wish.areas == {"host"}:
        return
    if not result.refused:
        what = f"no cgroup hierarchy of {', '.join(sorted(wish.areas))}" if wish.areas else "no cgroup hierarchy"
        raise Unsupported(f"{what} is mounted here", "mount one, or try cotune selftest --sim mainline-v1")
    reasons = "; ".join(result.refused)
    if result.forbidden:
        hint = "run as root, or name a group that is delegated to you with --below"
        raise NotPermitted(f"no scratch group can be made: {reasons}", hint)
    raise Unsupported(
        f"no scratch group can be made: {reasons}", "name another group with --below" if wish.below is not None else ""
    )


def _check_output(output: Path, force: bool) -> None:
    from cotune.errors import UsageError

    if output.exists() and not force:
        raise UsageError(f"{output} exists already", "pass --force to overwrite it, or name another file")


def _write(output: Path, text: str, force: bool) -> None:
    """Write a new file, or replace one with ``force``. Raises UsageError."""
    from cotune.errors import UsageError

    try:
        with open(output, "w" if force else "x", encoding="utf-8") as file:
            file.write(text)
        output.chmod(0o644)
    except FileExistsError:
        _check_output(output, force)
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}", "name a file in a writable folder") from None
