"""The guest runs beside everything else, so its tests come first; those inside it are collected only there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.vm.report import INSIDE

HERE = Path(__file__).parent

collect_ignore = [] if INSIDE in os.environ else ["inside"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One worker waits for the guest for minutes: it should begin at once."""
    items.sort(key=lambda item: HERE not in item.path.parents)
