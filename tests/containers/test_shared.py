"""Containers that share the pid namespace of another one, as those of a Kubernetes pod may: each has its own limits."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.bundle import CPU, Bundle, Shape
from tests.views.lab import Service

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("containers")]


@pytest.fixture(scope="module")
def pause(views_service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The process of the container whose namespace is shared."""
    shape = Shape("attach", 64, "0")
    with contextlib.closing(Bundle(tmp_path_factory.mktemp("pause"), shape)) as made:
        yield made.begin(views_service).pid


@pytest.mark.parametrize("way", ["attach", "wire", "hook"])
def test_a_guest_sees_its_own_limits(views_service: Service, pause: int, way: str, tmp_path: Path) -> None:
    with contextlib.closing(Bundle(tmp_path / "guest", Shape(way, 128, "1"))) as made:
        config = made.config()
        for namespace in config["linux"]["namespaces"]:
            if namespace["type"] == "pid":
                namespace["path"] = f"/proc/{pause}/ns/pid"
        made.configure(config)
        made.begin(views_service)
        assert made.exec("head", "-1", "/proc/meminfo").split()[1] == str(made.shape.kilobytes)
        assert made.exec("cat", f"{CPU}/online") == "1\n"
        assert made.exec("grep", "processor", "/proc/cpuinfo").split() == ["processor", ":", "1"]
        assert int(made.exec("pgrep", "-c", "sleep")) >= 2, "they do share it"
