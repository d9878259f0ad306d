"""io.max, io.weight and io.cost on a virtio disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm.inside.lab import DISK, ROOT, GuestLab

VDC = {"device": {"device": "vdc"}}
OTHER = Path("/sys/block/vda/dev").read_text().strip()


def row(file: Path) -> dict[str, str]:
    """The pairs of the disk's row in a table; empty without a row."""
    for line in file.read_text().splitlines():
        device, *pairs = line.split()
        if device == DISK:
            return dict(pair.split("=", 1) for pair in pairs)
    return {}


def test_rows_of_other_devices_stay(lab: GuestLab) -> None:
    lab.make("svc")
    lab.write("svc", "io.max", f"{OTHER} rbps=4096000")
    before = lab.snapshot()
    svc = {"match": {"cgroup": lab.path("svc")}, "io": {"max": [{**VDC, "read_bps": "10MiB", "write_iops": 100}]}}
    profile = lab.profile(groups={"svc": svc})
    lab.run("apply", profile).expect(0)
    assert sorted(lab.read("svc", "io.max").splitlines()) == sorted(
        [
            f"{OTHER} rbps=4096000 wbps=max riops=max wiops=max",
            f"{DISK} rbps={10 * 2**20} wbps=max riops=max wiops=100",
        ]
    )
    lab.run("diff", profile).expect(0)
    lab.run("rollback").expect(0)
    assert lab.snapshot() == before


def test_weight_of_a_group_and_of_one_device(lab: GuestLab) -> None:
    """A device can have a weight of its own only while its cost model is enabled, which comes first."""
    lab.make("svc")
    before = lab.snapshot()
    stages = (
        (250, "default 250"),
        ([{**VDC, "weight": 400}], f"default 250\n{DISK} 400"),
    )
    for number, (weight, read) in enumerate(stages):
        svc = {"match": {"cgroup": lab.path("svc")}, "io": {"weight": weight}}
        host = {"block": [{"match": {"device": "vdc"}, "iocost": {"enable": True}}]}
        profile = lab.profile(f"stage{number}", groups={"svc": svc}, host=host)
        lab.run("apply", profile).expect(0)
        assert lab.read("svc", "io.weight") == read
        lab.run("diff", profile).expect(0)
    lab.run("rollback").expect(0)
    lab.run("rollback").expect(0)
    assert lab.snapshot() == before
    assert row(ROOT / "io.cost.qos")["enable"] == "0"


@pytest.mark.parametrize("ctrl", ["auto", "user"])
def test_iocost_on_and_off(lab: GuestLab, ctrl: str) -> None:
    """The root's tables keep a row for the device once it was written; its values come back."""
    lab.make()
    qos, model = ROOT / "io.cost.qos", ROOT / "io.cost.model"
    assert row(qos).get("enable", "0") == "0"
    iocost = {"enable": True, "ctrl": ctrl}
    profile = lab.profile(host={"block": [{"match": {"device": "vdc"}, "iocost": iocost}]})
    lab.run("apply", profile).expect(0)
    assert (row(qos)["enable"], row(qos)["ctrl"]) == ("1", ctrl)
    assert row(model)["model"] == "linear"
    lab.run("diff", profile).expect(0)
    assert lab.run("apply", "--json", profile).expect(0).json["transaction"] is None
    lab.run("rollback").expect(0)
    assert (row(qos)["enable"], row(qos)["ctrl"]) == ("0", "auto")
    lab.run("diff", profile).expect(1)
