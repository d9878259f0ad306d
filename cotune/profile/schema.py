"""The format as JSON Schema, derived from the knob records.

Two forms exist. The strict one describes a merged profile whose variables have been replaced. The published one
(:func:`schema`, ``cotune schema``) is for editors, which see raw documents: there every scalar may also be a text with
a ``${variable}``, and null, which deletes what an included document set.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from cotune.knobs import IO_LISTS
from cotune.knobs import section as knob_section
from cotune.knobs.base import Knob
from cotune.knobs.types import KernelValue
from cotune.profile import resctrl
from cotune.profile.mounts import mount_knob, mount_schema
from cotune.profile.text import Path
from cotune.profile.variables import NAME as VARIABLE_NAME

API_VERSION = "cotune/v1"
KIND = "IsolationProfile"
SCHEMA_ID = "urn:cotune:schema:isolation-profile:v1"

PROFILE_NAME = "[a-z0-9][a-z0-9._-]{0,62}"
GROUP_NAME = "[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}"
# components of letters, digits and a few signs; as in sysctl(8) a slash stands for a dot inside a component
SYSCTL_NAME = r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_:@-]+(?:/[A-Za-z0-9_:@-]+)*)+"

#: What the patterns above mean, for messages.
PATTERNS = {
    f"^{PROFILE_NAME}$": "a name of lower-case letters, digits, '.', '_' and '-', at most 63 characters",
    f"^{GROUP_NAME}$": "a name of letters, digits, '.', '_' and '-', at most 63 characters",
    f"^{VARIABLE_NAME}$": "a name of letters, digits, '_' and '-' that begins with a letter",
    f"^{SYSCTL_NAME}$": "the full name of a sysctl such as vm.swappiness",
}

Schema = dict[str, Any]

_EXAMPLES: dict[str, list[Any]] = {
    "Size": ["8GiB", "50%", "min(4GiB, 3%)"],
    "Duration": ["100ms"],
    "CpuTime": [2.5, "50ms", "max"],
    "Burst": ["50%", "20ms"],
    "CpuList": ["0-3,8", "50%", "node:0"],
    "NodeList": ["0-1", "all"],
}


section = cache(knob_section)


def schema() -> Schema:
    """The JSON Schema (draft 2020-12) of a profile as people write it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "cotune isolation profile",
        "description": "A versioned profile of kernel isolation settings for one host, read by cotune.",
        **_with_variables(strict_schema()),
        "type": "object",  # the whole document cannot be null, as its parts can
    }


def strict_schema() -> Schema:
    """The schema of a merged profile without variables; the structure the messages are made from."""
    return _mapping(
        "",
        {
            "apiVersion": {"const": API_VERSION, "description": "Version of the format."},
            "kind": {"const": KIND},
            "metadata": _metadata(),
            "include": _list(
                "Profiles this one builds on: names, or paths relative to this file. Maps merge, scalars and lists "
                "replace, null deletes.",
                _text("", examples=["base", "./site.yaml"]),
            ),
            "requires": _requires(),
            "vars": _variables(),
            "host": _host(),
            "groups": {
                "type": "object",
                "description": "Groups of tasks by a name of your choice.",
                "propertyNames": {"pattern": f"^{GROUP_NAME}$"},
                "additionalProperties": _group(),
            },
            "defaults": _mapping(
                "What holds for the whole profile.",
                {
                    "unsupported": {
                        "enum": ["skip", "fail", "approximate"],
                        "description": "Settings this kernel does not have are skipped and reported, or fail; "
                        "approximate takes what comes nearest for those that have it, and skips the others.",
                    }
                },
            ),
        },
        required=["apiVersion", "kind", "metadata"],
    )


