"""Who gets whose figures, and who may look where."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.host.lab import Lab, put, remove_tree
from tests.views.lab import Contained, Service, soon

pytestmark = pytest.mark.root

MEBIBYTE = 1 << 20
TOTAL = "import json, sys; print(json.dumps(open(sys.argv[1]).readline().split()[1]))"
NAMES = "import json, os, sys; print(json.dumps(sorted(os.listdir(sys.argv[1]))))"
EXISTS = "import json, os, sys; print(json.dumps([os.path.exists(path) for path in sys.argv[1:]]))"


def limited(lab: Lab, group: str, mebibytes: int) -> Contained:
    """A container with a memory limit to know it by."""
    made = Contained(lab, group)
    lab.write(group, "memory.limit_in_bytes", mebibytes * MEBIBYTE)
    return made


def sleeper(container: Contained) -> int:
    """Start a container's first process; its number on the host."""
    shell = container.start("sh", "-c", "echo up; exec sleep 600")
    assert shell.stdout is not None
    assert shell.stdout.readline() == b"up\n"
    children = Path(f"/proc/{shell.pid}/task/{shell.pid}/children").read_text().split()
    return int(children[0])


def test_each_container_sees_its_own_limit(service: Service, lab: Lab) -> None:
    for group, size in (("a", 64), ("b", 96), ("a", 64)):
        assert limited(lab, group, size).python(TOTAL, service.path("proc/meminfo")) == str(size * 1024)
    with open("/proc/meminfo") as file:
        assert service.path("proc/meminfo").read_text().splitlines()[0] + "\n" == file.readline()


def test_containers_that_read_one_file_together_do_not_mix(service: Service, lab: Lab) -> None:
    """They share an inode in the caller tree, so its page cache must not carry figures over."""
    code = (
        "import sys\n"
        "for _ in range(1500):\n"
        "    total = open(sys.argv[1]).readline().split()[1]\n"
        "    assert total == sys.argv[2], total\n"
    )
    path = str(service.path("proc/meminfo"))
    readers = []
    for group, size in (("a", 64), ("b", 96), ("c", 128)):
        readers.append(limited(lab, group, size).start(sys.executable, "-c", code, path, str(size * 1024)))
    for _ in range(300):
        assert int(service.path("proc/meminfo").read_text().split()[1]) > 256 * 1024
    assert [reader.wait(60) for reader in readers] == [0, 0, 0]


def test_nested_group_counts_as_the_containers(service: Service, lab: Lab) -> None:
    """A process in a group below the container's is still of the container; only its first process counts."""
    container = limited(lab, "ct", 64)
    lab.make("ct/inner")
    lab.write("ct/inner", "memory.limit_in_bytes", 8 * MEBIBYTE)
    procs = lab.dir("memory", "ct/inner") / "cgroup.procs"
    # the shell is the first process; its child moves itself
    script = f"sh -c 'echo $$ > {procs}; cat {service.path('proc/meminfo')}'; true"
    # a shell's $$ is its number in its own namespace, which is how cgroup.procs takes it
    run = container.run("sh", "-c", script)
    assert run.stdout.splitlines()[0].split()[1] == str(64 * 1024), run.stderr


def test_process_that_entered_from_outside(service: Service, lab: Lab) -> None:
    """As ``docker exec`` does: its parent is no process of the container."""
    pid = sleeper(limited(lab, "ct", 64))
    enter = ["nsenter", "--target", str(pid), "--pid", "--", "head", "-1", str(service.path("proc/meminfo"))]
    run = subprocess.run(enter, capture_output=True, text=True, timeout=30)
    assert run.stdout.split()[1] == str(64 * 1024), run.stderr


def test_threads_are_recognised(service: Service, lab: Lab) -> None:
    code = (
        "import json, sys, threading\n"
        "found = []\n"
        "read = lambda: found.append(open(sys.argv[1]).readline().split()[1])\n"
        "threads = [threading.Thread(target=read) for _ in range(8)]\n"
        "[thread.start() for thread in threads]\n"
        "[thread.join() for thread in threads]\n"
        "print(json.dumps(sorted(set(found))))\n"
    )
    assert limited(lab, "ct", 64).python(code, service.path("proc/meminfo")) == [str(64 * 1024)]


def test_container_moved_to_another_group(service: Service, lab: Lab) -> None:
    pid = sleeper(limited(lab, "ct", 64))
    limited(lab, "other", 96)
    path = service.path(f"pid/{pid}/proc/meminfo")
    assert path.read_text().split()[1] == str(64 * 1024)
    put(lab.dir("memory", "other") / "cgroup.procs", pid)
    assert soon(lambda: path.read_text().split()[1] == str(96 * 1024), 5)


