"""A container's figures on hybrid hosts, where each controller is in one of both versions."""

from __future__ import annotations

from collections.abc import Mapping

from viewfs.sources_v1 import GroupV1
from viewfs.sources_v2 import GroupV2
from viewfs.views.records import Disk, GroupTimes, Memory, Swap


class GroupMixed:
    """Reads a group of both versions. Every method raises Vanished.

    ``cgroups`` is controller → directory, with the directory in the version 2 tree under the empty name.
    """

    def __init__(self, cgroups: dict[str, str], kernel_view: bool = False) -> None:
        unified = cgroups.get("", "")
        self._unified = {name for name, directory in cgroups.items() if directory == unified}
        self._v1 = GroupV1({name: at for name, at in cgroups.items() if at != unified}, kernel_view)
        self._v2 = GroupV2(unified)

    def _of(self, controller: str) -> GroupV1 | GroupV2:
        return self._v2 if controller in self._unified else self._v1

    def cpuset(self) -> tuple[frozenset[int] | None, str]:
        """See GroupV1."""
        return self._of("cpuset").cpuset()

    def quotas(self) -> list[tuple[int, int] | None]:
        """See GroupV1."""
        return self._of("cpu").quotas()

    def times(self) -> GroupTimes | None:
        """By CPU where cpuacct has them; version 2 counts without a controller."""
        return self._v1.times() or self._v2.times()

    def usage(self) -> float:
        """See GroupV1."""
        return self._v1.usage()

    def memory(self) -> Memory | None:
        """See GroupV1."""
        return self._of("memory").memory()

    def swap(self, stat: Mapping[bytes, int]) -> Swap | None:
        """See GroupV1."""
        return self._of("memory").swap(stat)

    def disks(self) -> dict[bytes, Disk] | None:
        """See GroupV1."""
        return self._of("io").disks()

    def disks_of_cfq(self) -> dict[bytes, Disk] | None:
        """See GroupV1."""
        return self._v1.disks_of_cfq()

    def pressure(self, kind: str) -> bytes | None:
        """Only version 2 keeps it."""
        return self._v2.pressure(kind)

    def load(self) -> bytes | None:
        """See GroupV1."""
        return self._v1.load()

    def close(self) -> None:
        """Close the files."""
        self._v1.close()
        self._v2.close()
