"""Which files a profile consists of, in the order they are merged.

Every document comes after the documents it includes, depth first, and the profiles of the command line follow each
other. A file that is named twice counts once, at its first place.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from cotune.errors import CotuneError, Origin, Problem, ProfileError
from cotune.profile.document import MAX_NODES, Document, parse_document
from cotune.profile.files import STDIN, STDIN_NAME, display_name, read_file, read_stdin
from cotune.profile.text import shown, similar

SYSTEM_PROFILES = "/etc/cotune/profiles"
MAX_INCLUDE_DEPTH = 16
MAX_DOCUMENTS = 64

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class Linear(NamedTuple):
    """``documents`` in merge order, ``main`` the last one named on the command line, and warnings."""

    documents: list[Document]
    main: Document | None
    warnings: list[Problem]


def linearise(sources: Sequence[str]) -> Linear:
    """Read the profiles ``sources`` and all they include. Raises ProfileError with every problem found."""
    reader = _Reader()
    warnings = []
    main = None
    for source in sources:
        place = _locate_source(source)
        if place is None:
            reader.problems.append(_no_such_source(source))
            continue
        before = reader.by_identity.get(place.identity)
        if before is not None:
            if source == STDIN:
                hint = "name - once"
                reader.problems.append(Problem(Origin(STDIN_NAME), "standard input can be read only once", hint))
            message = "this profile is already part of those named before it; it is not merged again"
            warnings.append(Problem(Origin(place.name), message, "name it once, in the place where it should count"))
        main = before or reader.read(place, None, ())
    if reader.problems:
        raise ProfileError(reader.problems)
    return Linear(reader.documents, main, warnings)


class _Place(NamedTuple):
    """A file: how to open it, what messages call it, where its includes are looked up, and what makes it the same."""

    path: str
    name: str
    folder: str
    identity: str


class _Link(NamedTuple):
    """One step of the chain of includes that led here."""

    place: _Place
    asked: Origin | None


def _place(path: str) -> _Place:
    if path == STDIN:
        return _Place(STDIN, STDIN_NAME, "", STDIN)
    try:
        identity = os.path.realpath(path)
    except (OSError, ValueError):  # a NUL byte, or a loop of symbolic links; opening it will say so
        identity = path
    # "dir/./base.yaml" is said as "dir/base.yaml"; the path that is opened stays as it is, since links may be in it
    name = os.path.normpath(path) if path else path
    return _Place(path, display_name(name), os.path.dirname(path), identity)


class _Reader:
    """Reads documents depth first; collects problems instead of stopping at the first broken file."""

    def __init__(self) -> None:
        self.documents: list[Document] = []
        self.by_identity: dict[str, Document] = {}
        self.problems: list[Problem] = []
        self.failed: set[str] = set()
        self.size = 0

    def read(self, place: _Place, asked: Origin | None, chain: tuple[_Link, ...]) -> Document | None:
        """Read ``place`` after everything it includes. ``asked`` is the include entry, ``chain`` those above it."""
        if any(link.place.identity == place.identity for link in chain):
            self._cycle(place, asked, chain)
            return None
        if place.identity in self.by_identity or place.identity in self.failed:
            return self.by_identity.get(place.identity)
        if self._too_many(asked, chain):
            return None
        try:
            data = read_stdin() if place.path == STDIN else read_file(place.path, asked)
            document = parse_document(data, place.name)
        except ProfileError as error:
            self.failed.add(place.identity)
            self.problems += error.problems
            return None
        self.size += len(document.origins)
        if self.size > MAX_NODES:
            self._once(Problem(asked or Origin(place.name), f"more than {MAX_NODES} values in all", "use fewer files"))
            self.failed.add(place.identity)
            return None
        self._includes(document, place, (*chain, _Link(place, asked)))
        self.documents.append(document)
        self.by_identity[place.identity] = document
        return document

    def _includes(self, document: Document, place: _Place, chain: tuple[_Link, ...]) -> None:
        entries = document.data.get("include")
        if not isinstance(entries, list):
            return  # the schema says what is wrong with it
        if len(entries) > MAX_DOCUMENTS:
            message = f"more than {MAX_DOCUMENTS} entries"
            self.problems.append(Problem(document.origins["include",], message, "join some of the files"))
            return
        for index, entry in enumerate(entries):
            if not isinstance(entry, str):
                continue
            asked = document.origins["include", index]
            if "${" in entry:
                hint = "includes are read before variables are known"
                self.problems.append(Problem(asked, "variables cannot be used in include", hint))
            elif (target := _locate_include(entry, place.folder)) is not None:
                self.read(target, asked, chain)
            else:
                self.problems.append(_no_such_include(entry, place.folder, asked))

    def _too_many(self, asked: Origin | None, chain: tuple[_Link, ...]) -> bool:
        if len(chain) > MAX_INCLUDE_DEPTH:
            message = f"includes are nested deeper than {MAX_INCLUDE_DEPTH}"
        # the files of the chain are open but not yet among the documents
        elif len(self.documents) + len(chain) + len(self.failed) >= MAX_DOCUMENTS:
            message = f"the profile consists of more than {MAX_DOCUMENTS} files"
        else:
            return False
        self._once(Problem(asked or Origin("include"), message, "join some of the files"))
        return True

    def _once(self, problem: Problem) -> None:
        if not any(problem.message == known.message for known in self.problems):
            self.problems.append(problem)

    def _cycle(self, place: _Place, asked: Origin | None, chain: tuple[_Link, ...]) -> None:
        start = next(i for i, link in enumerate(chain) if link.place.identity == place.identity)
        # each file is shown with the position of the entry that includes the next one
        entries = [link.asked for link in chain[start + 1 :]] + [asked]
        steps = [str(entry) for entry in entries] + [chain[start].place.name]
        hint = "remove one of these includes"
        self.problems.append(Problem(asked or Origin(place.name), "include cycle: " + " -> ".join(steps), hint))


def is_path(source: str) -> bool:
    """Whether a source or include entry is a path rather than the name of a profile."""
    return "/" in source or source.endswith((".yaml", ".yml"))


def _folders(beside: str | None) -> list[str]:
    """Where names are looked up, in order: beside the including file, the system's profiles, the shipped ones."""
    from cotune.resources import profiles_dir

    folders = [] if beside is None else [beside]
    folders.append(SYSTEM_PROFILES)
    with suppress(CotuneError):  # an incomplete installation can still apply profiles given as files
        folders.append(str(profiles_dir()))
    return folders


