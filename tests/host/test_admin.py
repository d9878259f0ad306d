"""Mounting, programs, projects and quotas through the Kernel port of the running host."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cotune.kernel.port import Project, Quota
from cotune.kernel.real import RealKernel


@pytest.fixture
def kernel() -> Iterator[RealKernel]:
    with contextlib.closing(RealKernel()) as made:
        yield made


def error_of(operation: Callable[..., object], *arguments: object) -> str:
    """The errno an operation ends with."""
    with pytest.raises(OSError) as caught:
        operation(*arguments)
    return errno.errorcode[caught.value.errno or 0]


@pytest.mark.root
def test_mount_and_unmount(kernel: RealKernel, tmp_path: Path) -> None:
    point = tmp_path / "mnt"
    point.mkdir()
    kernel.mount("tmpfs", "cotune-test", str(point), ["nosuid", "noexec", "size=64k"])
    try:
        [mount] = [mount for mount in kernel.mounts() if mount.point == str(point)]
        assert (mount.fstype, mount.source) == ("tmpfs", "cotune-test")
        assert {"nosuid", "noexec"} <= set(mount.options)
        assert "size=64k" in mount.super_options
        (point / "inner").mkdir()
        # directories kept open below it must not keep it busy
        assert kernel.listdir(f"{point}/inner") == []
        kernel.unmount(str(point))
        assert kernel.listdir(str(point)) == []
    finally:
        if os.path.ismount(point):
            subprocess.run(["umount", point], check=True)
    assert error_of(kernel.unmount, str(point)) == "EINVAL"
    assert error_of(kernel.mount, "cotune-none", "x", str(point), []) == "ENODEV"


def test_programs(kernel: RealKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """They come from the system's directories, run without a shell, and see nothing of our environment."""
    monkeypatch.setenv("COTUNE_SECRET", "x")
    monkeypatch.setenv("PATH", "/nonexistent")
    words = kernel.tool("env", []).splitlines()
    assert sorted(word.partition("=")[0] for word in words) == ["LC_ALL", "PATH"]
    assert kernel.tool("echo", ["$HOME; *"]) == "$HOME; *\n"
    assert error_of(kernel.tool, "cotune-no-such-program", []) == "ENOENT"
    with pytest.raises(OSError, match="No such file") as caught:
        kernel.tool("ls", ["/cotune/none"])
    assert caught.value.errno == errno.EIO


def test_another_root_has_none_of_it(tmp_path: Path) -> None:
    with contextlib.closing(RealKernel(str(tmp_path))) as kernel:
        assert error_of(kernel.tool, "env", []) == "ENOTSUP"
        assert error_of(kernel.mount, "tmpfs", "x", "/", []) == "ENOTSUP"
        assert error_of(kernel.unmount, "/") == "ENOTSUP"
        assert error_of(kernel.remount, "/", ["commit=5"]) == "ENOTSUP"
        assert error_of(kernel.project, "/") == "ENOTSUP"
        assert error_of(kernel.set_project, "/", Project(1, True)) == "ENOTSUP"
        assert error_of(kernel.quota, "/", 1) == "ENOTSUP"
        assert error_of(kernel.set_quota, "/", 1, Quota()) == "ENOTSUP"
        assert error_of(kernel.quota_enforced, "/") == "ENOTSUP"


def test_projects_are_of_files_and_directories_only(kernel: RealKernel, tmp_path: Path) -> None:
    """A fifo or device is not even opened, and a link not followed."""
    (tmp_path / "link").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    assert error_of(kernel.project, str(tmp_path / "link")) == "ENOTTY"
    assert error_of(kernel.project, str(tmp_path / "fifo")) == "ENOTTY"
    assert error_of(kernel.project, "/dev/null") == "ENOTTY"
    assert error_of(kernel.project, str(tmp_path / "none")) == "ENOENT"
    assert error_of(kernel.quota, str(tmp_path), 1) == "EINVAL"
