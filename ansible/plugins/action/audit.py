# Copyright: the cotune authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Controller's side of cotune.host.audit: writes what a host answers to a file, so that nobody has to remember it."""

from __future__ import annotations

import json
import os
import urllib.parse
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible_collections.cotune.host.plugins.plugin_utils.sources import SendsProfiles


class ActionModule(SendsProfiles):
    """Runs the module in one connection. A host that does not answer is a finding, and no failure of the audit."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = self.with_profiles(self._task.args)
        folder = arguments.pop("folder", None)
        try:
            answer = self._execute_module(module_name="cotune.host.audit", module_args=arguments, task_vars=task_vars)
        except AnsibleConnectionFailure as error:
            answer = {"unreachable": True, "msg": str(error)}
        if folder is None:
            result.update(answer)
            return result
        name = (task_vars or {})["inventory_hostname"]
        record = {"host": name, **_record(answer)}
        path = os.path.join(folder, urllib.parse.quote(name, safe="") + ".json")
        try:
            with open(path, "w", encoding="utf-8") as file:
                json.dump(record, file)
        except OSError as error:
            raise AnsibleActionFail("%s cannot be written: %s" % (path, error.strerror)) from error
        result.update(changed=False, state=record["state"])
        return result


def _record(answer: dict[str, Any]) -> dict[str, Any]:
    """What is kept of an answer."""
    if answer.get("unreachable"):
        return {"state": "unreachable", "error": answer.get("msg", "")}
    if answer.get("failed"):
        return {"state": "error", "error": answer.get("msg", "")}
    return {key: answer[key] for key in ("state", "status", "differences") if key in answer}
