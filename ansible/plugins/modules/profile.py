#!/usr/bin/python
# Copyright: the cotune authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Apply isolation profiles on a host, or roll them back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: profile
short_description: Apply isolation profiles as one undoable transaction
description:
  - Brings the kernel settings of a host to what profiles of cotune want, as one transaction that C(cotune) journals,
    verifies, and undoes as a whole when the kernel refuses a part of it.
  - Values that are right already are not written; a host that needs nothing records nothing.
version_added: 0.1.0
author:
  - The cotune authors (@cotune)
options:
  profile:
    description:
      - One profile or a list of them, which are merged from left to right into one, as on the command line of cotune.
      - A text is a path on the host (it contains a slash or ends in C(.yaml)) or the name of a profile there, one of
        C(/etc/cotune/profiles) or a ready one.
      - A mapping is the profile itself. A mapping with only C(src) names a file on the controller. A mapping with
        C(content), and perhaps C(name), holds the text of a profile, for instance of a template.
      - A mapping with C(by) and C(of) chooses on the host. C(by) is C(dialect), C(cgroup_mode) or C(release), as
        C(cotune facts) tells them; C(of) has a profile for each value, and perhaps one for C(default).
      - For O(state=absent), a name is the C(metadata.name) that the profile was applied under.
      - Either O(profile) or O(src) is needed, but with O(state=absent) and O(label).
    type: raw
  src:
    description:
      - A profile on the controller, found as the module ansible.builtin.copy finds its files. It is sent along with the
        module, in the same connection. Files it includes are looked for on the host.
    type: str
  state:
    description:
      - V(applied) applies the profile. V(absent) rolls back everything of that profile, to what was there before it was
        first applied.
    type: str
    choices: [applied, absent]
    default: applied
  only:
    description:
      - Only resources that match one of these patterns, as C(cotune diff) names them. For O(state=applied).
    type: list
    elements: str
  strict:
    description:
      - Fail when a part is not available on this host or waits for an unmount or reboot, instead of reporting it.
    type: bool
    default: false
  label:
    description:
      - Name of this run, for C(cotune rollback --label) and the playbook C(cotune.host.rollback).
      - With O(state=absent) and no profile, everything that was applied under this name is rolled back.
    type: str
  allow:
    description:
      - Consent to plans that are refused otherwise. V(force) allows what a bound refuses, such as a limit under the
        present usage; for O(state=absent) it also overwrites values that somebody else has set since. V(oom) lets the
        kernel kill where a limit is lowered below the usage. V(irreversible) allows what no rollback can undo.
    type: list
    elements: str
    choices: [force, oom, irreversible]
    default: []
  takeover:
    description:
      - Whether values that another profile owns may be taken over. Without, they are refused.
    type: bool
    default: true
  wait:
    description:
      - Seconds to wait while another run of cotune holds the lock on the host.
    type: int
    default: 60
  boot:
    description:
      - Also have the profile applied at every boot, with the same options, by C(cotune-apply.service), which the role
        installs. Profiles that were sent along are kept in C(/etc/cotune/boot). With O(state=absent) that ends.
    type: bool
    default: false
  installation:
    description:
      - What the role left in O(installation_file). When that file holds anything else or is missing, the module does
        nothing and fails, with RV(outcome=not_installed), so that a playbook can install and try again.
    type: str
  installation_file:
    description:
      - Where the role records what it installed.
    type: path
    default: /opt/cotune/installation
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
    support: full
    details: Shows what C(cotune diff) shows.
  platform:
    platforms: linux
notes:
  - Needs root on the host, unless O(root) or O(state_dir) say otherwise.
  - Sets the facts C(cotune_outcome) and C(cotune_label), so that a playbook need not register the rest.
seealso:
  - module: cotune.host.facts
"""

EXAMPLES = r"""
- name: Apply a ready profile
  cotune.host.profile:
    profile: mainline-v1

- name: Apply a file of the controller, named for a later rollback
  cotune.host.profile:
    src: online-offline.yaml
    label: "2026-06-01"

- name: Apply a ready profile with another memory limit
  cotune.host.profile:
    profile:
      - online-offline
      - apiVersion: cotune/v1
        kind: IsolationProfile
        metadata: {name: online-offline}
        vars: {offline_memory: 64GiB}

- name: Apply what suits the kernel
  cotune.host.profile:
    profile:
      by: cgroup_mode
      of: {v1: mainline-v1, v2: online-offline-v2}

