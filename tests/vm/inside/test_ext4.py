"""Remounts of ext4 on a virtio disk: the tests of the host, on this kernel."""

from __future__ import annotations

from typing import Any

import pytest

from tests.host.conftest import Loop
from tests.host.test_ext4 import (  # noqa: F401
    MountIt,
    mounts,
    state,
    test_a_read_only_bind_is_not_made_writable,
    test_a_remount_by_hand_is_seen,
    test_barrier_needs_consent_on_a_volatile_cache,
    test_not_mounted_any_more,
    test_refused_or_done_as_a_whole,
    test_there_and_back,
)
from tests.vm.inside.lab import GuestLab


@pytest.mark.parametrize(
    ("initial", "options", "words"),
    [
        ("defaults", {"delalloc": False}, {"nodelalloc"}),
        ("nodelalloc", {"delalloc": True}, {"delalloc"}),
        ("defaults", {"dioread_nolock": False}, {"nodioread_nolock"}),
        ("nodioread_nolock", {"dioread_nolock": True}, {"dioread_nolock"}),
        (
            "max_batch_time=4321",
            {"max_batch_time": 1000, "min_batch_time": 7},
            {"max_batch_time=1000", "min_batch_time=7"},
        ),
        ("nobarrier,discard", {"barrier": True, "discard": False}, {"barrier"}),
        ("errors=remount-ro,commit=77", {"errors": "panic", "commit": 1}, {"errors=panic", "commit=1"}),
    ],
)
def test_each_option(
    lab: GuestLab,
    loop: Loop,
    mount_it: MountIt,
    initial: str,
    options: dict[str, Any],
    words: set[str],
) -> None:
    """Options that the combination of the other test leaves out, and the opposite of those in it."""
    point = mount_it(initial)
    before = state(loop, point)
    profile = lab.profile(host=mounts(point, options))
    lab.run("apply", profile).expect(0)
    now, _ = state(loop, point)
    assert words <= set(now)
    assert ("discard" in now) == ("discard" in initial and options.get("discard", True))
    lab.run("diff", profile).expect(0)
    lab.run("rollback").expect(0)
    assert state(loop, point) == before
