"""Schema errors as problems people can act on.

``jsonschema`` finds what is wrong and where; the sentences are made here, from the knob at that place or from the
part of the schema that failed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from cotune.errors import Origin, Problem
from cotune.profile.merge import Tree
from cotune.profile.schema import API_VERSION, KIND, PATTERNS, Schema, knob_at, strict_schema
from cotune.profile.text import Path, dotted, found, shown, similar
from cotune.profile.variables import uses_variables

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import ValidationError

# Errors beyond this are not even turned into sentences: twenty are shown.
_MOST = 500

_KINDS = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}


def validate(tree: Tree, *, raw: bool, required: Iterable[str] = ()) -> list[Problem]:
    """What the schema finds wrong with ``tree``, in no particular order.

    ``raw`` is for one document before merging: it may be incomplete but for the top-level keys ``required``, null
    deletes, and text with a variable may become anything.
    """
    from itertools import islice

    errors = (error for error in _validator().iter_errors(tree.data) if not (raw and _open(error)))
    told = (problem for error in errors for problem in _problems(error, tree, set(required) if raw else None))
    return list(dict.fromkeys(islice(told, _MOST)))


@cache
def _validator() -> Draft202012Validator:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(strict_schema())


def foreign(tree: Tree) -> Problem | None:
    """The one problem of a file that is something else, whose keys would all be reported by :func:`validate`."""
    for key, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
        value = tree.data.get(key, wanted)
        if value != wanted:
            hint = "this is not a profile, or one for another version of cotune"
            return Problem(tree.origin((key,)), f"expected {wanted}, found {found(value)}", hint)
    return None


def _open(error: ValidationError) -> bool:
    """Whether a raw value may still become right: it deletes, or its variables are not known yet."""
    if error.validator == "propertyNames" or "propertyNames" in error.absolute_schema_path:
        return False
    deletes = error.instance is None and not any(isinstance(part, int) for part in error.absolute_path)
    return deletes or uses_variables(error.instance)


def _problems(error: ValidationError, tree: Tree, required: set[str] | None) -> Iterator[Problem]:
    path: Path = tuple(error.absolute_path)
    if "propertyNames" in error.absolute_schema_path:
        yield _name_problem(error, tree, path)
    elif error.validator == "additionalProperties":
        yield from (_unknown_key(key, error, tree, path) for key in _extra_keys(error))
    elif error.validator == "required":
        wanted: list[str] = _any(error.validator_value)
        for key in wanted:
            optional = required is not None and not (path == () and key in required)
            if key not in _any(error.instance) and not (optional and not _in_list(path)):
                where = tree.key_origin(path) if path else _file(tree)
                yield Problem(where, f"the key {key} is missing", _MISSING.get(key, ""))
    else:
        yield _wrong_value(error, tree, path)


_MISSING = {
    "apiVersion": f'begin the file with "apiVersion: {API_VERSION}"',
    "kind": f'write "kind: {KIND}"',
    "metadata": 'write "metadata: {name: …}"',
}


def _in_list(path: Path) -> bool:
    """Whether ``path`` lies in a list, whose entries are complete in every document."""
    return any(isinstance(part, int) for part in path)


def _file(tree: Tree) -> Origin:
    return tree.origins[()]._replace(line=1, column=1)


def _name_problem(error: ValidationError, tree: Tree, path: Path) -> Problem:
    expected = PATTERNS.get(str(error.validator_value), "another name")
    where = tree.key_origin((*path, str(error.instance)))
    return Problem(where, f"expected {expected}, found {shown(error.instance)}")


def _any(value: Any) -> Any:
    """``value`` without the "may be unset" of jsonschema's types: errors that come from a validator are complete."""
    return value


def _extra_keys(error: ValidationError) -> list[str]:
    schema: Schema = _any(error.schema)
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    return [key for key in _any(error.instance) if key not in known and not any(re.search(p, key) for p in patterns)]


def _unknown_key(key: str, error: ValidationError, tree: Tree, path: Path) -> Problem:
    schema: Schema = _any(error.schema)
    known = list(schema.get("properties", {}))
    where = tree.key_origin((*path, key))
    if "patternProperties" in schema:
        return Problem(where, f"{shown(key)} is not the name of a sysctl", "write the full name such as vm.swappiness")
    hint = _elsewhere(key, path) or similar(key, known)
    if not hint:
        hint = "keys here: " + ", ".join(known)
    return Problem(where, f"unknown key {shown(key)}", hint)