def find_profile(name: str, beside: str | None = None) -> str | None:
    """The path of the profile called ``name``, or None. ``beside`` is a folder to look in first."""
    if not _NAME.fullmatch(name):
        return None
    paths = (os.path.join(folder, f"{name}.yaml") for folder in _folders(beside))
    return next((path for path in paths if os.path.isfile(path)), None)


def known_names(beside: str | None = None) -> list[str]:
    """The names :func:`find_profile` would find."""
    names: set[str] = set()
    for folder in _folders(beside):
        try:
            names.update(entry[: -len(".yaml")] for entry in os.listdir(folder or ".") if entry.endswith(".yaml"))
        except OSError:
            continue
    return sorted(names)


def _locate_source(source: str) -> _Place | None:
    if source == STDIN or is_path(source):
        return _place(source)
    if os.path.exists(source.replace("\0", "")) and not os.path.isdir(source):
        return _place(source)
    path = find_profile(source)
    if path is None and os.path.isdir(source.replace("\0", "")):
        return _place(source)  # reading it says that it is a directory
    return None if path is None else _place(path)


def _no_such_source(source: str) -> Problem:
    if not source:
        return Problem(Origin("profile"), "the name of the profile is empty", "name a file or a shipped profile")
    hint = similar(source, known_names()) or "a path, or one of the names `cotune profiles` lists"
    return Problem(Origin(display_name(source)), "no such file, and no profile of that name", hint)


def _locate_include(entry: str, folder: str) -> _Place | None:
    if is_path(entry):
        return _place(os.path.join(folder, entry))
    path = find_profile(entry, folder)
    return None if path is None else _place(path)


def _no_such_include(entry: str, folder: str, asked: Origin) -> Problem:
    looked = ", ".join(display_name(folder or ".") for folder in _folders(folder))
    hint = similar(entry, known_names(folder)) or "a name, or a path relative to this file such as ./base.yaml"
    return Problem(asked, f"no profile called {shown(entry)} in {looked}", hint)
