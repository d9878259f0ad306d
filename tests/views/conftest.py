"""Fixtures of the tests on a real mount of the views. They touch only what they made themselves."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.lab import Lab
from tests.views.lab import Service, serving


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs root, FUSE or pyfuse3 where it is missing."""
    if item.get_closest_marker("root"):
        if os.geteuid() != 0:
            pytest.skip("needs root on a real Linux host")
        if not os.path.exists("/dev/fuse"):
            pytest.skip("needs /dev/fuse")
        pytest.importorskip("pyfuse3", reason="needs the views extra")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service for the tests of one module that do not end it."""
    with serving(tmp_path_factory.mktemp("views")) as made:
        yield made


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Cgroups and processes that are cleared away at the end."""
    with contextlib.closing(Lab(tmp_path, tmp_path / "compiled")) as made:
        yield made
