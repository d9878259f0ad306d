"""A whole rehearsal on every vendor host: apply the shipped profile, apply it again, roll it back."""

from __future__ import annotations

from pathlib import Path

import pytest

from cotune.cli.app import run
from cotune.sim.kernel import KERNELS, SimKernel
from tests.sim.lab import changed, snapshot

VENDORS = [kernel for kernel in KERNELS if kernel.startswith(("anck", "tencentos", "openeuler"))]
#: A file of each vendor that the profile sets there.
SET = {
    "anck-4.19": ("cpu/offline/cpu.bvt_warp_ns", "-1"),
    "anck-5.10": ("cpu/offline/cpu.bvt_warp_ns", "-1"),
    "anck-6.6": ("memory/offline/memory.wmark_min_adj", "50"),
    "anck-6.6-v2": ("offline/cpu.bvt_warp_ns", "-1"),
    "tencentos": ("cpu/offline/cpu.shares", "2"),
    "tencentos-4.14": ("cpu/offline/cpu.shares", "2"),
    "openeuler": ("cpu/offline/cpu.shares", "2"),
    "openeuler-6.6": ("cpu/offline/cpu.shares", "2"),
}


@pytest.mark.parametrize("kernel", VENDORS)
def test_a_rehearsal_leaves_nothing_behind(kernel: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--sim", kernel, "--state-dir", str(tmp_path)]
    state = tmp_path / "sim" / kernel / f"{kernel}.json"
    before = snapshot(SimKernel(kernel))
    assert run(["apply", "online-offline", *options]) == 0, capsys.readouterr().err
    applied = SimKernel.load(kernel, state)
    if kernel in SET:
        file, value = SET[kernel]
        assert applied.read(f"/sys/fs/cgroup/{file}").strip() == value
    assert run(["diff", "online-offline", *options]) == 0, capsys.readouterr().out
    assert run(["rollback", *options]) == 0, capsys.readouterr().err
    assert changed(before, snapshot(SimKernel.load(kernel, state))) == {}
