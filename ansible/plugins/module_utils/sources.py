# Copyright: the cotune authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The option ``profile`` of the modules: names and paths on the host, and profiles that were sent along."""

from __future__ import annotations

import json
import os
import tempfile
from typing import Any

from ansible_collections.cotune.host.plugins.module_utils.cli import Command

_FACTS = ("dialect", "cgroup_mode", "release")


def profile_sources(module: Any, command: Command, folder: str) -> tuple[list[str], dict[str, str]]:
    """What to call the profiles on a command line that runs in ``folder``, and the text of those written there."""
    given = module.params["profile"]
    if module.params.get("src"):
        module.fail_json(msg="src is read by an action plugin, which did not run")
    if given is None:
        return [], {}
    sources: list[str] = []
    sent: dict[str, str] = {}
    for number, entry in enumerate(given if isinstance(given, list) else [given], 1):
        entry = _chosen(module, command, entry)
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


def _chosen(module: Any, command: Command, entry: Any) -> Any:
    """What an entry that depends on the host stands for; any other entry as it is."""
    if not isinstance(entry, dict) or set(entry) != {"by", "of"}:
        return entry
    if entry["by"] not in _FACTS:
        module.fail_json(msg="profile: by: expected one of %s, found %r" % (", ".join(_FACTS), entry["by"]))
    found = command.run(["facts"])[entry["by"]]
    if found in entry["of"]:
        return entry["of"][found]
    if "default" in entry["of"]:
        return entry["of"]["default"]
    known = ", ".join(sorted(entry["of"]))
    return module.fail_json(
        msg="profile: the %s of this host is %s, and of has %s" % (entry["by"], found, known), outcome="unsupported"
    )


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
