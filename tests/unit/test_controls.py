"""Controls: what they settle to, and in which order they write."""

from __future__ import annotations

import pytest

from cotune.controls import CONTROLS
from cotune.controls.base import Value, Values, Write
from cotune.controls.memory import NO_LIMIT, WatermarkMinAdj
from cotune.knobs.base import ValueContext
from cotune.knobs.types import UNLIMITED, Share

CONTEXT = ValueContext(8 * 2**30, 4096, frozenset(range(4)), {0: frozenset(range(4))})


def path(name: str, old: Values, new: Values) -> list[Write]:
    """The writes that lead from old to new through the looser state."""
    control = CONTROLS[name]
    loose = control.looser(old, new)
    return [*control.writes(old, loose), *control.writes(loose, new)]


def bandwidth(quota: int, period: int = 100_000, burst: int = 0) -> Values:
    return {"quota": quota, "period": period, "burst": burst}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # raising: quota then burst; lowering: burst then quota
        (bandwidth(50_000), bandwidth(90_000, burst=60_000), ["quota", "burst"]),
        (bandwidth(90_000, burst=60_000), bandwidth(50_000), ["burst", "quota"]),
        # a shorter period with a larger quota: every state in between stays between the two ratios
        (bandwidth(50_000), bandwidth(60_000, 50_000), ["quota", "period"]),
        # equal ratio: no order stays there, so the quota goes through unlimited
        (bandwidth(50_000), bandwidth(100_000, 200_000), ["quota", "period", "quota"]),
        (bandwidth(-1), bandwidth(50_000, 200_000), ["quota", "period"]),
        (bandwidth(50_000), bandwidth(50_000), []),
    ],
)
def test_bandwidth_order(old: Values, new: Values, expected: list[str]) -> None:
    writes = path("cpu.bandwidth", old, new)
    assert [write.part for write in writes] == expected
    assert _replay(old, writes) == new


def test_bandwidth_never_leaves_the_range_between_old_and_new_ratio() -> None:
    quotas, periods = (-1, 20_000, 50_000, 100_000, 300_000), (50_000, 100_000, 200_000)
    for q0, p0, q1, p1 in [(a, b, c, d) for a in quotas for b in periods for c in quotas for d in periods]:
        old, new = bandwidth(q0, p0), bandwidth(q1, p1)
        state = dict(old)
        low, high = sorted((_ratio(old), _ratio(new)))
        for write in path("cpu.bandwidth", old, new):
            state[write.part] = write.value
            ratio = _ratio(state)
            assert low <= ratio <= high or ratio == float("inf"), (old, new, state)
        assert state == new


def _ratio(values: Values) -> float:
    quota, period = values["quota"], values["period"]
    assert isinstance(quota, int)
    assert isinstance(period, int)
    return float("inf") if quota < 0 else quota / period


def _replay(old: Values, writes: list[Write]) -> Values:
    return {**old, **{write.part: write.value for write in writes}}


def test_quota_in_cpus_follows_the_period_and_burst_the_quota() -> None:
    control = CONTROLS["cpu.bandwidth"]
    wanted: dict[str, int | str | Share | None] = {
        "quota": Share("cpus", 2.5),
        "period": 200_000,
        "burst": Share("percent", 50),
    }
    assert control.settle(bandwidth(-1), wanted, CONTEXT) == bandwidth(500_000, 200_000, 250_000)
    assert control.settle(bandwidth(-1), {"quota": UNLIMITED, "burst": Share("percent", 50)}, CONTEXT) == bandwidth(-1)


def test_leaving_idle_restores_the_shares_after_the_reset() -> None:
    writes = path("cpu.weight", {"idle": 1, "shares": 3}, {"idle": 0, "shares": 2048})
    assert writes == [Write("idle", 0), Write("shares", 2048)]