def test_trees_of_one_container(service: Service, lab: Lab) -> None:
    container = limited(lab, "ct", 64)
    by_group = service.path(f"cgroup/{container.group}/proc/meminfo")
    assert by_group.read_text().split()[1] == str(64 * 1024), "known before it has a process"
    pid = sleeper(container)
    assert by_group.read_text().split()[1] == str(64 * 1024)
    assert service.path(f"pid/{pid}/proc/meminfo").read_text().split()[1] == str(64 * 1024)
    assert service.path(f"pid/{os.getpid()}/proc/swaps").read_bytes() == Path("/proc/swaps").read_bytes()
    assert float(service.path(f"pid/{pid}/proc/uptime").read_text().split()[0]) < 60


def test_the_host_lists_groups_and_processes(service: Service, lab: Lab) -> None:
    container = limited(lab, "ct", 64)
    assert "ct" in os.listdir(service.path(f"cgroup/{lab.name}"))
    assert {"proc", "sys"} <= set(os.listdir(service.path(f"cgroup/{container.group}")))
    assert str(os.getpid()) in os.listdir(service.path("pid"))
    assert os.listdir(service.path(f"pid/{os.getpid()}")) == ["proc", "sys"]


def test_a_container_finds_itself_and_nobody_else(service: Service, lab: Lab) -> None:
    mine, other = limited(lab, "mine", 64), limited(lab, "other", 96)
    pid = sleeper(other)
    # what the host has walked through must not let others in
    for path in (f"cgroup/{other.group}/proc/meminfo", f"pid/{pid}/proc/meminfo", f"cgroup/{mine.group}/proc/meminfo"):
        assert service.path(path).read_bytes()
    places = [
        f"cgroup/{mine.group}/proc/meminfo",
        f"cgroup/{mine.group}/sys/devices/system/cpu/online",
        f"cgroup/{other.group}",
        f"cgroup/{other.group}/proc/meminfo",
        f"cgroup/{lab.name}/proc",
        f"pid/{pid}",
        f"pid/{pid}/proc/meminfo",
        f"pid/{os.getpid()}/proc/meminfo",
    ]
    seen = mine.python(EXISTS, *(service.path(place) for place in places))
    assert seen == [True, True, *[False] * 6]
    assert mine.python(TOTAL, service.path(places[0])) == str(64 * 1024)
    for place in ("cgroup", "pid", f"cgroup/{lab.name}"):
        assert mine.python(NAMES, service.path(place)) == [], place
    assert mine.python(NAMES, service.path(f"cgroup/{mine.group}")) == ["proc", "sys"]
    assert service.path(places[3]).exists(), "the host still finds it"


def test_a_bound_file_may_be_read_by_whoever_sees_it(service: Service, lab: Lab) -> None:
    container = limited(lab, "ct", 64)
    place = service.path(f"cgroup/{container.group}/proc/meminfo")
    script = (
        f"mount --bind {place} /proc/meminfo && head -1 /proc/meminfo && "
        "exec unshare --pid --fork head -1 /proc/meminfo"
    )
    run = container.run("unshare", "--mount", "--propagation", "private", "sh", "-c", script)
    assert [line.split()[1] for line in run.stdout.splitlines()] == [str(64 * 1024)] * 2, run.stderr


def test_vanished_group(service: Service, lab: Lab) -> None:
    container = limited(lab, "ct", 64)
    path = service.path(f"cgroup/{container.group}/proc/meminfo")
    fd = os.open(path, os.O_RDONLY)
    try:
        assert os.pread(fd, 9, 0) == b"MemTotal:"
        for controller in lab.points:
            if lab.dir(controller, "ct").is_dir():
                remove_tree(lab.dir(controller, "ct"))
        with pytest.raises(FileNotFoundError):
            path.read_bytes()
        time.sleep(0.1)
        with pytest.raises(FileNotFoundError):
            os.pread(fd, 9, 0)
        # a container that is made again under its name is found by who kept its file
        limited(lab, "ct", 96)
        assert os.pread(fd, 4096, 0).split()[1] == str(96 * 1024).encode()
        assert path.read_text().split()[1] == str(96 * 1024)
    finally:
        os.close(fd)


def test_vanished_process(service: Service, lab: Lab) -> None:
    pid = sleeper(limited(lab, "ct", 64))
    path = service.path(f"pid/{pid}/proc/meminfo")
    with path.open() as file:
        assert file.readline().split()[1] == str(64 * 1024)
        os.kill(pid, 9)
        assert soon(lambda: not Path(f"/proc/{pid}").exists())
        assert not path.exists()
