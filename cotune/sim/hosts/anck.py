"""Alibaba Cloud kernels (ANCK): Alibaba Cloud Linux 2 (4.19), 3 (5.10) and 4 (6.6)."""

from __future__ import annotations

from cotune.sim.hosts.mainline_v2 import MAINLINE_V2_HOSTS
from cotune.sim.hosts.server_v1 import server_v1
from cotune.sim.hosts.specs import HostSpec

_PSI = frozenset({"psi"})
_BOOT_WORDS = "cgwb_v1 psi_v1=1"
_VERSION_66 = "#1 SMP PREEMPT_DYNAMIC Tue Sep 9 08:21:40 UTC 2025"
_RELEASE_66 = "6.6.102-5.alnx4.x86_64"


def _anck_419(name: str, seed: bool) -> HostSpec:
    return server_v1(
        name, "4.19.91-26.6.al7.x86_64", "#1 SMP Tue Sep 6 10:36:24 UTC 2022", boot_words=_BOOT_WORDS, anck=True,
        seed=seed, features=_PSI, backup_disk=False, modern_ext4=False,
    )  # fmt: skip


_ANCK_510 = server_v1(
    "anck-5.10", "5.10.134-18.al8.x86_64", "#1 SMP Fri Nov 29 11:48:00 UTC 2024", boot_words=_BOOT_WORDS, anck=True,
    features=_PSI,
)  # fmt: skip
#: Utilisation clamps are a build option, taken here so that one host has them on v1.
_ANCK_66 = server_v1(
    "anck-6.6", _RELEASE_66, _VERSION_66, boot_words=f"{_BOOT_WORDS} pagecache_limit=1", anck=True,
    features=_PSI | {"uclamp"},
)  # fmt: skip
#: The unified server with this kernel. What Koordinator assumes of its file names is said where the files are.
_ANCK_66_V2 = MAINLINE_V2_HOSTS[0]._replace(
    name="anck-6.6-v2",
    release=_RELEASE_66,
    version=_VERSION_66,
    command_line=f"BOOT_IMAGE=/boot/vmlinuz-{_RELEASE_66} root=/dev/sda1 ro quiet systemd.unified_cgroup_hierarchy=1",
    anck=True,
    features=_PSI,
)

ANCK_HOSTS = (
    _anck_419("anck-4.19", seed=False),
    _anck_419("anck-seed", seed=True),
    _ANCK_510,
    _ANCK_66,
    _ANCK_66_V2,
)
