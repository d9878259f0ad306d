"""TencentOS: the 5.4 tree, a RUE kernel of OpenCloudOS 8 and the BT scheduler of 4.14.

The tree has the isolation knobs of neither of the others.
"""

from __future__ import annotations

from cotune.sim.hosts.server_v1 import server_v1

TENCENTOS_HOSTS = (
    server_v1(
        "tencentos", "5.4.241-1-tlinux4-0017.7", "#1 SMP Thu Jan 18 11:33:00 CST 2024",
        features=frozenset({"tencentos"}), modern_ext4=False,
    ),
    server_v1(
        "tencentos-rue", "5.4.119-20.0009.28.oc8.x86_64", "#1 SMP Mon Mar 6 20:03:20 CST 2023",
        features=frozenset({"rue"}), modern_ext4=False,
    ),
    server_v1(
        "tencentos-4.14", "4.14.105-19-0024", "#1 SMP Wed Dec 1 18:59:23 CST 2021",
        boot_words="offline_class", features=frozenset({"bt"}), modern_ext4=False,
    ),
)  # fmt: skip
