"""openEuler 22.03 (5.10) and 24.03 (6.6)."""

from __future__ import annotations

from cotune.sim.hosts.server_v1 import server_v1

OPENEULER_HOSTS = (
    server_v1(
        "openeuler", "5.10.0-216.0.0.115.oe2203sp4.x86_64", "#1 SMP Thu Jun 27 15:13:44 CST 2024",
        boot_words="cgroup1_writeback dynamic_affinity=enable psi=1 psi_v1=1", features=frozenset({"openeuler", "psi"}),
    ),
    server_v1(
        "openeuler-6.6", "6.6.0-72.0.0.76.oe2403sp1.x86_64", "#1 SMP Sat Dec 28 10:27:55 CST 2024",
        boot_words="cgroup1_writeback psi=1 psi_v1=1", features=frozenset({"openeuler", "psi"}),
    ),
)  # fmt: skip