def test_entering_idle_hides_the_shares() -> None:
    control = CONTROLS["cpu.weight"]
    assert control.settle({"idle": 0, "shares": 2048}, {"idle": 1}, CONTEXT) == {"idle": 1, "shares": 3}
    assert control.settle({"idle": 1, "shares": 3}, {"idle": 0}, CONTEXT) == {"idle": 0, "shares": 1024}
    assert "shares" in control.blocked({"idle": 1, "shares": 3}, {"shares": 512})
    assert control.blocked({"idle": 1, "shares": 3}, {"shares": 512, "idle": 0}) == {}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ((100, 200), (300, 400), ["memsw", "limit"]),
        ((300, 400), (100, 200), ["limit", "memsw"]),
        ((100, 400), (200, 300), ["limit", "memsw"]),
        ((200, 300), (100, 400), ["memsw", "limit"]),
    ],
)
def test_limit_never_exceeds_memsw(old: tuple[int, int], new: tuple[int, int], expected: list[str]) -> None:
    before: Values = {"limit": old[0], "memsw": old[1]}
    after: Values = {"limit": new[0], "memsw": new[1]}
    state = dict(before)
    writes = path("memory.limit", before, after)
    for write in writes:
        state[write.part] = write.value
        assert int(state["limit"] or 0) <= int(state["memsw"] or 0)
    assert sorted(write.part for write in writes) == sorted(expected)
    assert state == after


def test_limit_above_memsw_is_refused_before_any_write() -> None:
    refusal = CONTROLS["memory.limit"].refusal({}, {"limit": 4 * 2**30, "memsw": 2 * 2**30}, CONTEXT)
    assert refusal is not None
    assert "memory.memsw 2GiB" in refusal


def test_memory_is_kept_in_pages_and_unlimited_is_minus_one() -> None:
    control = CONTROLS["memory.limit"]
    assert control.canonical("limit", 104857601, CONTEXT) == 104857600
    assert control.canonical("limit", UNLIMITED, CONTEXT) == NO_LIMIT
    assert control.format("limit", NO_LIMIT, None) == "-1"
    assert control.parse("limit", "9223372036854771712\n", None) == NO_LIMIT


def test_cpuset_goes_through_the_union() -> None:
    writes = path("cpuset", {"cpus": "0-1", "mems": "0"}, {"cpus": "2-3", "mems": "0"})
    assert writes == [Write("cpus", "0-3"), Write("cpus", "2-3")]
    assert CONTROLS["cpuset"].format("cpus", "", None) == "\n"


def test_identity_is_repaired_through_another_value() -> None:
    control = CONTROLS["cpu.identity"]
    old: Values = {"bvt": 2, "flags": 9}
    new = control.settle(old, {"bvt": 2}, CONTEXT)
    assert new == {"bvt": 2, "flags": 22}
    assert control.writes(old, new) == [Write("bvt", 0), Write("bvt", 2)]
    assert control.writes({"bvt": -1, "flags": 9}, {"bvt": -1, "flags": 9}) == []


def test_identity_restores_flags_that_did_not_match() -> None:
    assert CONTROLS["cpu.identity"].writes({"bvt": -1, "flags": 9}, {"bvt": 2, "flags": 9}) == [
        Write("bvt", 2),
        Write("flags", 9),
    ]


def test_expeller_makes_high_two() -> None:
    lower = CONTROLS["cpu.identity"].lower
    assert lower({"bvt": 1, "expeller": 1}) == {"bvt": 2}
    assert lower({"bvt": 1, "expeller": 0}) == {"bvt": 1}
    assert lower({"bvt": -1}) == {"bvt": -1}


@pytest.mark.parametrize(
    ("parent", "own", "reads"), [(0, -25, -25), (50, -25, 50), (25, 50, 50), (-10, -25, -10), (-10, 0, 0)]
)
def test_watermark_adjustment_reads_the_effective_value(parent: int, own: int, reads: int) -> None:
    assert WatermarkMinAdj.effective(parent, own) == reads


