"""Fixtures of the tests in the guest, which has the machine to itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.host.conftest import Loop
from tests.host.test_ext4 import mount_it  # noqa: F401
from tests.views.lab import Service, serving
from tests.vm.inside.lab import GuestLab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[GuestLab]:
    """A laboratory that is cleared away at the end."""
    with contextlib.closing(GuestLab(tmp_path)) as made:
        yield made


@pytest.fixture
def loop() -> Loop:
    """A disk for file systems, in place of a loop device."""
    return Loop("/dev/vdb", Path("/dev/vdb"))


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service of views for all: Python starts slowly here."""
    if not Path("/dev/fuse").exists():
        pytest.skip("needs the module fuse; packaging/dev/guest.sh fetches it")
    if find_spec("pyfuse3") is None:
        pytest.skip("needs the views extra")
    with serving(tmp_path_factory.mktemp("views")) as made:
        yield made
