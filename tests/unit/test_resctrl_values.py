"""How values of resctrl classes are written, and what the limits of a machine make of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cotune.controls import CONTROLS
from cotune.controls.resctrl import CacheLimits, RateLimits, Unfit, cache_mask, rate, read_schemata
from cotune.host.resctrl import complaint
from cotune.knobs.base import NO_HOST
from cotune.knobs.resctrl import Bandwidth, CacheShare, Portion, Rate
from cotune.profile.load import load_profile

ELEVEN = CacheLimits(0x7FF, 1, 0x600)
TWENTY = CacheLimits(0xFFFFF, 2)


@pytest.mark.parametrize(
    ("written", "portion"),
    [
        ("30%", Portion("percent", 0, 3000)),
        ("37.5%", Portion("percent", 0, 3750)),
        ("0-30%", Portion("percent", 0, 3000)),
        ("20%-50%", Portion("percent", 2000, 5000)),
        ("max", Portion("percent", 0, 10000)),
        ("0-3", Portion("bits", 0, 3)),
        ("bits 4-7", Portion("bits", 4, 7)),
        ("bit 4", Portion("bits", 4, 4)),
        ("0xff", Portion("mask", 0xFF)),
        ("ff", Portion("mask", 0xFF)),
        ("00f", Portion("mask", 0xF)),
        (0xF0, Portion("mask", 0xF0)),
    ],
)
def test_parts_of_a_cache(written: object, portion: Portion) -> None:
    assert CacheShare().resolve(written, NO_HOST) == portion


@pytest.mark.parametrize(
    "written",
    ["0%", "50-20%", "20-20%", "10-101%", "7-4", "bits 3-40", "10", "xyz", "", True, -1, 1.5, 2**32, "0x1ffffffff"],
)
def test_no_parts_of_a_cache(written: object) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        CacheShare().resolve(written, NO_HOST)


@pytest.mark.parametrize(
    ("portion", "limits", "mask"),
    [
        (Portion("percent", 0, 10000), ELEVEN, 0x7FF),
        (Portion("percent", 0, 3000), ELEVEN, 0xF),  # 3.3 bits
        (Portion("percent", 0, 1), ELEVEN, 0x1),
        (Portion("percent", 5000, 10000), ELEVEN, 0x7E0),  # from bit 5.5
        (Portion("percent", 3000, 3100), ELEVEN, 0x8),
        (Portion("percent", 0, 100), TWENTY, 0x3),  # at least two bits
        (Portion("percent", 9900, 10000), TWENTY, 0xC0000),
        (Portion("percent", 0, 2500), TWENTY, 0x1F),  # nothing to round
        (Portion("percent", 0, 5000), CacheLimits(0xFF0, 1), 0xF0),
        (Portion("bits", 4, 7), ELEVEN, 0xF0),
        (Portion("mask", 0x5), ELEVEN._replace(sparse=True), 0x5),
        (Portion("mask", 0), ELEVEN._replace(min_bits=0), 0),
    ],
)
def test_masks(portion: Portion, limits: CacheLimits, mask: int) -> None:
    assert cache_mask(portion, limits) == mask


@pytest.mark.parametrize("low", range(0, 100, 7))
@pytest.mark.parametrize("width", [1, 3, 20, 55, 100])
@pytest.mark.parametrize("limits", [ELEVEN, TWENTY, CacheLimits(0x1, 1), CacheLimits(0xFFF, 4)])
def test_percent_always_give_a_mask_the_machine_takes(low: int, width: int, limits: CacheLimits) -> None:
    high = min(100, low + width)
    mask = cache_mask(Portion("percent", low * 100, high * 100), limits)
    assert cache_mask(Portion("mask", mask), limits) == mask
    covered = mask.bit_count() * 100
    assert covered >= (high - low) * limits.mask.bit_count(), "never less than was asked for"


@pytest.mark.parametrize(
    ("portion", "limits"),
    [
        (Portion("mask", 0x800), ELEVEN),
        (Portion("mask", 0x5), ELEVEN),
        (Portion("mask", 0x1), TWENTY),
        (Portion("bits", 9, 11), ELEVEN),
        (Portion("mask", 0), ELEVEN),
    ],
)
def test_masks_the_machine_refuses(portion: Portion, limits: CacheLimits) -> None:
    with pytest.raises(ValueError, match="mask"):
        cache_mask(portion, limits)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("20%", Rate("percent", 2000)),
        ("12.5%", Rate("percent", 1250)),
        ("5000MBps", Rate("MBps", 5000)),
        ("2 GBps", Rate("GBps", 16)),
        ("12.3GBps", Rate("GBps", 99)),
        ("max", Rate("max")),
        (30, Rate("file", 30)),
    ],
)
def test_bandwidths(written: object, meant: Rate) -> None:
    assert Bandwidth().resolve(written, NO_HOST) == meant


@pytest.mark.parametrize("written", ["0%", "101%", "20", "5MB/s", "1.5MBps", "-1", -1, True, 2**32, ""])
def test_no_bandwidths(written: object) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        Bandwidth().resolve(written, NO_HOST)


PERCENT = RateLimits("percent", 10, 10, 100)
MBPS = RateLimits("MBps", 0, 1, 2**32 - 1)
GBPS = RateLimits("GBps", 0, 1, 2048)


@pytest.mark.parametrize(
    ("wanted", "limits", "number"),
    [
        (Rate("percent", 1100), PERCENT, 20),
        (Rate("percent", 2000), PERCENT, 20),
        (Rate("percent", 2001), PERCENT, 30),
        (Rate("percent", 9500), PERCENT, 100),
        (Rate("file", 33), PERCENT, 40),
        (Rate("max"), PERCENT, 100),
        (Rate("percent", 9500), RateLimits("percent", 10, 30, 100), 100),
        (Rate("MBps", 5001), MBPS, 5001),
        (Rate("max"), MBPS, 2**32 - 1),
        (Rate("GBps", 16), GBPS, 16),
        (Rate("percent", 10000), GBPS, 2048),
    ],
)
def test_rates(wanted: Rate, limits: RateLimits, number: int) -> None:
    assert rate(wanted, limits) == number


@pytest.mark.parametrize(
    ("wanted", "limits"),
    [
        (Rate("percent", 5000), GBPS),
        (Rate("MBps", 5000), GBPS),
        (Rate("percent", 5000), MBPS),
        (Rate("GBps", 5000), MBPS),
        (Rate("MBps", 5000), PERCENT),
        (Rate("GBps", 5000), PERCENT),
    ],
)
def test_units_the_machine_does_not_count_in(wanted: Rate, limits: RateLimits) -> None:
    with pytest.raises(Unfit) as caught:
        rate(wanted, limits)
    assert caught.value.reason and caught.value.remedy


@pytest.mark.parametrize("amount", [9, 101, 2**31])
def test_rates_out_of_range(amount: int) -> None:
    with pytest.raises(ValueError, match="outside 10 to 100"):
        rate(Rate("file", amount), PERCENT)


@pytest.mark.parametrize(
    "text",
    [
        "    MB:0= 50;1=100\n    L3:0=00f;1=7ff\n",
        "MB:0=50;1=100\nL3:0=f;1=7ff\n",
        "    MB:0=   50;1=  100\n  L3:0=f;1=7FF\n",
    ],
)
def test_kernels_pad_schemata_as_they_like(text: str) -> None:
    assert read_schemata(text) == {"MB": {0: 50, 1: 100}, "L3": {0: 0xF, 1: 0x7FF}}
    control = CONTROLS["resctrl.schemata"]
    assert (control.parse("l3", text, "L3:0"), control.parse("mb", text, "MB:1")) == (0xF, 100)
    with pytest.raises(ValueError, match="no cache L3:2"):
        control.parse("l3", text, "L3:2")


def test_rows_are_written_with_their_newline() -> None:
    control = CONTROLS["resctrl.schemata"]
    assert control.format("l3", 0xF, "L3:0") == "L3:0=f\n"
    assert control.format("mb", 50, "MB:24") == "MB:24=50\n"


def test_bits_are_given_up_before_others_are_taken() -> None:
    control = CONTROLS["resctrl.schemata"]
    assert control.looser({"l3": 0xFF}, {"l3": 0xF}) == {"l3": 0xF}, "shrink"
    assert control.looser({"l3": 0xF}, {"l3": 0xFF}) == {"l3": 0xF}, "grow"
    assert control.looser({"l3": 0x3C}, {"l3": 0xF0}) == {"l3": 0x30}, "both"
    assert control.looser({"l3": 0xF}, {"l3": 0xF0}) == {"l3": 0xF}, "nothing in common"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("ok", "Mask out of range", "Mask out of range"),
        ("old", "old\nOut of CLOSIDs", "Out of CLOSIDs"),
        ("old", "old", ""),
        ("old", "ok", ""),
        ("ok", "ok", ""),
        ("", "", ""),
    ],
)
def test_last_words_of_the_kernel(before: str, after: str, said: str) -> None:
    assert complaint(before, after) == said


HEAD = "apiVersion: cotune/v1\nkind: IsolationProfile\nmetadata: {name: p}\n"


def warnings(folder: Path, body: str) -> list[str]:
    path = folder / "p.yaml"
    path.write_text(HEAD + body)
    return [warning.message for warning in load_profile([str(path)]).warnings]


def test_groups_may_name_classes_of_the_host(tmp_path: Path) -> None:
    group = "groups: {g: {match: {cgroup: jobs}, resctrl: NAME}}\n"
    defined = "host: {resctrl: {classes: {here: {l3: {0: 50%, 1: 0xf}, mode: shareable}}}}\n"
    assert warnings(tmp_path, defined + group.replace("NAME", "here")) == []
    assert warnings(tmp_path, defined + group.replace("NAME", "default")) == []
    assert warnings(tmp_path, group.replace("NAME", "other")) == [
        'the profile does not define the resctrl class "other"'
    ]
    assert warnings(tmp_path, "host: {resctrl: {classes: {c: {}}}}\n") == ["this entry sets nothing"]
