"""The module cotune.host.views on a container that runs."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.collection.lab import Modules, copy_collection
from tests.containers.conftest import Namespaces, Views, inside

pytestmark = pytest.mark.root
SEEN = "caller /proc/meminfo\n"


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state directory; viewfs mounts its plain files there."""
    yield tmp_path / "state"
    subprocess.run(["umount", "--lazy", tmp_path / "state/static"], check=True)


def test_attach_and_detach(views: Views, namespaces: Namespaces, state: Path, tmp_path: Path) -> None:
    pytest.importorskip("ansible", reason="needs ansible-core (the extra dev)")
    copy_collection(tmp_path)
    modules = Modules(tmp_path, mount=str(views.point), state_dir=str(state))
    container = namespaces.start("--mount", "--pid", "--fork", "--mount-proc")
    name = str(container.pid)
    assert modules.run("views", check_mode=True, attach=[name]).ok()["attached"] == [name]
    assert inside(container, "cat", "/proc/meminfo") != SEEN
    assert modules.run("views", attach=[name]).ok()["attached"] == [name]
    assert inside(container, "cat", "/proc/meminfo") == SEEN
    assert not modules.run("views", attach=[name]).ok()["changed"]
    assert modules.run("views", detach=[name]).ok()["detached"] == [name]
    assert inside(container, "cat", "/proc/meminfo") != SEEN
    assert not modules.run("views", detach=[name]).ok()["changed"]
