"""Doctor: what keeps cotune from doing its work on this host, and what would mend it. Never writes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from cotune.approximate import APPROXIMATIONS
from cotune.drift import find_drift
from cotune.errors import CotuneError, PlanRefused, Unsupported
from cotune.host.facts import Host
from cotune.host.managers import find_managers
from cotune.host.support import Support, probe
from cotune.knobs import BY_KEY, KNOBS
from cotune.ledger import Ledger
from cotune.planning import Options, fails_when_unsupported, make_plan
from cotune.profile.load import Profile
from cotune.profile.schema import knob_at
from cotune.session import Session
from cotune.units import count

#: How much a finding matters, in this order.
OK, INFO, WARNING, PROBLEM = "ok", "info", "warning", "problem"
_CAP_SYS_ADMIN = 21


class Finding(NamedTuple):
    """One observation: what it is about, how much it matters, what it is and what would mend it."""

    area: str
    level: str
    text: str
    remedy: str = ""


class KnobGap(NamedTuple):
    """Knobs that do not work here, or not in full, for the same reason.

    ``state`` and ``kind`` are as in :class:`cotune.host.support.Support`.
    """

    knobs: tuple[str, ...]
    state: str
    reason: str
    remedy: str
    kind: str


class Diagnosis(NamedTuple):
    """Everything found. ``gaps`` are restricted to the profile's knobs when there is one."""

    findings: list[Finding]
    gaps: list[KnobGap]
    knobs: int
    unsupported: bool
    refused: bool


def examine(session: Session, profile: Profile | None) -> Diagnosis:
    """Look at everything; with a profile also at what it needs and whether its plan is accepted."""
    host = session.host
    keys = [knob.key for knob in KNOBS] if profile is None else used_knobs(profile)
    supports = {key: probe(host, BY_KEY[key]) for key in keys}
    findings = [*_privileges(host), *_state(session), *_managers(host), *_tools(host)]
    unsupported = refused = False
    if profile is not None:
        planned, unsupported, refused = _plan(session, profile, supports)
        findings += [*(Finding("profile", WARNING, str(warning)) for warning in profile.warnings), *planned]
        unsupported = unsupported or any(support.state == "no" for support in supports.values())
    return Diagnosis(findings, _gaps(supports), len(keys), unsupported, refused)


def used_knobs(profile: Profile) -> list[str]:
    """Keys of the knobs a profile sets or requires, in the order of the catalogue."""
    used = {knob.key for path in profile.origins if (knob := knob_at(path))}
    used.update(profile.data.get("requires", {}).get("features", []))
    return [knob.key for knob in KNOBS if knob.key in used]


def _gaps(supports: dict[str, Support]) -> list[KnobGap]:
    grouped: dict[Support, list[str]] = {}
    for key, support in supports.items():
        if support.state != "yes" or support.reason:
            grouped.setdefault(support, []).append(key)
    return [KnobGap(tuple(keys), *support) for support, keys in grouped.items()]


def _plan(session: Session, profile: Profile, supports: dict[str, Support]) -> tuple[list[Finding], bool, bool]:
    """What planning the profile says: findings, whether something is unsupported, whether the plan is refused.

    Knobs that it approximates change in ``supports``.
    """
    defaults = {} if fails_when_unsupported(profile) else profile.data.get("defaults", {})
    tolerant = replace(profile, data={**profile.data, "defaults": defaults})
    try:
        plan = make_plan(tolerant, session.host, session.ledger(), Options())
    except PlanRefused as error:
        return [Finding("profile", PROBLEM, line, error.hint) for line in error.message.splitlines()], False, True
    except Unsupported as error:
        return [Finding("profile", PROBLEM, error.message, error.hint)], True, False
    except CotuneError as error:
        return [Finding("profile", PROBLEM, error.message, error.hint)], False, False
    said = {(key, support.reason) for key, support in supports.items()}
    if defaults.get("unsupported") == "approximate":
        supports.update(_approximated(supports, {item.knob for item in plan.unsupported}))
    findings = [
        Finding("profile", PROBLEM, f"{item.resource} {item.knob}: {item.reason}", item.remedy)
        for item in plan.unsupported
        if (item.knob, item.reason) not in said
    ]
    findings += [
        Finding("profile", INFO, f"takes over {item.resource} {item.knob} from profile {item.owner}")
        for item in plan.takes_over
    ]
    findings += [Finding("profile", INFO, note) for note in plan.notes]
    count = f"{len(plan.changes)} changes to make" if plan.changes else "nothing to change: the host is as it wants"
    findings.append(Finding("profile", OK, f"{profile.name} {profile.version}".strip() + f": {count}"))
    return findings, bool(plan.unsupported), False


