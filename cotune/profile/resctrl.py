"""The ``host.resctrl`` section: its structure, and what can be said about it without a host."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from cotune.controls.resctrl import DEFAULT, RESERVED
from cotune.knobs import section
from cotune.knobs.base import Knob
from cotune.profile.text import Path, at, shown

CLASS_NAME = "[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}"

Schema = dict[str, Any]


class Finding(NamedTuple):
    """Something wrong at a place of the profile; ``at_key`` points at the key itself; a ``warning`` refuses nothing."""

    path: Path
    message: str
    hint: str = ""
    at_key: bool = False
    warning: bool = False


def resctrl_schema(knob_schema: Callable[[Knob], Schema]) -> Schema:
    """The schema of ``host.resctrl``; ``knob_schema`` gives that of one knob."""
    knobs = {key.removeprefix("resctrl."): knob_schema(knob) for key, knob in section("resctrl").items()}
    name = {"type": "string", "pattern": f"^{CLASS_NAME}$"}
    options = {
        "cdp": _flag("Split the L3 caches into code and data (l3code, l3data); halves the number of classes."),
        "cdpl2": _flag("Split the L2 caches into code and data (l2code, l2data); halves the number of classes."),
        "mba_MBps": _flag("Let the kernel steer the memory bandwidth to a number of MBps; needs monitoring."),
    }
    monitor = {
        "type": "array",
        "description": "Monitoring groups to create in the class, for the tasks a monitoring tool puts there.",
        "items": name,
    }
    return _mapping(
        "Classes of cache and memory bandwidth (Intel RDT, AMD QoS).",
        {
            "mount": _mapping("Mount resctrl where it is not: true, or with options.", options)
            | {"type": ["boolean", "object"]},
            "classes": {
                "type": "object",
                "description": f"Classes by name; missing ones are created. {DEFAULT} is the class of all other tasks.",
                "propertyNames": {"pattern": f"^{CLASS_NAME}$"},
                "additionalProperties": _mapping("", {**knobs, "monitor": monitor}),
            },
        },
    )


def membership_schema() -> Schema:
    """The schema of ``groups.NAME.resctrl``."""
    return {
        "type": "string",
        "description": "The resctrl class of every thread in the group; one of host.resctrl.classes, or of the host's.",
        "pattern": f"^{CLASS_NAME}$",
        "examples": ["offline"],
    }


def _flag(description: str) -> Schema:
    return {"type": "boolean", "description": description}


def _mapping(description: str, properties: dict[str, Schema]) -> Schema:
    described = {"description": description} if description else {}
    return {"type": "object", **described, "properties": properties, "additionalProperties": False}


def knob_at(keys: tuple[str | int, ...]) -> Knob | None:
    """The knob of a value below ``host.resctrl``: for all caches, or for one of them."""
    match keys:
        case ("classes", str(), str(key)) | ("classes", str(), str(key), str()):
            return section("resctrl").get(f"resctrl.{key}")
    return None


def check_resctrl(data: Any) -> Iterator[Finding]:
    """What is wrong with the classes of a profile, and with the groups that name one."""
    classes = at(data, ("host", "resctrl", "classes"))
    classes = classes if isinstance(classes, dict) else {}
    where: Path = ("host", "resctrl", "classes")
    for name, item in classes.items():
        if name in RESERVED or not re.fullmatch(CLASS_NAME, name):
            hint = "choose another name"
            yield Finding((*where, name), f"a resctrl class cannot be called {shown(name)}", hint, at_key=True)
        if not isinstance(item, dict):
            continue
        if name == DEFAULT and "cpus" in item:
            message = f"CPUs cannot be given to {DEFAULT}: it has those that no other class has"
            yield Finding((*where, name, "cpus"), message, "name the CPUs of the other classes", at_key=True)
        yield from _split(item, (*where, name))
        if not item:
            yield Finding((*where, name), "this entry sets nothing", "add a setting or remove the entry", warning=True)
    yield from _members(data, set(classes))


def _split(item: dict[str, Any], path: Path) -> Iterator[Finding]:
    for cache in ("l3", "l2"):
        parts = [key for key in (f"{cache}code", f"{cache}data") if key in item]
        if cache in item and parts:
            message = f"{cache} and {parts[0]} exclude each other: resctrl either splits a cache or does not"
            yield Finding((*path, parts[0]), message, f"keep {cache}, or {cache}code and {cache}data", at_key=True)


def _members(data: Any, classes: set[str]) -> Iterator[Finding]:
    groups = at(data, ("groups",))
    for name, group in groups.items() if isinstance(groups, dict) else ():
        wanted = group.get("resctrl") if isinstance(group, dict) else None
        if not isinstance(wanted, str) or wanted == DEFAULT or wanted in classes:
            continue
        path: Path = ("groups", name, "resctrl")
        if wanted in RESERVED or not re.fullmatch(CLASS_NAME, wanted):
            yield Finding(path, f"{shown(wanted)} is not the name of a resctrl class", "see host.resctrl.classes")
        else:
            message = f"the profile does not define the resctrl class {shown(wanted)}"
            hint = f"add host.resctrl.classes.{wanted}, unless the host has it"
            yield Finding(path, message, hint, warning=True)
