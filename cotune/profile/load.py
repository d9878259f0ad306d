"""From the profiles named on a command line to one checked :class:`Profile`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cotune.errors import CotuneError, Origin, Problem, ProfileError, UsageError
from cotune.profile.check import check
from cotune.profile.document import parse_document
from cotune.profile.files import read_file
from cotune.profile.include import linearise
from cotune.profile.merge import Tree, merge, nearest
from cotune.profile.text import Path
from cotune.profile.validate import foreign, validate
from cotune.profile.variables import Substitution, substitute

MAX_PROBLEMS = 20


@dataclass(frozen=True)
class Profile:
    """A merged and checked profile.

    ``data`` holds the merged profile, variables replaced, without ``include`` and ``vars``; ``origins`` the
    position of every value in it by path. ``files`` are the files it was made of in merge order, ``warnings`` what
    is allowed but rarely meant, ``digest`` the SHA-256 of the canonical ``data``.
    """

    name: str
    version: str
    description: str
    data: dict[str, Any]
    origins: dict[Path, Origin] = field(repr=False)
    files: tuple[str, ...]
    warnings: tuple[Problem, ...]
    digest: str

    def origin(self, *path: str | int) -> Origin:
        """Where the value at ``path`` was written, or its nearest ancestor if there is no such value."""
        return nearest(self.origins, path)


def load_profile(sources: Sequence[str]) -> Profile:
    """Read, merge and check the profiles ``sources``, left to right.

    A source is a path, ``-`` for standard input, or, when it has neither a slash nor ``.yaml`` and no such file
    exists, the name of a profile in /etc/cotune/profiles or of a shipped one. Raises ProfileError with all problems
    found, and UsageError when there is no source.
    """
    if not sources:
        raise UsageError("no profile was named", "give a path or one of the names `cotune profiles` lists")
    documents, main, warnings = linearise(sources)
    files = tuple(document.name for document in documents)
    trees = [Tree(document.data, document.origins, document.keys) for document in documents]
    if strangers := [problem for tree in trees if (problem := foreign(tree)) is not None]:
        raise ProfileError(strangers)
    raw: list[Problem] = []
    for document, tree in zip(documents, trees, strict=True):
        required = ["apiVersion", "kind"] + (["metadata"] if document is main else [])
        raw += validate(tree, raw=True, required=required)
    tree = merge(documents, main)
    substitution = substitute(tree)
    tree.data.pop("vars", None)
    invalid = validate(tree, raw=False)
    checked = check(tree)
    late = [
        [_with_variables(problem, substitution, tree) for problem in stage] for stage in (invalid, checked.problems)
    ]
    if problems := _tidy([raw, substitution.problems, *late], files):
        raise ProfileError(problems)
    return _profile(tree, files, _in_order([*warnings, *checked.warnings], files))


def _profile(tree: Tree, files: tuple[str, ...], warnings: list[Problem]) -> Profile:
    metadata = tree.data["metadata"]
    origins = {path: origin for path, origin in tree.origins.items() if path[:1] != ("vars",)}
    return Profile(
        name=metadata["name"],
        version=metadata.get("version", ""),
        description=metadata.get("description", ""),
        data=tree.data,
        origins=origins,
        files=files,
        warnings=tuple(warnings),
        digest=digest(tree.data),
    )


def digest(data: dict[str, Any]) -> str:
    """SHA-256 of ``data`` in canonical form: JSON with sorted keys and no spaces, in UTF-8."""
    import hashlib
    import json

    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _with_variables(problem: Problem, substitution: Substitution, tree: Tree) -> Problem:
    """``problem`` with where its value really comes from, when variables are in it."""
    names = substitution.used.get(problem.origin, ())
    if not names:
        return problem
    parts = [f"${{{name}}} is set at {tree.origin(('vars', name))}" for name in names[:3]]
    return problem._replace(hint="; ".join([problem.hint, *parts] if problem.hint else parts))


def _in_order(problems: Iterable[Problem], files: tuple[str, ...]) -> list[Problem]:
    """``problems`` in the order of the files and their lines."""
    rank = {name: number for number, name in enumerate(files)}
    return sorted(problems, key=lambda p: (rank.get(p.origin.file, len(rank)), p.origin.line, p.origin.column))


def _tidy(stages: list[list[Problem]], files: tuple[str, ...]) -> list[Problem]:
    """The problems of all stages in order, without what a later stage says again about a position, and not too many."""
    kept: list[Problem] = []
    for stage in stages:
        known = {problem.origin[:3] for problem in kept}
        kept += dict.fromkeys(problem for problem in stage if problem.origin[:3] not in known)
    ordered = _in_order(kept, files)
    if len(ordered) <= MAX_PROBLEMS:
        return ordered
    more = f"... and {len(ordered) - MAX_PROBLEMS} more problems"
    return [*ordered[:MAX_PROBLEMS], Problem(Origin(ordered[MAX_PROBLEMS].origin.file), more)]


class ShippedProfile(NamedTuple):
    """An entry of the catalogue of profiles."""

    name: str
    description: str
    path: str


def list_profiles() -> tuple[ShippedProfile, ...]:
    """The shipped profiles by name. One that cannot be read is listed with what is wrong as its description."""
    from cotune.resources import profiles_dir

    folder = str(profiles_dir())
    names = sorted(entry for entry in os.listdir(folder) if entry.endswith(".yaml"))
    return tuple(_shipped(entry[: -len(".yaml")], os.path.join(folder, entry)) for entry in names)


def _shipped(name: str, path: str) -> ShippedProfile:
    try:
        metadata = parse_document(read_file(path), path).data.get("metadata")
    except CotuneError as error:
        return ShippedProfile(name, f"cannot be read: {error.message.splitlines()[0]}", path)
    description = metadata.get("description") if isinstance(metadata, dict) else None
    return ShippedProfile(name, description if isinstance(description, str) else "", path)
