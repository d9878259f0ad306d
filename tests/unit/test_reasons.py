"""Why a knob is not available: for every knob on every simulated kernel, by the probe and by the plan alike."""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from cotune.controls import CONTROLS
from cotune.controls.block import TUNABLES
from cotune.errors import PlanRefused
from cotune.host.facts import Host
from cotune.host.needs import NEEDS, SCHEDULERS, need_of
from cotune.host.support import Support, probe
from cotune.kernel.port import Kernel
from cotune.knobs import BY_KEY, KNOBS
from cotune.knobs.base import Knob
from cotune.knobs.examples import example
from cotune.ledger import Ledger
from cotune.model import Plan
from cotune.planning import Options, make_plan
from cotune.profile.load import Profile, load_profile
from cotune.sim.kernel import KERNELS, SimKernel

CASES = Path(__file__).resolve().parents[1] / "cases"
REASONS: dict[str, Any] = yaml.safe_load((CASES / "reasons.yaml").read_text(encoding="utf-8"))
EVERYTHING = CASES / "profiles" / "anck-everything.yaml"
CONSENT = Options(flags=frozenset(("force", "allow-oom", "allow-irreversible")))
#: An exact remedy names one of these: a family of kernels, a version, a build option, a boot word, or what to do.
EXACT = re.compile(
    r"ANCK|Anolis|TencentOS|openEuler|Linux \d|CONFIG_|command line|cgroup v[12]|mount|modprobe|scheduler:|tune2fs"
    r"|a CPU |cotune |run as root|create a group|a disk |umount"
)


class Altered:
    """A simulated host with some files gone and some with another text."""

    def __init__(self, kernel: str, texts: dict[str, str] | None = None, gone: str = "") -> None:
        self._kernel, self._texts, self._gone = SimKernel(kernel), texts or {}, re.compile(gone or r"\Z.")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kernel, name)

    def exists(self, path: str) -> bool:
        return not self._gone.search(path) and self._kernel.exists(path)

    def read(self, path: str) -> str:
        if self._gone.search(path):
            raise FileNotFoundError(errno.ENOENT, "gone", path)
        return self._texts.get(path) or self._kernel.read(path)

    def mounts(self) -> list[Any]:
        return [mount for mount in self._kernel.mounts() if not self._gone.search(mount.point)]


def altered(kernel: str, texts: dict[str, str] | None = None, gone: str = "") -> Host:
    return Host(cast(Kernel, Altered(kernel, texts, gone)))


def kind_of(support: Support) -> str:
    """The word cases have for a verdict; empty when the knob works in full."""
    if support.state == "yes":
        return "partly" if support.reason else ""
    return support.kind if support.state == "no" else support.state


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_knob_has_the_reason_it_should_have(kernel: str) -> None:
    host = Host(SimKernel(kernel))
    expected = {key: kind for kind, keys in REASONS["kernels"][kernel].items() for key in keys}
    supports = {knob.key: probe(host, knob) for knob in KNOBS}
    assert {key: kind for key, support in supports.items() if (kind := kind_of(support))} == expected
    for key, kind in expected.items():
        reason, remedy = REASONS["knobs"].get(key, {}).get(kind) or REASONS["common"][kind]
        assert re.search(reason, supports[key].reason), (key, supports[key])
        assert re.search(remedy, supports[key].remedy), (key, supports[key])
        assert EXACT.search(supports[key].remedy), (key, supports[key])


def test_every_kernel_has_cases() -> None:
    assert list(REASONS["kernels"]) == list(KERNELS)


def test_every_need_belongs_to_a_knob() -> None:
    assert [key for key in NEEDS if not any(knob.key.startswith(key) for knob in KNOBS)] == []
    assert [need.instead for need in NEEDS.values() if need.instead and need.instead not in BY_KEY] == []


@pytest.mark.parametrize("knob", KNOBS, ids=lambda knob: knob.key)
def test_every_knob_has_an_exact_need(knob: Knob) -> None:
    """Scopes that look at their own devices give reasons of their own: ext4, resctrl, tunables of a scheduler."""
    scope = CONTROLS[knob.control].scope
    if knob.section in ("mount", "jbd2", "feature", "quota", "resctrl") or knob.part.startswith("iosched/"):
        return
    need = need_of(knob.key).kernel
    assert EXACT.search(need), f"{knob.key} ({scope}): {need}"


def test_every_scheduler_with_tunables_has_its_build_option() -> None:
    assert SCHEDULERS.keys() == TUNABLES.keys()


