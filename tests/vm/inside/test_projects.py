"""Project quota on a virtio disk: the tests of the host, whose own kernel may have no quotas."""

from __future__ import annotations

from tests.host.test_quota import (  # noqa: F401
    test_a_file_system_without_projects,
    test_a_full_directory_wants_assign,
    test_a_limit_changed_by_hand,
    test_another_file_system_is_not_entered,
    test_enforcement_cannot_be_switched_off,
    test_limits_there_and_back,
    volume,
)
