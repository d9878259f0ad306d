"""Options that several verbs take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

MountedAt = Annotated[Path, typer.Option("--mount", metavar="MNT", help="Where the views are mounted.")]