def test_of_a_sysctl_that_is_no_knob_nothing_is_said() -> None:
    assert need_of("vm.dirty_unheard_of").kernel == "a kernel that has it: sysctl -a lists those of this one"


# --- the probe and the plan -----------------------------------------------------------------------------------------


def profile_for(folder: Path, knob: Knob) -> Profile:
    """A profile with the knob's example value, on a group that is made for it and on every disk."""
    data = {"apiVersion": "cotune/v1", "kind": "IsolationProfile", "metadata": {"name": "one"}, **example(knob)}
    for group in data.get("groups", {}).values():
        group["create"] = True
        for entries in group.get("io", {}).values():
            for entry in entries if isinstance(entries, list) else []:
                entry["device"] = {"device": "*"}
    for entry in data.get("host", {}).get("block", []):
        entry["match"] = {"device": "*"}
    for entry in data.get("host", {}).get("mounts", []):
        entry["match"] = {"mountpoint": "/"}
    path = folder / "one.yaml"
    path.write_text(yaml.safe_dump(data))
    return load_profile([str(path)])


def plan_for(profile: Profile, host: Host) -> Plan:
    return make_plan(profile, host, Ledger([], host.boot_id), CONSENT)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_plan_says_what_the_probe_says(kernel: str, tmp_path: Path) -> None:
    """Where the probe says no, the plan says so in the same words, and nowhere else.

    A block knob that only some disks have is available, and so is a quota that only some file systems have.
    """
    host = Host(SimKernel(kernel))
    for knob in KNOBS:
        support = probe(host, knob)
        try:
            plan = plan_for(profile_for(tmp_path, knob), host)
        except PlanRefused:
            assert support.state in ("yes", "gated"), knob.key
            continue
        # some remedies name another knob that this one needs beside it, which the example leaves out
        said = {
            (item.reason, item.remedy)
            for item in plan.unsupported
            if item.knob == knob.key and not item.remedy.startswith(("set ", "host.block with "))
        }
        if support.state == "no":
            assert said, f"{knob.key}: the probe says {support}, the plan nothing"
            if knob.section not in ("block", "quota"):
                assert said == {(support.reason, support.remedy)}, knob.key
        elif support.state != "unknown" and knob.section not in ("block", "quota"):
            assert not said, f"{knob.key}: the probe says {support}, the plan {said}"
        for reason, remedy in said:
            assert reason, knob.key
            assert EXACT.search(remedy), (knob.key, reason, remedy)


# --- the four kinds, and what is not mounted ------------------------------------------------------------------------


def test_a_boot_word_without_which_there_is_no_file() -> None:
    support = probe(altered("anck-5.10", gone="memsw"), BY_KEY["memory.memsw"])
    assert (support.state, support.kind) == ("no", "boot")
    assert "was not booted with swapaccount=1" in support.reason
    assert support.remedy.startswith("add swapaccount=1 to the kernel command line and reboot; a kernel built with")
    booted = altered("anck-5.10", {"/proc/cmdline": "quiet swapaccount=1"}, gone="memsw")
    assert probe(booted, BY_KEY["memory.memsw"]).kind == "file"


@pytest.mark.parametrize("key", ["cpu.dynamic_affinity_mode", "cpu.preferred_cpus"])
def test_a_boot_word_without_which_a_file_does_nothing(key: str, tmp_path: Path) -> None:
    host = altered("openeuler", {"/proc/cmdline": "quiet"})
    support = probe(host, BY_KEY[key])
    assert (support.state, support.kind) == ("no", "boot")
    assert support.remedy == "add dynamic_affinity=enable to the kernel command line and reboot"
    plan = plan_for(profile_for(tmp_path, BY_KEY[key]), host)
    assert [(item.knob, item.reason) for item in plan.unsupported] == [(key, support.reason)]


def test_buffered_writes_need_a_boot_word() -> None:
    support = probe(altered("anck-4.19", {"/proc/cmdline": "quiet"}), BY_KEY["io.throttle.write_bps"])
    assert (support.state, support.kind) == ("yes", "boot")
    assert "only direct writes are limited" in support.reason
    assert "add cgwb_v1 to the kernel command line" in support.remedy
    support = probe(altered("openeuler", {"/proc/cmdline": "quiet"}), BY_KEY["io.throttle.write_bps"])
    assert "add cgroup1_writeback to the kernel command line" in support.remedy
    support = probe(Host(SimKernel("mainline-v1")), BY_KEY["io.throttle.write_bps"])
    assert "add cgwb_v1" not in support.remedy, "it would do nothing there"
    assert probe(altered("anck-4.19"), BY_KEY["io.throttle.write_bps"]) == Support("yes")
    assert probe(altered("anck-4.19", {"/proc/cmdline": "quiet"}), BY_KEY["io.throttle.read_bps"]) == Support("yes")