def knob_at(path: Path) -> Knob | None:
    """The knob a value at ``path`` belongs to, or None for the structure around them.

    Sysctls without a record of their own get one made of :class:`~cotune.knobs.types.KernelValue`.
    """
    match path:
        case ("groups", str(), "io", str(kind), int(), str(key)) if kind in IO_LISTS:
            return section(IO_LISTS[kind]).get(f"io.{IO_LISTS[kind]}.{key}")
        case ("groups", str(), *keys):
            return section("group").get(".".join(map(str, keys)))
        case ("host", "sysctl", str(key)):
            return section("sysctl").get(key) or plain_sysctl(key)
        case ("host", "block", int(), *keys):
            return section("block").get(".".join(map(str, ("block", *keys))))
        case ("host", "mounts", int(), *keys):
            return mount_knob(tuple(keys))
        case ("host", "resctrl", *keys):
            return resctrl.knob_at(tuple(keys))
        case ("host", *keys):
            return section("host").get(".".join(map(str, ("host", *keys))))
    return None


def plain_sysctl(name: str) -> Knob:
    """The record of a sysctl that has none in the catalogue."""
    doc = "Taken as the kernel takes it."
    return Knob(name, "sysctl", name, KernelValue(), "sysctl", name, doc, "", "docs")


def knob_schema(knob: Knob) -> Schema:
    """The schema of one knob's value with its documentation."""
    unit = f" Unit of a bare number: {knob.unit}." if knob.unit else ""
    result: Schema = {"title": knob.title, "description": f"{knob.doc}{unit} Expected: {knob.type.expected}."}
    if examples := _EXAMPLES.get(type(knob.type).__name__):
        result["examples"] = examples
    return result | knob.type.schema()


def _mapping(description: str, properties: dict[str, Schema], required: list[str] | None = None) -> Schema:
    result: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    if description:
        result["description"] = description
    if required:
        result["required"] = required
    return result


def _list(description: str, items: Schema) -> Schema:
    return {"type": "array", "description": description, "items": items}


def _text(description: str, **more: Any) -> Schema:
    return {"type": "string", "minLength": 1, **({"description": description} if description else {}), **more}


def _flag(description: str) -> Schema:
    return {"type": "boolean", "description": description}


def _metadata() -> Schema:
    return _mapping(
        "Name and version of the profile. The name owns what the profile sets.",
        {
            "name": _text("Applying the same name again is an upgrade.", pattern=f"^{PROFILE_NAME}$"),
            "version": _text("Version of the profile, as text.", examples=["1.2.0"]),
            "description": {"type": "string", "description": "One line for the catalogue."},
        },
        required=["name"],
    )


def _requires() -> Schema:
    return _mapping(
        "What the profile cannot do without: impossible here means exit 3 before any write.",
        {
            "features": _list("Knobs this kernel must have.", _text("", examples=["cpu.identity"])),
            "boot": _list("Words the kernel command line must hold.", _text("", examples=["cgwb_v1"])),
        },
    )


def _variables() -> Schema:
    return {
        "type": "object",
        "description": "Values used elsewhere as ${name}.",
        "propertyNames": {"pattern": f"^{VARIABLE_NAME}$"},
        "additionalProperties": {"type": ["string", "number", "boolean"]},
    }


def _knobs(knobs: Iterable[tuple[str, Knob]], description: str = "") -> Schema:
    return _mapping(description, {key: knob_schema(knob) for key, knob in knobs})


def _nested(knobs: Iterable[tuple[str, Knob]]) -> dict[str, Schema]:
    """The properties of a mapping whose knobs have dotted keys: one mapping for each part before a dot."""
    plain: dict[str, Schema] = {}
    below: dict[str, list[tuple[str, Knob]]] = {}
    for key, knob in knobs:
        first, dot, rest = key.partition(".")
        if dot:
            below.setdefault(first, []).append((rest, knob))
        else:
            plain[key] = knob_schema(knob)
    return plain | {first: _mapping("", _nested(inside)) for first, inside in below.items()}


def _without(prefix: str, knobs: dict[str, Knob]) -> Iterable[tuple[str, Knob]]:
    return ((key.removeprefix(prefix), knob) for key, knob in knobs.items())


def _host() -> Schema:
    sysctl = _mapping(
        "Kernel parameters by their full name.",
        {name: knob_schema(knob) for name, knob in section("sysctl").items()},
    )
    # a name that has a record matches this too; what the record takes, any sysctl may be
    plain = {"description": "A sysctl without a record: taken as the kernel takes it."} | KernelValue().schema()
    sysctl["patternProperties"] = {f"^{SYSCTL_NAME}$": plain}
    return _mapping(
        "Settings of the whole host.",
        {
            "sysctl": sysctl,
            **_nested(_without("host.", section("host"))),
            "resctrl": resctrl.resctrl_schema(knob_schema),
            "block": _list("Queues of block devices.", _block()),
            "mounts": _list("ext4 file systems.", mount_schema(knob_schema)),
        },
    )


