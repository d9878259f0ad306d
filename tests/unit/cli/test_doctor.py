"""cotune doctor: gaps with remedies, managers, state, and profiles."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from cotune.knobs import KNOBS

from .conftest import Cotune


def texts(record: dict[str, Any], area: str) -> str:
    return "\n".join(f"{f['level']}: {f['text']}" for f in record["findings"] if f["area"] == area)


def test_a_healthy_host(anck: Cotune) -> None:
    record = anck.json("doctor")
    assert record["worst"] == "info"
    assert "ok: nothing is applied" in texts(record, "state")
    gaps = {knob: gap for gap in record["gaps"] for knob in gap["knobs"]}
    assert gaps["cpu.idle"]["remedy"] == "Linux 5.15 or later"
    assert gaps["cpu.identity"]["state"] == "gated"
    missing = sum(gap["state"] == "no" for gap in gaps.values())
    assert f"{len(KNOBS) - missing} of {len(KNOBS)} knobs work here" in anck("doctor").out


CHAPTERS = {
    "anck-4.19": ("This kernel lacks", "Of the other cgroup version", "Off until cotune switches them on"),
    "tencentos": ("This kernel lacks", "Work in part", "Off until cotune switches them on"),
    "mainline-v1": ("This kernel lacks", "Of the other cgroup version", "Need something mounted", "Cannot be told yet"),
}


@pytest.mark.parametrize("kernel", CHAPTERS)
def test_gaps_are_told_kind_by_kind(kernel: str, cotune_on: Any) -> None:
    """Each knob stands in exactly one place of the text, each remedy in one place of its chapter."""
    cotune = cotune_on(kernel)
    record, out = cotune.json("doctor"), cotune("doctor").out
    places = [out.find(f"\n{title} (") for title in CHAPTERS[kernel]]
    assert -1 not in places
    assert places == sorted(places)
    told = [word.strip(" ,") for line in out.splitlines() if line.startswith(("  ! ", "  ~ ", "  ? ", "    "))
            and not line.startswith("      ") for word in line[4:].split(", ") if word.strip(" ,")]  # fmt: skip
    assert sorted(told) == sorted(key for gap in record["gaps"] for key in gap["knobs"])
    for gap in record["gaps"]:
        assert gap["kind"], gap
        assert gap["reason"], gap
        assert gap["remedy"], gap
    needs = [line for line in out.splitlines() if line.startswith("      needs: ")]
    assert len(needs) < 60
    assert max(len(line) for line in out.splitlines()) < 125


def test_managers_are_found_by_their_processes(anck: Cotune) -> None:
    managers = texts(anck.json("doctor"), "managers")
    for name in ("kubelet runs (pid 1240)", "containerd runs (pid 1180)", "systemd runs (pid 1)"):
        assert name in managers


def test_tuned_is_a_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a Python program, the process name is the interpreter's: the script counts."""
    from cotune.host.facts import Host
    from cotune.host.managers import find_managers
    from cotune.kernel.real import RealKernel

    for pid, comm, line in (
        (7, "python3", "/usr/bin/python3\0-Es\0/usr/sbin/tuned\0-l\0"),
        (8, "koordlet", "koordlet\0"),
        (9, "python3", "python3\0train.py\0"),
    ):
        (tmp_path / f"proc/{pid}").mkdir(parents=True)
        (tmp_path / f"proc/{pid}/comm").write_text(f"{comm}\n")
        (tmp_path / f"proc/{pid}/cmdline").write_text(line)
    kernel = RealKernel(str(tmp_path))
    try:
        assert [(m.name, m.pids) for m in find_managers(Host(kernel))] == [("koordlet", (8,)), ("tuned", (7,))]
    finally:
        kernel.close()


