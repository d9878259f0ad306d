"""Which process a container's name means: the state that runtimes keep, as they lay it out."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cotune.errors import UsageError
from viewfs.processes import start_time
from viewfs.targets import Target, find_target

ID = "3f4e2a7c9d1b" + 52 * "0"


@pytest.fixture
def process() -> Iterator[int]:
    """A process that a container could have."""
    with subprocess.Popen(["sleep", "600"]) as made:
        yield made.pid
        made.kill()


def keep(run: Path, place: str, state: dict[str, Any]) -> None:
    """Write a runtime's state below its run directory."""
    file = run / place
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(state))


def libcontainer(pid: int) -> dict[str, Any]:
    """What runc writes of a process (libcontainer BaseState)."""
    return {"id": ID, "init_process_pid": pid, "init_process_start": start_time(pid), "config": {}}


@pytest.mark.parametrize(
    ("place", "runtime", "words"),
    [
        (f"runc/{ID}/state.json", "runc", [ID, ID[:12], f"runc:{ID}", f"runc:{ID[:4]}"]),
        (f"docker/runtime-runc/moby/{ID}/state.json", "docker", [ID[:12], f"docker:{ID}"]),
        (f"containerd/runc/k8s.io/{ID}/state.json", "containerd", [ID, f"containerd:{ID[:12]}"]),
    ],
)
def test_state_of_runc(tmp_path: Path, process: int, place: str, runtime: str, words: list[str]) -> None:
    keep(tmp_path, place, libcontainer(process))
    for word in words:
        found = find_target(word, tmp_path)
        assert found == Target(process, start_time(process), runtime, ID)
        assert str(found) == f"{runtime}:{ID}"


def test_state_of_crun(tmp_path: Path, process: int) -> None:
    """As podman's containers on most distributions; it does not say when the process began."""
    keep(tmp_path, f"crun/{ID}/status", {"pid": process, "cgroup-path": "/machine.slice/x.scope", "rootless": False})
    for word in (ID, ID[:12], f"crun:{ID}"):
        assert find_target(word, tmp_path) == Target(process, start_time(process), "crun", ID)


def test_a_whole_id_wins_over_the_beginning_of_others(tmp_path: Path, process: int) -> None:
    for name in ("web", "web2"):
        keep(tmp_path, f"runc/{name}/state.json", libcontainer(process))
    assert find_target("web", tmp_path).id == "web"
    with pytest.raises(UsageError, match=r"we may be any of runc:web, runc:web2"):
        find_target("we", tmp_path)


def test_one_id_in_two_runtimes_has_to_be_told_apart(tmp_path: Path, process: int) -> None:
    keep(tmp_path, "runc/web/state.json", libcontainer(process))
    keep(tmp_path, "crun/web/status", {"pid": process})
    with pytest.raises(UsageError, match=r"web may be any of crun:web, runc:web"):
        find_target("web", tmp_path)
    assert find_target("crun:web", tmp_path).runtime == "crun"


def test_containers_that_do_not_run(tmp_path: Path, process: int) -> None:
    for name, state in {
        "created": {"init_process_pid": 0},
        "ended": {"init_process_pid": 999999999},
        "reused": libcontainer(process) | {"init_process_start": start_time(process) - 1},
    }.items():
        keep(tmp_path, f"runc/{name}/state.json", state)
        with pytest.raises(UsageError, match=r"does not run|no process 999999999"):
            find_target(name, tmp_path)
    (tmp_path / "runc" / "broken").mkdir()
    (tmp_path / "runc" / "broken" / "state.json").write_text("{")
    with pytest.raises(UsageError, match=r"state\.json cannot be read"):
        find_target("broken", tmp_path)


@pytest.mark.parametrize("program", ["docker", "podman"])
def test_names_are_looked_up_by_the_program(
    tmp_path: Path, process: int, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in prints what ``docker inspect --format {{.State.Pid}}`` prints: the pid, 0 for one that has ended."""
    stand_in = tmp_path / "bin" / program
    stand_in.parent.mkdir()
    wanted = '[ "$1 $2 $3 $4" = "inspect --format {{.State.Pid}} --" ] || exit 9'
    answers = f"web) echo {process};; ended) echo 0;; *) exit 1;;"
    stand_in.write_text(f"#!/bin/sh\n{wanted}\ncase $5 in {answers} esac\n")
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stand_in.parent}:{os.environ['PATH']}")
    assert find_target(f"{program}:web", tmp_path) == Target(process, start_time(process), program, "web")
    assert find_target("web", tmp_path).runtime == program
    for name in ("ended", "never"):
        with pytest.raises(UsageError, match="no running container"):
            find_target(f"{program}:{name}", tmp_path)
