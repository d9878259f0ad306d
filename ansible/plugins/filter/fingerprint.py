# Copyright: the cotune authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""A filter that tells whether what a playbook installs is still the same."""

from __future__ import annotations

DOCUMENTATION = r"""
name: fingerprint
short_description: Hash of values, in which files count with their contents
version_added: 0.1.0
author:
  - The cotune authors (@cotune)
description:
  - Hashes a value. A text in it that is the absolute path of a file on the controller counts with the contents of that
    file, so that a package that was built anew under the same name has another fingerprint.
positional: _input
options:
  _input:
    description: Anything that JSON can express.
    type: raw
    required: true
"""

EXAMPLES = r"""
- name: Show the fingerprint of a package and a setting
  ansible.builtin.debug:
    msg: "{{ ['/srv/cotune-0.1.0-py3-none-any.whl', true] | cotune.host.fingerprint }}"
"""

RETURN = r"""
_value:
  description: 64 hexadecimal digits.
  type: str
"""

import hashlib
import json
import os
from typing import Any, Callable


def fingerprint(value: Any) -> str:
    """SHA-256 of ``value`` in canonical JSON."""
    return hashlib.sha256(json.dumps(_contents(value), sort_keys=True).encode()).hexdigest()


def _contents(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _contents(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_contents(one) for one in value]
    if isinstance(value, str) and os.path.isabs(value) and os.path.isfile(value):
        with open(value, "rb") as file:
            return [str(value), hashlib.sha256(file.read()).hexdigest()]
    return value


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[[Any], str]]:
        """Name → function."""
        return {"fingerprint": fingerprint}
