# Copyright: the cotune authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Controller's side of cotune.host.profile: sends profiles of the controller along with the module."""

from __future__ import annotations

from typing import Any

from ansible_collections.cotune.host.plugins.plugin_utils.sources import SendsProfiles


class ActionModule(SendsProfiles):
    """Runs the module in one connection."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = self.with_profiles(self._task.args)
        result.update(
            self._execute_module(module_name="cotune.host.profile", module_args=arguments, task_vars=task_vars)
        )
        return result
