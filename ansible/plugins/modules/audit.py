#!/usr/bin/python
# Copyright: the cotune authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Whether a host is as profiles want it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: audit
short_description: Find out whether a host is still as it was applied
description:
  - Compares what cotune holds on a host with the host, and, where profiles are given, the host with these.
  - Reads only.
version_added: 0.1.0
author:
  - The cotune authors (@cotune)
options:
  profile:
    description:
      - Also say what these profiles would change, given as for M(cotune.host.profile).
    type: raw
  folder:
    description:
      - A folder on the controller. What the host answers goes to a file there, and not into the result of the task, so
        that the controller does not keep it. A host that fails or cannot be reached gets a file that says so, and the
        task succeeds.
    type: path
  executable:
    description:
      - The program.
    type: path
    default: /opt/cotune/bin/cotune
extends_documentation_fragment:
  - cotune.host.host
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  platform:
    platforms: linux
seealso:
  - module: cotune.host.report
"""

EXAMPLES = r"""
- name: Ask a host
  cotune.host.audit:

- name: Ask hosts, and keep what they answer in files
  cotune.host.audit:
    profile: mainline-v1
    folder: /tmp/audit
"""

RETURN = r"""
state:
  description:
    - V(ok); V(interrupted) when a crash cut off a transaction; V(drift) when applied values were changed by somebody;
      V(differs) when a profile would change something; V(unreachable) and V(error) with O(folder).
  returned: always
  type: str
  sample: drift
status:
  description: What C(cotune status) found.
  returned: success, without O(folder)
  type: dict
differences:
  description: What C(cotune diff) found, as C(changes), C(unsupported), C(pending) and C(takes_over).
  returned: success with O(profile), without O(folder)
  type: dict
"""

import shutil
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.cotune.host.plugins.module_utils.cli import HOST_OPTIONS, Command
from ansible_collections.cotune.host.plugins.module_utils.sources import profile_sources


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec=dict(
            HOST_OPTIONS,
            profile={"type": "raw"},
            folder={"type": "path"},
            executable={"type": "path", "default": "/opt/cotune/bin/cotune"},
        ),
        supports_check_mode=True,
        no_log=True,  # whole profiles in every host's syslog
    )
    if module.params["folder"]:
        module.fail_json(msg="folder is on the controller, where the action plugin did not run")
    command = Command(module)
    status = command.run(["status"], accept=(0, 1))
    result: dict[str, Any] = {"status": {key: status[key] for key in status if key != "schema"}}
    result["state"] = "interrupted" if status["interrupted"] else "drift" if status["drift"] else "ok"
    if module.params["profile"] is not None:
        result["differences"] = _differences(module, command)
        if result["state"] == "ok" and result["differences"]["changes"]:
            result["state"] = "differs"
    module.exit_json(invocation={"module_args": {}}, **result)


def _differences(module: Any, command: Command) -> dict[str, Any]:
    folder = tempfile.mkdtemp(dir=module.tmpdir)
    try:
        sources = profile_sources(module, command, folder)[0]
        record = command.run(["diff", "--"] + sources, accept=(0, 1), cwd=folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {key: record[key] for key in ("changes", "unsupported", "pending", "takes_over")}


if __name__ == "__main__":
    main()
