"""Values and YAML as people write them: what is written reads back as the same."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from cotune.controls.memory import NO_LIMIT
from cotune.knobs import BY_KEY
from cotune.knobs.base import NO_HOST
from cotune.knobs.types import Share
from cotune.profile.document import parse_document
from cotune.spell import Inexpressible, exact_duration, exact_size, spell
from cotune.units import parse_duration, parse_size
from cotune.yamltext import Noted, bare, enter, render


@given(st.integers(0, 2**60), st.sampled_from([1, 1024]))
def test_sizes_come_back(size: int, unit: int) -> None:
    assert parse_size(exact_size(size, unit), 2**36, unit) == size


@given(st.integers(0, 2**44))
def test_durations_come_back(microseconds: int) -> None:
    assert parse_duration(exact_duration(microseconds)) == microseconds


@given(st.integers(1000, 2**40), st.integers(1000, 1000000))
def test_quotas_come_back(quota: int, period: int) -> None:
    written = spell(BY_KEY["cpu.quota"], quota, period)
    resolved = BY_KEY["cpu.quota"].type.resolve(written, NO_HOST)
    assert quota == (max(1000, round(resolved.amount * period)) if isinstance(resolved, Share) else resolved)


@pytest.mark.parametrize(
    ("key", "value", "written"),
    [
        ("memory.limit", 8 * 2**30, "8GiB"),
        ("memory.limit", NO_LIMIT, "max"),
        ("memory.limit", 0, 0),
        ("cpu.quota", -1, "max"),
        ("cpu.period", 50000, "50ms"),
        ("cpu.burst", 1500, "1500us"),
        ("cpu.idle", 1, True),
        ("cpu.identity", -1, "low"),
        ("cpu.cpus", "0-3,8", "0-3,8"),
        ("pids.max", -1, "max"),
        ("vm.min_free_kbytes", 90112, "88MiB"),
        ("mount.errors", "remount-ro", "remount-ro"),
        ("mount.init_itable", -1, False),
        ("mount.init_itable", 20, 20),
        ("kernel.sched_expel_idle_balance_delay", -1, -1),
        ("cpu.qos_level", -1, -1),
        ("cpu.uclamp.min", 2050, 20.5),
        ("cpu.uclamp.max", 10000, 100),
        ("cpu.partition", "isolated", "isolated"),
        ("block.iocost.rpct", 9500, 95),
        ("block.iocost.rlat", 5000, "5ms"),
        ("block.iocost.enable", 0, False),
        ("block.iocost.model.rbps", 2**31, "2GiB"),
        ("io.latency.target", 75000, "75ms"),
        ("io.throttle.read_iops", 200, 200),
        ("host.memory.reaper.scan_interval", 5, 5),
        ("host.sched.features.ID_IDLE_AVG", 1, True),
        ("mount.quota.project.hard", 20 * 2**20, "20GiB"),
    ],
)
def test_spelling(key: str, value: Any, written: Any) -> None:
    assert spell(BY_KEY[key], value) == written
    assert type(spell(BY_KEY[key], value)) is type(written)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cpu.identity", -2),
        ("block.nr_requests", 2),
        ("cpu.partition", "root invalid (Cpu list in cpuset.cpus not exclusive)"),
        ("cpu.cpus", ""),
        ("cpu.period", 500),
        ("cpu.idle", 2),
        ("io.throttle.read_bps", 0),
        ("io.weight", -1),
        ("mount.init_itable", -2),
        ("block.scheduler", "Not a scheduler"),
        ("vm.min_free_kbytes", -1),
    ],
)
def test_what_cannot_be_said(key: str, value: Any) -> None:
    with pytest.raises(Inexpressible):
        spell(BY_KEY[key], value)


_text = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_categories=("Cs", "Cc")), min_size=1)
_tricky = st.sampled_from(["on", "0-3,8", "8:32", "1e3", ".inf", "- a", "a: b", "a #b", "~", "{x}", "0o7", "1_0"])
_scalars = st.one_of(st.booleans(), st.integers(-(2**40), 2**40), _text, _tricky)
_data = st.dictionaries(
    _text.filter(lambda key: key != "<<"),
    st.recursive(
        _scalars,
        lambda inner: st.one_of(
            st.dictionaries(_text.filter(lambda key: key != "<<"), inner, max_size=3), st.lists(inner, max_size=3)
        ),
        max_leaves=8,
    ),
    max_size=4,
)


def _without_nested_lists(data: Any) -> bool:
    if isinstance(data, dict):
        return all(_without_nested_lists(value) for value in data.values())
    if isinstance(data, list):
        return all(not isinstance(value, list) and _without_nested_lists(value) for value in data)
    return True


@example({"\u2028": {"\x85": "\u2029 \U0001f600 \ufeff"}, "x\x7f": "a\u2028b"})
@given(_data.filter(lambda data: bool(data) and _without_nested_lists(data)))
def test_yaml_comes_back_in_our_reader_and_in_yaml_1_1(data: dict[str, Any]) -> None:
    text = render(data)
    assert parse_document(text.encode(), "test").data == data
    assert yaml.safe_load(text) == data


def test_entering() -> None:
    data: dict[str, Any] = {"cpu": {"shares": 2}}
    enter(data, ["cpu", "uclamp", "min"], 20)
    enter(data, ["pids", "max"], 9)
    assert data == {"cpu": {"shares": 2, "uclamp": {"min": 20}}, "pids": {"max": 9}}


def test_comments() -> None:
    data = {"a": {"b": Noted(1, "one"), "long": Noted("x", "two")}, "c": Noted([{"d": 1, "e": 2}], "list")}
    assert render(data) == "a:\n  b: 1     # one\n  long: x  # two\n# list\nc:\n  - d: 1\n    e: 2\n"
    assert yaml.safe_load(render(data)) == bare(data)
