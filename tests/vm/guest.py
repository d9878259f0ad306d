"""A guest: Debian's kernel in QEMU, without KVM, on the files of this host.

The guest sees the host's file system read-only below a tmpfs, so it runs the same virtual environment and the same
source tree; what it writes is gone with it, except in one folder both share. Needs no root.
"""

from __future__ import annotations

import importlib.util
import platform
import py_compile
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.vm.initramfs import in_load_order, initramfs

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = REPOSITORY / ".cache" / "guest"
#: with what they depend on; those of one kernel that another has built in, or not at all, are left out
MODULES = (
    "virtio_pci",
    "virtio_blk",
    "9pnet_virtio",
    "9p",
    "overlay",
    "crc32c_generic",
    "ext4",
    "quota_v2",
    "loop",
    "bfq",
    "kyber_iosched",
    "fuse",
)
MIB = 2**20
#: empty disks, /dev/vda and so on; the tests make file systems on them
DISKS = 3
DISK_SIZE = 64 * MIB


class Missing(Exception):
    """Something the guest is made of is not here; the text says what."""


class Parts(NamedTuple):
    """What a guest is made of."""

    qemu: str
    busybox: Path
    kernel: Path
    modules: list[Path]


def find_parts() -> Parts:
    """Everything a guest needs. Raises Missing."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise Missing("needs an x86-64 Linux host, whose programs the guest runs")
    programs = {}
    for name in ("qemu-system-x86_64", "busybox"):
        found = shutil.which(name)
        if found is None:
            raise Missing(f"needs {name}; packaging/dev/guest.sh says how to get it")
        programs[name] = found
    if not (CACHE / "package").is_file():
        raise Missing("needs a kernel in .cache/guest; packaging/dev/guest.sh fetches it")
    modules = in_load_order(CACHE / "modules", MODULES)
    return Parts(programs["qemu-system-x86_64"], Path(programs["busybox"]), CACHE / "vmlinuz", modules)


class Guest:
    """One guest that runs one shell command and powers off."""

    def __init__(self, directory: Path, parts: Parts, command: str) -> None:
        """Make its files in ``directory`` and start it. ``command`` finds the folder ``share`` at /run/share."""
        self.share = directory / "share"
        self.console = directory / "console.log"
        self.share.mkdir()
        (self.share / "command").write_text(f"cd {REPOSITORY}\n{command}\n")
        self._layer = directory / "compiled"
        compile_ahead(self._layer)
        initrd = directory / "initrd"
        initrd.write_bytes(initramfs(parts.busybox, Path(__file__).with_name("init.sh"), parts.modules))
        disks = [make_disk(directory / f"disk{number}.img") for number in range(DISKS)]
        self.process = subprocess.Popen(
            self._command_line(parts, initrd, disks), stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT,
            stdout=(directory / "qemu.log").open("wb"), start_new_session=True,
        )  # fmt: skip

    def _command_line(self, parts: Parts, initrd: Path, disks: Sequence[Path]) -> list[str]:
        line = [parts.qemu, "-accel", "tcg,thread=multi", "-cpu", "max,la57=off", "-m", "1536", "-smp", "4"]
        # two nodes, so that there is something to choose for cpuset.mems
        for node in range(2):
            line += ["-object", f"memory-backend-ram,size=768M,id=ram{node}"]
            line += ["-numa", f"node,nodeid={node},memdev=ram{node},cpus={2 * node}-{2 * node + 1}"]
        line += ["-display", "none", "-monitor", "none", "-net", "none", "-no-reboot", "-no-user-config", "-nodefaults"]
        line += ["-serial", f"file:{self.console}", "-kernel", str(parts.kernel), "-initrd", str(initrd)]
        line += ["-append", "console=ttyS0 panic=1 quiet mitigations=off nokaslr"]
        common = "security_model=none,multidevs=remap"
        line += ["-virtfs", f"local,path=/,mount_tag=host,readonly=on,{common}"]
        line += ["-virtfs", f"local,path={self._layer},mount_tag=compiled,readonly=on,{common}"]
        line += ["-virtfs", f"local,path={self.share},mount_tag=share,{common}"]
        for disk in disks:
            line += ["-drive", f"file={disk},if=virtio,format=raw"]
        return line

    def wait(self, timeout: float) -> bool:
        """Wait until it has powered off; false, and it is killed, when that takes longer than ``timeout`` seconds."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        return True

    def kill(self) -> None:
        """Switch it off."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def log(self) -> str:
        """What the console showed, then what QEMU itself had to say."""
        logs = (self.console, self.console.with_name("qemu.log"))
        return "".join(path.read_text(errors="replace") for path in logs if path.exists())


def make_disk(image: Path) -> Path:
    """An empty image, which takes no space until it is written."""
    with open(image, "wb") as file:
        file.truncate(DISK_SIZE)
    return image


def compile_ahead(layer: Path) -> None:
    """Compile this source tree into a layer that lies above the host's files: the guest would take a minute."""
    layer.mkdir()
    for folder in (REPOSITORY / "cotune", REPOSITORY / "viewfs", REPOSITORY / "tests"):
        for source in folder.rglob("*.py"):
            target = Path(importlib.util.cache_from_source(str(source)))
            compiled = layer / target.relative_to("/")
            compiled.parent.mkdir(parents=True, exist_ok=True)
            py_compile.compile(str(source), cfile=str(compiled), quiet=2)
