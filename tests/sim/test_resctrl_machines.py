"""Profiles with resctrl on simulated machines of all kinds, with and without it mounted."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from cotune.errors import ApplyFailed, PlanRefused, Unsupported, UsageError
from cotune.host.facts import Host
from cotune.host.resctrl import resctrl_facts
from cotune.host.support import probe
from cotune.inventory import find_place
from cotune.journal import COMMITTED, ROLLED_BACK
from cotune.knobs import BY_KEY
from cotune.planning import Options
from cotune.recover import recover
from cotune.sim.faults import Fault, FaultyKernel
from cotune.sim.kernel import SimKernel
from cotune.sim.resctrl_spec import MACHINES, Domain, ResctrlSpec, amd, halves, intel
from tests.sim.resctrl_lab import POINT, Lab, simulated, threads
from tests.sim.test_refusals import DyingKernel, Stopped


class AmdKernel(SimKernel):
    """A simulated host whose CPUs say that AMD made them."""

    def read(self, path: str) -> str:
        return super().read(path).replace("GenuineIntel", "AuthenticAMD")


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """An Intel machine with resctrl mounted: 11 bits of L3, two caches, room for seven classes."""
    return Lab(tmp_path, SimKernel("anck-4.19"))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Lab]:
    """A host with given resctrl hardware, mounted with the given options."""

    def build(spec: ResctrlSpec, *options: str, kernel: type[SimKernel] = SimKernel) -> Lab:
        monkeypatch.setitem(MACHINES, "mainline-v2", spec)
        made = kernel("mainline-v2")
        made.mount("resctrl", "resctrl", POINT, options)
        return Lab(tmp_path, made)

    return build


# --- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        ("{l3: 30%}", {"L3:0": 0xF, "L3:1": 0xF}),
        ("{l3: 50-100%}", {"L3:0": 0x7E0, "L3:1": 0x7E0}),
        ("{l3: 0-3}", {"L3:0": 0xF, "L3:1": 0xF}),
        ("{l3: bits 8}", {"L3:0": 0x100, "L3:1": 0x100}),
        ("{l3: 0xff}", {"L3:0": 0xFF, "L3:1": 0xFF}),
        ("{l3: 7f0}", {"L3:0": 0x7F0, "L3:1": 0x7F0}),
        ('{l3: {"1": 50%}}', {"L3:1": 0x3F}),
        ('{l3: {"0": 50%, "1": ff}, mb: {"0": 11%, "1": 70}}', {"L3:0": 0x3F, "L3:1": 0xFF, "MB:0": 20, "MB:1": 70}),
    ],
)
def test_forms_of_values(lab: Lab, body: str, rows: dict[str, int]) -> None:
    assert lab.values(body) == rows


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ('{l3: {"2": 50%}}', "there is no cache 2 for L3 here; there are 0, 1"),
        ("{l3: 4-11}", "mask ff0 reaches past the 11 bits of the cache (cbm_mask 7ff)"),
        ("{l3: 0x5}", "mask 5 has holes"),
        ("{l3: 0}", "mask 0 has fewer than 1 bits (min_cbm_bits)"),
        ("{mb: 9%}", "9 is outside 10 to 100"),
    ],
)
def test_values_the_machine_would_refuse(lab: Lab, body: str, why: str) -> None:
    assert why in lab.refusal(f"host: {{resctrl: {{classes: {{c: {body}}}}}}}\n")


def test_ids_of_caches_may_have_gaps(machine: Callable[..., Lab]) -> None:
    lab = machine(intel((Domain(0, (0, 1)), Domain(8, (2, 3)), Domain(24, (4, 5)))))
    assert lab.values("{mb: 50%}") == {"MB:0": 50, "MB:8": 50, "MB:24": 50}
    assert lab.values('{l3: {"24": 0-1}}') == {"L3:24": 3}
    text = 'host: {resctrl: {classes: {c: {l3: {"1": 50%}}}}}\n'
    assert "there is no cache 1 for L3 here; there are 0, 8, 24" in lab.refusal(text)


def test_code_and_data_apart(machine: Callable[..., Lab]) -> None:
    lab = machine(intel(halves(8)), "cdp")
    lab.apply("host: {resctrl: {classes: {c: {l3code: 0-3, l3data: 4-7}}}}\n")
    rows = lab.kernel.read(f"{POINT}/c/schemata").split("\n")
    assert "L3DATA:0=0f0;1=0f0" in rows and "L3CODE:0=00f;1=00f" in rows
    ((knob, reason),) = lab.unsupported("host: {resctrl: {classes: {c: {l3: 50%}}}}\n")
    assert knob == "resctrl.l3" and reason == "resctrl is mounted with cdp, which splits L3 into code and data"


def test_code_and_data_need_the_option(lab: Lab) -> None:
    ((knob, reason),) = lab.unsupported("host: {resctrl: {classes: {c: {l3code: 50%}}}}\n")
    assert (knob, reason) == ("resctrl.l3code", "resctrl is mounted without cdp")


def test_bandwidth_in_mbps(machine: Callable[..., Lab]) -> None:
    lab = machine(intel(halves(8)), "mba_MBps")
    body = "host: {resctrl: {classes: {c: {mb: 5000MBps}, d: {mb: max}}}}\n"
    lab.apply(body)
    assert "MB:0=5000;1=5000" in lab.kernel.read(f"{POINT}/c/schemata")
    assert not lab.plan(body).changes
    ((_, reason),) = lab.unsupported("host: {resctrl: {classes: {c: {mb: 50%}}}}\n")
    assert reason == "resctrl is mounted with mba_MBps: bandwidth is in MBps here"


def test_mbps_need_the_option(lab: Lab) -> None:
    (item,) = lab.plan("host: {resctrl: {classes: {c: {mb: 5000MBps}}}}\n").unsupported
    assert item.reason == "this machine counts memory bandwidth in percent"
    assert "host.resctrl.mount: {mba_MBps: true}" in item.remedy


def test_bandwidth_of_amd(machine: Callable[..., Lab]) -> None:
    lab = machine(amd(halves(8)), kernel=AmdKernel)
    body = "host: {resctrl: {classes: {c: {mb: 12.3GBps, l3: 0x5}, d: {mb: 100%}}}}\n"
    lab.apply(body)
    schemata = lab.kernel.read(f"{POINT}/c/schemata").replace(" ", "")
    assert "MB:0=99;1=99" in schemata, "12.3 GB/s are 98.4 eighths"
    assert "L3:0=0005;1=0005" in schemata, "masks may have holes"
    assert not lab.plan(body).changes
    ((_, reason),) = lab.unsupported("host: {resctrl: {classes: {c: {mb: 50%}}}}\n")
    assert reason.startswith("AMD counts memory bandwidth in 1/8 GB/s")


# --- mounting -------------------------------------------------------------------------------------------------------

MOUNT = "host: {resctrl: {mount: {cdp: true}, classes: {c: {l3code: 0-3, l3data: 50%, mb: 50%}}}}\n"


@pytest.fixture
def bare(tmp_path: Path) -> Lab:
    """A host with the hardware but resctrl not mounted."""
    return Lab(tmp_path, SimKernel("mainline-v2"))


def test_mounting_and_what_is_in_it_are_one_transaction(bare: Lab) -> None:
    kernel = simulated(bare)
    kernel.mkdir("/sys/fs/cgroup/jobs")
    kernel.spawn(7000, "one", {"cpu": "jobs"}, threads=2)
    body = f"{MOUNT}groups: {{jobs: {{match: {{cgroup: jobs}}, resctrl: c}}}}\n"
    before = bare.snapshot()
    plan = bare.plan(body)
    assert [(c.target.knob, c.desired) for c in plan.changes] == [
        ("resctrl mount", POINT), ("resctrl", f"{POINT}/c"), ("resctrl", "c"),
    ]  # fmt: skip
    assert "what the classes c get depends on limits that show only once resctrl is mounted" in " ".join(plan.notes)

    result = bare.apply(body, Options(strict=True))
    assert result.plan.changes[0].target.knob == "resctrl mount"
    assert "L3CODE:0=00f;1=00f" in kernel.read(f"{POINT}/c/schemata").split("\n")
    assert threads(kernel, "c") == {7000, 7001}
    assert not bare.plan(body).changes
    assert [t.created for t in bare.journal.load()] == [[POINT, f"{POINT}/c"]]

    assert bare.rollback().left == []
    assert bare.snapshot() == before and not kernel.exists(f"{POINT}/info")


def test_a_mount_whose_plan_is_refused_is_taken_back(bare: Lab) -> None:
    before = bare.snapshot()
    with pytest.raises(PlanRefused, match="mask fff reaches past"):
        bare.apply(MOUNT.replace("0-3", "0-11"))
    assert bare.snapshot() == before
    bare.kernel = FaultyKernel(bare.kernel, [Fault(1, "mount", POINT, number=errno.EINVAL)])
    with pytest.raises(ApplyFailed, match="mount /sys/fs/resctrl with 'cdp': EINVAL"):
        bare.apply(MOUNT)
    assert bare.snapshot() == before
    bare.kernel = FaultyKernel(bare.kernel, [Fault(2, "write", f"{POINT}/c/*", number=errno.EINVAL)])
    with pytest.raises(ApplyFailed):
        bare.apply(MOUNT)
    assert bare.snapshot() == before


def test_others_keep_resctrl_mounted(bare: Lab) -> None:
    bare.apply(MOUNT)
    bare.kernel.mkdir(f"{POINT}/theirs")
    assert bare.rollback().left == [f"resctrl {POINT} kept: others have theirs in it"]
    assert bare.kernel.exists(f"{POINT}/theirs/schemata") and not bare.kernel.exists(f"{POINT}/c")


def test_somebody_else_unmounted_it(lab: Lab) -> None:
    lab.apply("host: {resctrl: {classes: {default: {l3: 50%}, c: {mb: 50%}}}}\n")
    lab.kernel.unmount(POINT)
    assert lab.rollback().left == []


def test_not_mounted_and_not_asked_to(bare: Lab) -> None:
    (item,) = bare.plan("host: {resctrl: {classes: {c: {l3: 50%}}}}\n").unsupported
    assert item.reason.startswith("resctrl is not mounted") and "host.resctrl.mount: true" in item.remedy


def test_options_of_a_mount_cannot_be_changed(lab: Lab) -> None:
    plan = lab.plan("host: {resctrl: {mount: {cdp: true}, classes: {c: {mb: 50%}}}}\n")
    (item,) = plan.pending
    assert item.reason == "resctrl is mounted without cdp, and a remount cannot change it"
    assert f"umount {POINT}" in item.remedy
    assert {change.target.knob for change in plan.changes} == {"resctrl", "resctrl.mb"}, "the rest is done"
    assert not lab.plan("host: {resctrl: {mount: true}}\n").pending


def test_a_machine_without(tmp_path: Path) -> None:
    lab = Lab(tmp_path, SimKernel("mainline-v1"))
    reasons = dict(lab.unsupported(MOUNT))
    assert set(reasons) == {"resctrl.mount", "resctrl.l3code", "resctrl.l3data", "resctrl.mb"}
    assert set(reasons.values()) == {"this machine or kernel has no resctrl (no /sys/fs/resctrl)"}
    with pytest.raises(Unsupported, match=r"resctrl\.l3 is required"):
        lab.plan("requires: {features: [resctrl.l3]}\n")


def test_flags_of_the_cpu_are_not_trusted(machine: Callable[..., Lab]) -> None:
    """Model 85: the CPU says it has cat_l3, and the kernel does not use it."""

    class Quirk(SimKernel):
        def read(self, path: str) -> str:
            return super().read(path).replace("constant_tsc", "constant_tsc cat_l3", 1)

    lab = machine(intel(halves(8))._replace(l3=None), kernel=Quirk)
    (item,) = lab.plan("host: {resctrl: {classes: {c: {l3: 50%}}}}\n").unsupported
    assert item.reason == f"/proc/cpuinfo lists cat_l3, but the kernel has no L3 in {POINT}/info"
    assert "rdt=l3cat" in item.remedy


def test_monitoring_only(machine: Callable[..., Lab]) -> None:
    lab = machine(intel(halves(8))._replace(l3=None, bandwidth=None))
    plan = lab.plan("host: {resctrl: {classes: {c: {l3: 50%}, default: {monitor: [m]}}}}\n")
    assert {item.reason for item in plan.unsupported} == {"resctrl only monitors here: it has nothing to allocate"}
    assert [change.desired for change in plan.changes] == [f"{POINT}/mon_groups/m"]


# --- a machine that stops -------------------------------------------------------------------------------------------


class Dying(DyingKernel):
    """Stops for good right after the n-th change it carried out, mounts included."""

    def mount(self, fstype: str, source: str, point: str, options: Sequence[str]) -> None:
        self._count()
        super().mount(fstype, source, point, options)

    def unmount(self, point: str) -> None:
        self._count()
        super().unmount(point)


def test_a_stop_after_any_change_ends_all_old_or_all_new(tmp_path: Path) -> None:
    ends: set[str] = set()
    for last in range(30):
        (tmp_path / f"{last}").mkdir()
        kernel = SimKernel("mainline-v2")
        kernel.mkdir("/sys/fs/cgroup/jobs")
        kernel.spawn(7000, "one", {"cpu": "jobs"}, threads=2)
        lab = Lab(tmp_path / f"{last}", kernel)
        body = f"{MOUNT}groups: {{jobs: {{match: {{cgroup: jobs}}, resctrl: c}}}}\n"
        before = lab.snapshot()
        lab.kernel = Dying(kernel, last)
        try:
            lab.apply(body)
        except Stopped:
            recover(Host(kernel), lab.journal, lambda: "later")
        lab.kernel = kernel
        assert lab.snapshot() == before or not lab.plan(body).changes, f"stopped after {last} changes"
        ends.add(lab.journal.load()[-1].state)
        if not kernel.exists(f"{POINT}/c"):
            continue
        lab.kernel = Dying(kernel, last % 4)
        with pytest.raises(Stopped):
            lab.rollback()
        recover(Host(kernel), lab.journal, lambda: "later")
        lab.kernel = kernel
        assert lab.snapshot() == before, f"undoing stopped after {last % 4} changes"
    assert ends == {COMMITTED, ROLLED_BACK}


# --- what people are told -------------------------------------------------------------------------------------------


def test_facts(lab: Lab, bare: Lab) -> None:
    lab.kernel.mkdir(f"{POINT}/one")
    assert resctrl_facts(Host(lab.kernel)) == {
        "mounted": True,
        "options": [],
        "resources": {
            "MB": {"caches": [0, 1], "num_closids": 8, "unit": "percent", "min_bandwidth": 10, "bandwidth_gran": 10},
            "L3": {
                "caches": [0, 1], "num_closids": 16, "cbm_mask": "7ff", "min_cbm_bits": 1, "shareable_bits": "600",
                "sparse_masks": False,
            },
        },
        "classes": ["one"],
        "classes_at_most": 7,
        "monitoring": True,
    }  # fmt: skip
    facts = resctrl_facts(Host(bare.kernel))
    assert facts == {"mounted": False, "reason": "resctrl is not mounted, and what it can do here shows only then"}


def test_places(lab: Lab, bare: Lab) -> None:
    assert find_place(Host(lab.kernel), "resctrl:default").resource == "resctrl:default"
    with pytest.raises(UsageError, match="there is no resctrl class nothere") as caught:
        find_place(Host(lab.kernel), "resctrl:nothere")
    assert caught.value.hint == "classes: default"
    with pytest.raises(UsageError) as caught:
        find_place(Host(bare.kernel), "resctrl:c")
    assert caught.value.hint == "classes: none: resctrl is not mounted"


@pytest.mark.parametrize("part", ["l3", "mb", "mode", "cpus"])
def test_support(lab: Lab, part: str) -> None:
    assert probe(Host(lab.kernel), BY_KEY[f"resctrl.{part}"]).state == "yes"
