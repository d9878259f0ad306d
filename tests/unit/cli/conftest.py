"""Fixtures of the command line's tests: verbs run in this process on simulated hosts, or on the running one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cotune.cli.app import run
from cotune.kernel.port import Kernel
from cotune.session import open_session


class Output(NamedTuple):
    """What a command printed."""

    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


class Cotune:
    """Runs command lines against one state directory; ``kernel`` None means the running host."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str], kernel: str | None) -> None:
        self.directory, self.capsys, self.kernel = directory, capsys, kernel

    def __call__(self, *arguments: str, code: int = 0) -> Output:
        """Run a verb and check its exit code."""
        options = ["--state-dir", str(self.directory), *(["--sim", self.kernel] if self.kernel else [])]
        self.capsys.readouterr()
        got = run([*arguments, *options])
        output = Output(*self.capsys.readouterr())
        assert got == code, f"exit {got}, expected {code}\n{output.out}\n{output.err}"
        return output

    def json(self, *arguments: str, code: int = 0) -> Any:
        """Run a verb with ``--json`` and check its schema word; returns the object."""
        record = json.loads(self(*arguments, "--json", code=code).out)
        assert record["schema"] == f"cotune.{arguments[0]}/v1"
        return record

    @contextmanager
    def host(self) -> Iterator[Kernel]:
        """The simulated host, for whatever other programs do to it."""
        with open_session(None, self.directory, self.kernel) as session:
            yield session.host.kernel

    def write(self, path: str, text: str) -> None:
        """A third party's write."""
        with self.host() as kernel:
            kernel.write(path, text)

    def profile(self, text: str, name: str = "test") -> str:
        """A profile with this ``host`` and ``groups``; returns its path."""
        path = self.directory.parent / f"{name}.yaml"
        path.write_text(f"apiVersion: cotune/v1\nkind: IsolationProfile\nmetadata: {{name: {name}}}\n{text}")
        return str(path)


Make = Callable[[str | None], Cotune]


@pytest.fixture
def cotune_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Make:
    """Makes a Cotune for a simulated kernel, or for the running host."""
    return lambda kernel: Cotune(tmp_path / f"state-{kernel}", capsys, kernel)


@pytest.fixture
def anck(cotune_on: Make) -> Cotune:
    return cotune_on("anck-4.19")


@pytest.fixture
def mainline(cotune_on: Make) -> Cotune:
    return cotune_on("mainline-v1")


@pytest.fixture
def real(cotune_on: Make) -> Cotune:
    """The running host; verbs that only read."""
    return cotune_on(None)


@pytest.fixture
def own_groups() -> Iterator[str]:
    """The name of a cgroup made in the v1 hierarchies of cpu, cpuset, memory and pids, and removed again."""
    name = f"cotune-cli-{os.getpid()}"
    made = []
    if os.geteuid() != 0:
        pytest.skip("needs root")
    try:
        for controller in ("cpu", "cpuset", "memory", "pids"):
            directory = Path("/sys/fs/cgroup") / controller
            if not (directory / "cgroup.procs").exists():
                pytest.skip(f"needs the {controller} controller on cgroup v1")
            (directory / name).mkdir()
            made.append(directory / name)
        yield name
    finally:
        for directory in made:
            directory.rmdir()
