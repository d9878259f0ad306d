"""The collection as a whole: it builds, its version is cotune's, Ansible's own checks have nothing to say."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

import cotune
from tests.collection.lab import COTUNE, PATIENCE, ROOT, ansible, copy_collection

SOURCE = ROOT / "ansible"
needs_lint = pytest.mark.skipif(
    importlib.util.find_spec("ansiblelint") is None, reason="needs ansible-lint (the extra dev)"
)
needs_core = pytest.mark.skipif(
    importlib.util.find_spec("ansible") is None, reason="needs ansible-core (the extra dev)"
)

#: ansible-test fetches get-pip.py from a server of its own, unless this file is in its cache; ensurepip does as well.
GET_PIP = """\
import subprocess
import sys

subprocess.run([sys.executable, "-m", "ensurepip"], check=True)
words = [word for word in sys.argv[1:] if not word.startswith("--no-")]
sys.exit(subprocess.run([sys.executable, "-m", "pip", "install", *words]).returncode)
"""


def run(*command: object, cwd: Path, patience: float = PATIENCE, **environment: str) -> str:
    """Run one of Ansible's commands, which must succeed; returns what it printed."""
    done = ansible(*command, cwd=cwd, patience=patience, **environment)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("ansible", reason="needs ansible-core (the extra dev)")
    folder = tmp_path_factory.mktemp("built")
    run("ansible-galaxy", "collection", "build", SOURCE, "--output-path", folder, cwd=folder)
    (built,) = folder.iterdir()
    return built


def test_version_is_that_of_cotune() -> None:
    assert yaml.safe_load((SOURCE / "galaxy.yml").read_text())["version"] == cotune.__version__
    assert cotune.__version__ in yaml.safe_load((SOURCE / "changelogs/changelog.yaml").read_text())["releases"]
    assert f"## {cotune.__version__}" in (SOURCE / "CHANGELOG.md").read_text()


def test_the_tarball_holds_the_source(tarball: Path) -> None:
    assert tarball.name == f"cotune-host-{cotune.__version__}.tar.gz"
    with tarfile.open(tarball) as archive:
        carried = {member.name for member in archive if member.isfile()} - {"FILES.json", "MANIFEST.json"}
    parts = ("__pycache__", ".ansible")
    files = [path for path in SOURCE.rglob("*") if path.is_file() and not set(path.parts) & set(parts)]
    assert carried == {str(path.relative_to(SOURCE)) for path in files} - {"galaxy.yml", ".ansible-lint"}


def test_it_is_no_package_and_has_no_links() -> None:
    assert not (SOURCE / "__init__.py").exists(), "a package of this name would hide Ansible's"
    assert not [path for path in SOURCE.rglob("*") if path.is_symlink()]


@pytest.mark.parametrize("unit", ["cotune-apply.service", "viewfs.service"])
def test_units_are_those_of_the_packages(unit: str) -> None:
    template = (SOURCE / "roles/host/templates" / f"{unit}.j2").read_text()
    _managed, _, text = template.partition("\n")
    assert text.replace("{{ host_venv }}/bin/", "/usr/bin/") == (ROOT / "packaging/systemd" / unit).read_text()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (package systemd)")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "cotune-apply.service"
    unit.write_text(
        (ROOT / "packaging/systemd/cotune-apply.service").read_text().replace("/usr/bin/cotune", str(COTUNE))
    )
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@needs_core
def test_every_module_is_documented(tarball: Path, tmp_path: Path) -> None:
    install = ("ansible-galaxy", "collection", "install", "--offline", tarball, "-p", tmp_path)
    run(*install, cwd=tmp_path)
    names = sorted(path.stem for path in (SOURCE / "plugins/modules").glob("*.py"))
    text = run(
        "ansible-doc", *(f"cotune.host.{name}" for name in names), cwd=tmp_path, ANSIBLE_COLLECTIONS_PATH=str(tmp_path)
    )
    assert all(f"> MODULE cotune.host.{name} " in text for name in names)
    text = run("ansible-doc", "-t", "role", "cotune.host.host", cwd=tmp_path, ANSIBLE_COLLECTIONS_PATH=str(tmp_path))
    defaults = yaml.safe_load((SOURCE / "roles/host/defaults/main.yml").read_text())
    assert all(name in text for name in defaults)


@needs_lint
@pytest.mark.slow
@pytest.mark.xdist_group("both-cpus")
def test_ansible_lint(tmp_path: Path) -> None:
    collection = copy_collection(tmp_path)
    out = run(
        "ansible-lint",
        *("--profile", "production", "--offline", "--nocolor"),
        cwd=collection,
        patience=1200,
        ANSIBLE_COLLECTIONS_PATH=str(tmp_path),
        ANSIBLE_HOME=str(tmp_path / "home"),
    )
    assert "Passed: 0 failure(s), 0 warning(s)" in out, out


def pinned_pip() -> str:
    """The version of pip that ansible-test installs."""
    (package,) = importlib.util.find_spec("ansible_test").submodule_search_locations  # type: ignore[union-attr,misc]
    found = re.search(r"pip='([\d.]+)'", (Path(package) / "_internal/python_requirements.py").read_text())
    assert found is not None
    return found[1]


@needs_core
@pytest.mark.slow
@pytest.mark.xdist_group("both-cpus")
def test_ansible_test_sanity(tmp_path: Path) -> None:
    collection = copy_collection(tmp_path)
    home = ROOT / ".cache" / "ansible-test"
    cache = home / ".ansible/test/cache"
    cache.mkdir(parents=True, exist_ok=True)
    (cache / f"get_pip_{pinned_pip().replace('.', '_')}.py").write_text(GET_PIP)
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    run("ansible-test", "sanity", "--local", "--python", python, cwd=collection, patience=2400, HOME=str(home))
