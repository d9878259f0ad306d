"""cotune capture: a profile from the host as it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from cotune.cli.context import Cli, Line, command
from cotune.units import count


def register(app: typer.Typer) -> None:
    """Add the verb to the application."""

    @app.command()
    @command
    def capture(
        cli: Cli,
        cgroup: Annotated[
            list[str] | None,
            typer.Option("--cgroup", metavar="GLOB", help="Cgroups to capture; the top-level ones if left out."),
        ] = None,
        sysctl: Annotated[
            list[str] | None,
            typer.Option("--sysctl", metavar="NAME", help="Also a sysctl; 'all' for every one cotune knows."),
        ] = None,
        block: Annotated[bool, typer.Option("--block", help="Also the queues of all disks.")] = False,
        mounts: Annotated[bool, typer.Option("--mounts", help="Also ext4 options that are not the default.")] = False,
        name: Annotated[str, typer.Option("--name", metavar="NAME", help="Name of the profile.")] = "captured",
        output: Annotated[
            Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to FILE, not standard output.")
        ] = None,
        force: Annotated[bool, typer.Option("--force", help="Overwrite FILE.")] = False,
    ) -> int:
        """Write a profile from the host as it is. Reads only.

        Holds what differs from a fresh cgroup, in readable units, with the file each value came from. A diff of it
        against the same host is empty.

        Examples:

            cotune capture

            cotune capture --cgroup 'kubepods*/**' --sysctl all --block --mounts -o host.yaml

            cotune capture --sysctl vm.swappiness --sysctl kernel.pid_max
        """
        from cotune import __version__
        from cotune.capture import Wish, profile_text
        from cotune.capture import capture as run
        from cotune.session import timestamp
        from cotune.yamltext import bare

        _check_name(name)
        if output is not None:
            _check_output(output, force)
        with cli.session() as session:
            wish = Wish(name, tuple(cgroup or ()), tuple(sysctl or ()), block, mounts)
            captured = run(session.host, wish)
            text = profile_text(session.host, captured, timestamp(), __version__)
        if output is not None:
            _write(output, text, force)
        for line in captured.left_out:
            cli.note(f"left out: {line}")
        record = {
            "file": str(output) if output else None,
            "groups": captured.groups,
            "left_out": captured.left_out,
            "profile": bare(captured.data),
            "yaml": text,
        }
        cli.emit("capture", record, lambda: _written(output, captured.groups) if output else _text(text))
        return 0


def _text(text: str) -> Iterator[Line]:
    for line in text.splitlines():
        code, mark, comment = line.partition("  # ") if not line.startswith("#") else ("", "", line)
        yield [("", code), ("dim", mark + comment)]


def _written(output: Path, groups: list[str]) -> Iterator[Line]:
    names = f": {', '.join(groups)}" if groups else ""
    yield [("bold", f"{output}"), ("", f" holds {count(len(groups), 'group')}{names}")]
    yield [("dim", f"check it with: cotune diff {output}")]


def _check_name(name: str) -> None:
    """Raises UsageError for what cannot be the name of a profile."""
    import re

    from cotune.errors import UsageError
    from cotune.profile.schema import PATTERNS, PROFILE_NAME

    if not re.fullmatch(PROFILE_NAME, name):
        raise UsageError(f"--name {name}: expected {PATTERNS[f'^{PROFILE_NAME}$']}", "for example --name captured")


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
    except FileExistsError:
        _check_output(output, force)
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}", "name a file in a writable folder") from None
