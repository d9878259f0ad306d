"""The merge law, as properties."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cotune.errors import ProfileError
from cotune.profile import include as include_module
from cotune.profile.document import Document, parse_document
from cotune.profile.include import linearise
from cotune.profile.load import load_profile
from cotune.profile.merge import merge

Data = dict[str, Any]

relaxed = settings(derandomize=True, max_examples=60)

KEYS = st.sampled_from("abcd")
SCALARS = st.one_of(st.integers(-3, 3), st.booleans(), st.sampled_from(["x", "on", "1"]))


def values(nulls: bool) -> st.SearchStrategy[Any]:
    leaves = SCALARS | st.none() if nulls else SCALARS
    return st.recursive(
        leaves,
        lambda inner: st.dictionaries(KEYS, inner, max_size=3) | st.lists(inner, max_size=3),
        max_leaves=8,
    )


WITH_NULLS = st.dictionaries(KEYS, values(nulls=True), max_size=4)
NULL_FREE = st.dictionaries(KEYS, values(nulls=False), max_size=4)


def document(data: Data, name: str = "d") -> Document:
    return parse_document(json.dumps(data).encode(), name)


def merged(*parts: Data) -> Data:
    return merge([document(part, f"d{number}") for number, part in enumerate(parts)]).data


def reference(parts: tuple[Data, ...]) -> Data:
    """JSON merge patch (RFC 7396), written independently."""

    def patch(target: Any, change: Any) -> Any:
        if not isinstance(change, dict):
            return change
        result = dict(target) if isinstance(target, dict) else {}
        for key, value in change.items():
            if value is None:
                result.pop(key, None)
            else:
                result[key] = patch(result.get(key), value)
        return result

    result: Any = {}
    for part in parts:
        result = patch(result, part)
    return dict(result)


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    yield path, value
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for part, child in children:
        yield from paths(child, (*path, part))


@relaxed
@given(st.lists(WITH_NULLS, min_size=1, max_size=4))
def test_it_is_json_merge_patch(parts: list[Data]) -> None:
    assert merged(*parts) == reference(tuple(parts))


@relaxed
@given(WITH_NULLS)
def test_the_empty_document_is_neutral(part: Data) -> None:
    assert merged({}, part) == merged(part) == merged(part, {})


@relaxed
@given(NULL_FREE)
def test_a_document_without_nulls_merges_to_itself(part: Data) -> None:
    assert merged(part) == part
    assert merged(part, part) == part


@relaxed
@given(WITH_NULLS, WITH_NULLS)
def test_later_wins(first: Data, second: Data) -> None:
    result = dict(paths(merged(first, second)))
    for path, value in paths(second):
        inside_list = any(isinstance(part, int) for part in path)
        if not isinstance(value, (dict, type(None))) and not inside_list:
            assert result[path] == value


@relaxed
@given(NULL_FREE, WITH_NULLS)
def test_null_deletes(first: Data, second: Data) -> None:
    result = dict(paths(merged(first, second)))
    for path, value in paths(second):
        if value is None and not any(isinstance(part, int) for part in path):
            assert path not in result


@relaxed
@given(st.lists(SCALARS, max_size=3), st.lists(values(nulls=True), max_size=3))
def test_lists_replace(first: list[Any], second: list[Any]) -> None:
    assert merged({"a": {"b": first}}, {"a": {"b": second}}) == {"a": {"b": second}}


@relaxed
@given(st.lists(WITH_NULLS, min_size=1, max_size=4))
def test_every_leaf_comes_from_the_document_that_set_it_last(parts: list[Data]) -> None:
    documents = [document(part, f"d{number}") for number, part in enumerate(parts)]
    tree = merge(documents)
    assert set(tree.origins) == {path for path, _ in paths(tree.data)} | {()}
    for path, value in paths(tree.data):
        if path == () or isinstance(value, dict):
            continue
        setters = [
            d for d in documents if (path in d.origins and dict(paths(d.data))[path] is not None) or _in_list(path, d)
        ]
        assert tree.origins[path] == setters[-1].origins[path]
        assert dict(paths(setters[-1].data))[path] == value


def _in_list(path: tuple[Any, ...], part: Document) -> bool:
    return path in part.origins and any(isinstance(step, int) for step in path)


@relaxed
@given(WITH_NULLS, WITH_NULLS)
def test_merging_leaves_the_documents_alone(first: Data, second: Data) -> None:
    documents = [document(first), document(second)]
    before = json.dumps([d.data for d in documents])
    tree = merge(documents)
    for _, value in paths(tree.data):
        if isinstance(value, dict):
            value["new"] = 1
    assert json.dumps([d.data for d in documents]) == before


def test_metadata_is_of_the_main_document_only() -> None:
    base, site = document({"metadata": {"name": "base", "version": "1"}}), document({"metadata": {"name": "site"}})
    assert merge([base, site]).data == {"metadata": {"name": "site"}}
    assert merge([base, site], base).data == {"metadata": {"name": "base", "version": "1"}}
    assert merge([base, document({})]).data == {}


# --- includes --------------------------------------------------------------------------------------------------------

HEAD = "apiVersion: cotune/v1\nkind: IsolationProfile\n"


def write(folder: Path, name: str, body: str = "", includes: list[str] | None = None) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(f"{HEAD}metadata: {{name: {name}}}\ninclude: {json.dumps(includes or [])}\n{body}")
    return path


def expected_order(graph: dict[int, list[int]], start: int, seen: list[int]) -> list[int]:
    for child in graph[start]:
        if child not in seen:
            expected_order(graph, child, seen)
    if start not in seen:
        seen.append(start)
    return seen


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, derandomize=True)
@given(st.data())
def test_linearisation(tmp_path: Path, data: st.DataObject) -> None:
    """Any graph without cycles: depth first, includes before the file, each file once."""
    count = data.draw(st.integers(1, 7))
    graph = {
        node: data.draw(st.lists(st.integers(node + 1, count - 1), max_size=4) if node + 1 < count else st.just([]))
        for node in range(count)
    }
    for node, children in graph.items():
        style = data.draw(st.sampled_from(["n{}", "n{}.yaml", "./n{}.yaml"]))
        write(tmp_path, f"n{node}", includes=[style.format(child) for child in children])
    result = linearise([str(tmp_path / "n0.yaml")])
    assert [Path(d.name).stem for d in result.documents] == [f"n{n}" for n in expected_order(graph, 0, [])]
    assert result.main is result.documents[-1]


def test_names_are_looked_up_beside_the_file_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system, site = tmp_path / "system", tmp_path / "site"
    for folder in (system, site):
        folder.mkdir()
        write(folder, "both", "vars: {where: " + folder.name + "}\n")
    write(system, "only", includes=["both"])
    monkeypatch.setattr(include_module, "SYSTEM_PROFILES", str(system))
    assert linearise([str(write(site, "a", includes=["both"]))]).documents[0].data["vars"] == {"where": "site"}
    # a name inside a system profile means its neighbour again
    names = [d.name for d in linearise([str(write(site, "b", includes=["only"]))]).documents]
    assert [Path(name).parent.name for name in names] == ["system", "system", "site"]


def test_cycle_shows_the_whole_chain(tmp_path: Path) -> None:
    a = write(tmp_path, "a", includes=["b"])
    write(tmp_path, "b", includes=["./c.yaml"])
    write(tmp_path, "c", includes=["a.yaml"])
    with pytest.raises(ProfileError) as caught:
        linearise([str(a)])
    (problem,) = caught.value.problems
    chain = [f"{tmp_path}/{name}.yaml:4:11" for name in "abc"] + [str(a)]
    assert problem.message == "include cycle: " + " -> ".join(chain)
    assert str(problem.origin) == f"{tmp_path}/c.yaml:4:11"


def test_a_link_to_a_file_is_the_same_file(tmp_path: Path) -> None:
    a = write(tmp_path, "a", includes=["link"])
    (tmp_path / "link.yaml").symlink_to(a)
    with pytest.raises(ProfileError, match="include cycle"):
        linearise([str(a)])


def test_include_limits(tmp_path: Path) -> None:
    for number in range(20):
        write(tmp_path, f"n{number}", includes=[f"n{number + 1}"])
    with pytest.raises(ProfileError, match="includes are nested deeper than 16"):
        linearise([str(tmp_path / "n0.yaml")])
    for number in range(70):
        write(tmp_path, f"m{number}")
    wide = write(tmp_path, "wide", includes=[f"m{number}" for number in range(64)])
    with pytest.raises(ProfileError, match="more than 64 files"):
        linearise([str(wide)])
    assert len(linearise([str(write(tmp_path, "fits", includes=[f"m{n}" for n in range(63)]))]).documents) == 64
    with pytest.raises(ProfileError, match="more than 64 entries"):
        linearise([str(write(tmp_path, "wider", includes=["m1"] * 65))])


def test_shared_base_does_not_undo_what_came_before(tmp_path: Path) -> None:
    write(tmp_path, "base", "host: {sysctl: {vm.swappiness: 60, vm.dirty_ratio: 20}}\n")
    one = write(tmp_path, "one", "host: {sysctl: {vm.swappiness: 10}}\n", ["base"])
    two = write(tmp_path, "two", "host: {sysctl: {vm.dirty_ratio: null, vm.dirty_bytes: 1GiB}}\n", ["base"])
    profile = load_profile([str(one), str(two)])
    assert profile.data["host"] == {"sysctl": {"vm.swappiness": 10, "vm.dirty_bytes": "1GiB"}}
    assert profile.name == "two"
    assert profile.origin("host", "sysctl", "vm.swappiness").file == str(one)
    assert [Path(name).stem for name in profile.files] == ["base", "one", "two"]
    assert profile.warnings == ()


def test_naming_an_included_profile_again_warns(tmp_path: Path) -> None:
    base = write(tmp_path, "base")
    site = write(tmp_path, "site", includes=["base"])
    profile = load_profile([str(site), str(base)])
    assert [str(w) for w in profile.warnings] == [
        f"{base}: this profile is already part of those named before it; it is not merged again "
        "(name it once, in the place where it should count)"
    ]
    assert profile.name == "base"
