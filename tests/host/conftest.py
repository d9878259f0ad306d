"""Fixtures of the tests on the running kernel. They touch only what they made themselves."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.host.lab import Lab


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs root for everybody else."""
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("needs root on a real Linux host")


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled modules, shared by all commands of all workers of this run."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "compiled"


@pytest.fixture
def lab(tmp_path: Path, cache: Path) -> Iterator[Lab]:
    """A laboratory that is cleared away at the end."""
    with contextlib.closing(Lab(tmp_path, cache)) as made:
        yield made


@pytest.fixture
def new_lab(tmp_path: Path, cache: Path) -> Iterator[Callable[[], Lab]]:
    """Makes further laboratories, each in a directory of its own."""
    with contextlib.ExitStack() as stack:
        made: list[Lab] = []

        def make() -> Lab:
            directory = tmp_path / f"lab{len(made)}"
            directory.mkdir()
            made.append(stack.enter_context(contextlib.closing(Lab(directory, cache))))
            return made[-1]

        yield make


class Loop(NamedTuple):
    """A loop device with an image of its own."""

    path: str
    image: Path

    @property
    def name(self) -> str:
        """The kernel's name."""
        return self.path.rpartition("/")[2]

    @property
    def number(self) -> str:
        """MAJ:MIN."""
        return Path(f"/sys/block/{self.name}/dev").read_text().strip()


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    """A loop device of 32 MiB."""
    if shutil.which("losetup") is None:
        pytest.skip("needs losetup")
    image = tmp_path / "disk.img"
    with open(image, "wb") as file:
        file.truncate(32 * 2**20)
    run = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True, check=False)
    if run.returncode:
        pytest.skip(f"needs a loop device: {run.stderr.strip()}")
    device = Loop(run.stdout.strip(), image)
    try:
        yield device
    finally:
        subprocess.run(["losetup", "--detach", device.path], check=True)


@pytest.fixture(scope="session")
def root_disk() -> str:
    """MAJ:MIN of the whole disk below the root file system."""
    number = os.stat("/").st_dev
    link = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    if not link.exists():
        pytest.skip("needs a root file system on a block device")
    device = link.resolve()
    if (device / "partition").exists():
        device = device.parent
    return (device / "dev").read_text().strip()