def test_drift_and_damage_are_told(anck: Cotune) -> None:
    anck("apply", anck.profile("groups:\n  web: {match: {cgroup: user.slice}, cpu: {shares: 512}}\n"))
    assert "ok: 1 value of test, none drifted" in texts(anck.json("doctor"), "state")
    anck.write("/sys/fs/cgroup/cpu/user.slice/cpu.shares", "77")
    assert "warning: 1 of 1 value of test were changed by somebody else" in texts(anck.json("doctor"), "state")
    journal = next(anck.directory.rglob("000001.jsonl"))
    lines = journal.read_text().splitlines()
    journal.write_text(lines[0] + "\n")
    assert "problem: transaction 000001 was cut off by a crash" in texts(anck.json("doctor"), "state")
    journal.write_text("{")
    assert "problem: " in texts(anck.json("doctor"), "state")


def test_a_profile_that_fits(anck: Cotune) -> None:
    path = anck.profile("groups:\n  web: {match: {cgroup: user.slice}, cpu: {shares: 512}}\n")
    record = anck.json("doctor", path)
    assert (record["knobs"], record["gaps"], record["unsupported"]) == (1, [], False)
    assert "ok: test: 1 changes to make" in texts(record, "profile")


def test_a_profile_that_needs_what_is_missing(mainline: Cotune) -> None:
    text = "groups:\n  web: {match: {cgroup: web}, create: true, cpu: {identity: high, shares: 512}}\n"
    path = mainline.profile(text)
    record = mainline.json("doctor", path, code=3)
    assert record["knobs"] == 2
    assert [gap["knobs"] for gap in record["gaps"]] == [["cpu.identity"]]
    out = mainline("doctor", path, code=3).out
    assert "1 of 2 knobs work here" in out
    assert "needs: an ANCK kernel with group identity" in out


def test_what_is_approximated_works_in_part(mainline: Cotune) -> None:
    """Before and after it is applied; what has nothing near it stays missing."""
    text = (
        "defaults: {unsupported: approximate}\ngroups:\n  b: {match: {cgroup: b}, create: true, cpu: {identity: IT}}\n"
    )
    low, high = mainline.profile(text.replace("IT", "low")), mainline.profile(text.replace("IT", "high"), "high")
    for _ in range(2):
        (gap,) = mainline.json("doctor", low)["gaps"]
        assert (gap["knobs"], gap["state"], gap["kind"]) == (["cpu.identity"], "yes", "file")
        assert gap["reason"].endswith("has no cpu.bvt_warp_ns: cpu.idle takes its place")
        assert "1 of 1 knobs work here\nWork in part (1)\n" in mainline("doctor", low).out
        mainline("apply", low)
    assert mainline.json("doctor", high, code=3)["gaps"][0]["state"] == "no"


def test_requirements_and_boot_words(mainline: Cotune) -> None:
    path = mainline.profile("requires: {boot: [cgwb_v1]}\ngroups: {w: {match: {cgroup: other}, cpu: {cpus: '0'}}}\n")
    record = mainline.json("doctor", path, code=3)
    assert "not booted with cgwb_v1" in texts(record, "profile")


def test_a_refused_plan(anck: Cotune) -> None:
    """Two groups that match equally well and differ."""
    path = anck.profile(
        "groups:\n  a: {match: {cgroup: user.slice}, cpu: {shares: 512}}\n"
        "  b: {match: {cgroup: user.slice}, cpu: {shares: 513}}\n"
    )
    record = anck.json("doctor", path, code=2)
    assert record["refused"]
    assert "problem: " in texts(record, "profile")


def test_warnings_of_the_profile(anck: Cotune) -> None:
    path = anck.profile("groups: {s: {match: {cgroup: system.slice/sshd.service}, memory: {limit: 1GiB}}}\n")
    assert "systemd may rewrite memory.limit" in texts(anck.json("doctor", path), "profile")


def test_an_unusable_state_directory(cotune_on: Any, tmp_path: Path) -> None:
    cotune = cotune_on(None)
    cotune.directory = tmp_path / "file" / "state"
    (tmp_path / "file").write_text("")
    assert "problem: " in texts(cotune.json("doctor"), "state")


def test_the_running_host(real: Cotune) -> None:
    record = real.json("doctor")
    assert record["release"] == os.uname().release
    assert not real.directory.exists()
