"""Options that several verbs take, and what they stand for."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cotune.cli import context

if TYPE_CHECKING:
    from viewfs.static import StaticFiles

MountedAt = Annotated[Path, typer.Option("--mount", metavar="MNT", help="Where the views are mounted.")]


def point_of(mount: Path) -> str:
    """The mount point as the service records it: without symbolic links."""
    return os.path.realpath(mount)


def static_files(mount: str, directory: Path) -> StaticFiles:
    """The plain files of the service mounted there, whose records are in ``directory``."""
    from viewfs.service import policies_at
    from viewfs.static import StaticFiles

    return StaticFiles(directory, policies_at(mount, directory).of)


command = partial(context.command, host=False)
