# Copyright: the cotune authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The option ``profile`` of the modules: names and paths on the host, and profiles that were sent along."""

from __future__ import annotations

import json
import os
import tempfile
from typing import Any


def profile_sources(module: Any, folder: str) -> tuple[list[str], dict[str, str]]:
    """What to call the profiles on a command line that runs in ``folder``, and the text of those written there."""
    given = module.params["profile"]
    if module.params.get("src"):
        module.fail_json(msg="src is read by an action plugin, which did not run")
    if given is None:
        return [], {}
    sources: list[str] = []
    sent: dict[str, str] = {}
    for number, entry in enumerate(given if isinstance(given, list) else [given], 1):
        if isinstance(entry, str):
            sources.append(os.path.abspath(os.path.expanduser(entry)) if is_path(entry) else entry)
        elif isinstance(entry, dict):
            name, text = _inline(module, entry, number)
            sources.append(_write(folder, name, text))
            sent[sources[-1]] = text
        else:
            module.fail_json(msg="profile: expected a text or a mapping, found %r" % (entry,))
    if not sources:
        module.fail_json(msg="profile: the list is empty")
    return sources, sent


def is_path(text: str) -> bool:
    """Whether a profile is named by its path, rather than by its name."""
    return "/" in text or text.endswith((".yaml", ".yml"))


def _inline(module: Any, entry: dict[str, Any], number: int) -> tuple[str, str]:
    """Name and text of a profile that was sent along."""
    name = "profile-%d.yaml" % number
    if set(entry) == {"src"}:
        module.fail_json(msg="profile: src is read by an action plugin, which did not run")
    if "content" in entry and set(entry) <= {"name", "content"}:
        return os.path.basename(entry.get("name") or name), entry["content"]
    # JSON is YAML, and Python's own: the host may have no YAML library
    return name, json.dumps(entry, indent=1, ensure_ascii=False) + "\n"


def _write(folder: str, name: str, text: str) -> str:
    """Write a file into ``folder``; returns its name there. Files of one name are kept apart by folders."""
    if os.path.exists(os.path.join(folder, name)):
        name = os.path.join(os.path.basename(tempfile.mkdtemp(dir=folder)), name)
    fd = os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
    return name
