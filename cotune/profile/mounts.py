"""The entries of ``host.mounts``: their structure, and what can be said about them without a host."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from cotune.errors import Problem
from cotune.knobs import section
from cotune.knobs.base import NO_HOST, Knob
from cotune.profile.merge import Tree
from cotune.profile.text import Path, at, shown

Schema = dict[str, Any]
#: Key of an entry → the section its knobs are in, and the prefix of their keys.
PARTS = {
    "options": ("mount", "mount."),
    "jbd2": ("jbd2", "mount.jbd2."),
    "features": ("feature", "mount.features."),
}
_PROJECT = "mount.quota.project."


def mount_schema(knob_schema: Callable[[Knob], Schema]) -> Schema:
    """The schema of one entry; ``knob_schema`` gives that of a value."""
    docs = {
        "options": "Mount options, changed by a remount; those only a mount can change are listed as pending.",
        "jbd2": "The journal (ANCK kernels).",
        "features": "Features of the file system, changed by tune2fs while it is not mounted; pending otherwise.",
    }
    parts = {key: _mapping(docs[key], _knobs(kind, prefix, knob_schema)) for key, (kind, prefix) in PARTS.items()}
    project = _mapping(
        "One directory.",
        {
            **_knobs("quota", _PROJECT, knob_schema),
            "assign": _flag("Give the id to everything below an existing tree. Cannot be undone exactly."),
        },
    )
    projects = {"type": "object", "description": "Directory → its limits.", "additionalProperties": project}
    return {
        **_mapping(
            "",
            {
                "match": _match(),
                **parts,
                "accept_data_loss": _flag("Allows options that can lose data on a power cut, such as barrier: false."),
                "quota": _mapping("Limits kept by the file system.", {"project": projects}),
            },
        ),
        "required": ["match"],
    }


def mount_knob(keys: tuple[Any, ...]) -> Knob | None:
    """The knob of a value at ``keys`` below an entry, or None."""
    match keys:
        case (str(part), str(key)) if part in PARTS:
            kind, prefix = PARTS[part]
            return section(kind).get(f"{prefix}{key}")
        case ("quota", "project", str(), str(key)):
            return section("quota").get(f"{_PROJECT}{key}")
    return None


def check_mounts(tree: Tree) -> tuple[list[Problem], list[Problem]]:
    """Problems and warnings of all entries. What the schema refuses already is passed over."""
    problems: list[Problem] = []
    warnings: list[Problem] = []
    entries = at(tree.data, ("host", "mounts"))
    for index, item in enumerate(entries if isinstance(entries, list) else []):
        where: Path = ("host", "mounts", index)
        if not isinstance(item, dict):
            continue
        problems += _match_problems(tree, where, item.get("match"))
        problems += _project_problems(tree, where, item)
        warnings += _soft_above_hard(tree, where, item)
        if not any(item.get(key) for key in (*PARTS, "quota")):
            text = "this entry sets nothing"
            warnings.append(Problem(tree.origin(where), text, "add a setting or remove the entry"))
    return problems, warnings


def _match_problems(tree: Tree, where: Path, match: Any) -> Iterator[Problem]:
    if not isinstance(match, dict):
        return
    given = [key for key in ("mountpoint", "device") if key in match]
    if len(given) != 1 and match.keys() <= {"mountpoint", "device", "fstype"}:
        text = f"expected exactly one of mountpoint, device, found {' and '.join(given) or 'none'}"
        yield Problem(tree.key_origin((*where, "match")), text, "")
    for key in given:
        yield from _path_problems(tree, (*where, "match", key), match[key])


def _project_problems(tree: Tree, where: Path, item: dict[str, Any]) -> Iterator[Problem]:
    limits: dict[int, tuple[str, dict[str, int]]] = {}
    for directory, wanted in _projects(item).items():
        place: Path = (*where, "quota", "project", directory)
        if any(_path_problems(tree, place, directory)):
            yield Problem(tree.key_origin(place), f"expected an absolute path without .., found {shown(directory)}", "")
            continue
        point = at(item, ("match", "mountpoint"))
        if isinstance(point, str) and not f"{directory}/".startswith(point.rstrip("/") + "/"):
            yield Problem(tree.key_origin(place), f"{directory} does not lie below {point}", "name a directory on it")
        number = wanted.get("id")
        if number is None:
            yield Problem(tree.key_origin(place), "the key id is missing", "choose a number no other project has")
        elif isinstance(number, int):
            mine = {key: value for key, value in _resolved(wanted) if key != "id"}
            first, theirs = limits.setdefault(number, (directory, mine))
            if theirs != mine:
                text = f"project {number} has other limits at {tree.key_origin((*place[:-1], first))}"
                yield Problem(tree.origin((*place, "id")), text, "directories of one project share its limits")


def _soft_above_hard(tree: Tree, where: Path, item: dict[str, Any]) -> Iterator[Problem]:
    for directory, wanted in _projects(item).items():
        values = dict(_resolved(wanted))
        for soft, hard in (("soft", "hard"), ("inodes_soft", "inodes_hard")):
            if values.get(soft, 0) > values.get(hard, 0) > 0:
                origin = tree.origin((*where, "quota", "project", directory, soft))
                yield Problem(origin, f"{soft} is above {hard}: it will never matter", "")


def _projects(item: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = at(item, ("quota", "project"))
    return {key: value for key, value in found.items() if isinstance(value, dict)} if isinstance(found, dict) else {}


def _resolved(wanted: dict[str, Any]) -> Iterator[tuple[str, int]]:
    for key, value in wanted.items():
        knob = section("quota").get(f"{_PROJECT}{key}")
        try:
            yield from [(key, knob.type.resolve(value, NO_HOST))] if knob else []
        except (ValueError, OverflowError):
            continue


def _path_problems(tree: Tree, where: Path, value: Any) -> Iterator[Problem]:
    if not isinstance(value, str) or not value:
        return
    if not value.startswith("/") or not value.isprintable() or ".." in value.split("/"):
        yield Problem(tree.origin(where), f"expected an absolute path without .., found {shown(value)}", "")


def _match() -> Schema:
    texts = {
        "mountpoint": ("Where it is mounted, or would be by /etc/fstab.", "/data"),
        "device": ("Its block device, mounted or not.", "/dev/vdb"),
        "fstype": ("Only if it is of this type.", "ext4"),
    }
    properties = {
        key: {"type": "string", "minLength": 1, "description": text, "examples": [example]}
        for key, (text, example) in texts.items()
    }
    return _mapping("Which file system: mountpoint or device.", properties)


def _mapping(description: str, properties: dict[str, Schema]) -> Schema:
    result: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**result, "description": description} if description else result


def _flag(description: str) -> Schema:
    return {"type": "boolean", "description": description}


def _knobs(kind: str, prefix: str, knob_schema: Callable[[Knob], Schema]) -> dict[str, Schema]:
    return {key.removeprefix(prefix): knob_schema(knob) for key, knob in section(kind).items()}