def _wrong_value(error: ValidationError, tree: Tree, path: Path) -> Problem:
    knob = knob_at(path)
    if error.validator == "anyOf" and knob is None:
        # "text or a list of texts": what fails in the branch of the right type says more than the whole
        inner = [e for e in error.context or [] if e.absolute_path != error.absolute_path or e.validator != "type"]
        if inner:
            return _wrong_value(inner[0], tree, tuple(inner[0].absolute_path))
    expected = knob.type.expected if knob else _expected(error)
    hint = _hint(error.instance, expected, error.schema)
    return Problem(tree.origin(path), f"expected {expected}, found {found(error.instance)}", hint)


def _expected(error: ValidationError) -> str:
    schema: Schema = error.schema if isinstance(error.schema, dict) else {}
    if error.validator == "type":
        types = schema["type"]
        if "properties" in schema:
            keys = ", ".join(schema["properties"])
            return f"a mapping ({keys})" if len(keys) < 80 else "a mapping"
        return " or ".join(_KINDS[name] for name in ([types] if isinstance(types, str) else types))
    if error.validator == "enum":
        return "one of " + ", ".join(str(word) for word in schema["enum"])
    if error.validator == "const":
        return str(schema["const"])
    if error.validator == "pattern":
        return PATTERNS.get(schema["pattern"], "another form of text")
    if error.validator == "minItems":
        return "a list with at least one entry"
    if error.validator == "minLength":
        return "text that is not empty"
    return "text or a list of texts"


def _hint(value: Any, expected: str, schema: Any) -> str:
    """How a value of the wrong type came about, where that can be guessed."""
    if value is None:
        return "write a value after the ':'"
    if isinstance(value, str) and "true or false" in expected and value.lower() in ("on", "off", "yes", "no"):
        return f"write {'true' if value.lower() in ('on', 'yes') else 'false'}"
    if isinstance(value, str) and "number" in expected and re.fullmatch(r"-?[0-9.]+", value):
        return "write the number without quotes"
    if not isinstance(value, (str, dict, list)) and expected.startswith(("text", "a name")):
        return "put it in quotes"
    if isinstance(schema, dict) and schema.get("type") == "array" and not isinstance(value, list):
        return f"write [{shown(value)}]" if isinstance(value, str) else "each entry begins with '- '"
    return ""


@cache
def _places() -> dict[str, tuple[str, ...]]:
    """Where the keys of the format are: key without separators → full dotted places."""
    places: dict[str, set[str]] = {}

    def visit(schema: Schema, path: Path) -> None:
        for key, child in schema.get("properties", {}).items():
            place = dotted((*path, key))
            parts = place.split(".")
            for name in {key, ".".join(parts[-2:])}:
                places.setdefault(_bare(name), set()).add(place)
            visit(child, (*path, key))
        if isinstance(schema.get("additionalProperties"), dict):
            visit(schema["additionalProperties"], (*path, "NAME"))
        if isinstance(schema.get("items"), dict):
            visit(schema["items"], path)

    visit(strict_schema(), ())
    return {name: tuple(sorted(found_at)) for name, found_at in places.items()}


_KERNEL_WORDS = re.compile(r"^cpu\.?cfs_|^cfs_|_in_bytes$|_us$|^vm\.|^blkio\.throttle\.|_device$")
_KERNEL_FILES = {
    "cpu.bvt_warp_ns": "cpu.identity",
    "bvt_warp_ns": "cpu.identity",
    "cpu.max": "cpu.quota",
    "memory.max": "memory.limit",
}


def _bare(key: str) -> str:
    return re.sub(r"[^a-z0-9]", "", key.lower())


def _elsewhere(key: str, path: Path) -> str:
    """A hint when ``key``, spelt a little differently, exists at another place; places near ``path`` first."""
    if len(key) > 80:
        return ""
    word = _KERNEL_FILES.get(f"{path[-1]}.{key}" if path else key) or _KERNEL_FILES.get(key, key)
    places = _places().get(_bare(word)) or _places().get(_bare(_KERNEL_WORDS.sub("", word))) or ()
    top = str(path[0] if path else "")
    near = [place for place in places if place.split(".")[0] == top]
    ranked = sorted(near or places, key=len)
    if path[:1] == ("groups",) and len(path) > 1:
        ranked = [place.replace("groups.NAME", dotted(path[:2]), 1) for place in ranked]
    return f"did you mean {' or '.join(ranked[:2])}?" if ranked else ""
