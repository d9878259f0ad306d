"""Where the data folders are that travel with the program: the ready profiles and the Ansible collection.

A wheel carries them as ``cotune/_data/…``. A checkout or an editable install has no ``_data``: there they are the
folders at the root of the repository.
"""

from __future__ import annotations

from pathlib import Path

from cotune.errors import CotuneError

_PACKAGE = Path(__file__).resolve().parent


def profiles_dir() -> Path:
    """The folder that holds the ready profiles (``*.yaml``)."""
    return _find("profiles")


def collection_dir() -> Path:
    """The folder that holds the Ansible collection."""
    return _find("ansible")


def _find(name: str) -> Path:
    installed = _PACKAGE / "_data" / name
    if installed.is_dir():
        return installed
    root = _PACKAGE.parent
    # A folder of that name next to an installed package would be somebody else's: only a source tree counts.
    if (root / "pyproject.toml").is_file() and (root / name).is_dir():
        return root / name
    raise CotuneError(
        f"this installation of cotune lacks its {name} folder (looked for {installed} and {root / name})",
        hint="install cotune again from a complete wheel or source tree",
    )
