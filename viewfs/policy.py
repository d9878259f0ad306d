"""Policies from /etc/cotune/views.yaml: how the containers of a host are shown, chosen by their cgroups.

The file has the forms and errors of a profile::

    apiVersion: cotune/v1
    kind: ContainerViews
    default: {cpu: min}
    containers:
      - match: {cgroup: "/kubepods/**"}
        cpu: quota
        topology: view

``default`` says what holds for all containers; of the entries whose pattern matches, each adds its settings, the last
one wins. Patterns are those of profiles: they match the path below the root of the hierarchy, ``*`` within one
component and ``**`` any number of components.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from cotune.errors import Origin, Problem, ProfileError, UsageError
from cotune.profile.document import Document, parse_document
from cotune.profile.files import read_file
from cotune.profile.merge import Tree
from cotune.profile.patterns import cgroup_problem
from cotune.profile.text import Path, found, shown, similar
from viewfs.types import Policy

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import ValidationError

API_VERSION = "cotune/v1"
KIND = "ContainerViews"
DEFAULT_PATH = "/etc/cotune/views.yaml"
_MAX_PROBLEMS = 20

_SETTINGS: dict[str, Any] = {
    "cpu": {"enum": ["min", "quota", "cpuset", "host"]},
    "topology": {"enum": ["host", "view"]},
    "uptime": {"enum": ["container", "host"]},
    "loadavg": {"type": "boolean"},
    "swap": {"type": "boolean"},
    "compat": {"enum": ["none", "lxcfs"]},
}


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the file."""
    patterns = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:cotune:schema:container-views:v1",
        "title": "cotune container views",
        "type": "object",
        "additionalProperties": False,
        "required": ["apiVersion", "kind"],
        "properties": {
            "apiVersion": {"const": API_VERSION},
            "kind": {"const": KIND},
            "default": {"type": "object", "additionalProperties": False, "properties": _SETTINGS},
            "containers": {
                "type": "array",
                "items": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["match"],
                    "properties": {
                        "match": {
                            "type": "object",
                            "additionalProperties": False,
                            "required": ["cgroup"],
                            "properties": {"cgroup": patterns},
                        },
                        **_SETTINGS,
                    },
                },
            },
        },
    }


class Rule(NamedTuple):
    """Settings for the containers whose cgroup one of ``patterns`` (their components) matches."""

    patterns: tuple[tuple[str, ...], ...]
    settings: dict[str, Any]


class Policies(NamedTuple):
    """The policies of a host."""

    default: Policy = Policy()
    rules: tuple[Rule, ...] = ()

    def of(self, cgroup: str) -> Policy:
        """The policy of the container in ``cgroup``, its path below the root of the hierarchy."""
        names = tuple(name for name in cgroup.split("/") if name)
        policy = self.default
        for rule in self.rules:
            if any(_matches(pattern, names) for pattern in rule.patterns):
                policy = policy._replace(**rule.settings)
        return policy


def load_policies(path: str = DEFAULT_PATH) -> Policies:
    """The policies in ``path``. Raises ProfileError with all problems found, in the order of the file."""
    document = parse_policies(read_file(path), path)
    default = Policy()._replace(**_settings(document.data.get("default", {})))
    return Policies(default, tuple(_rule(entry) for entry in document.data.get("containers", [])))


def choose_policies(path: str = "", compat: str = "") -> Policies:
    """The policies in the file named, or else of this host; the defaults hold where it has no file.

    ``compat``, unless empty, takes the place of that of the file's ``default``. Raises UsageError, ProfileError.
    """
    if path and not os.path.exists(path):
        raise UsageError(f"{path}: no such file", f"without --policies those of {DEFAULT_PATH} hold, if there are any")
    policies = load_policies(path or DEFAULT_PATH) if path or os.path.exists(DEFAULT_PATH) else Policies()
    return policies._replace(default=policies.default._replace(compat=compat)) if compat else policies