def test_a_controller_that_is_not_mounted(tmp_path: Path) -> None:
    host = altered("anck-5.10", gone="^/sys/fs/cgroup/cpuset")
    support = probe(host, BY_KEY["cpu.cpus"])
    assert (support.state, support.reason, support.kind) == ("no", "the cpuset controller is not mounted", "mount")
    assert "mount -t cgroup -o cpuset" in support.remedy
    plan = plan_for(profile_for(tmp_path, BY_KEY["cpu.cpus"]), host)
    assert {(item.reason, item.remedy) for item in plan.unsupported} == {(support.reason, support.remedy)}


def test_a_controller_that_was_switched_off_at_boot() -> None:
    table = "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t0\t1\t0\n"
    host = altered("anck-5.10", {"/proc/cgroups": table}, gone="^/sys/fs/cgroup/memory")
    support = probe(host, BY_KEY["memory.limit"])
    assert (support.kind, support.remedy) == ("boot", "boot without cgroup_disable=memory")


def test_a_controller_that_the_kernel_lacks() -> None:
    host = altered("anck-5.10", {"/proc/cgroups": "#subsys_name\n"}, gone="^/sys/fs/cgroup/pids")
    support = probe(host, BY_KEY["pids.max"])
    assert (support.kind, support.remedy) == ("controller", "a kernel built with CONFIG_CGROUP_PIDS")


def test_a_controller_that_is_not_enabled_for_child_groups(tmp_path: Path) -> None:
    point = "/sys/fs/cgroup"
    host = altered("mainline-v2", {f"{point}/cgroup.subtree_control": "cpu memory pids\n"}, gone=f"^{point}/.*/io[.]")
    support = probe(host, BY_KEY["io.throttle.read_bps"])
    assert (support.state, support.kind) == ("gated", "controller")
    assert support.reason == f"the io controller is not enabled for child groups ({point}/cgroup.subtree_control)"
    plan = plan_for(profile_for(tmp_path, BY_KEY["io.throttle.read_bps"]), host)
    assert [enable.controllers for enable in plan.enables] == [("io",)]
    assert not plan.unsupported


def test_scheduler_features_without_debugfs() -> None:
    host = altered("anck-5.10", gone="^/sys/kernel/debug")
    support = probe(host, BY_KEY["host.sched.features.ID_IDLE_AVG"])
    assert support.kind == "mount"
    assert support.remedy.startswith("mount -t debugfs none /sys/kernel/debug; ")


def test_what_approximate_would_use_is_named_where_it_exists() -> None:
    instead = "cpu.idle, which defaults: {unsupported: approximate} sets in its place"
    assert instead in probe(Host(SimKernel("mainline-v1")), BY_KEY["cpu.identity"]).remedy
    assert instead not in probe(Host(SimKernel("tencentos")), BY_KEY["cpu.identity"]).remedy
    assert instead not in probe(Host(SimKernel("mainline-v1")), BY_KEY["cpu.smt_expeller"]).remedy


# --- a profile with everything an ANCK kernel adds ------------------------------------------------------------------


def test_the_profile_has_every_knob_of_anck() -> None:
    from cotune.doctor import used_knobs

    of_anck = [knob.key for knob in KNOBS if "ANCK" in knob.source or "oordinator" in knob.source]
    assert set(of_anck) - set(used_knobs(load_profile([str(EVERYTHING)]))) == set()


@pytest.mark.parametrize("kernel", ["mainline-v1", "mainline-v2", "hybrid", "openeuler", "anck-4.19", "anck-6.6-v2"])
def test_each_unavailable_knob_is_told_once(kernel: str) -> None:
    from cotune.doctor import used_knobs

    host, profile = Host(SimKernel(kernel)), load_profile([str(EVERYTHING)])
    plan = plan_for(profile, host)
    told: dict[str, set[tuple[str, str]]] = {}
    for item in plan.unsupported:
        told.setdefault(item.knob, set()).add((item.reason, item.remedy))
    supports = {key: probe(host, BY_KEY[key]) for key in used_knobs(profile)}
    assert told == {key: {(s.reason, s.remedy)} for key, s in supports.items() if s.state == "no"}
    places = [(item.resource, item.knob) for item in plan.unsupported]
    assert len(places) == len(set(places))
