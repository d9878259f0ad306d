#!/usr/bin/python
# Copyright: the cotune authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What a host can do, as facts."""

from __future__ import annotations

DOCUMENTATION = r"""
module: facts
short_description: Learn what the kernel of a host supports
description:
  - Returns what C(cotune facts) finds as the fact C(cotune), so that profiles and groups can be chosen by it.
  - Reads only.
version_added: 0.1.0
author:
  - The cotune authors (@cotune)
options:
  knobs:
    description:
      - Also return which keys of a profile are supported, as lists of names by state.
    type: bool
    default: false
  executable:
    description:
      - The program. Where it is missing the module succeeds, and the fact C(cotune) is empty.
    type: path
    default: /opt/cotune/bin/cotune
extends_documentation_fragment:
  - cotune.host.host
  - ansible.builtin.action_common_attributes
  - ansible.builtin.action_common_attributes.facts
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  facts:
    support: full
  platform:
    platforms: linux
seealso:
  - module: cotune.host.profile
"""

EXAMPLES = r"""
- name: Learn what the kernel supports
  cotune.host.facts:

- name: Choose a profile by kernel
  cotune.host.profile:
    profile: "{{ 'online-offline' if ansible_facts.cotune.dialect.startswith('anck') else 'mainline-v1' }}"

- name: Make groups of the kernels
  ansible.builtin.group_by:
    key: "kernel_{{ ansible_facts.cotune.dialect | regex_replace('[^a-z0-9]', '_') }}"
"""

RETURN = r"""
ansible_facts:
  description: Facts of this host.
  returned: always
  type: dict
  contains:
    cotune:
      description: What cotune found; nothing where it is not installed.
      returned: always
      type: dict
      contains:
        version:
          description: Version of cotune.
          returned: always
          type: str
          sample: 0.1.0
        dialect:
          description: The family of the kernel, by probing.
          returned: always
          type: str
          sample: mainline-v1
        release:
          description: Release of the kernel.
          returned: always
          type: str
          sample: 6.1.0-18-amd64
        cgroup_mode:
          description: V(v1), V(v2) or V(hybrid).
          returned: always
          type: str
          sample: v1
        controllers:
          description: Version of cgroups by controller.
          returned: always
          type: dict
          sample: {cpu: 1, memory: 1}
        boot_words:
          description: Words of interest on the kernel command line as they were given, null for those that were not.
          returned: always
          type: dict
          sample: {cgwb_v1: cgwb_v1, psi_v1: null}
        pressure:
          description: Whether pressure stall information can be read, of the C(host) and of C(cgroups).
          returned: always
          type: dict
          sample: {host: true, cgroups: false}
        managers:
          description: Programs on the host that write the same kernel files.
          returned: always
          type: list
          elements: str
          sample: [kubelet, systemd]
        resctrl:
          description: Whether resctrl is mounted.
          returned: always
          type: bool
          sample: false
        knobs:
          description: Keys by state, C(yes), C(gated) (behind a switch that cotune sets), C(no) and C(unknown).
          returned: with O(knobs=true)
          type: dict
          sample: {"yes": ["cpu.shares"], "gated": [], "no": ["cpu.identity"], "unknown": []}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.cotune.host.plugins.module_utils.cli import HOST_OPTIONS, Command


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec=dict(
            HOST_OPTIONS,
            knobs={"type": "bool", "default": False},
            executable={"type": "path", "default": "/opt/cotune/bin/cotune"},
        ),
        supports_check_mode=True,
    )
    command = Command(module)
    if not command.is_installed():
        module.exit_json(ansible_facts={"cotune": {}})
    record = command.run(["facts"])
    module.exit_json(ansible_facts={"cotune": _facts(record, command.version(), module.params["knobs"])})


def _facts(record: dict[str, Any], version: str, knobs: bool) -> dict[str, Any]:
    """The facts: small, as the controller keeps them for each host."""
    kept = ("dialect", "release", "cgroup_mode", "boot_words", "pressure", "managers")
    facts: dict[str, Any] = {key: record[key] for key in kept}
    facts["version"] = version
    facts["controllers"] = {name: where["version"] for name, where in record["controllers"].items()}
    facts["resctrl"] = record["resctrl"]["mounted"]
    if knobs:
        states: dict[str, list[str]] = {state: [] for state in ("yes", "gated", "no", "unknown")}
        for key, support in record["knobs"].items():
            states[support["state"]].append(key)
        facts["knobs"] = states
    return facts


if __name__ == "__main__":
    main()
