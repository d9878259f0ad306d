"""Parsing: scalars, positions, aliases and limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cotune.errors import Origin, ProfileError
from cotune.profile.document import MAX_BYTES, MAX_DEPTH, MAX_NODES, parse_document
from cotune.profile.scalars import as_text, plain_scalar

LOADERS = ["libyaml", "python"]


@pytest.fixture(params=LOADERS)
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both parsers: PyYAML without libyaml must behave alike."""
    if request.param == "python":
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    elif not hasattr(yaml, "CSafeLoader"):
        pytest.skip("PyYAML was built without libyaml")
    return str(request.param)


def data(text: str | bytes) -> dict[str, Any]:
    return parse_document(text if isinstance(text, bytes) else text.encode(), "f.yaml").data


def message(text: str | bytes) -> str:
    with pytest.raises(ProfileError) as caught:
        data(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"), ("off", "off"), ("yes", "yes"), ("No", "No"), ("y", "y"),
        ("true", True), ("False", False), ("TRUE", True), ("tRue", "tRue"),
        ("null", None), ("~", None), ("", None), ("Null", None), ("nULL", "nULL"),
        ("0", 0), ("-25", -25), ("+7", 7), ("010", 10), ("0o10", 8), ("0x1F", 31), ("1_000", "1_000"),
        ("8:32", "8:32"), ("1:30:00", "1:30:00"), ("2026-01-01", "2026-01-01"), ("0b11", "0b11"), ("-0x1", "-0x1"),
        ("1.5", 1.5), ("1e3", 1000.0), (".5", 0.5), ("5.", 5.0), ("-1.5E-2", -0.015), ("1.2.0", "1.2.0"),
        ("0-3,8", "0-3,8"), ("50%", "50%"), ("64GiB", "64GiB"), ("=", "="), ("1e", "1e"), (".", "."), ("-", "-"),
        ("٣", "٣"), ("18446744073709551615", 2**64 - 1),
    ],
)  # fmt: skip
def test_plain_scalars_follow_the_core_schema(text: str, value: object) -> None:
    result = plain_scalar(text)
    assert (result, type(result)) == (value, type(value))


@pytest.mark.parametrize(
    "text", [".inf", "-.INF", ".nan", "18446744073709551616", "1e400", "9" * 5000, "0x" + "f" * 17]
)
def test_numbers_that_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"number|infinite"):
        plain_scalar(text)


@pytest.mark.parametrize("value", [None, True, False, 0, -3, 1.5, 1000.0, 1e-7, 2**63])
def test_as_text_is_read_back(value: Any) -> None:
    assert plain_scalar(as_text(value)) == value


def test_quoted_scalars_are_text(loader: str) -> None:
    assert data("a: '1'\nb: \"true\"\nc: |\n  2\nd: ''\n") == {"a": "1", "b": "true", "c": "2\n", "d": ""}


def test_positions(loader: str) -> None:
    text = "# comment\ngroups:\n  offline:\n    cpu: {shares: 2, quota:   1.5}\n  list:\n  - a\n  - {b: é, c: 1}\n"
    document = parse_document(text.encode(), "dir/f.yaml")
    shares = ("groups", "offline", "cpu", "shares")
    assert document.origins[shares] == Origin("dir/f.yaml", 4, 19, "groups.offline.cpu.shares")
    assert document.keys[shares][1:3] == (4, 11)
    assert document.origins["groups", "offline", "cpu", "quota"][1:3] == (4, 31)
    assert document.origins["groups", "list", 1, "c"] == Origin("dir/f.yaml", 7, 15, "groups.list[1].c")
    assert document.origins[()][1:] == (2, 1, "")


def test_byte_order_mark_and_windows_line_ends(loader: str) -> None:
    document = parse_document(b"\xef\xbb\xbfa: 1\r\nb:\r\n  c: 2\r\n", "f.yaml")
    assert document.data == {"a": 1, "b": {"c": 2}}
    assert document.origins["b", "c"][1:3] == (3, 6)


def test_aliases_are_copies(loader: str) -> None:
    document = parse_document(b"a: &x {k: [1]}\nb: *x\nc: *x\n", "f.yaml")
    assert document.data == {"a": {"k": [1]}, "b": {"k": [1]}, "c": {"k": [1]}}
    assert document.data["b"] is not document.data["c"]
    assert document.origins["b",][1:3] == (2, 4)
    assert document.origins["b", "k", 0] == Origin("f.yaml", 1, 12, "b.k[0]")


def test_depth_limit_is_exact(loader: str) -> None:
    deepest = MAX_DEPTH - 2  # the root mapping and the innermost scalar are levels, too
    assert data("a: " + "[" * deepest + "1" + "]" * deepest)
    assert "nested deeper than 64 levels" in message("a: " + "[" * (deepest + 1) + "1" + "]" * (deepest + 1))
    half = MAX_DEPTH // 2
    chain = "a: &a " + "[" * half + "]" * half + "\nb: " + "[" * half + "*a" + "]" * half
    assert "levels through aliases" in message(chain)