def test_watermark_own_value_is_unknown_only_when_masked() -> None:
    control = CONTROLS["memory.wmark_min_adj"]
    assert isinstance(control, WatermarkMinAdj)
    assert control.own(read=-25, parent=0, known=None) == -25
    assert control.own(read=50, parent=25, known=None) == 50
    assert control.own(read=50, parent=50, known=None) is None
    assert control.own(read=50, parent=50, known=-25) == -25
    assert control.own(read=30, parent=25, known=-25) == 30  # what we knew no longer explains the reading


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ((20, 0), (0, 100 * 2**20), [Write("bytes", 100 * 2**20)]),
        ((0, 100 * 2**20), (20, 0), [Write("ratio", 20)]),
        # the kernel ignores a ratio that does not change, so 0 is reached through 1
        ((0, 100 * 2**20), (0, 0), [Write("ratio", 1), Write("ratio", 0)]),
        ((0, 0), (0, 0), []),
    ],
)
def test_dirty_pairs(old: tuple[int, int], new: tuple[int, int], expected: list[Write]) -> None:
    before: Values = {"ratio": old[0], "bytes": old[1]}
    assert CONTROLS["vm.dirty"].writes(before, {"ratio": new[0], "bytes": new[1]}) == expected


def test_scheduler_change_writes_the_depth_again() -> None:
    control = CONTROLS["block.queue"]
    old: Values = {"scheduler": "none", "nr_requests": 64}
    new = control.settle(old, {"scheduler": "bfq", "nr_requests": 64}, CONTEXT)
    assert control.writes(old, new) == [Write("scheduler", "bfq"), Write("nr_requests", 64)]
    assert control.settle(old, {"scheduler": "bfq"}, CONTEXT)["nr_requests"] is None


def test_throttle_rows() -> None:
    control = CONTROLS["io.throttle"]
    table = "8:0 1048576\n259:0 5\n"
    assert control.parse("read_bps", table, "8:0") == 1048576
    assert control.parse("read_bps", table, "8:16") == 0
    assert control.format("read_bps", 0, "8:0") == "8:0 0"
    assert control.looser({"read_bps": 0}, {"read_bps": 5}) == {"read_bps": 0}
    assert control.looser({"read_bps": 9}, {"read_bps": 5}) == {"read_bps": 9}


@pytest.mark.parametrize("name", [name for name, control in CONTROLS.items() if control.scope != "mount"])
def test_every_control_is_quiet_when_nothing_differs(name: str) -> None:
    control = CONTROLS[name]
    values: Values = {part: (entry.fresh if entry.fresh is not None else 0) for part, entry in control.parts.items()}
    assert control.writes(values, dict(values)) == []


#: Control, or control and part → a value to try where 5 is none (None: the case tests have the form).
SAMPLES: dict[str, Value | None] = {
    "cpuset": "0-3",
    "cpuset.v2": "0-3",
    "cpuset.preferred": "0-3",
    "resctrl.cpus": "0-3",
    "resctrl.mode": "exclusive",
    "sysctl": "5",
    "memory.reaper_switch": 1,
    **{f"io.cost.{kind}{form} ctrl": "user" for kind in ("qos", "model") for form in ("", ".v2")},
    # written as 0 or 1 and read as a table; a menu; option words; the answer of a tool; limits read together
    "memory.oom_control": None,
    "block.queue": None,
    "mount.ext4": None,
    "ext4.features": None,
    "quota.limits": None,
}


@pytest.mark.parametrize("name", list(CONTROLS))
def test_what_is_written_reads_back_as_the_same_value(name: str) -> None:
    control = CONTROLS[name]
    for part in control.parts:
        value = SAMPLES.get(f"{name} {part}", SAMPLES.get(name, 5))
        if value is None:
            continue
        canonical = control.canonical(part, value, CONTEXT)
        row = control.row(part, "8:0" if control.rows else None)
        files = control.parts[part].files
        others = [other.name for other in control.parts.values() if other.name != part and other.files == files]
        beside = tuple((other, SAMPLES.get(f"{name} {other}") or 7) for other in others)
        text = control.text(Write(part, canonical, beside), row)
        assert control.parse(part, text, row) == canonical
