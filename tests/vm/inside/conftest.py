"""Fixtures of the tests in the guest, which has the machine to itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.conftest import Loop
from tests.host.test_ext4 import mount_it  # noqa: F401
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