def test_node_limit() -> None:
    assert len(data("a: [" + "1," * (MAX_NODES - 2) + "]")["a"]) == MAX_NODES - 2
    assert "more than 50000 values" in message("a: [" + "1," * (MAX_NODES - 1) + "]")
    assert "do not multiply" in message("a: &a [" + "1," * 1000 + "]\nb: [" + "*a," * 60 + "]")


def test_many_problems_are_found_in_one_go(loader: str) -> None:
    text = message("a: !x 1\na: 2\n1: 3\n<<: 3\nb: .inf\nc: *c\n")
    assert [line.split(": ")[0] for line in text.split("\n")] == [
        "f.yaml:1:4", "f.yaml:2:1", "f.yaml:3:1", "f.yaml:4:1", "f.yaml:5:4", "f.yaml:6:4",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("a:\n\tb: 1\n", "f.yaml:2:1: tabs are not allowed"),
        ("a:\n  b: 1\n\tc: 2\n", "f.yaml:3:1: tabs are not allowed"),
        ("a: b: c\n", "f.yaml:1:5: a second ': '"),
        ("a:\n    b: 1\n  c: 2\n", "f.yaml:3:3: this line does not fit"),
        ("a: @x\n", 'f.yaml:1:4: a value cannot begin with "@"'),
        ("a: *\n", "'*' at the start"),
        ("a: &\n", "'&' at the start"),
        ("a: {b: ${x}}\n", "needs quotes"),
        ("a: [1, 2\nb: 3\n", "f.yaml:1:4: the list opened here"),
        ('a: "foo\nb: 1\n', "f.yaml:1:4: the quotation mark opened here"),
        ('a: "\\d"\n', "backslash"),
        ('a: "\\U00110000"\n', "f.yaml:1:"),
        ('a: "\\ud800"\n', "f.yaml:1:"),
        ('a: "\\0"\n', "U+0000"),
        ("%YAML 3.0\n---\na: 1\n", "another version of YAML"),
        ("a: 1\nfoo\nb: 2\n", "f.yaml:2:1: expected ': ' after this key"),
        ("a: !<\n", "YAML tags are not allowed"),
        ("a: !e!x y\n", "YAML tags are not allowed"),
        ("a: ]\n", "expected a value here"),
        ("a: [\n", "f.yaml:2:1: the file ends before a [ or { is closed"),
        ("a: |x\n  b\n", "after '|' or '>'"),
        ("a: - b\n", "a list entry"),
        (" a: 1\nb: 2\n", "f.yaml:2:1: this line does not fit"),
        ("? [a]\n: 1\n", "a key must be text, found a list"),
    ],
)
def test_syntax_errors_are_sentences(loader: str, text: str, fragment: str) -> None:
    assert fragment in message(text)


M = MAX_BYTES


@pytest.mark.parametrize(
    "text",
    [
        "[" * M, "{" * M, "- " * (M // 2), "? " * (M // 2), "{a: " * (M // 4), "[\n" * (M // 2), '"' * M,
        "&a " * (M // 3),
        ":" * M, "a: " * (M // 3), "a" * M, "!" * M, "|" * M, "a: " + "9" * (M - 3), "- [[[[\n" * (M // 7),
        "%TAG ! x\n" * (M // 9), "a: &b *b\n", "'" * M, "a: '" + "\n" * (M - 4), "- &a [*a]\n", "%" * M, "*" * M,
        "\n" * M, "#" * M, "\r" * M, "\u2028" * (M // 3), "".join(" " * i + "a:\n" for i in range(1000)),
    ],
    ids=lambda text: json.dumps(text[:8]),
)  # fmt: skip
def test_hostile_files_are_refused_quickly(text: str) -> None:
    assert message(text[:M])


def test_size_limit() -> None:
    assert "larger than 1 MiB" in message(b"a: 1\n" + b"#" * MAX_BYTES)
    assert data(b"a: 1\n" + b"#" * (MAX_BYTES - 5)) == {"a": 1}


@pytest.mark.parametrize(
    ("raw", "fragment"),
    [
        (b"", "the file is empty"),
        (b"\xef\xbb\xbf", "the file is empty"),
        (b"a: \x00", "f.yaml:1:4: this is a binary file"),
        (b"a: 1\nb: \x1b[31m\n", "f.yaml:2:4: the file holds a control character (U+001B)"),
        (b"\x7fELF\x02\x01\x01\x00\xff", "f.yaml:1:9: this is a binary file"),
        (b"a: \xff", "f.yaml:1:4: this is not UTF-8 text (byte 0xff)"),
        ("a: 1".encode("utf-16-le"), "binary file"),
        ("a: 1".encode("utf-16"), "encoded as UTF-16"),
    ],
)
def test_files_that_are_not_text(raw: bytes, fragment: str) -> None:
    assert fragment in message(raw)


def test_messages_print_safely(tmp_path: Path) -> None:
    """What a profile holds cannot move the cursor of whoever reads the message."""
    text = message('"\\e[2J\\n": 1\n"\\e[2J\\n": 2\n')
    assert text.isprintable()
