"""One YAML file as plain data with the position of every value.

PyYAML only delivers events here. Nodes are composed by this module, so that depth, size (also through aliases),
duplicate keys and tags are checked while reading and every complaint has a line and a column.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from cotune.errors import Origin, Problem, ProfileError
from cotune.profile.scalars import Scalar, plain_scalar
from cotune.profile.text import Path, join_path, kind, shown
from cotune.profile.yamlerror import syntax_problem

if TYPE_CHECKING:
    from yaml.events import AliasEvent, CollectionStartEvent, Event, ScalarEvent

MAX_BYTES = 2**20
MAX_DEPTH = 64
MAX_NODES = 50_000

# What YAML 1.2 calls printable. The two parsers disagree about the rest, so nothing else reaches them.
_NOT_TEXT = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NOT_IN_SCALARS = re.compile("[\x00\ud800-\udfff]")
# libyaml compares every %TAG directive with all others: a megabyte of them takes it half a minute.
#: Classes, whose values may be mappings of cache id → value, and how deep those mappings lie.
_CACHE_IDS = ("host", "resctrl", "classes")
_CACHE_IDS_DEPTH = 6
_TAG_DIRECTIVE = re.compile(r"^%TAG\b", re.MULTILINE)


@dataclass(frozen=True)
class Document:
    """One parsed file.

    ``name`` is the file as messages call it, ``data`` the mapping it holds, ``origins`` the position of every value
    by path and ``keys`` the position of every mapping key by the path of its value.
    """

    name: str
    data: dict[str, Any]
    origins: dict[Path, Origin] = field(repr=False)
    keys: dict[Path, Origin] = field(repr=False, default_factory=dict)


def parse_document(data: bytes, name: str) -> Document:
    """Parse one profile. ``name`` is the file name for messages. Raises ProfileError."""
    text = _decode(data, name)
    composer = _Composer(text, name)
    root = composer.document()
    document = Document(name, {}, {}, {})
    document.data.update(_expand(root, document, (), ""))
    _check_numbers(document, composer.numbers)
    return document


def _check_numbers(document: Document, numbers: set[_Position]) -> None:
    """Keys written as numbers only stand for the ids of caches: elsewhere text was meant. Raises ProfileError."""
    wrong = [
        Problem(origin._replace(path=""), f"a key must be text, found {path[-1]}", "put it in quotes")
        for path, origin in document.keys.items()
        if (origin.line, origin.column) in numbers and path[:3] != _CACHE_IDS
    ]
    if wrong:
        raise ProfileError(list(dict.fromkeys(wrong)))


def _refuse(name: str, message: str, hint: str, line: int = 0, column: int = 0) -> NoReturn:
    raise ProfileError([Problem(Origin(name, line, column), message, hint)])


def _decode(data: bytes, name: str) -> str:
    if len(data) > MAX_BYTES:
        _refuse(name, "the file is larger than 1 MiB", "a profile is a few kilobytes: is this the right file?")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        _refuse(name, "the file is encoded as UTF-16", "save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = _line_column(data[: error.start].decode("utf-8", "replace"))
        what = "a binary file" if b"\0" in data else "not UTF-8 text"
        _refuse(name, f"this is {what} (byte 0x{data[error.start]:02x})", "save it as UTF-8 text", line, column)
    if bad := _NOT_TEXT.search(text):
        line, column = _line_column(text[: bad.start()])
        what = "this is a binary file" if "\0" in text else "the file holds a control character"
        _refuse(name, f"{what} (U+{ord(bad[0]):04X})", "a profile is plain text: remove the character", line, column)
    if tag := _TAG_DIRECTIVE.search(text):
        line, column = _line_column(text[: tag.start()])
        _refuse(name, "YAML tags are not allowed", "remove the %TAG line", line, column)
    return text


def _line_column(before: str) -> tuple[int, int]:
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


class _Position(NamedTuple):
    line: int = 0
    column: int = 0


_NOWHERE = _Position()


def _position(event: Event) -> _Position:
    mark: Any = event.start_mark
    return _Position(mark.line + 1, mark.column + 1)


class _Node(NamedTuple):
    """A composed node. ``value`` is a scalar, a list of nodes or a map of (position of the key, node).

    ``size`` and ``height`` count through aliases: they bound what :func:`_expand` will build before it does.
    """

    value: Scalar | list[_Node] | dict[str, tuple[_Position, _Node]]
    position: _Position
    size: int = 1
    height: int = 1


class _Composer:
    """Turns the events of one file into a tree of nodes; collects the problems that do not end the reading."""

    def __init__(self, text: str, name: str) -> None:
        self.text = text
        self.name = name
        self.problems: list[Problem] = []
        self.anchors: dict[str, _Node | None] = {}
        #: where keys are that are written as numbers
        self.numbers: set[_Position] = set()
        self.events = self._parse()

    def document(self) -> _Node:
        """The only document of the file, a mapping. Raises ProfileError with all problems found."""
        from yaml.events import DocumentStartEvent, StreamEndEvent

        try:
            next(self.events)  # stream start
            event = next(self.events)
            if isinstance(event, StreamEndEvent):
                self._stop("the file is empty", 'a profile begins with "apiVersion: cotune/v1"')
            root = self._node(next(self.events), 1)
            next(self.events)  # document end
            if isinstance(event := next(self.events), DocumentStartEvent):
                self._stop("a second document starts here", "write one profile per file", _position(event))
        finally:
            self.events.close()
        if not isinstance(root.value, dict) and not self.problems:
            self._wrong_root(root)
        if self.problems:
            raise ProfileError(self.problems)
        return root

    def _wrong_root(self, root: _Node) -> NoReturn:
        if root.value is None:
            self._stop("the file is empty", 'a profile begins with "apiVersion: cotune/v1"')
        self._stop(
            f"a profile is a mapping, but this file holds {kind(root.value)}",
            'it begins with "apiVersion: cotune/v1"',
            root.position,
        )

    def _parse(self) -> Generator[Event, None, None]:
        import yaml

        loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            yield from yaml.parse(self.text, Loader=loader)
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            # PyYAML's own scanner lets chr() raise ValueError for an escape such as "\U00110000"
            self.problems.append(syntax_problem(error, self.text, self.name))
            raise ProfileError(self.problems) from None

    def _problem(self, message: str, hint: str, position: _Position) -> None:
        self.problems.append(Problem(Origin(self.name, *position), message, hint))

    def _stop(self, message: str, hint: str, position: _Position = _NOWHERE) -> NoReturn:
        self._problem(message, hint, position)
        raise ProfileError(self.problems)

    def _node(self, event: Any, depth: int) -> _Node:
        from yaml.events import AliasEvent, ScalarEvent

        if isinstance(event, AliasEvent):
            return self._alias(event, depth)
        if depth > MAX_DEPTH:
            self._stop(f"nested deeper than {MAX_DEPTH} levels", "no profile needs that", _position(event))
        if event.tag is not None:
            self._problem("YAML tags are not allowed", "put text that begins with ! in quotes", _position(event))
        if isinstance(event, ScalarEvent):
            node = self._scalar(event)
        else:
            if event.anchor is not None:
                self.anchors[event.anchor] = None  # an alias to it inside itself would never end
            node = self._collection(event, depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def _alias(self, event: AliasEvent, depth: int) -> _Node:
        position, anchor = _position(event), str(event.anchor)
        if anchor not in self.anchors:
            hint = "put text that begins with * in quotes"
            self._problem(f"*{anchor} refers to an anchor that does not exist", hint, position)
            return _Node(None, position)
        target = self.anchors[anchor]
        if target is None:
            self._stop(f"*{anchor} refers to itself", "an alias cannot be inside its own anchor", position)
        if depth + target.height - 1 > MAX_DEPTH:
            self._stop(f"nested deeper than {MAX_DEPTH} levels through aliases", "no profile needs that", position)
        return target._replace(position=position)

    def _scalar(self, event: ScalarEvent) -> _Node:
        text: str = event.value
        position = _position(event)
        if bad := _NOT_IN_SCALARS.search(text):
            self._problem(f"the text holds the character U+{ord(bad[0]):04X}", "remove the escape", position)
            return _Node("", position)
        if event.tag is not None or not event.implicit[0]:
            return _Node(text, position)
        try:
            return _Node(plain_scalar(text), position)
        except ValueError as error:
            self._problem(f"{shown(text)}: {error}", "quote it if it is meant as text", position)
            return _Node(text, position)

    def _collection(self, event: CollectionStartEvent, depth: int) -> _Node:
        from yaml.events import MappingStartEvent

        value: list[_Node] | dict[str, tuple[_Position, _Node]]
        if isinstance(event, MappingStartEvent):
            value = self._mapping(depth)
            children = [node for _, node in value.values()]
        else:
            children = value = list(self._entries(depth))
        size = 1 + sum(node.size for node in children)
        if size > MAX_NODES:
            hint = "do not multiply values with aliases" if self.anchors else "a profile holds a few dozen"
            self._stop(f"more than {MAX_NODES} values", hint, _position(event))
        height = 1 + max((node.height for node in children), default=0)
        return _Node(value, _position(event), size, height)

    def _entries(self, depth: int) -> Iterator[_Node]:
        from yaml.events import CollectionEndEvent

        while not isinstance(event := next(self.events), CollectionEndEvent):
            yield self._node(event, depth + 1)

    def _mapping(self, depth: int) -> dict[str, tuple[_Position, _Node]]:
        result: dict[str, tuple[_Position, _Node]] = {}
        entries = self._entries(depth)
        # _entries reads on only when asked, so a key is judged before its value is composed
        for key in entries:
            value = next(entries)
            if not self._key_allowed(key, depth):
                continue
            name = str(key.value)
            if name in result:
                first, second = result[name][0].line, key.position.line
                lines = f"on line {first} and on line {second}" if first != second else f"on line {first}"
                self._problem(f"the key {shown(name)} is written twice: {lines}", "remove one of them", key.position)
                continue
            result[name] = (key.position, value)
        return result

    def _key_allowed(self, key: _Node, depth: int) -> bool:
        if isinstance(key.value, str):
            # only the plain spelling is YAML's merge key, but nobody means a key of that name
            if key.value == "<<":
                self._problem("merge keys (<<) are not supported", "use include to share settings", key.position)
            return key.value != "<<"
        if depth == _CACHE_IDS_DEPTH and isinstance(key.value, int) and not isinstance(key.value, bool):
            self.numbers.add(key.position)
            return True
        if isinstance(key.value, (dict, list)):
            hint = "put text with { } or [ ] in quotes"
        else:
            hint = "put it in quotes" if key.value is not None else "write the key before the ':'"
        self._problem(f"a key must be text, found {_key_found(key.value)}", hint, key.position)
        return False


def _key_found(value: Any) -> str:
    return kind(value) if isinstance(value, (dict, list)) or value is None else shown(value)


def _expand(node: _Node, document: Document, path: Path, dotted: str) -> Any:
    """The plain data of ``node`` with aliases copied; enters all positions below ``path`` into ``document``."""
    document.origins[path] = Origin(document.name, *node.position, dotted)
    if isinstance(node.value, dict):
        result = {}
        for key, (position, child) in node.value.items():
            below = join_path(dotted, key)
            document.keys[*path, key] = Origin(document.name, *position, below)
            result[key] = _expand(child, document, (*path, key), below)
        return result
    if isinstance(node.value, list):
        return [
            _expand(child, document, (*path, index), join_path(dotted, index)) for index, child in enumerate(node.value)
        ]
    return node.value