def parse_policies(data: bytes, name: str) -> Document:
    """The checked file as plain data; ``name`` is the file in messages. Raises ProfileError."""
    document = parse_document(data, name)
    tree = Tree(document.data, document.origins, document.keys)
    for key, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
        value = document.data.get(key, wanted)
        if value != wanted:
            hint = "this is not a file of container views, or one for another version of cotune"
            raise ProfileError([Problem(tree.origin((key,)), f"expected {wanted}, found {found(value)}", hint)])
    problems = [problem for error in _validator().iter_errors(document.data) for problem in _problems(error, tree)]
    problems += _wrong_patterns(tree)
    if problems:
        ordered = sorted(dict.fromkeys(problems), key=lambda problem: problem.origin[1:3])
        raise ProfileError(ordered[:_MAX_PROBLEMS])
    return document


@cache
def _validator() -> Draft202012Validator:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(schema())


def _problems(error: ValidationError, tree: Tree) -> Iterator[Problem]:
    path: Path = tuple(error.absolute_path)
    rules: Any = error.schema
    if error.validator == "additionalProperties":
        known = list(rules["properties"])
        for key in error.instance if isinstance(error.instance, dict) else ():
            if key not in known:
                hint = similar(key, known) or "keys here: " + ", ".join(known)
                yield Problem(tree.key_origin((*path, key)), f"unknown key {shown(key)}", hint)
    elif error.validator == "required":
        for key in rules["required"]:
            if isinstance(error.instance, dict) and key not in error.instance:
                where = tree.key_origin(path) if path else tree.origins[()]._replace(line=1, column=1)
                yield Problem(where, f"the key {key} is missing", _MISSING[key])
    else:
        yield Problem(tree.origin(path), f"expected {_expected(error)}, found {found(error.instance)}", _hint(error))


_MISSING = {
    "apiVersion": f'begin the file with "apiVersion: {API_VERSION}"',
    "kind": f'write "kind: {KIND}"',
    "match": 'write "match: {cgroup: …}"',
    "cgroup": 'such as "/kubepods/**"',
}


def _expected(error: ValidationError) -> str:
    rules: Any = error.schema
    if error.validator == "enum":
        return "one of " + ", ".join(rules["enum"])
    kinds = {"object": "a mapping", "array": "a list", "boolean": "true or false", "string": "text"}
    return kinds[rules["type"]] if error.validator == "type" else "text or a list of texts"


def _hint(error: ValidationError) -> str:
    value, rules = error.instance, error.schema
    if value is None:
        return "write a value after the ':'"
    if isinstance(value, str) and isinstance(rules, dict):
        if error.validator == "enum":
            return similar(value, rules["enum"])
        if rules.get("type") == "boolean" and value.lower() in ("on", "off", "yes", "no"):
            return f"write {'true' if value.lower() in ('on', 'yes') else 'false'}"
    return ""


def _wrong_patterns(tree: Tree) -> Iterator[Problem]:
    """Patterns that cannot match; what the schema complains about is passed over."""
    entries = tree.data.get("containers")
    for number, entry in enumerate(entries if isinstance(entries, list) else []):
        match = entry.get("match") if isinstance(entry, dict) else None
        value = match.get("cgroup") if isinstance(match, dict) else None
        path: Path = ("containers", number, "match", "cgroup")
        places = [(path, value)] if isinstance(value, str) else []
        if isinstance(value, list):
            places = [((*path, index), one) for index, one in enumerate(value) if isinstance(one, str)]
        for place, pattern in places:
            if problem := cgroup_problem(pattern):
                origin: Origin = tree.origin(place)
                yield Problem(origin, *problem)


def _settings(entry: dict[str, Any]) -> dict[str, Any]:
    settings = {key: value for key, value in entry.items() if key != "match"}
    if settings.get("compat") == "none":
        settings["compat"] = ""
    return settings


def _rule(entry: dict[str, Any]) -> Rule:
    value = entry["match"]["cgroup"]
    patterns = [value] if isinstance(value, str) else value
    return Rule(tuple(tuple(pattern.strip("/").split("/")) for pattern in patterns), _settings(entry))


def _matches(pattern: tuple[str, ...], names: tuple[str, ...]) -> bool:
    """Whether the components of a path are those of a pattern, in which ``**`` is any number of them."""
    if not pattern:
        return not names
    if pattern[0] == "**":
        return any(_matches(pattern[1:], names[start:]) for start in range(len(names) + 1))
    return bool(names) and fnmatchcase(names[0], pattern[0]) and _matches(pattern[1:], names[1:])
