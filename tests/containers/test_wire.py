"""Views wired into containers before they exist: mounts in the configuration, and the hook."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.containers.conftest import VIEWS, Runc, Views
from viewfs.wire import WIRED, wire

pytestmark = pytest.mark.root
REPOSITORY = Path(__file__).resolve().parents[2]


def test_runc_starts_a_wired_bundle(views: Views, runc: Runc) -> None:
    views.add(f"cgroup{runc.cgroup}", "group")
    for path in WIRED:
        # the service has all of them
        (views.point / f"cgroup{runc.cgroup}{path}").touch()
    runc.configure(wire(runc.config(), str(views.point)))
    runc.start()
    for path in VIEWS:
        assert runc("exec", runc.id, "cat", path) == f"group {path}\n"


def test_the_hook_binds_before_the_program_starts(views: Views, runc: Runc, tmp_path: Path) -> None:
    views.add(f"cgroup{runc.cgroup}", "group")
    script = tmp_path / "hook"
    code = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); from viewfs.hook import run_hook; "
    code += f"run_hook(sys.stdin.read(), {str(views.point)!r})"
    script.write_text(f"#!{sys.executable}\n{code}\n")
    script.chmod(0o755)
    config = runc.config()
    environment = ["PYTHONDONTWRITEBYTECODE=1", f"PATH={os.environ['PATH']}"]
    config["hooks"] = {"createContainer": [{"path": str(script), "env": environment}]}
    config["process"]["args"] = ["sh", "-c", "cat /proc/meminfo > /dev/shm/first; exec sleep 600"]
    runc.configure(config)
    runc.start()
    for path in VIEWS:
        assert runc("exec", runc.id, "cat", path) == f"group {path}\n"
    assert runc("exec", runc.id, "cat", "/dev/shm/first") == "group /proc/meminfo\n"
