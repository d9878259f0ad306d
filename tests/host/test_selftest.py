"""cotune selftest on the running kernel: its recording against the simulated kernel, and what it touches."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cotune.selftest.scratch import PREFIX
from tests.conftest import SUMMARY
from tests.host.lab import Lab, finish, kernel_writes, wait_for
from tests.sim.replay import Outcome
from tests.sim.test_truth_v1 import Replay, expected

pytestmark = pytest.mark.root

#: the controllers whose recordings can be compared with the simulated host
AREAS = ("cpu", "cpuacct", "cpuset", "memory", "blkio", "pids")


def needs_the_simulated_machine(lab: Lab, area: str) -> None:
    """Skip where paths, CPUs or release differ so much that recordings cannot be compared."""
    if lab.points.get(area) != f"/sys/fs/cgroup/{area}":
        pytest.skip(f"needs the {area} controller at /sys/fs/cgroup/{area}")
    if Path("/sys/devices/system/cpu/online").read_text().strip() != "0-1":
        pytest.skip("needs two CPUs, as the simulated machine has")
    if tuple(int(number) for number in re.findall(r"\d+", os.uname().release)[:2]) < (6, 13):
        pytest.skip("needs Linux 6.13 or later, as the simulated machine has")


def scratch(lab: Lab, controller: str) -> list[Path]:
    """Scratch groups in the group ``tenant`` of this laboratory, where no other run makes any."""
    return list(lab.dir(controller, "tenant").glob(f"{PREFIX}*"))


def maker(group: Path) -> int:
    """The pid in the name of a scratch group."""
    return int(group.name.removeprefix(PREFIX).partition("-")[0])


def steady(outcome: Outcome) -> Outcome:
    """Without the number of periods in ``cpu.stat``: the timer of a group with a quota counts on by itself."""
    before, after = (text and re.sub(r"(?m)^nr_periods \d+$", "nr_periods N", text) for text in outcome[1:])
    return Outcome(outcome.errno, before, after)


def differences(records: list[dict[str, Any]]) -> list[tuple[str, str, Outcome, Outcome]]:
    """Records of cgroup files that the simulated kernel answers differently: file, input, its answer, the real one."""
    replay = Replay()
    found = []
    for record in records:
        if not record["file"].startswith("/sys/fs/cgroup/"):
            continue
        outcome, recorded = steady(replay.operations[record["op"]](record)), steady(expected(record))
        if outcome != recorded:
            found.append((record["file"].partition(PREFIX)[2], record["input"], outcome, recorded))
    return found


@pytest.mark.parametrize("area", AREAS)
def test_a_recording_replays_on_the_simulated_kernel(
    lab: Lab, area: str, record_property: Callable[[str, object], None]
) -> None:
    needs_the_simulated_machine(lab, area)
    path = lab.directory / "kernel.json"
    told = lab.run("selftest", "--area", area, "--record", path, "--json").expect(0).json
    records = json.loads(path.read_text())
    assert (told["differs"], told["operations"], told["left"]) == (0, len(records), [])
    assert told["known"] > 3
    found = differences(records)
    assert found == [], "\n".join(map(str, found))
    record_property(SUMMARY, f"selftest of {area}: {len(records)} operations replay on the simulated kernel")


def test_only_scratch_groups_are_touched(lab: Lab) -> None:
    trace = "trace=openat,open,openat2,creat,mkdir,mkdirat,rmdir,unlink,unlinkat,rename,renameat2,mount,umount2"
    run, calls = lab.traced(["selftest", "--area", "cpu", "--area", "pids", "--area", "host"], "-e", trace)
    run.expect(0)
    paths = kernel_writes(calls)
    assert len(paths) > 50
    assert [path for path in paths if f"/{PREFIX}" not in path] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle(lab: Lab, number: signal.Signals) -> None:
    """The run is held up at its 30th write, and told to stop there."""
    below = lab.make("tenant", controllers=["cpu"])
    delay = "inject=write:delay_enter=2000000:when=30"
    process = lab.start_traced(["selftest", "--area", "cpu", "--below", below], "-e", "trace=write", "-e", delay)
    made = wait_for(lambda: scratch(lab, "cpu"), "a scratch group is made")[0]
    wait_for(lambda: (made / "cpu-v1").is_dir(), "its family is probed")
    os.kill(maker(made), number)
    finish(process).expect(130)
    assert scratch(lab, "cpu") == []


def test_a_killed_run_is_cleared_away_by_the_next(lab: Lab) -> None:
    below = lab.make("tenant", controllers=["pids"])
    delay = "inject=write:delay_enter=30000000:when=8"
    arguments = ["selftest", "--area", "pids", "--below", below]
    process = lab.start_traced(arguments, "-e", "trace=write", "-e", delay)
    made = wait_for(lambda: scratch(lab, "pids"), "a scratch group is made")[0]
    os.kill(maker(made), signal.SIGKILL)
    finish(process)
    assert scratch(lab, "pids") == [made]
    told = lab.run(*arguments).expect(0)
    assert f"{made}: left by a run that was killed; removed" in told.out
    assert scratch(lab, "pids") == []


def test_two_at_once_do_not_disturb_each_other(lab: Lab) -> None:
    runs = [lab.start(lab.command("selftest", "--area", "pids", "--area", "cpuacct")) for _ in range(3)]
    for run in runs:
        finish(run).expect(0)


def test_below_a_group(lab: Lab) -> None:
    group = lab.make("tenant", controllers=["cpu"])
    told = lab.run("selftest", "--area", "cpu", "--below", group, "--json").expect(0).json
    assert told["families"][0]["parent"] == str(lab.dir("cpu", "tenant"))
    assert list(lab.dir("cpu", "tenant").glob(f"{PREFIX}*")) == []