def _block() -> Schema:
    knobs = _nested(_without("block.", section("block")))
    return _mapping("", {"match": _device("Which device."), **knobs}, required=["match"])


def _device(description: str) -> Schema:
    return _mapping(
        description + " Exactly one of the keys.",
        {
            "mountpoint": _text("The disk below this mount point.", examples=["/data"]),
            "device": _text("Kernel name; may be a pattern.", examples=["nvme*n1"]),
            "serial": _text("Serial number; survives a reboot."),
            "majmin": _text("Device number; minors move between boots.", examples=["8:32"]),
        },
    )


def _group() -> Schema:
    families = _nested(section("group").items())
    io = families.setdefault("io", _mapping("", {}))["properties"]
    for key, kind in IO_LISTS.items():
        entries = _io_list(kind)
        if key in io:  # one value for all disks, or a list
            texts = {word: io[key].pop(word) for word in ("title", "description") if word in io[key]}
            io[key] = texts | {"anyOf": [io[key], entries]}
        else:
            io[key] = entries
    return _mapping(
        "",
        {
            "match": _group_match(),
            "create": _flag("Create the group, with missing parents, where it does not exist."),
            "required": _flag("Exit 3 when nothing matches, instead of reporting it."),
            **families,
            "resctrl": resctrl.membership_schema(),
            "tasks": _tasks(),
        },
    )


def _io_list(kind: str) -> Schema:
    knobs = {key.rpartition(".")[2]: knob_schema(knob) for key, knob in section(kind).items()}
    return _list("Values per device.", _mapping("", {"device": _device("Which device."), **knobs}, required=["device"]))


def _group_match() -> Schema:
    pattern = _text("", examples=["online", "kubepods*/**/pod*"])
    return _mapping(
        "Which cgroups. Exactly one of the keys.",
        {
            "cgroup": {
                "description": "Path below the cgroup root, or a list; may hold *, ?, [...], and ** as a component.",
                "anyOf": [pattern, {"type": "array", "minItems": 1, "items": pattern}],
            },
            "systemd": _text("A systemd unit.", examples=["nginx.service"]),
        },
    )


def _tasks() -> Schema:
    name = _text("", examples=["stress"])
    return _mapping(
        "Tasks to move into the group. Exactly one of the keys.",
        {
            "unit": _text("All tasks of this systemd unit.", examples=["batch.service"]),
            "pidfile": _text("The process this file names.", examples=["/run/batch.pid"]),
            "comm": {
                "description": "Processes of this name, or of one of these names.",
                "anyOf": [name, {"type": "array", "minItems": 1, "items": name}],
            },
        },
    )


_VARIABLE: Schema = {"type": "string", "pattern": r"\$\{" + VARIABLE_NAME + r"\}"}
_DELETED: Schema = {"type": "null"}


def _with_variables(strict: Schema) -> Schema:
    """The published form of ``strict``: scalars may hold variables, and null deletes; the texts stay in place."""
    if "const" in strict:
        return strict
    if strict.get("type") == "array":
        return _nullable(strict | {"items": _with_variables(strict["items"])})
    if strict.get("type") != "object":
        texts = {key: strict[key] for key in ("title", "description", "examples") if key in strict}
        rest = {key: value for key, value in strict.items() if key not in texts}
        return texts | {"anyOf": [rest, _VARIABLE, _DELETED]}
    result = dict(strict)
    for key in ("properties", "patternProperties"):
        if key in strict:
            result[key] = {name: _with_variables(child) for name, child in strict[key].items()}
    if isinstance(strict["additionalProperties"], dict):
        result["additionalProperties"] = _with_variables(strict["additionalProperties"])
    return _nullable(result)


def _nullable(strict: Schema) -> Schema:
    return strict | {"type": [strict["type"], "null"]}