def _approximated(supports: dict[str, Support], missing: set[str]) -> dict[str, Support]:
    """Knobs that the plan replaces by what comes near them: they work in part."""
    found = {}
    for key in supports.keys() & APPROXIMATIONS.keys() - missing:
        support = supports[key]
        if support.state == "no":
            reason = f"{support.reason}: {APPROXIMATIONS[key].knob} takes its place"
            others = [one for one in support.remedy.split("; or ") if "defaults:" not in one]
            found[key] = support._replace(state="yes", reason=reason, remedy="; or ".join(others))
    return found


# --- privileges and tools -------------------------------------------------------------------------------------------


def _privileges(host: Host) -> list[Finding]:
    if host.kernel.name.startswith("sim:"):
        return [Finding("privileges", OK, "a simulated host needs none")]
    if os.geteuid() != 0:
        text = f"user {os.geteuid()} is not root: diff, status, why and the like work, apply and rollback do not"
        return [Finding("privileges", WARNING, text, "run as root")]
    if host.kernel.name != "/":
        return [Finding("privileges", OK, "root; remounts are not possible below another root")]
    findings = []
    if not _has_capability(host, _CAP_SYS_ADMIN):
        text = "root without CAP_SYS_ADMIN: file systems cannot be remounted, and some kernel files not be written"
        findings.append(Finding("privileges", WARNING, text, "run outside the container, or give it the capability"))
    read_only = sorted({h.point for h in host.layout.hierarchies() if not host.kernel.writable(h.point)})
    if read_only:
        text = f"read-only cgroup mounts: {', '.join(read_only)}"
        findings.append(Finding("privileges", PROBLEM, text, "run outside the container, or remount them rw"))
    return findings or [Finding("privileges", OK, "root")]


def _has_capability(host: Host, number: int) -> bool:
    for line in host.text(host.kernel.realpath("/proc/self/status")).splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return True


def _tools(host: Host) -> list[Finding]:
    """Programs and libraries that are not required but missed."""
    import yaml

    findings = []
    if not hasattr(yaml, "CSafeLoader"):
        findings.append(Finding("tools", INFO, "PyYAML without libyaml: large profiles load slowly", "install libyaml"))
    if host.kernel.name == "/" and host.text("/proc/1/comm") == "systemd" and shutil.which("systemctl") is None:
        findings.append(Finding("tools", INFO, "systemctl is not in PATH", "install systemd's tools"))
    return findings or [Finding("tools", OK, "nothing is missing")]


def _managers(host: Host) -> list[Finding]:
    findings = []
    for manager in find_managers(host):
        pids = ", ".join(map(str, manager.pids[:3])) + (" …" if len(manager.pids) > 3 else "")
        text = f"{manager.name} runs (pid {pids}): writes {manager.writes}"
        findings.append(Finding("managers", INFO, text))
    return findings or [Finding("managers", OK, "no other manager of cgroups or sysctls is running")]


# --- state ----------------------------------------------------------------------------------------------------------


def _state(session: Session) -> list[Finding]:
    """The state directory, transactions that were cut off, and drift."""
    findings = [_directory(session.state.path)]
    try:
        transactions = session.journal.load()
    except CotuneError as error:
        return [*findings, Finding("state", PROBLEM, error.message, error.hint)]
    except OSError as error:
        return [*findings, Finding("state", PROBLEM, f"{session.state.transactions}: {error.strerror}")]
    for transaction in transactions:
        if transaction.cut_off:
            text = f"transaction {transaction.id} was cut off by a crash"
            findings.append(Finding("state", PROBLEM, text, "cotune recover"))
    ledger = Ledger(transactions, session.host.boot_id)
    found = find_drift(session.host, ledger)
    names = sorted({transaction.profile for transaction in ledger.transactions})
    if not names:
        findings.append(Finding("state", OK, "nothing is applied"))
    elif found.drift:
        text = f"{len(found.drift)} of {count(found.held, 'value')} of {', '.join(names)} were changed by somebody else"
        findings.append(Finding("state", WARNING, text, "cotune status names them, apply sets them again"))
    else:
        findings.append(Finding("state", OK, f"{count(found.held, 'value')} of {', '.join(names)}, none drifted"))
    return findings


def _directory(path: Path) -> Finding:
    # os.path, because Path.exists raises below a directory that may not be searched
    existing = next((c for c in (path, *path.parents) if os.path.exists(c)), Path("/"))
    if not existing.is_dir():
        return Finding("state", PROBLEM, f"{path}: {existing} is not a directory", "pass --state-dir")
    if not os.access(existing, os.W_OK | os.X_OK):
        text = f"{path} cannot be written: no access to {existing}"
        return Finding("state", PROBLEM, text, "run as root, or pass --state-dir")
    return Finding("state", OK, f"{path} is usable" + ("" if existing == path else "; the first apply creates it"))


def worst(findings: Iterable[Finding]) -> str:
    """The level of the most serious finding."""
    order = (OK, INFO, WARNING, PROBLEM)
    return max((finding.level for finding in findings), key=order.index, default=OK)
