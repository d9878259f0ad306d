# Copyright: the cotune authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What cotune-apply.service applies at boot: files below /etc/cotune that the module keeps as they are wanted."""

from __future__ import annotations

import json
import os
import tempfile
from typing import Any

#: What the service passes to ``cotune apply``.
ENVIRONMENT = "/etc/cotune/apply.env"
#: Profiles that were sent along; no place where profiles are looked up by name.
FOLDER = "/etc/cotune/boot"
#: The files as they were before the last run that changed them.
RECORD = "/etc/cotune/boot.previous"


def wanted_files(module: Any, options: list[str], sources: list[str], sent: dict[str, str]) -> dict[str, str]:
    """Path → text of the files for ``sources``, of which ``sent`` (source → text) came with the module."""
    files: dict[str, str] = {}
    words = options + ["--"]
    for number, source in enumerate(sources, 1):
        if source in sent:
            path = os.path.join(FOLDER, "%d-%s" % (number, os.path.basename(source)))
            files[path] = sent[source]
            source = path
        words.append(source)
    for word in words:
        if not word or any(character.isspace() or character in "\"'\\$%" for character in word):
            module.fail_json(msg="boot: %r cannot stand in a unit of systemd: use other names" % word)
    files[ENVIRONMENT] = 'COTUNE_APPLY="%s"\n' % " ".join(words)
    return files


def keep(module: Any, files: dict[str, str], label: str) -> list[dict[str, str]]:
    """Make ``files`` all there is; returns what changed, as differences of Ansible. Writes nothing in check mode.

    What was there before the run ``label`` is recorded, so that a rollback of the run also holds after a reboot.
    """
    before = _present()
    differences = _differences(before, files)
    if differences and not module.check_mode:
        if not label or _recorded().get("label") != label:
            _replace(module, RECORD, json.dumps({"label": label, "files": before}) + "\n")
        _change(module, before, files)
    return differences


def restore(module: Any, label: str) -> list[dict[str, str]]:
    """Undo what :func:`keep` did for the run ``label``, if that was the last one to change anything."""
    record = _recorded()
    if not label or record.get("label") != label:
        return []
    before = _present()
    differences = _differences(before, record["files"])
    if not module.check_mode:
        _change(module, before, record["files"])
        os.unlink(RECORD)
    return differences


def _differences(before: dict[str, str], after: dict[str, str]) -> list[dict[str, str]]:
    return [
        {"before_header": path, "after_header": path, "before": before.get(path, ""), "after": after.get(path, "")}
        for path in sorted(set(before) | set(after))
        if before.get(path) != after.get(path)
    ]


def _change(module: Any, before: dict[str, str], after: dict[str, str]) -> None:
    for path in sorted(set(before) | set(after)):
        if path not in after:
            os.unlink(path)
        elif before.get(path) != after[path]:
            _replace(module, path, after[path])


def _recorded() -> dict[str, Any]:
    try:
        record = json.loads(_read(RECORD) or "{}")
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _present() -> dict[str, str]:
    """Path → text of the files there are."""
    try:
        names = os.listdir(FOLDER)
    except OSError:
        names = []
    texts = {path: _read(path) for path in [os.path.join(FOLDER, name) for name in names] + [ENVIRONMENT]}
    return {path: text for path, text in texts.items() if text is not None}


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return None


def _replace(module: Any, path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    fd, temporary = tempfile.mkstemp(dir=module.tmpdir)
    with os.fdopen(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
    module.atomic_move(temporary, path)
    os.chmod(path, 0o644)
