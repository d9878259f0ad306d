"""The ``groups`` section of a profile: which cgroups match, what is created, and which processes move."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from cotune.approximate import APPROXIMATIONS
from cotune.controls import CONTROLS
from cotune.controls.base import Value
from cotune.errors import Origin, PlanRefused, Unsupported
from cotune.host.cgroups import (
    Hierarchy,
    cgroup_resource,
    clean_group,
    descendants,
    find_groups,
    is_pattern,
    matches,
    parents,
    specificity,
)
from cotune.host.facts import Host
from cotune.host.forms import Form, find_form, has_version, part_file
from cotune.host.support import Support, probe
from cotune.knobs import BY_KEY, section
from cotune.knobs.base import Knob
from cotune.knobs.lookup import knob_forms
from cotune.knobs.types import Share
from cotune.model import Create, Resolved, Setting, Target, UnsupportedKnob
from cotune.profile.load import Profile
from cotune.profile.text import at
from cotune.resolve.devices import device_values
from cotune.resolve.members import MemberResolver
from cotune.resolve.moves import MoveResolver
from cotune.resolve.values import resolve_value

_Rank = tuple[int, ...]
#: A value of a group in the terms of its control: the knob, the value, where it was written and the row.
_Wanted = tuple[Knob, Value | Share, Origin, str | None]
#: Knobs without a file of their own: their control writes them with another part.
_ABSORBED = [k for k in section("group").values() if all(k.part not in form.parts for form in knob_forms(k))]


class _Candidate(NamedTuple):
    """A wanted value of one cgroup with how specific the group's match was."""

    rank: _Rank
    setting: Setting
    group: str


class _Reach(NamedTuple):
    """A value that a group's descendants need too, with the group of the profile it comes from."""

    name: str
    hierarchy: Hierarchy
    setting: Setting


class _Wish(NamedTuple):
    """A value for one cgroup that a group of the profile (``name``, ``data``) matches with a ``rank``."""

    name: str
    data: dict[str, Any]
    group: str
    rank: _Rank
    knob: Knob
    value: Any
    origin: Origin
    row: str | None = None
    approximates: str = ""

    @property
    def resource(self) -> str:
        """The cgroup as plans and reports name it."""
        return cgroup_resource(self.group)


