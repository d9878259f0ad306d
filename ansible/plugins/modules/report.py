#!/usr/bin/python
# Copyright: the cotune authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""One report from the files of an audit."""

from __future__ import annotations

DOCUMENTATION = r"""
module: report
short_description: Make one report of what cotune.host.audit wrote
description:
  - Runs on the controller. Reads the files of an audit one after the other and writes one JSON file and one table.
version_added: 0.1.0
author:
  - The cotune authors (@cotune)
options:
  folder:
    description:
      - Where M(cotune.host.audit) wrote its files.
    type: path
    required: true
  dest:
    description:
      - The JSON file. The table goes beside it, with C(.txt) in place of C(.json).
    type: path
    required: true
  lines:
    description:
      - Most lines of the table to return; those that are not V(ok) come first.
    type: int
    default: 40
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
    details: Writes the report, which changes no host.
  diff_mode:
    support: none
  platform:
    platforms: posix
seealso:
  - module: cotune.host.audit
"""

EXAMPLES = r"""
- name: Make one report
  cotune.host.report:
    folder: /tmp/audit
    dest: /tmp/audit.json
  delegate_to: localhost
"""

RETURN = r"""
totals:
  description: Number of hosts by state.
  returned: always
  type: dict
  sample: {ok: 9998, drift: 1, unreachable: 1}
table:
  description: The first lines of the table.
  returned: always
  type: list
  elements: str
table_file:
  description: The file with all of it.
  returned: always
  type: str
"""

import json
import os
import time
from typing import Any, Iterator

from ansible.module_utils.basic import AnsibleModule

_COLUMNS = "%-32s %-12s %6s %8s %8s  %s"
_HEAD = _COLUMNS % ("HOST", "STATE", "HELD", "DRIFTED", "DIFFERS", "PROFILES OR ERROR")


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec=dict(
            folder={"type": "path", "required": True},
            dest={"type": "path", "required": True},
            lines={"type": "int", "default": 40},
        ),
        supports_check_mode=True,
    )
    try:
        result = _write(module.params)
    except OSError as error:
        module.fail_json(msg="%s: %s" % (error.filename, error.strerror))
    module.exit_json(invocation={"module_args": {}}, **result)


def _write(params: dict[str, Any]) -> dict[str, Any]:
    """Write JSON and table, one host after the other; returns what to show."""
    dest = params["dest"]
    table = (dest[: -len(".json")] if dest.endswith(".json") else dest) + ".txt"
    totals: dict[str, int] = {}
    troubled: list[str] = []
    healthy: list[str] = []
    with open(dest, "w", encoding="utf-8") as file, open(table, "w", encoding="utf-8") as text:
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        file.write('{"schema": "cotune.audit/v1", "time": "%s", "hosts": [' % moment)
        text.write(_HEAD.rstrip() + "\n")
        comma = ""
        for record in _records(params["folder"]):
            file.write(comma + "\n" + json.dumps(record, sort_keys=True))
            comma = ","
            line = _line(record)
            text.write(line + "\n")
            totals[record["state"]] = totals.get(record["state"], 0) + 1
            lines = healthy if record["state"] == "ok" else troubled
            if len(lines) < params["lines"]:
                lines.append(line)
        file.write("\n]}\n")
    shown = (troubled + healthy)[: params["lines"]]
    return {"totals": totals, "table": [_HEAD.rstrip()] + shown, "table_file": table, "changed": False}


def _records(folder: str) -> Iterator[dict[str, Any]]:
    """What the hosts answered, by name."""
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            yield json.load(file)


def _line(record: dict[str, Any]) -> str:
    status = record.get("status", {})
    remark = " ".join(record["error"].split()) if "error" in record else " ".join(status.get("profiles", []))
    differs = len(record["differences"]["changes"]) if "differences" in record else "-"
    figures = (status.get("held", "-"), len(status["drift"]) if status else "-", differs)
    return (_COLUMNS % ((record["host"], record["state"]) + figures + (remark[:120],))).rstrip()


if __name__ == "__main__":
    main()