- name: Undo everything of a run
  cotune.host.profile:
    label: "2026-06-01"
    state: absent

- name: Put back what was there before
  cotune.host.profile:
    profile: online-offline
    state: absent
"""

RETURN = r"""
outcome:
  description:
    - What came of it. V(done); V(absent) for O(state=absent); V(differences) in check mode.
    - When the module fails, V(not_installed), V(refused) for an invalid profile or a plan without consent,
      V(unsupported), V(undone) when the kernel refused and everything written before was put back, V(incomplete) when
      something could not be undone, V(locked), V(not_permitted), V(interrupted), V(internal_error).
  returned: always
  type: str
  sample: done
exit_code:
  description: The exit code of cotune.
  returned: when cotune ran
  type: int
  sample: 4
counts:
  description: How many changes were made (in check mode, would be), and how many parts are not available or pending.
  returned: success, for O(state=applied)
  type: dict
  sample: {changes: 2, unsupported: 0, pending: 0}
changes:
  description: The changes, with C(resource), C(knob), C(action), the value before (C(current)) and after (C(desired)).
  returned: changed, for O(state=applied)
  type: list
  elements: dict
  sample:
    - {resource: "cgroup:batch", knob: cpu.shares, action: set, current: 1024, desired: 128}
unsupported:
  description: What this host lacks, with C(resource), C(knob), C(reason) and C(remedy).
  returned: changed, for O(state=applied)
  type: list
  elements: dict
pending:
  description: Likewise, what waits for an unmount or a reboot.
  returned: changed, for O(state=applied)
  type: list
  elements: dict
takes_over:
  description: Values that belonged to another profile, with C(resource), C(knob) and C(owner).
  returned: changed, for O(state=applied)
  type: list
  elements: dict
notes:
  description: Remarks of cotune.
  returned: changed
  type: list
  elements: str
transaction:
  description: Number of the transaction, for C(cotune show) and C(cotune rollback).
  returned: changed, not in check mode, for O(state=applied)
  type: str
  sample: "000001"
rolled_back:
  description: Numbers of the transactions that were undone; in check mode, that would be.
  returned: for O(state=absent)
  type: list
  elements: str
restored:
  description: The values that were put back, with C(resource), C(knob), C(path) and C(value).
  returned: changed, for O(state=absent)
  type: list
  elements: dict
removed:
  description: The groups that were removed.
  returned: changed, for O(state=absent)
  type: list
  elements: str
errors:
  description: The errors of cotune, with C(message) and C(hint), and for profiles C(where) and C(path).
  returned: failure
  type: list
  elements: dict
left:
  description: What could not be put back.
  returned: failure
  type: list
  elements: str