class GroupResolver:
    """Resolves every group of a profile; the most specific match wins for each value."""

    def __init__(self, profile: Profile, host: Host, out: Resolved, pids: dict[str, list[int]]) -> None:
        self.profile, self.host, self.out, self.pids = profile, host, out, pids
        self.winners: dict[tuple[str, str | None], _Candidate] = {}
        self.created: dict[str, Create] = {}
        self.there: dict[str, bool] = {}
        self.reaching: list[_Reach] = []
        self.forms: dict[str, Form] = {}
        self.supports: dict[str, Support] = {}
        self.members = MemberResolver(profile, host, out)
        self.moves = MoveResolver(profile, host, out)

    def run(self) -> None:
        """Resolve all groups into ``out``."""
        groups: dict[str, Any] = self.profile.data.get("groups", {})
        unknown = sorted(set(self.pids) - set(groups))
        if unknown:
            raise PlanRefused(
                f"--pid names a group the profile does not have: {unknown[0]}", "groups: " + ", ".join(groups)
            )
        lowered = {name: self._knobs(name, data) for name, data in groups.items()}
        # what is created comes first: other groups may match it, as they will once it is there
        for name in sorted(groups, key=lambda name: self._is_open(groups[name])):
            if groups[name].get("create"):
                self._creates(name, groups[name], self._hierarchies(lowered[name]))
        for name, data in groups.items():
            self._group(name, data, lowered[name])
        self._reach_created()
        self.out.settings.extend(candidate.setting for candidate in self.winners.values())
        self.out.creates.extend(sorted(self.created.values(), key=lambda c: (c.path.count("/"), c.path)))
        self._fill_cpusets()
        self.members.run()

    def _group(self, name: str, data: dict[str, Any], knobs: list[_Wanted]) -> None:
        hierarchies = self._hierarchies(knobs)
        matched = self._matches(name, data, hierarchies)
        if not matched:
            self._nothing(name, data)
        if not knobs and (data.get("create") or data.get("tasks") or self.pids.get(name)):
            origin = self.profile.origin("groups", name)
            self.out.notes.append(
                f"{origin}: group {name} sets no value, so there is no controller to create it or move tasks in"
            )
        for group, rank in matched:
            for knob, value, origin, row in knobs:
                self._want(_Wish(name, data, group, rank, knob, value, origin, row))
            self._absorbed(name, data, group, [knob for knob, *_ in knobs])
        self.members.add(name, data, matched, hierarchies)
        self.moves.run(
            name, data.get("tasks", {}), self.pids.get(name, []), [group for group, _ in matched], hierarchies
        )

    def _creates(self, name: str, data: dict[str, Any], hierarchies: list[Hierarchy]) -> None:
        """The directories one group of the profile needs, in every hierarchy it has a value in."""
        origin = self.profile.origin("groups", name, "create")
        for group, _ in self._matches(name, data, hierarchies):
            self._create(group, hierarchies, origin)

    @staticmethod
    def _is_open(data: dict[str, Any]) -> bool:
        """Whether what a group matches depends on what is there."""
        match = data["match"].get("cgroup", "*")
        return any(is_pattern(clean_group(one)) for one in (match if isinstance(match, list) else [match]))

    def _knobs(self, name: str, data: dict[str, Any]) -> list[_Wanted]:
        """The knob values of a group, lowered into the terms of their controls."""
        found: list[tuple[Knob, Any, Origin, str | None]] = []
        for key, knob in section("group").items():
            keys = tuple(key.split("."))
            written = at(data, keys)
            if written is not None and not isinstance(written, list):
                origin = self.profile.origin("groups", name, *keys)
                found.append((knob, resolve_value(knob.type, written, self.host, origin), origin, None))
        found.extend(device_values(self.profile, self.host, self.out, name, data.get("io", {})))
        wanted: dict[str, dict[str, Any]] = {}
        for knob, value, _, row in found:
            wanted.setdefault(f"{knob.control} {row}", {})[knob.part] = value
        lowered = {key: CONTROLS[key.split(" ")[0]].lower(parts) for key, parts in wanted.items()}
        return [
            (knob, lowered[f"{knob.control} {row}"][knob.part], origin, row)  # type: ignore[misc]
            for knob, _, origin, row in found
            if knob.part in lowered[f"{knob.control} {row}"]
        ]

    def _absorbed(self, name: str, data: dict[str, Any], group: str, knobs: list[Knob]) -> None:
        """A value that is written as part of another one's (cpu.smt_expeller) is missing where that one is."""
        for knob in _ABSORBED:
            keys = tuple(knob.key.split("."))
            lost = any(other.control == knob.control and self._support(other).state == "no" for other in knobs)
            if lost and at(data, keys):
                support, origin = self._support(knob), self.profile.origin("groups", name, *keys)
                self._unsupported(cgroup_resource(group), knob, support.reason, support.remedy, origin)

    def _form(self, control: str) -> Form:
        """The form a control has here; each is asked for once."""
        if control not in self.forms:
            self.forms[control] = find_form(self.host, control)
        return self.forms[control]

    def _support(self, knob: Knob) -> Support:
        """Whether a knob works here; each is asked for once."""
        if knob.key not in self.supports:
            self.supports[knob.key] = probe(self.host, knob)
        return self.supports[knob.key]

    def _hierarchies(self, knobs: list[_Wanted]) -> list[Hierarchy]:
        """The hierarchies that have a file for one of a group's knobs, once each."""
        found: dict[Hierarchy, None] = {}
        for knob, *_ in knobs:
            form = self._form(knob.control)
            if form.hierarchy and has_version(form.control, form.hierarchy.version):
                found[form.hierarchy] = None
        return list(found)

    def _matches(self, name: str, data: dict[str, Any], hierarchies: list[Hierarchy]) -> list[tuple[str, _Rank]]:
        """Matching group paths with the rank of the best pattern that matched each."""
        match = data["match"]
        everywhere = hierarchies or self.host.layout.hierarchies()
        if "systemd" in match:
            return [(path, specificity(path)) for path in self._unit(match["systemd"], everywhere)]
        patterns = match["cgroup"] if isinstance(match["cgroup"], list) else [match["cgroup"]]
        best: dict[str, _Rank] = {}
        for pattern in patterns:
            clean = clean_group(pattern)
            found = sorted({*find_groups(self.host.kernel, everywhere, clean), *self._coming(everywhere, clean)})
            if data.get("create") and not is_pattern(clean):
                found = [clean]
            for path in found:
                best[path] = max(best.get(path, (0,)), specificity(clean))
        return sorted(best.items())

    def _coming(self, hierarchies: list[Hierarchy], pattern: str) -> Iterator[str]:
        """Groups that this plan creates and a pattern matches."""
        for directory in self.created:
            for hierarchy in hierarchies:
                path = directory.removeprefix(f"{hierarchy.point}/")
                if path != directory and matches(path, pattern):
                    yield path

    def _unit(self, unit: str, hierarchies: list[Hierarchy]) -> list[str]:
        """The cgroup path of a systemd unit: systemd keeps the same path in every hierarchy it manages."""
        layout = self.host.layout
        own = [h for h in (layout.named.get("systemd"), layout.unified) if h]
        return find_groups(self.host.kernel, own, f"**/{unit}") or find_groups(
            self.host.kernel, hierarchies, f"**/{unit}"
        )

    def _nothing(self, name: str, data: dict[str, Any]) -> None:
        origin = self.profile.origin("groups", name, "match")
        text = f"{origin}: group {name} matches no cgroup on this host"
        if data.get("required"):
            raise Unsupported(text, "create the cgroup, set create: true, or drop required: true")
        self.out.notes.append(text)

    def _want(self, wish: _Wish) -> None:
        knob, value = wish.knob, wish.value
        control, hierarchy = self._form(knob.control)
        file = part_file(self.host, hierarchy, control.parts.get(knob.part)) if hierarchy else None
        if hierarchy and self._approximate(wish, file):
            return
        support = self._support(knob)
        if hierarchy is None or file is None or (support.kind == "boot" and support.state == "no"):
            self._unsupported(wish.resource, knob, support.reason, support.remedy, wish.origin)
            return
        unit = hierarchy.dir(wish.group)
        if not wish.data.get("create") and not self._exists(unit):
            reason = f"the group does not exist in the {control.controller} hierarchy"
            self._unsupported(wish.resource, knob, reason, "create it, or set create: true", wish.origin)
            return
        if not isinstance(value, Share) and (lost := control.narrowed(knob.part, value, file)):
            self._unsupported(wish.resource, BY_KEY[lost.knob], lost.reason, lost.remedy, wish.origin)
            value = lost.value
        row = control.row(knob.part, wish.row)
        target = Target(control.name, knob.part, wish.resource, unit, f"{unit}/{file}", row, knob.key)
        setting = Setting(target, value, wish.origin, approximates=wish.approximates)
        self._offer(wish.name, wish.rank, setting)
        if control.reach == "subtree":
            self.reaching.append(_Reach(wish.name, hierarchy, setting))
            self._offer_below(self.reaching[-1], descendants(self.host.kernel, hierarchy, wish.group))

    def _approximate(self, wish: _Wish, file: str | None) -> bool:
        """Want another knob in the place of one this kernel lacks, where the profile allows that."""
        knob = wish.knob
        instead = APPROXIMATIONS.get(knob.key)
        allowed = self.profile.data.get("defaults", {}).get("unsupported") == "approximate"
        if instead is None or not allowed or (file is not None and self._support(knob).state != "no"):
            return False
        other = BY_KEY[instead.knob]
        converted = instead.convert(wish.value)
        form = self._form(other.control)
        if converted is None or form.hierarchy is None or probe(self.host, other).state == "no":
            return False
        family, _, key = other.key.partition(".")
        if key in wish.data.get(family, {}):
            self.out.notes.append(f"{wish.origin}: {knob.key} is not approximated: the group sets {other.key} itself")
            return False
        shown = CONTROLS[knob.control].show(knob.part, wish.value)
        self._want(wish._replace(knob=other, value=converted, row=None, approximates=f"{knob.key}: {shown}"))
        return True

    def _exists(self, directory: str) -> bool:
        """Whether a cgroup directory is there or will be; each is asked for once, however many knobs it gets."""
        if directory not in self.there:
            self.there[directory] = directory in self.created or self.host.kernel.exists(directory)
        return self.there[directory]

    def _offer_below(self, reach: _Reach, paths: Iterable[str]) -> None:
        """The same value for descendants; any match of their own outranks it, and so does a nearer ancestor."""
        top = reach.setting.target
        file = top.path.rpartition("/")[2]
        for path in paths:
            unit = reach.hierarchy.dir(path)
            target = top._replace(resource=f"cgroup:{path}", unit=unit, path=f"{unit}/{file}")
            self._offer(reach.name, (-1, len(top.unit)), reach.setting._replace(target=target))

    def _reach_created(self) -> None:
        """Groups this very plan creates copy such a value before it is written, so they get it as well."""
        for reach in self.reaching:
            point, below = reach.hierarchy.point + "/", reach.setting.target.unit + "/"
            self._offer_below(reach, [p.removeprefix(point) for p in self.created if p.startswith(below)])

    def _offer(self, name: str, rank: _Rank, setting: Setting) -> None:
        key = setting.target.key
        other = self.winners.get(key)
        if other is None or rank > other.rank:
            self.winners[key] = _Candidate(rank, setting, name)
        elif rank == other.rank and setting.value != other.setting.value:
            raise PlanRefused(
                f"{setting.origin}: groups {other.group} and {name} match {setting.target.resource} equally well and "
                f"set {setting.target.knob} differently (the other at {other.setting.origin})",
                "make one of the patterns more specific, or let one of the groups set it",
            )

    def _create(self, group: str, hierarchies: list[Hierarchy], origin: Origin) -> None:
        for hierarchy in hierarchies:
            for path in [*parents(group), group]:
                directory = hierarchy.dir(path)
                parent = path != group
                if not self.host.kernel.exists(directory) and (directory not in self.created or not parent):
                    self.created[directory] = Create(f"cgroup:{path}", directory, origin, parent)

    def _fill_cpusets(self) -> None:
        """Give every cpuset that is created CPUs and nodes: without both it takes no task (ENOSPC)."""
        cpuset = self.host.layout.controllers.get("cpuset")
        if cpuset is None or cpuset.version != 1:
            return
        wanted = {s.target.key: s.value for s in self.out.settings if s.target.control == "cpuset"}
        for create in self.out.creates:
            if not create.path.startswith(cpuset.point + "/"):
                continue
            for part in CONTROLS["cpuset"].parts.values():
                path = f"{create.path}/{part.files['v1']}"
                if (path, None) not in wanted:
                    parent = create.path.rpartition("/")[0]
                    value = wanted.get((f"{parent}/{part.files['v1']}", None)) or self.host.text(
                        f"{parent}/{part.files['v1']}"
                    )
                    wanted[path, None] = value
                    target = Target("cpuset", part.name, create.resource, create.path, path, None, part.knob)
                    self.out.settings.append(Setting(target, value, create.origin, implied=True))

    def _unsupported(self, resource: str, knob: Knob, reason: str, remedy: str, origin: Origin) -> None:
        self.out.unsupported.append(UnsupportedKnob(resource, knob.key, reason, remedy, origin))
