# Copyright: the cotune authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Controller's side of the option ``profile``: files of the controller are sent along with a module."""

from __future__ import annotations

import os
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase


class SendsProfiles(ActionBase):
    """An action that replaces ``src`` by the text of the file."""

    TRANSFERS_FILES = False

    def with_profiles(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The arguments for the module. Raises AnsibleActionFail."""
        arguments = dict(arguments)
        src = arguments.pop("src", None)
        if src is not None and arguments.get("profile") is not None:
            raise AnsibleActionFail("profile and src exclude each other")
        given = {"src": src} if src is not None else arguments.get("profile")
        if given is not None:
            entries = given if isinstance(given, list) else [given]
            found = [self._resolved(entry) for entry in entries]
            arguments["profile"] = found if isinstance(given, list) else found[0]
        return arguments

    def _resolved(self, entry: Any) -> Any:
        if _is_file(entry):
            return self._read(entry["src"])
        if isinstance(entry, dict) and set(entry) == {"by", "of"} and isinstance(entry["of"], dict):
            return dict(entry, of={value: self._resolved(one) for value, one in entry["of"].items()})
        return entry

    def _read(self, src: str) -> dict[str, str]:
        """The text of a file of the controller, decrypted where it is a vault."""
        try:
            path = self._find_needle("files", src)
            readable = self._loader.get_real_file(path)
            try:
                with open(readable, encoding="utf-8") as file:
                    return {"name": os.path.basename(path), "content": file.read()}
            finally:
                self._loader.cleanup_tmp_file(readable)
        except (AnsibleError, OSError, UnicodeDecodeError) as error:
            raise AnsibleActionFail("src %s cannot be read: %s" % (src, error)) from error


def _is_file(entry: Any) -> bool:
    return isinstance(entry, dict) and set(entry) == {"src"}
