"""One fleet for all tests here: servers and collection are made once, hosts are new where a test asks for it."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator

import pytest

from tests.fleet.lab import Fleet
from tests.fleet.ssh import SSHD


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip for everybody who cannot serve SSH to root or mount."""
    if os.geteuid() != 0:
        pytest.skip("needs root on a real Linux host")
    if SSHD is None or shutil.which("ssh") is None:
        pytest.skip("needs OpenSSH, server and client")
    if not os.access("/dev/fuse", os.W_OK):
        pytest.skip("needs /dev/fuse")
    pytest.importorskip("pyfuse3", reason="needs the extra views")
    pytest.importorskip("ansible", reason="needs ansible-core, which is for newer Pythons")


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Eight hosts, not yet booted."""
    with contextlib.ExitStack() as stack:
        yield Fleet(tmp_path_factory.mktemp("fleet"), stack)
