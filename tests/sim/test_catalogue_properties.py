"""Any knobs together, on every simulated host: apply, takeover and rollback over values of the knob cases."""

from __future__ import annotations

import copy
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cotune.controls import CONTROLS
from cotune.errors import ApplyFailed, PlanRefused, ProfileError, RollbackIncomplete
from cotune.host.facts import Host
from cotune.journal import Journal
from cotune.knobs import BY_KEY
from cotune.knobs.examples import EXAMPLES, placed
from cotune.ledger import Ledger
from cotune.planning import Options, make_plan
from cotune.profile.load import Profile, load_profile
from cotune.rollback import Selection, rollback
from cotune.sim.kernel import KERNELS, SimKernel
from cotune.state import given_state
from tests.conftest import SUMMARY
from tests.sim.lab import changed, run, snapshot
from tests.sim.test_knob_cases import CASES

CONSENT = Options(flags=frozenset(("force", "allow-oom", "allow-irreversible")))
GROUPS = ("offline", "offline/x", "online")
#: What enabling controllers brings is never undone, and counters go on counting.
PASSING = ("cgroup.controllers", "cgroup.subtree_control", "io.stat", "cpu.stat")
#: Ends only with the mount, which a rollback says.
UNTIL_UNMOUNTED = "mount.prjquota"


def values() -> dict[str, list[Any]]:
    """Knob → the values its cases write, the example among them."""
    found: dict[str, list[Any]] = {key: [value] for key, value in EXAMPLES.items() if key != UNTIL_UNMOUNTED}
    for case in CASES:
        for kind in ("change", "nothing"):
            for entry in case.get(kind, []):
                if case["knob"] in found and entry["value"] not in found[case["knob"]]:
                    found[case["knob"]].append(entry["value"])
    return found


VALUES = values()
wishes = st.lists(st.sampled_from(sorted(VALUES)), min_size=2, max_size=12, unique=True).flatmap(
    lambda keys: st.tuples(*(st.tuples(st.just(k), st.sampled_from(VALUES[k]), st.sampled_from(GROUPS)) for k in keys))
)


def merge(into: dict[str, Any], more: dict[str, Any]) -> None:
    """Put one document into another; entries of a list that match the same thing become one."""
    for key, value in more.items():
        mine = into.get(key)
        if isinstance(mine, dict) and isinstance(value, dict):
            merge(mine, value)
        elif isinstance(mine, list) and isinstance(value, list):
            merge(mine[0], value[0])
        else:
            into[key] = value


def profile(folder: Path, name: str, chosen: Any, create: bool) -> Profile:
    document: dict[str, Any] = {"apiVersion": "cotune/v1", "kind": "IsolationProfile", "metadata": {"name": name}}
    for key, value, group in chosen:
        body = copy.deepcopy(placed(BY_KEY[key], value))
        if "groups" in body:
            body["groups"] = {group.replace("/", "-"): {**body["groups"]["offline"], "match": {"cgroup": group}}}
            if create:
                body["groups"][group.replace("/", "-")]["create"] = True
        merge(document, body)
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(document))
    return load_profile([str(path)])


def differences(before: dict[str, str], after: dict[str, str], journal: Journal) -> dict[str, Any]:
    """What is not as it was, without what cannot be: values of controls that are not fully reversible."""
    entries = [entry for transaction in journal.load() for entry in transaction.entries]
    partial = {entry.target.path for entry in entries if CONTROLS[entry.target.control].reversible != "yes"}
    units = {path.rpartition("/")[0] for path in partial}
    resets = {name for entry in entries for name in CONTROLS[entry.target.control].resets}
    reaper = "host.memory.reaper.reap_background" in resets
    return {
        path: texts
        for path, texts in changed(before, after).items()
        if path not in partial
        and not path.endswith(PASSING)
        and not (texts[0] is None and path.startswith("/sys/fs/cgroup") and "(directory)" not in texts)
        and not ("cost." in path and path.rpartition("/")[0] in units)
        and not ("/queue/" in path and any(unit.endswith("/queue") and path.startswith(unit) for unit in units))
        and not (reaper and path.endswith("memcg_reaper/reap_background"))
    }


COUNTS: Counter[str] = Counter()


@pytest.mark.parametrize("kernel", KERNELS)
@settings(max_examples=4, phases=[Phase.generate], suppress_health_check=list(HealthCheck), deadline=None)
@given(first=wishes, second=wishes, create=st.booleans(), there=st.sets(st.sampled_from(GROUPS)))
def test_any_knobs_together(kernel: str, first: Any, second: Any, create: bool, there: set[str]) -> None:
    """An apply is idempotent, a takeover leaves no difference, a refusal nothing at all, rollbacks give all back."""
    sim = SimKernel(kernel)
    host = Host(sim)
    for point in sorted({hierarchy.point for hierarchy in host.layout.controllers.values()}):
        for group in sorted(there):
            if group.count("/") == 0 or group.partition("/")[0] in there:
                sim.mkdir(f"{point}/{group}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        journal = Journal(given_state(folder / "state"))
        done = []
        for title, chosen in (("a", first), ("b", second)):
            before = snapshot(sim)
            try:
                wanted = profile(folder, title, chosen, create)
                result = run(sim, journal, wanted, CONSENT)
            except (ProfileError, PlanRefused, ApplyFailed) as error:
                assert not isinstance(error, RollbackIncomplete)
                COUNTS[type(error).__name__] += 1
                assert differences(before, snapshot(sim), journal) == {}
                continue
            COUNTS["applied"] += 1
            assert run(sim, journal, wanted, CONSENT).transaction is None
            plan = make_plan(wanted, Host(sim), Ledger(journal.load(), host.boot_id), CONSENT)
            assert (plan.changes, plan.takes_over) == ((), ())
            done += [before] if result.transaction else []
        for before in reversed(done):
            _, undone = rollback(Host(sim), journal, Selection(), lambda: "now")
            assert undone.left == []
            assert differences(before, snapshot(sim), journal) == {}


def test_how_many(record_property: Any) -> None:
    partial = sorted(name for name, control in CONTROLS.items() if control.reversible != "yes")
    what = ", ".join(f"{number} {word}" for word, number in sorted(COUNTS.items()))
    record_property(SUMMARY, f"any knobs together: {what}; not compared, as not fully reversible: {', '.join(partial)}")
