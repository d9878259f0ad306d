"""Facts of a host that values depend on and that ``cotune facts`` prints."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from cotune.errors import Unsupported
from cotune.host.cgroups import CgroupLayout, read_layout
from cotune.kernel.port import Kernel
from cotune.knobs.base import ValueContext
from cotune.units import parse_cpulist

# x86-64 and arm64 with 4 KiB pages; the kernel's own number is asked for below the running root
_PAGE_SIZE = 4096
_BOOT_ID = "/proc/sys/kernel/random/boot_id"


@dataclass
class Host:
    """A host as seen through its kernel; everything is read once, on first use."""

    kernel: Kernel

    @cached_property
    def layout(self) -> CgroupLayout:
        """The cgroup hierarchies."""
        return read_layout(self.kernel)

    @property
    def at_hand(self) -> bool:
        """Whether file systems can be mounted and changed: everywhere but below another root, where there are files."""
        return self.kernel.name == "/" or self.kernel.name.startswith("sim:")

    @cached_property
    def release(self) -> str:
        """Kernel release, as ``uname -r`` prints it."""
        return self.text("/proc/sys/kernel/osrelease")

    @cached_property
    def boot_id(self) -> str:
        """Identifier of this boot: kernel state does not outlive it. Empty where there is no such file.

        Raises Unsupported when it cannot be read: every transaction would then count as one of another boot.
        """
        try:
            return self.kernel.read(_BOOT_ID).strip()
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise Unsupported(f"{_BOOT_ID} cannot be read: {error.strerror}", "nothing was changed") from None

    @cached_property
    def boot_words(self) -> frozenset[str]:
        """Words of the kernel command line."""
        return frozenset(self.text("/proc/cmdline").split())

    @cached_property
    def mem_total(self) -> int:
        """MemTotal in bytes; 0 when unknown."""
        if self.kernel.name == "/":
            import psutil

            return int(psutil.virtual_memory().total)
        for line in self.text("/proc/meminfo").splitlines():
            if line.startswith("MemTotal:"):
                return int(line.split()[1]) * 1024
        return 0

    @cached_property
    def page_size(self) -> int:
        """Page size in bytes."""
        if self.kernel.name == "/":
            import os

            return os.sysconf("SC_PAGE_SIZE")
        return _PAGE_SIZE

    @cached_property
    def online(self) -> frozenset[int]:
        """Online CPUs."""
        return parse_cpulist(self.text("/sys/devices/system/cpu/online"))

    @cached_property
    def nodes(self) -> dict[int, frozenset[int]]:
        """NUMA node → its CPUs. A kernel without NUMA support has node 0 with every CPU."""
        base = "/sys/devices/system/node"
        numbers = parse_cpulist(self.text(f"{base}/online"))
        nodes = {n: parse_cpulist(self.text(f"{base}/node{n}/cpulist")) for n in sorted(numbers)}
        return nodes or {0: self.online}

    @cached_property
    def context(self) -> ValueContext:
        """What knob values may depend on."""
        # the patch that brought this switch is the one without mainline's bound (kernel/sched/core.c, ANCK)
        free_burst = self.kernel.exists("/proc/sys/kernel/sched_cfs_bw_burst_enabled")
        return ValueContext(self.mem_total, self.page_size, self.online, self.nodes, free_burst)

    def text(self, path: str) -> str:
        """The stripped text of a file, empty when it cannot be read."""
        try:
            return self.kernel.read(path).strip()
        except OSError:
            return ""
