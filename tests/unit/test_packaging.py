"""What a wheel and an sdist carry, built by the same backend that pip uses; and how the data folders are found."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

import cotune
from cotune import resources
from cotune.errors import CotuneError

ROOT = Path(__file__).resolve().parents[2]

# One worker builds once for all of them.
pytestmark = pytest.mark.xdist_group("packaging")


class Built(NamedTuple):
    """A wheel and an sdist of the source tree, and a wheel made from nothing but that sdist."""

    wheel: Path
    sdist: Path
    wheel_of_sdist: Path


def build(source: Path, target: str, out: Path) -> Path:
    out.mkdir()
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(out)]
    run = subprocess.run(command, cwd=source, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert run.returncode == 0, run.stdout
    (artifact,) = out.iterdir()
    return artifact


def wheel_names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return sorted(archive.namelist())


def tree(folder: Path) -> list[str]:
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return sorted(str(path.relative_to(folder)) for path in files)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    tmp = tmp_path_factory.mktemp("dist")
    sdist = build(ROOT, "sdist", tmp / "sdist")
    # Not tarfile's filter="data": Debian 12's Python 3.11.2 does not know it yet.
    (tmp / "unpacked").mkdir()
    subprocess.run(["tar", "-xf", str(sdist), "-C", str(tmp / "unpacked")], check=True)
    (source,) = (tmp / "unpacked").iterdir()
    return Built(build(ROOT, "wheel", tmp / "wheel"), sdist, build(source, "wheel", tmp / "wheel-of-sdist"))


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel unpacked as an installer lays it out; a pure wheel needs no more than that to be imported."""
    site = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(built.wheel) as archive:
        archive.extractall(site)
    return site


def test_wheel_top_level(built: Built) -> None:
    top = {name.split("/")[0] for name in wheel_names(built.wheel)}
    assert top == {"cotune", "viewfs", f"cotune-{cotune.__version__}.dist-info"}


@pytest.mark.parametrize("folder", ["profiles", "ansible"])
def test_wheel_carries_data(installed: Path, folder: str) -> None:
    assert tree(installed / "cotune" / "_data" / folder) == tree(ROOT / folder)


@pytest.mark.parametrize("package", ["cotune", "viewfs"])
def test_wheel_carries_every_module(installed: Path, package: str) -> None:
    carried = [name for name in tree(installed / package) if not name.startswith("_data/")]
    assert carried == tree(ROOT / package)


def test_wheel_names_no_duplicate(built: Built) -> None:
    names = wheel_names(built.wheel)
    assert len(names) == len(set(names))


def test_wheel_of_sdist_is_the_same(built: Built) -> None:
    assert wheel_names(built.wheel_of_sdist) == wheel_names(built.wheel)


def test_sdist_leaves_out_what_is_generated(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        parts = {part for name in archive.getnames() for part in name.split("/")}
    assert not parts & {".venv", ".git", "__pycache__", ".mypy_cache", "dist", "_data"}


def test_metadata(installed: Path) -> None:
    info = installed / f"cotune-{cotune.__version__}.dist-info"
    metadata = (info / "METADATA").read_text()
    assert f"\nVersion: {cotune.__version__}\n" in metadata
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    assert "\nRequires-Python: >=3.11\n" in metadata
    assert (info / "licenses" / "LICENSE").is_file()
    scripts = (info / "entry_points.txt").read_text().split()
    assert "cotune" in scripts and "viewfs" in scripts


def test_installed_resources(installed: Path, tmp_path: Path) -> None:
    code = "from cotune.resources import *; print(profiles_dir(), collection_dir(), sep='\\n')"
    env = {**os.environ, "PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
    # Run elsewhere: the interpreter puts the current folder first on its path.
    output = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, check=True, capture_output=True).stdout
    data = installed / "cotune" / "_data"
    assert output.decode().splitlines() == [str(data / "profiles"), str(data / "ansible")]


def test_checkout_resources() -> None:
    assert resources.profiles_dir() == ROOT / "profiles"
    assert resources.collection_dir() == ROOT / "ansible"


def test_incomplete_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A folder of that name beside the package, as in site-packages, is somebody else's.
    (tmp_path / "ansible").mkdir()
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "cotune")
    with pytest.raises(CotuneError, match="lacks its ansible folder") as caught:
        resources.collection_dir()
    assert caught.value.hint


def test_project_table_is_complete() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(project["scripts"]) == {"cotune", "viewfs"}
    assert {"views", "dev"} <= set(project["optional-dependencies"])


@pytest.mark.parametrize(
    ("arguments", "code", "stdout"),
    [
        (["--version"], 0, f"viewfs {cotune.__version__}\n"),
        (["--help"], 0, "Usage: viewfs"),
        (["mount", "--help"], 0, "MNT"),
        (["nonsense"], 2, ""),
        (["validate", "/nonexistent"], 2, ""),
    ],
)
def test_viewfs_says_what_it_is(arguments: list[str], code: int, stdout: str) -> None:
    run = subprocess.run([sys.executable, "-m", "viewfs", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert (run.returncode, stdout in run.stdout) == (code, True), run
    assert "Traceback" not in run.stderr
