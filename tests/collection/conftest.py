"""Fixtures of the collection's tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.collection.lab import Modules, copy_collection, simulated


@pytest.fixture(scope="session")
def collections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of collections with this one in it."""
    folder = tmp_path_factory.mktemp("collections")
    copy_collection(folder)
    return folder


@pytest.fixture(scope="module")
def anck(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A simulated ANCK host as files; tests share it and leave it as it was."""
    if os.geteuid() != 0 or not os.access("/dev/fuse", os.W_OK):
        pytest.skip("mounting a simulated host needs root and /dev/fuse")
    pytest.importorskip("pyfuse3", reason="needs the extra views")
    with simulated(tmp_path_factory.mktemp("anck"), "anck-4.19") as point:
        yield point


@pytest.fixture
def host(collections: Path, anck: Path) -> Modules:
    """Modules that work on the simulated host."""
    return Modules(collections, root=str(anck))
