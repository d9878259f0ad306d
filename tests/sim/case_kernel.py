"""The simulated kernel of the knob cases: everything a knob can change, as texts of files.

Some of what knobs change is no file of the kernel. Cases name it like one:

- ``mount:POINT``: the options of a mount, one a line: those of the mount table and those of /proc/fs/ext4, and what a
  remount was given last of the options the kernel shows nowhere. Writing remounts with these words (commas between).
- ``features:DEVICE``: the features of an ext4 file system, one a line. Writing sets one with tune2fs.
- ``words:FILE``: the words of a file, one a line.
- ``project:DIRECTORY``: its project id, and ``inherited`` when new files below it get it, too. Writing sets them.
- ``quota:POINT ID``: the limits of a project, one a line (bytes and inodes). Writing ``KEY=NUMBER`` sets one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cotune.controls.mounts import EXT4_HIDDEN
from cotune.kernel.port import Project
from cotune.sim.kernel import SimKernel
from cotune.sim.resctrl_spec import MIB, Cache, Domain, ResctrlSpec, amd, halves, intel

_INTEL = intel(halves(8))
_PAIRS = tuple(Domain(core, (2 * core, 2 * core + 1)) for core in range(4))
#: Resctrl hardware that no simulated host has: ``l2`` a cache of 8 bits for each pair of CPUs, as on Intel's Atoms.
HARDWARE: dict[str, ResctrlSpec] = {
    "amd": amd(halves(8)),
    "sparse-ids": intel(halves(8, (0, 16))),
    "two-bits": _INTEL._replace(l3=_INTEL.l3._replace(min_bits=2) if _INTEL.l3 else None),
    "l2": ResctrlSpec(l2=Cache("L2", _PAIRS, bits=8, size=MIB, closids=4, cdp=True)),
}
ABSENT = "(absent)"


class CaseKernel(SimKernel):
    """A simulated kernel; ``vendor`` is what /proc/cpuinfo says of its CPUs, where that is not Intel."""

    def __init__(self, name: str, vendor: str = "") -> None:
        super().__init__(name)
        self.vendor = vendor
        self.given = {option: str(value) for option, value in EXT4_HIDDEN.items()}

    def read(self, path: str) -> str:
        """The text of a file."""
        text = super().read(path)
        return text.replace("GenuineIntel", self.vendor) if self.vendor and path == "/proc/cpuinfo" else text

    def remount(self, point: str, options: Sequence[str]) -> None:
        """A remount, of which the options that nobody can read back are remembered."""
        super().remount(point, options)
        for option, _, value in (word.partition("=") for word in options):
            if option in EXT4_HIDDEN:
                self.given[option] = value

    def text(self, file: str) -> str:
        """What a file of a case reads; ``(absent)`` when it is not there."""
        kind, _, rest = file.partition(":")
        if kind == "mount":
            return "\n".join(self._options(rest))
        if kind == "features":
            lines = self.tool("tune2fs", ["-l", rest]).splitlines()
            return "\n".join(next(line for line in lines if line.startswith("Filesystem features:")).split()[2:])
        if kind == "words":
            return "\n".join(self.text(rest).split())
        if kind == "project":
            project = self.project(rest)
            return f"{project.id} inherited" if project.inherit else str(project.id)
        if kind == "quota":
            point, _, number = rest.rpartition(" ")
            return "\n".join(f"{key}={value}" for key, value in self.quota(point, int(number))._asdict().items())
        try:
            return self.read(self.realpath(file))
        except FileNotFoundError:
            return ABSENT

    def change(self, file: str, text: str) -> None:
        """Write to a file of a case, past cotune."""
        kind, _, rest = file.partition(":")
        if kind == "mount":
            self.remount(rest, text.split(","))
        elif kind == "features":
            self.tool("tune2fs", ["-O", text, rest])
        elif kind == "words":
            self.change(rest, text)
        elif kind == "project":
            self.set_project(rest, Project(int(text.split()[0]), text.endswith("inherited")))
        elif kind == "quota":
            point, _, number = rest.rpartition(" ")
            key, _, value = text.partition("=")
            self.set_quota(point, int(number), self.quota(point, int(number))._replace(**{key: int(value)}))
        else:
            self.write(self.realpath(file), text)

    def path(self, file: str) -> str:
        """The path behind a file of a case; nothing for a project."""
        kind, colon, rest = file.partition(":")
        if kind in ("project", "quota"):
            return ""
        return self.realpath(rest if colon and kind in ("mount", "words", "features") else file)

    def _options(self, point: str) -> Iterator[str]:
        mount = next(mount for mount in reversed(self.mounts()) if mount.point == point)
        yield from (*mount.options, *mount.super_options)
        device = self.realpath(f"/sys/dev/block/{mount.device}").rpartition("/")[2]
        yield from self.read(f"/proc/fs/ext4/{device}/options").splitlines()
        yield from (f"{option}={value}" for option, value in self.given.items())