"""

import shutil
import tempfile
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.cotune.host.plugins.module_utils.boot import keep, wanted_files
from ansible_collections.cotune.host.plugins.module_utils.cli import HOST_OPTIONS, Command
from ansible_collections.cotune.host.plugins.module_utils.sources import is_path, profile_sources

_CONSENT = {"force": "--force", "oom": "--allow-oom", "irreversible": "--allow-irreversible"}
_LISTS = ("changes", "unsupported", "pending", "takes_over")
_KEPT = ("resource", "knob", "row", "action", "current", "desired", "reason", "remedy", "owner", "approximates")


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec=dict(
            HOST_OPTIONS,
            profile={"type": "raw"},
            src={"type": "str"},
            state={"type": "str", "choices": ["applied", "absent"], "default": "applied"},
            only={"type": "list", "elements": "str"},
            strict={"type": "bool", "default": False},
            label={"type": "str"},
            allow={"type": "list", "elements": "str", "choices": ["force", "oom", "irreversible"], "default": []},
            takeover={"type": "bool", "default": True},
            wait={"type": "int", "default": 60},
            boot={"type": "bool", "default": False},
            installation={"type": "str"},
            installation_file={"type": "path", "default": "/opt/cotune/installation"},
            executable={"type": "path", "default": "/opt/cotune/bin/cotune"},
        ),
        mutually_exclusive=[("profile", "src")],
        required_one_of=[("profile", "src", "label")],
        required_if=[("state", "applied", ("profile", "src"), True)],
        supports_check_mode=True,
        no_log=True,  # whole profiles in every host's syslog
    )
    if not _is_as_recorded(module):
        module.fail_json(
            msg="cotune is missing here, or another than is wanted: the role cotune.host.host installs it",
            outcome="not_installed",
        )
    command = Command(module)
    folder = tempfile.mkdtemp(dir=module.tmpdir)
    try:
        sources, sent = profile_sources(module, command, folder)
        if module.params["state"] == "applied":
            result = _apply(module, command, sources, sent, folder)
        else:
            result = _remove(module, command, _selection(module, command, sources, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _leave(module, **result)


def _is_as_recorded(module: Any) -> bool:
    """Whether the installation is the one that was asked for."""
    wanted: str | None = module.params["installation"]
    if wanted is None:
        return True
    try:
        with open(module.params["installation_file"], encoding="utf-8") as file:
            return file.read().strip() == wanted
    except OSError:
        return False


def _leave(module: Any, **result: Any) -> NoReturn:
    """End the module. The arguments are left out of the result: they can hold whole profiles."""
    label = module.params["label"] or ""
    result["ansible_facts"] = {"cotune_outcome": result["outcome"], "cotune_label": label}
    if not module._diff:
        result.pop("diff", None)
    module.exit_json(invocation={"module_args": {"state": module.params["state"]}}, **result)
    raise AssertionError("exit_json returned")


def _apply(module: Any, command: Command, sources: list[str], sent: dict[str, str], folder: str) -> dict[str, Any]:
    params = module.params
    options: list[str] = []
    for pattern in params["only"] or []:
        options += ["--only", pattern]
    options += ["--strict"] if params["strict"] else []
    options += [_CONSENT[name] for name in params["allow"]]
    options += [] if params["takeover"] else ["--no-takeover"]
    files = wanted_files(module, options, sources, sent) if params["boot"] else None
    words = ["apply"] + options
    if module.check_mode:
        record = command.run(words + ["--dry-run", "--"] + sources, accept=(0, 1), cwd=folder)
    else:
        words += ["--label", params["label"]] if params["label"] else []
        record = command.run(words + ["--wait", "%ds" % params["wait"], "--"] + sources, cwd=folder)
    differences = [] if files is None else keep(module, files)
    return _applied(module, record, differences)


def _applied(module: Any, record: dict[str, Any], differences: list[dict[str, str]]) -> dict[str, Any]:
    """The result of an apply; for a host that needed nothing only figures."""
    changed = bool(record["changed"] or record["takes_over"])
    result = _outcome(module, changed, differences)
    result["counts"] = {name: len(record[name]) for name in _LISTS[:3]}
    if changed:
        for name in _LISTS:
            result[name] = [{key: item[key] for key in _KEPT if key in item} for item in record[name]]
        result["notes"] = record["notes"]
        result["diff"] = [{"prepared": record.get("text", "")}] + differences
        if record["transaction"]:
            result["transaction"] = record["transaction"]
    return result


def _outcome(module: Any, changed: bool, differences: list[dict[str, str]]) -> dict[str, Any]:
    changed = changed or bool(differences)
    differs = changed and module.check_mode
    outcome = "differences" if differs else "done"
    return {"changed": changed, "outcome": outcome, "exit_code": int(differs), "diff": differences}


def _remove(module: Any, command: Command, selection: list[str]) -> dict[str, Any]:
    words = ["rollback"] + selection
    words += ["--force"] if "force" in module.params["allow"] else []
    if module.check_mode:
        record = command.run(words + ["--dry-run"], accept=(0, 1))
    else:
        record = command.run(words + ["--wait", "%ds" % module.params["wait"]])
    undone = [one["transaction"] for one in record["transactions"] + record["recovered"]]
    differences = keep(module, {}) if module.params["boot"] else []
    result = _outcome(module, bool(undone), differences)
    result["rolled_back"] = undone
    result["outcome"] = "differences" if result["exit_code"] else "absent"
    if undone:
        result.update({key: record[key] for key in ("restored", "removed", "notes")})
        result["diff"] = [{"prepared": record.get("text", "")}] + differences
    return result


def _selection(module: Any, command: Command, sources: list[str], folder: str) -> list[str]:
    """The options of rollback: the name that the profile's values are held under, or the label of a run."""
    given: Any = module.params["profile"]
    if given is None:
        return ["--label", module.params["label"]]
    if isinstance(given, str) and not is_path(given):
        return ["--profile", given]
    return ["--profile", command.run(["validate", "--"] + sources, cwd=folder)["name"]]


if __name__ == "__main__":
    main()
