"""A container with the host's programs, which run unchanged inside: ``/usr`` and ``/etc`` are bound read-only."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.containers.conftest import Runc
from tests.host.lab import REPOSITORY, remove_tree
from tests.views.lab import Service

MEBIBYTE = 1 << 20
PERIOD = 100_000


class Bundle(Runc):
    """A container of runc with limits. ``group`` is the path of its cgroup below one that is made for it alone."""

    def __init__(self, directory: Path, group: str = "ct", **resources: Any) -> None:
        super().__init__(directory)
        rootfs = directory / "bundle" / "rootfs"
        for name in ("lib", "lib64"):
            (rootfs / name).symlink_to(f"usr/{name}")
        self.top = self.cgroup
        config = self.config()
        config["linux"]["cgroupsPath"] = self.cgroup = f"{self.top}/{group}"
        config["linux"]["resources"].update(resources)
        config["process"]["env"] += ["LC_ALL=C", "TERM=dumb"]
        for path in dict.fromkeys(("/usr", "/etc", sys.base_prefix, sys.prefix)):
            config["mounts"].append({"destination": path, "source": path, "type": "bind", "options": ["rbind", "ro"]})
        self.configure(config)

    def viewfs(self, service: Service, *words: str, text: str | None = None) -> str:
        """Run the command line of the views; returns what it prints."""
        command = [sys.executable, "-B", "-m", "viewfs", "--state-dir", str(service.state), *words]
        done = subprocess.run(command, cwd=REPOSITORY, input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def exec(self, *words: str) -> str:
        """What a program prints inside."""
        return self("exec", self.id, *words)

    def close(self) -> None:
        """Remove the container and its groups in every hierarchy."""
        with contextlib.ExitStack() as closing:
            for point in Path("/sys/fs/cgroup").iterdir():
                if os.path.isdir(f"{point}{self.top}"):
                    closing.callback(remove_tree, Path(f"{point}{self.top}"))
            closing.callback(super().close)


def limited() -> dict[str, Any]:
    """256 MiB, half a CPU, one CPU of the host's."""
    return {
        "memory": {"limit": 256 * MEBIBYTE},
        "cpu": {"quota": PERIOD // 2, "period": PERIOD, "cpus": "0"},
    }
