# Copyright: the cotune authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What cotune-apply.service applies at boot: files below /etc/cotune that the module keeps as they are wanted."""

from __future__ import annotations

import os
import tempfile
from typing import Any

#: What the service passes to ``cotune apply``.
ENVIRONMENT = "/etc/cotune/apply.env"
#: Profiles that were sent along; no place where profiles are looked up by name.
FOLDER = "/etc/cotune/boot"


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


def keep(module: Any, files: dict[str, str]) -> list[dict[str, str]]:
    """Make ``files`` all there is; returns what changed, as differences of Ansible. Writes nothing in check mode."""
    differences = []
    for path in sorted(set(files) | set(_present())):
        before, after = _read(path), files.get(path)
        if before == after:
            continue
        differences.append({"before_header": path, "after_header": path, "before": before or "", "after": after or ""})
        if module.check_mode:
            continue
        if after is None:
            os.unlink(path)
        else:
            _replace(module, path, after)
    return differences


def _present() -> list[str]:
    try:
        names = os.listdir(FOLDER)
    except OSError:
        names = []
    paths = [os.path.join(FOLDER, name) for name in names]
    return paths + [path for path in (ENVIRONMENT,) if os.path.exists(path)]


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return None


def _replace(module: Any, path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    fd, temporary = tempfile.mkstemp(dir=module.tmpdir)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
    module.atomic_move(temporary, path)
    os.chmod(path, 0o644)
