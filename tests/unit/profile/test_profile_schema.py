"""The published schema agrees with what load_profile accepts and with the knob records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from cotune.knobs import KNOBS
from cotune.knobs.base import NO_HOST, Knob
from cotune.profile.schema import knob_at, schema, strict_schema

HEAD: dict[str, Any] = {"apiVersion": "cotune/v1", "kind": "IsolationProfile", "metadata": {"name": "a"}}
PUBLISHED = Draft202012Validator(schema())

PLACES: dict[str, tuple[str | int, ...]] = {
    "group": ("groups", "g"),
    "host": ("host",),
    "sysctl": ("host", "sysctl"),
    "block": ("host", "block", 0),
    "mount": ("host", "mounts", 0, "options"),
    "feature": ("host", "mounts", 0, "features"),
    "jbd2": ("host", "mounts", 0, "jbd2"),
    "quota": ("host", "mounts", 0, "quota", "project", "g"),
    "throttle": ("groups", "g", "io", "throttle", 0),
    "weight": ("groups", "g", "io", "weight", 0),
    "latency": ("groups", "g", "io", "latency", 0),
    "resctrl": ("host", "resctrl", "classes", "g"),
}


def place(key: str, section: str) -> tuple[str | int, ...]:
    """Where a knob stands in a profile, worked out from its key alone."""
    if section == "sysctl":
        return (*PLACES[section], key)
    if section in ("group", "host", "block"):
        return (*PLACES[section], *key.removeprefix(f"{section}.").split("."))
    return (*PLACES[section], key.rpartition(".")[2])


def listed(tree: dict[str, Any]) -> dict[str, Any]:
    """The form of a key that takes a list, where it takes a single value as well."""
    if "items" in tree:
        return tree
    return next((found for form in tree.get("anyOf", []) if (found := listed(form))), {})


def part(tree: dict[str, Any], path: tuple[str | int, ...]) -> dict[str, Any]:
    """The schema of the value at ``path``."""
    for step in path:
        if isinstance(step, int):
            tree = listed(tree)["items"]
        else:
            tree = (
                tree["properties"].get(step) or tree["additionalProperties"]
                if step != "g"
                else tree["additionalProperties"]
            )
    return tree


def test_it_is_a_schema() -> None:
    for form in (schema(), strict_schema()):
        Draft202012Validator.check_schema(form)
    assert schema()["$schema"].endswith("2020-12/schema")
    assert schema()["$id"] == "urn:cotune:schema:isolation-profile:v1"


@pytest.mark.parametrize("knob", KNOBS, ids=lambda knob: knob.key)
def test_every_knob_has_its_place(knob: Knob) -> None:
    path = place(knob.key, knob.section)
    assert knob_at(path) is knob
    published = part(schema(), path)
    assert published["title"] == knob.title
    assert knob.doc in published["description"]
    for example in published.get("examples", []):
        if example == "max" and not getattr(knob.type, "unlimited", True):
            pytest.fail(f"the example {example} is no value of {knob.key}")
        knob.type.resolve(example, NO_HOST)


def test_all_mappings_are_closed() -> None:
    def closed(tree: Any) -> None:
        if isinstance(tree, dict):
            if "properties" in tree:
                assert tree["additionalProperties"] is False, tree
            for child in tree.values():
                closed(child)
        elif isinstance(tree, list):
            for child in tree:
                closed(child)

    closed(schema())


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"groups": {"g": {"match": {"cgroup": "a"}, "cpu": {"shares": "${s}", "idle": "${i}", "cpus": "0-${n}"}}}},
        {"groups": {"g": {"create": "${c}", "cpu": None, "memory": {"limit": None}}, "h": None}},
        {"host": {"sysctl": {"vm.swappiness": "${s}", "kernel.printk": "4 4 1 7"}}},
        {"vars": {"a": 1, "b": "${a}", "c": None}},
        {"defaults": {"unsupported": "${u}"}},
        {"groups": {"g": {"io": {"throttle": [{"device": {"majmin": "${d}"}, "write_bps": "${b}"}]}}}},
    ],
)
def test_editors_accept_raw_documents(more: dict[str, Any]) -> None:
    assert list(PUBLISHED.iter_errors(HEAD | more)) == []


@pytest.mark.parametrize(
    "more",
    [
        {"x": 1},
        {"groups": {"g": {"cpu": {"shares": 1}}}},
        {"groups": {"g": {"cpu": {"shares": "many"}}}},
        {"groups": {"g": {"cpu": {"identity": "lo"}}}},
        {"host": {"sysctl": {"swappiness": 1}}},
        {"host": {"block": [{"nr_requests": 64}]}},
        {"include": "base"},
        {"kind": "Pod"},
        {"metadata": {"name": "A B"}},
    ],
)
def test_editors_refuse_mistakes(more: dict[str, Any]) -> None:
    assert list(PUBLISHED.iter_errors(HEAD | more))


def test_shipped_profiles_fit_the_schema() -> None:
    root = Path(__file__).resolve().parents[3]
    for path in sorted((root / "profiles").glob("*.yaml")):
        assert list(PUBLISHED.iter_errors(yaml.safe_load(path.read_text()))) == [], path
