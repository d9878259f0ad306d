#!/usr/bin/python
# Copyright: the cotune authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Container views: policies, and the containers they are attached to."""

from __future__ import annotations

DOCUMENTATION = r"""
module: views
short_description: Attach container views and set their policies
description:
  - Writes the policies of container views, and attaches views to running containers or detaches them.
  - A service of views has to run for O(attach). It reads policies when it starts, so restart it when they changed.
version_added: 0.1.0
author:
  - The cotune authors (@cotune)
options:
  policies:
    description:
      - The policies, as in C(/etc/cotune/views.yaml). They are checked before they replace the file.
      - An empty mapping removes the file, so that the defaults hold.
    type: dict
  policies_file:
    description:
      - Where policies are kept.
    type: path
    default: /etc/cotune/views.yaml
  backup:
    description:
      - Keep a copy of the file that is replaced.
    type: bool
    default: false
  attach:
    description:
      - Containers that should have views, each a pid, an id of a runtime, or such as C(docker:NAME) and C(runc:ID).
    type: list
    elements: str
    default: []
  detach:
    description:
      - Containers that should have none.
    type: list
    elements: str
    default: []
  mount:
    description:
      - Where the views are mounted.
    type: path
    default: /run/cotune/views
  state_dir:
    description:
      - Keep the record of attached containers in this directory, instead of C(/var/lib/cotune).
    type: path
  executable:
    description:
      - The program C(cotune). C(viewfs) is looked for beside it.
    type: path
    default: /opt/cotune/bin/cotune
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: partial
    details: Policies are checked. Whether a container can be attached shows only when it is.
  diff_mode:
    support: full
  platform:
    platforms: linux
seealso:
  - module: cotune.host.profile
"""

EXAMPLES = r"""
- name: Show Kubernetes containers the CPUs of their quota
  cotune.host.views:
    policies:
      default: {cpu: min}
      containers:
        - match: {cgroup: "/kubepods/**"}
          cpu: quota
    backup: true

- name: Give a container its views
  cotune.host.views:
    attach: ["docker:web"]
"""

RETURN = r"""
policies_changed:
  description: Whether the file of policies changed, so that the service has to be started again.
  returned: always
  type: bool
  sample: true
backup_file:
  description: The copy of the former file.
  returned: changed policies, with O(backup=true)
  type: str
attached:
  description: Containers that got views.
  returned: always
  type: list
  elements: str
detached:
  description: Containers that lost theirs.
  returned: always
  type: list
  elements: str
"""

import json
import os
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.cotune.host.plugins.module_utils.cli import Command

_HEAD = {"apiVersion": "cotune/v1", "kind": "ContainerViews"}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec=dict(
            policies={"type": "dict"},
            policies_file={"type": "path", "default": "/etc/cotune/views.yaml"},
            backup={"type": "bool", "default": False},
            attach={"type": "list", "elements": "str", "default": []},
            detach={"type": "list", "elements": "str", "default": []},
            mount={"type": "path", "default": "/run/cotune/views"},
            state_dir={"type": "path"},
            executable={"type": "path", "default": "/opt/cotune/bin/cotune"},
        ),
        required_one_of=[("policies", "attach", "detach")],
        supports_check_mode=True,
    )
    command = Command(module, beside="viewfs")
    result: dict[str, Any] = {"policies_changed": False}
    if module.params["policies"] is not None:
        result.update(_policies(module, command))
    wanted = {"attach": module.params["attach"], "detach": module.params["detach"]}
    before = _attached(command) if wanted["attach"] or wanted["detach"] else {}
    result["attached"] = [name for name in wanted["attach"] if not any(before[c] for c in before if _is(c, name))]
    result["detached"] = [name for name in wanted["detach"] if any(_is(container, name) for container in before)]
    if not module.check_mode:
        if result["attached"]:
            command.run(["attach", "--mount", module.params["mount"], "--"] + result["attached"])
        if result["detached"]:
            command.run(["detach", "--"] + result["detached"])
        # a runtime's name for a container is not the id it is kept by: it may have had its views
        if result["attached"] and not result["detached"] and _attached(command) == before:
            result["attached"] = []
    result["changed"] = bool(result["policies_changed"] or result["attached"] or result["detached"])
    module.exit_json(**result)


def _policies(module: Any, command: Command) -> dict[str, Any]:
    """Replace the file where it says something else."""
    path, wanted = module.params["policies_file"], module.params["policies"]
    text = json.dumps(dict(_HEAD, **wanted), indent=2, ensure_ascii=False) + "\n" if wanted else ""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            before = file.read()
    except OSError:
        before = ""
    if before == text:
        return {}
    if text:
        fd, temporary = tempfile.mkstemp(dir=module.tmpdir)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
        command.run(["validate", "--", temporary])
    result: dict[str, Any] = {
        "policies_changed": True,
        "diff": [{"before": before, "after": text, "before_header": path, "after_header": path}],
    }
    if module.check_mode:
        return result
    if module.params["backup"] and before:
        result["backup_file"] = module.backup_local(path)
    if text:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        module.atomic_move(temporary, path)
        os.chmod(path, 0o644)
    else:
        os.unlink(path)
    return result


def _attached(command: Command) -> dict[str, int]:
    """Container → how many files are attached."""
    record = command.run(["status"], accept=(0, 1))
    return {entry["container"]: len(entry["files"]) for entry in record["attached"]}


def _is(container: str, name: str) -> bool:
    """Whether a container, ``RUNTIME:ID`` or a pid, goes by this name: it, its id, or the beginning of a long id."""
    identifier = container.rpartition(":")[2]
    return name in (container, identifier) or (len(name) >= 12 and identifier.startswith(name.rpartition(":")[2]))


if __name__ == "__main__":
    main()
