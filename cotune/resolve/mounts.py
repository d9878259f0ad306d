"""The ``host.mounts`` list of a profile: options, features, journal and project quota of ext4 file systems."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cotune.controls.mounts import NEED_FEATURES, PER_MOUNT, project_value
from cotune.errors import Origin, PlanRefused
from cotune.host.devices import NoSuchDevice, find_disks
from cotune.host.facts import Host
from cotune.host.mounts import Volume, device_node, ext4_options, find_volume, has_project_quota, journal_directory
from cotune.host.projects import foreign_below
from cotune.host.support_ext4 import ELSEWHERE
from cotune.kernel.port import Mount
from cotune.knobs import section
from cotune.knobs.base import Knob
from cotune.model import Refusal, Resolved, Setting, Target, UnsupportedKnob
from cotune.profile.load import Profile
from cotune.resolve.values import resolve_value

#: First kernel whose ext4 knows no noacl and nouser_xattr (fs/ext4/super.c).
_ALWAYS_ATTRIBUTES = (6, 0)


class MountResolver:
    """Entries of ``host.mounts``. ``add`` keeps a setting, or raises PlanRefused when another one contradicts it."""

    def __init__(self, profile: Profile, host: Host, resolved: Resolved, add: Callable[[Setting], None]) -> None:
        self.profile, self.host, self.out, self.add = profile, host, resolved, add
        self.kernel = host.kernel
        self.superblocks: dict[tuple[str, str], Setting] = {}

    def entry(self, index: int, item: dict[str, Any]) -> None:
        """One entry of the list."""
        match = item["match"]
        name = match.get("mountpoint", match.get("device", "")).rstrip("/") or "/"
        origin = self.profile.origin("host", "mounts", index, "match")
        volume = find_volume(self.kernel, match)
        if volume is None:
            what = f"there is no block device {name}" if "device" in match else f"nothing is mounted at {name}"
            self.out.notes.append(f"{origin}: {what}")
            return
        mount = volume.mount
        wanted = match.get("fstype", "ext4")
        if mount is not None and (mount.fstype != "ext4" or mount.fstype != wanted):
            self.out.notes.append(f"{origin}: {mount.point} is {mount.fstype}, not ext4: left alone")
            return
        resource = f"mount:{mount.point if mount else name}"
        self._features(index, item, volume, resource)
        if mount is not None:
            self._check_barrier(index, item, mount)
            self._options(index, item, mount)
            self._journal(index, item, mount)
            self._quota(index, item, mount)
        elif item.keys() & {"options", "jbd2", "quota"}:
            self.out.notes.append(f"{origin}: nothing is mounted at {name}: only features can be set")

    def _features(self, index: int, item: dict[str, Any], volume: Volume, resource: str) -> None:
        for name, value in item.get("features", {}).items():
            knob = section("feature")[f"mount.features.{name}"]
            target = Target(knob.control, name, resource, volume.device, volume.device, name, knob.key)
            self._want(knob, target, value, ("host", "mounts", index, "features", name))

    def _options(self, index: int, item: dict[str, Any], mount: Mount) -> None:
        for name, value in item.get("options", {}).items():
            knob = section("mount")[f"mount.{name}"]
            place = ("host", "mounts", index, "options", name)
            if name in ("acl", "user_xattr") and value is False and self._release() >= _ALWAYS_ATTRIBUTES:
                reason = f"this kernel ({self.host.release}) always has them and knows no no{name}"
                self._unsupported(f"mount:{mount.point}", knob.key, reason, "", self.profile.origin(*place))
                continue
            setting = self._want(knob, option_target(knob, mount.point), value, place)
            if name not in PER_MOUNT:
                self._one_superblock(mount, name, setting)

    def _one_superblock(self, mount: Mount, name: str, setting: Setting) -> None:
        """All mounts of one file system share its options."""
        other = self.superblocks.setdefault((mount.device, name), setting)
        if other.value != setting.value:
            raise PlanRefused(
                f"{setting.origin}: {mount.point} and {other.target.unit} are one file system, and {name} is set "
                f"differently at {other.origin}",
                "let one of the two set it",
            )

    def _journal(self, index: int, item: dict[str, Any], mount: Mount) -> None:
        for name, value in item.get("jbd2", {}).items():
            knob = section("jbd2")[f"mount.jbd2.{name}"]
            target = journal_target(knob, journal_directory(self.kernel, mount), mount.point)
            self._want(knob, target, value, ("host", "mounts", index, "jbd2", name))

    def _quota(self, index: int, item: dict[str, Any], mount: Mount) -> None:
        projects = item.get("quota", {}).get("project", {})
        if not projects:
            return
        reason, remedy = "", NEED_FEATURES
        if not self.host.at_hand:
            reason, remedy = ELSEWHERE.reason, ELSEWHERE.remedy
        elif not has_project_quota(self.kernel, mount.point):
            reason = "the file system lacks the features project and quota, or its quotas cannot be read"
        elif not (item.get("options", {}).get("prjquota") is True or ext4_options(self.kernel, mount)["prjquota"]):
            reason = "prjquota is not in force on the file system: nothing would enforce the limits"
            remedy = "set options: {prjquota: true} beside it (--allow-irreversible), or mount it with prjquota"
        for directory, wanted in projects.items():
            place = ("host", "mounts", index, "quota", "project", directory)
            if reason:
                self._quota_unsupported(directory, wanted, place, reason, remedy)
            else:
                self._directory(directory, wanted, place, mount)

    def _directory(self, directory: str, wanted: dict[str, Any], place: tuple[Any, ...], mount: Mount) -> None:
        real = self.kernel.realpath(directory)
        reason = self._why_not(real, mount)
        project = int(wanted["id"])
        tree = False
        if not reason:
            has = project_value(self.kernel.project(real))
            other = foreign_below(self.kernel, real, project) if has != project else ""
            tree = bool(other)
            if tree and wanted.get("assign") is not True:
                reason = f"{real} is not empty, and {other} belongs to another project"
        if reason:
            remedy = "assign: true gives the id to everything below, for good" if tree else "a directory on it"
            self._quota_unsupported(directory, wanted, place, reason, remedy)
            return
        known = section("quota")
        knob = known["mount.quota.project.id"]
        target = directory_target(knob, real)
        if tree:
            target = target._replace(control="quota.tree")
            text = f"the ids that files below {real} have now cannot be brought back once they all have {project}"
            origin = self.profile.origin(*place, "assign")
            self.out.refusals.append(Refusal(f"{origin}: {text}", ("allow-irreversible",), target.resource))
        self._want(knob, target, project, (*place, "id"))
        for knob in known.values():
            if knob.control == "quota.limits" and knob.part in wanted:
                self._want(knob, limit_target(knob, mount.point, project, real), wanted[knob.part], (*place, knob.part))

    def _why_not(self, real: str, mount: Mount) -> str:
        """Why a path cannot have a project, or nothing."""
        if not self.kernel.exists(real):
            return f"there is no directory {real}"
        above = [m for m in self.kernel.mounts() if f"{real}/".startswith(m.point.rstrip("/") + "/")]
        if not above or max(above, key=lambda m: len(m.point)).point != mount.point:
            return f"{real} does not lie on the file system mounted at {mount.point}"
        try:
            self.kernel.listdir(real)
        except NotADirectoryError:
            return f"{real} is no directory"
        except OSError as error:
            return f"{real} cannot be read ({error.strerror})"
        return ""

    def _quota_unsupported(
        self, directory: str, wanted: dict[str, Any], place: tuple[Any, ...], reason: str, remedy: str
    ) -> None:
        for name in wanted:
            if name != "assign":
                key = f"mount.quota.project.{name}"
                self._unsupported(f"quota:{directory}", key, reason, remedy, self.profile.origin(*place, name))

    def _check_barrier(self, index: int, item: dict[str, Any], mount: Mount) -> None:
        if item.get("options", {}).get("barrier") is not False or item.get("accept_data_loss"):
            return
        if not self.host.at_hand:
            return
        if not ext4_options(self.kernel, mount)["barrier"]:
            return
        try:
            disks = find_disks(self.kernel, {"mountpoint": mount.point})
        except NoSuchDevice:
            disks = []
        volatile = [disk.name for disk in disks if self.host.text(f"{disk.sysfs}/queue/write_cache") == "write back"]
        if volatile:
            origin = self.profile.origin("host", "mounts", index, "options", "barrier")
            text = (
                f"{origin}: barrier: false on {', '.join(volatile)}, whose write cache is volatile (write back): a "
                "power cut can lose data; accept_data_loss: true beside the options says that this is meant"
            )
            self.out.refusals.append(Refusal(text, ("force",), f"mount:{mount.point}"))

    def _want(self, knob: Knob, target: Target, value: Any, place: tuple[Any, ...]) -> Setting:
        origin = self.profile.origin(*place)
        setting = Setting(target, resolve_value(knob.type, value, self.host, origin), origin)
        if self.host.at_hand or knob.section == "jbd2":
            self.add(setting)
        else:
            self._unsupported(target.resource, knob.key, ELSEWHERE.reason, ELSEWHERE.remedy, origin)
        return setting

    def _release(self) -> tuple[int, ...]:
        return tuple(int(word) for word in self.host.release.split("-")[0].split(".")[:2] if word.isdecimal())

    def _unsupported(self, resource: str, knob: str, reason: str, remedy: str, origin: Origin) -> None:
        self.out.unsupported.append(UnsupportedKnob(resource, knob, reason, remedy, origin))


def option_target(knob: Knob, point: str) -> Target:
    """The target of a mount option."""
    return Target(knob.control, knob.part, f"mount:{point}", point, point, knob.part, knob.key)


def journal_target(knob: Knob, directory: str, point: str) -> Target:
    """The target of a file of the journal of a mount."""
    return Target(knob.control, knob.part, f"mount:{point}", directory, f"{directory}/{knob.part}", None, knob.key)


def directory_target(knob: Knob, directory: str) -> Target:
    """The target of the project of a directory."""
    return Target(knob.control, knob.part, f"quota:{directory}", directory, directory, "project", knob.key)


def limit_target(knob: Knob, point: str, project: int, directory: str) -> Target:
    """The target of a limit of the project that a directory belongs to."""
    return Target(knob.control, knob.part, f"quota:{directory}", point, point, f"{project} {knob.part}", knob.key)


def mount_targets(host: Host, mount: Mount) -> list[Target]:
    """What can be set of an ext4 mount itself: features, options, and files of the journal that are there."""
    device, journal = device_node(host.kernel, mount), journal_directory(host.kernel, mount)
    resource = f"mount:{mount.point}"
    features = [
        Target(knob.control, knob.part, resource, device, device, knob.part, knob.key)
        for knob in section("feature").values()
    ]
    options = [option_target(knob, mount.point) for knob in section("mount").values()]
    files = [journal_target(knob, journal, mount.point) for knob in section("jbd2").values()]
    return [*options, *features, *(target for target in files if host.kernel.exists(target.path))]


def quota_targets(host: Host, directory: str) -> list[Target]:
    """The project of a directory on an ext4 file system, and its limits where it has a project."""
    above = [m for m in host.kernel.mounts() if f"{directory}/".startswith(m.point.rstrip("/") + "/")]
    mount = max(above, key=lambda m: len(m.point), default=None)
    if mount is None or mount.fstype != "ext4" or not has_project_quota(host.kernel, mount.point):
        return []
    known = section("quota")
    number = host.kernel.project(directory).id
    limits = [knob for knob in known.values() if knob.control == "quota.limits"]
    return [
        directory_target(known["mount.quota.project.id"], directory),
        *(limit_target(knob, mount.point, number, directory) for knob in limits if number),
    ]
