"""Variables: types, interpolation, cycles, bounds."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cotune.errors import Problem
from cotune.profile.document import parse_document
from cotune.profile.merge import merge
from cotune.profile.variables import MAX_CHAIN, MAX_TEXT, substitute, uses_variables


def run(variables: dict[str, Any], **values: Any) -> tuple[dict[str, Any], list[Problem]]:
    tree = merge([parse_document(json.dumps({"vars": variables, **values}).encode(), "f")])
    result = substitute(tree)
    return tree.data, result.problems


def value(text: Any, variables: dict[str, Any]) -> Any:
    data, problems = run(variables, x=text)
    assert problems == []
    return data["x"]


def problem(text: Any, variables: dict[str, Any]) -> str:
    _, problems = run(variables, x=text)
    assert len(problems) == 1, problems
    return str(problems[0])


@pytest.mark.parametrize("known", [1, 1.5, True, False, "64GiB", "", "on"])
def test_a_whole_scalar_keeps_the_type(known: Any) -> None:
    result = value("${v}", {"v": known})
    assert (result, type(result)) == (known, type(known))


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("${n}GiB", "64GiB"), ("min(${s}, 3%)", "min(4GiB, 3%)"), ("${b}", True), ("is ${b}", "is true"),
        ("${f}us", "1.5us"), ("${n}${n}", "6464"), ("x", "x"), ("", ""), ("${chain}", 64), ("<${text}>", "<${n}>"),
        ("$$", "$"), ("$${n}", "${n}"), ("$$${n}", "$64"), ("$", "$"), ("a$", "a$"), ("$n", "$n"), ("$5", "$5"),
    ],
)  # fmt: skip
def test_interpolation(text: str, result: Any) -> None:
    variables = {"n": 64, "s": "4GiB", "b": True, "f": 1.5, "chain": "${n}", "text": "$${n}"}
    assert value(text, variables) == result


def test_a_replaced_value_is_not_read_again() -> None:
    assert value("${a}{b}", {"a": "$$", "b": "secret"}) == "${b}"


def test_everywhere_but_in_keys() -> None:
    data, problems = run({"v": 5}, a=[{"b": ["${v}"]}], **{"${v}": 1})
    assert problems == []
    assert data["a"] == [{"b": [5]}]
    assert data["${v}"] == 1


def test_undefined() -> None:
    assert problem("${offline_mem}", {"offline_memory": 1}).endswith(
        "x: the variable offline_mem is not defined (did you mean offline_memory?)"
    )
    assert "(define it under vars)" in problem("${zzz}", {})
    assert "(defined are: a, b)" in problem("${zzz}", {"a": 1, "b": 2})


@pytest.mark.parametrize("text", ["${", "${}", "${1}", "${a", "${a b}", "${a.b}", "${a:-b}", "$(${`id`}", "${a}}${"])
def test_malformed_references(text: str) -> None:
    assert "no variable can be read from" in problem(text, {"a": 1})


def test_cycles() -> None:
    assert "variable cycle: a -> b -> c -> a" in problem("${b}", {"a": "${b}", "b": "x${c}", "c": "${a}"})
    assert "variable cycle: b -> b" in problem("${a}", {"a": "${b}", "b": "${b}"})


@pytest.mark.parametrize("order", [1, -1])
def test_chain_limit_does_not_depend_on_the_order(order: int) -> None:
    def chain(length: int) -> dict[str, Any]:
        names = [f"v{n}" for n in range(length + 1)]
        pairs = [*zip(names, (f"${{{name}}}" for name in names[1:]), strict=False), (names[-1], "end")]
        return dict(pairs[::order])

    assert value("${v0}", chain(MAX_CHAIN)) == "end"
    assert "more than 64 deep" in problem("${v0}", chain(MAX_CHAIN + 1))


def test_growth_is_bounded() -> None:
    bomb = {f"v{n}": f"${{v{n - 1}}}" * 10 for n in range(1, 30)} | {"v0": "x" * 10}
    begin = time.monotonic()
    assert "longer than 65536 characters" in problem("${v29}", bomb)
    _, problems = run({"big": "x" * 60000}, x=["a${big}"] * 1000)
    assert "more than 1048576 characters in all" in problems[0].message
    assert time.monotonic() - begin < 5
    assert len(value("a${v}", {"v": "x" * (MAX_TEXT - 1)})) == MAX_TEXT


@settings(derandomize=True)
@given(
    st.dictionaries(st.sampled_from("abcd"), st.text("${}abcd x", max_size=12), max_size=4),
    st.text("${}abcd", max_size=20),
)
def test_anything_is_a_value_or_a_problem(variables: dict[str, str], text: str) -> None:
    data, problems = run(variables, x=text)
    assert problems or not uses_variables(text) or data["x"] != text
    if "$" not in text:
        assert data["x"] == text


def test_fuzz() -> None:
    random_ = random.Random(7)
    tokens = ["${", "}", "$", "$$", "a", "b", "${a}", "${b}", "${c}", "é", "\n", "{", " "]
    for _ in range(3000):
        variables = {name: "".join(random_.choices(tokens, k=random_.randrange(6))) for name in "abc"}
        run(variables, x="".join(random_.choices(tokens, k=random_.randrange(8))))
