"""The OCI createContainer hook: binds the views before the container's program starts (runtime-spec config.md, hooks).

It runs in the container's namespaces with the host's files still in place, so the service's files can be bound into the
root directory the container is about to get. Its input is the state of the container.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cotune.errors import ApplyFailed, UsageError
from viewfs.attach import bind_views
from viewfs.wire import cgroup_path

if TYPE_CHECKING:
    from viewfs.static import StaticFiles


def run_hook(text: str, mount: str, static: StaticFiles | None = None) -> tuple[str, ...]:
    """Bind the views for the container whose OCI state is given; returns the files.

    Those that change only with configuration come from ``static``, when it is given. Raises UsageError, ApplyFailed.
    """
    try:
        bundle = Path(json.loads(text)["bundle"])
        config: dict[str, Any] = json.loads((bundle / "config.json").read_text(encoding="utf-8"))
        root = bundle / config["root"]["path"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"no state of an OCI container on standard input: {error}") from None
    given = (config.get("linux") or {}).get("cgroupsPath")
    # without a path the views of whoever reads do: in a pid namespace of its own that is the container
    group = cgroup_path(given) if given else ""
    # the runtime has set the limits by now
    kept = static.of_group(group) if static is not None and group else None
    try:
        return bind_views(f"{mount}/cgroup{group}" if group else mount, str(root.resolve()), kept)
    except OSError as error:
        raise ApplyFailed(f"{error.filename or root}: {error.strerror}") from error
