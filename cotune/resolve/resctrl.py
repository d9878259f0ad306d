"""The ``host.resctrl`` section of a profile: mounting, classes, and what each gets of caches and bandwidth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cotune.controls.resctrl import (
    BANDWIDTH,
    DEFAULT,
    EXCLUSIVE,
    SHAREABLE,
    Unfit,
    cache_mask,
    rate,
    read_schemata,
)
from cotune.errors import Origin
from cotune.host.facts import Host
from cotune.host.resctrl import (
    OPTIONS,
    POINT,
    Resctrl,
    class_dir,
    class_target,
    not_mounted,
    probe_resctrl,
    read_resctrl,
)
from cotune.host.support import Support
from cotune.knobs import section
from cotune.knobs.base import Knob
from cotune.model import Create, Refusal, Resolved, Setting, UnsupportedKnob
from cotune.profile.load import Profile
from cotune.resolve.values import resolve_value
from cotune.units import format_cpulist, parse_cpulist

_MOUNT = "resctrl.mount"


class ResctrlResolver:
    """Classes to create and values to set in them."""

    def __init__(self, profile: Profile, host: Host, out: Resolved) -> None:
        self.profile, self.host, self.out = profile, host, out
        self.data: dict[str, Any] = profile.data.get("host", {}).get("resctrl") or {}
        self.classes: dict[str, dict[str, Any]] = self.data.get("classes") or {}
        self.resctrl: Resctrl | None = None

    def run(self) -> None:
        """Resolve the section into ``out``."""
        if not self.data:
            return
        self.resctrl = read_resctrl(self.host)
        if self.resctrl is None:
            self._without()
            return
        self._check_options(self.resctrl)
        for name, item in self.classes.items():
            self._class(self.resctrl, name, item)
        self._check_room(self.resctrl)
        self._take_cpus(self.resctrl)
        self._check_exclusive(self.resctrl)

    def _origin(self, *keys: str) -> Origin:
        return self.profile.origin("host", "resctrl", *keys)

    # --- mounting ---------------------------------------------------------------------------------------------------

    def _without(self) -> None:
        """Nothing is mounted: mount it if asked to. What the classes get shows only then, so apply plans once more."""
        support = not_mounted(self.host)
        wanted = wants_mount(self.profile)
        if wanted and support.state != "no":
            if self.host.at_hand:
                self._mount()
                return
            support = Support("no", "nothing can be mounted below another root", "run cotune on that host")
        if wanted:
            self.out.unsupported.append(
                UnsupportedKnob("resctrl", _MOUNT, support.reason, support.remedy, self._origin("mount"))
            )
        for name, item in self.classes.items():
            for key in item:
                self._unsupported(name, f"resctrl.{key}", support, self._origin("classes", name, key))

    def _mount(self) -> None:
        origin = self._origin("mount")
        self.out.creates.append(Create("resctrl", POINT, origin, fstype="resctrl", options=self._options()))
        for name, item in self.classes.items():
            if name != DEFAULT:
                self._create(name, class_dir(name), self._origin("classes", name))
            for monitor in item.get("monitor") or []:
                self._create(name, f"{class_dir(name)}/mon_groups/{monitor}", self._origin("classes", name, "monitor"))
        if self.classes:
            self.out.notes.append(
                f"{origin}: what the classes {', '.join(self.classes)} get depends on limits that show only once "
                "resctrl is mounted: apply works it out then"
            )

    def _create(self, name: str, path: str, origin: Origin) -> None:
        self.out.creates.append(Create(f"resctrl:{name}", path, origin))

    def _options(self) -> tuple[str, ...]:
        mount = self.data.get("mount")
        return tuple(word for word in OPTIONS if isinstance(mount, dict) and mount.get(word))

    def _check_options(self, resctrl: Resctrl) -> None:
        """The options of a mounted resctrl cannot be changed: a remount says yes and does nothing."""
        mount = self.data.get("mount")
        for word, wanted in mount.items() if isinstance(mount, dict) else ():
            if wanted != (word in resctrl.options):
                reason = f"resctrl is mounted {'without' if wanted else 'with'} {word}, and a remount cannot change it"
                remedy = f"umount {POINT}, which removes every class, and apply again"
                origin = self._origin("mount", word)
                self.out.pending.append(UnsupportedKnob("resctrl", _MOUNT, reason, remedy, origin))

    # --- classes ----------------------------------------------------------------------------------------------------

    def _class(self, resctrl: Resctrl, name: str, item: dict[str, Any]) -> None:
        if name != DEFAULT and name not in resctrl.classes:
            if not resctrl.closids:
                support = probe_resctrl(self.host, section("resctrl")["resctrl.l3"])
                self._unsupported(name, "resctrl", support, self._origin("classes", name))
                return
            self._create(name, class_dir(name), self._origin("classes", name))
        for key, knob in section("resctrl").items():
            key = key.removeprefix("resctrl.")
            if key in item:
                self._value(resctrl, name, knob, item[key])
        self._monitors(resctrl, name, item.get("monitor") or [])

    def _value(self, resctrl: Resctrl, name: str, knob: Knob, written: Any) -> None:
        origin = self._origin("classes", name, knob.part)
        support = probe_resctrl(self.host, knob)
        if support.state != "yes":
            self._unsupported(name, knob.key, support, origin)
            return
        if knob.control != "resctrl.schemata":
            value = resolve_value(knob.type, written, self.host, origin)
            self.out.settings.append(Setting(class_target(name, knob), value, origin))
            return
        resource = knob.part.upper()
        ids = resctrl.ids[resource]
        each = written if isinstance(written, dict) else dict.fromkeys(map(str, ids), written)
        for text, one in each.items():
            where = self._origin("classes", name, knob.part, text) if isinstance(written, dict) else origin
            if int(text) not in ids:
                known = ", ".join(map(str, ids))
                self._refuse(where, f"resctrl:{name}: there is no cache {text} for {resource} here; there are {known}")
                continue
            self._row(resctrl, name, knob, f"{resource}:{int(text)}", one, where)

    def _row(self, resctrl: Resctrl, name: str, knob: Knob, row: str, written: Any, origin: Origin) -> None:
        wanted = resolve_value(knob.type, written, self.host, origin)
        try:
            if knob.part == BANDWIDTH:
                assert resctrl.bandwidth is not None
                value = rate(wanted, resctrl.bandwidth)
            else:
                value = cache_mask(wanted, resctrl.caches[row.partition(":")[0]])
        except Unfit as why:
            self._unsupported(name, knob.key, Support("no", why.reason, why.remedy), origin)
        except ValueError as why:
            self._refuse(origin, f"resctrl:{name} {row}: {why}")
        else:
            self.out.settings.append(Setting(class_target(name, knob, row), value, origin))

    def _monitors(self, resctrl: Resctrl, name: str, monitors: list[str]) -> None:
        for index, monitor in enumerate(monitors):
            origin = self.profile.origin("host", "resctrl", "classes", name, "monitor", index)
            path = f"{class_dir(name)}/mon_groups/{monitor}"
            if not resctrl.monitors:
                support = Support("no", "resctrl cannot monitor here", "a CPU with CMT or MBM")
                self._unsupported(name, "resctrl.monitor", support, origin)
            elif not self.host.kernel.exists(path):
                self._create(name, path, origin)

    def _unsupported(self, name: str, knob: str, support: Support, origin: Origin) -> None:
        item = UnsupportedKnob(f"resctrl:{name}", knob, support.reason, support.remedy, origin)
        if item not in self.out.unsupported:
            self.out.unsupported.append(item)

    def _refuse(self, origin: Origin, text: str) -> None:
        self.out.refusals.append(Refusal(f"{origin}: {text}", resource="resctrl:"))

    # --- what all classes share -------------------------------------------------------------------------------------

    def _check_room(self, resctrl: Resctrl) -> None:
        new = [name for name in self.classes if name != DEFAULT and name not in resctrl.classes]
        free = resctrl.room - len(resctrl.classes)
        if not resctrl.closids or len(new) <= free:
            return
        least = min(resctrl.closids, key=lambda name: resctrl.closids[name])
        have = ", ".join(resctrl.classes) or "none"
        self._refuse(
            self._origin("classes", new[max(free, 0)]),
            f"resctrl has room for {resctrl.room} classes beside the default one ({resctrl.closids[least]} ids of "
            f"{least}); {len(resctrl.classes)} exist ({have}) and the profile adds {len(new)} ({', '.join(new)})",
        )

    def _take_cpus(self, resctrl: Resctrl) -> None:
        """A CPU has one class: what a class takes from one that the profile does not mention is put back with it."""
        wanted = {s.target.resource: s for s in self.out.settings if s.target.control == "resctrl.cpus"}
        owner: dict[int, Setting] = {}
        for setting in wanted.values():
            for cpu in sorted(parse_cpulist(str(setting.value))):
                if (other := owner.setdefault(cpu, setting)) is not setting:
                    text = f"CPU {cpu} is given to {other.target.resource} and {setting.target.resource}"
                    self._refuse(setting.origin, f"{text}; it can only have one class")
                    break
        for name in resctrl.classes:
            has = parse_cpulist(self.host.text(f"{class_dir(name)}/cpus_list"))
            if f"resctrl:{name}" in wanted or not (taken := has & owner.keys()):
                continue
            first = owner[min(taken)]
            unit = class_dir(name)
            target = first.target._replace(resource=f"resctrl:{name}", unit=unit, path=f"{unit}/cpus_list")
            self.out.settings.append(Setting(target, format_cpulist(has - taken), first.origin, implied=True))

    def _check_exclusive(self, resctrl: Resctrl) -> None:
        """Refuse what the kernel would only refuse half way: an exclusive class whose bits others have, too."""
        names = (DEFAULT, *resctrl.classes)
        modes = {f"resctrl:{name}": self.host.text(f"{class_dir(name)}/mode") for name in names}
        created = [create.resource for create in self.out.creates if create.path.count("/") == POINT.count("/") + 1]
        modes |= dict.fromkeys(created, SHAREABLE)
        before = [resource for resource, mode in modes.items() if mode == EXCLUSIVE]
        by_mode = [setting for setting in self.out.settings if setting.target.control == "resctrl.mode"]
        modes |= {setting.target.resource: str(setting.value) for setting in by_mode}
        if EXCLUSIVE not in modes.values():
            return
        masks = {f"resctrl:{name}": read_schemata(self.host.text(f"{class_dir(name)}/schemata")) for name in names}
        for resource in created:
            masks[resource] = _left_over(resctrl, [masks[other] for other in before])
        wanted: dict[str, Origin] = {setting.target.resource: setting.origin for setting in by_mode}
        for setting in self.out.settings:
            target, value = setting.target, setting.value
            if target.control == "resctrl.schemata" and target.part != BANDWIDTH and isinstance(value, int):
                cache, _, number = str(target.row).partition(":")
                masks[target.resource].setdefault(cache, {})[int(number)] = value
                wanted.setdefault(target.resource, setting.origin)
        for text, involved in _clashes(resctrl, modes, masks):
            origin = next((wanted[resource] for resource in involved if resource in wanted), None)
            if origin is not None:  # else it is so already, and no business of this profile
                self._refuse(origin, text)
                return


def _left_over(resctrl: Resctrl, exclusive: list[dict[str, dict[int, int]]]) -> dict[str, dict[int, int]]:
    """What a new class starts with: every bit that no exclusive class has."""
    found: dict[str, dict[int, int]] = {}
    for cache, limits in resctrl.caches.items():
        found[cache] = {}
        for number in resctrl.ids[cache]:
            taken = 0
            for masks in exclusive:
                for name in _halves(cache):
                    taken |= masks.get(name, {}).get(number, 0)
            found[cache][number] = limits.mask & ~taken
    return found


def _halves(cache: str) -> tuple[str, ...]:
    """The names under which the bits of a cache are given out: code and data share them."""
    whole = cache[:2]
    return (whole,) if cache == whole else (f"{whole}CODE", f"{whole}DATA")


def _clashes(
    resctrl: Resctrl, modes: dict[str, str], masks: dict[str, dict[str, dict[int, int]]]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Where an exclusive class overlaps another, or hardware, with the classes it takes to clash (rdtgroup.c
    rdtgroup_cbm_overlaps)."""
    for resource in [name for name, mode in modes.items() if mode == EXCLUSIVE]:
        for cache, limits in resctrl.caches.items():
            for number, mask in masks[resource].get(cache, {}).items():
                where = f"{resource} is exclusive, but in {cache}:{number} its mask {mask:x}"
                if mask & limits.shareable:
                    yield (
                        f"{where} has bits that hardware uses as well (shareable_bits {limits.shareable:x})",
                        (resource,),
                    )
                for other in masks:
                    shared = [masks[other].get(name, {}).get(number, 0) for name in _halves(cache)]
                    if other != resource and (clash := next((one for one in shared if one & mask), 0)):
                        yield f"{where} overlaps the {clash:x} of {other}", (resource, other)


def wants_mount(profile: Profile) -> bool:
    """Whether a profile asks for resctrl to be mounted: true, or options."""
    mount = (profile.data.get("host", {}).get("resctrl") or {}).get("mount")
    return mount is True or isinstance(mount, dict)
