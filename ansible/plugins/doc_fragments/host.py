# Copyright: the cotune authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Documentation of the options that all modules have."""

from __future__ import annotations


class ModuleDocFragment:
    """Fragment C(cotune.host.host)."""

    DOCUMENTATION = r"""
options:
  root:
    description:
      - Work on the host whose C(/) is this directory, for instance a simulated one. Its state is kept below it.
    type: path
  state_dir:
    description:
      - Keep transactions and the lock in this directory, instead of C(/var/lib/cotune) and C(/run/cotune).
    type: path
"""
