"""The merge law.

The documents of a profile, in the order :mod:`cotune.profile.include` gives them, are folded from the left into one,
beginning with the empty mapping. Folding document ``d`` into the result ``r``, key by key:

- both values are mappings: they merge by the same law;
- the value in ``d`` is null: the key is deleted (deleting what is not there is fine);
- anything else (scalars, lists, a mapping against a scalar): the value of ``d`` replaces the one of ``r``.

So the empty document is neutral, a document without nulls merged with itself is itself, and the last document that
sets a leaf wins; the leaf keeps its position in that document. Lists are values: nothing inside them is merged, and a
null inside them stays (and is refused by the schema).

``include`` has done its work by then and is dropped. ``metadata`` says who owns the result, so it does not merge: it is
that of the last profile named on the command line.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from cotune.errors import Origin
from cotune.profile.document import Document
from cotune.profile.text import Path


class Tree(NamedTuple):
    """Merged data with the position of every value and of every key, by path."""

    data: dict[str, Any]
    origins: dict[Path, Origin]
    keys: dict[Path, Origin]

    def origin(self, path: Path) -> Origin:
        """The position of the value at ``path``, or of the nearest value above it; its own path in either case."""
        return nearest(self.origins, path)

    def key_origin(self, path: Path) -> Origin:
        """The position of the key at ``path``; list entries have no key, so theirs is that of the value."""
        return self.keys.get(path) or self.origin(path)


def nearest(origins: dict[Path, Origin], path: Path) -> Origin:
    """The entry of ``origins`` for ``path`` or its nearest ancestor."""
    for length in range(len(path), -1, -1):
        if (origin := origins.get(path[:length])) is not None:
            return origin
    return Origin("<profile>")


def merge(documents: Iterable[Document], main: Document | None = None) -> Tree:
    """Fold ``documents`` into one by the law above.

    ``main`` is the document whose ``metadata`` the result gets, by default the last one.
    """
    ordered = list(documents)
    main = main or (ordered[-1] if ordered else None)
    result = Tree({}, {}, {})
    for document in ordered:
        result.origins.setdefault((), document.origins[()])
        _merge(result, result.data, document, document.data, ())
    for key in ("include", "metadata"):
        _drop(result, result.data, (key,))
    if main is not None and main.data.get("metadata") is not None:
        result.origins[()] = main.origins[()]
        _set(result, result.data, main, main.data["metadata"], ("metadata",))
    return result


def _merge(result: Tree, target: dict[str, Any], document: Document, source: dict[str, Any], path: Path) -> None:
    for key, value in source.items():
        below = (*path, key)
        present = target.get(key)
        if value is None:
            _drop(result, target, below)
        elif isinstance(value, dict) and isinstance(present, dict):
            _merge(result, present, document, value, below)
        else:
            _drop(result, target, below)
            _set(result, target, document, value, below)


def _set(result: Tree, target: dict[str, Any], document: Document, value: Any, path: Path) -> None:
    """Put a copy of ``value`` at ``path``, the last part of which is a key of ``target`` that is not in use."""
    key = str(path[-1])
    result.origins[path] = document.origins[path]
    result.keys[path] = document.keys[path]
    if isinstance(value, dict):
        target[key] = {}
        _merge(result, target[key], document, value, path)
    else:
        target[key] = _copy(result, document, value, path)


def _copy(result: Tree, document: Document, value: Any, path: Path) -> Any:
    """A copy of a value that is not merged: what is inside a list. Nulls stay."""
    result.origins[path] = document.origins[path]
    if path in document.keys:
        result.keys[path] = document.keys[path]
    if isinstance(value, dict):
        return {key: _copy(result, document, child, (*path, key)) for key, child in value.items()}
    if isinstance(value, list):
        return [_copy(result, document, child, (*path, index)) for index, child in enumerate(value)]
    return value


def _drop(result: Tree, target: dict[str, Any], path: Path) -> None:
    """Remove the last part of ``path`` from ``target`` with all positions at and below it."""
    key = str(path[-1])
    if key in target:
        _forget(result, target.pop(key), path)


def _forget(result: Tree, value: Any, path: Path) -> None:
    result.origins.pop(path, None)
    result.keys.pop(path, None)
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for part, child in children:
        _forget(result, child, (*path, part))
