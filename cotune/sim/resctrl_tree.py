"""The directories and files of a simulated resctrl, as one Tree of the simulated host."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from cotune.sim.files import PAGE, refuse
from cotune.sim.resctrl_groups import Groups
from cotune.sim.resctrl_schemata import Schema
from cotune.sim.resctrl_spec import Cache, ResctrlSpec
from cotune.sim.resctrl_state import Group, online, show_event


class _File(NamedTuple):
    """A file. ``newline``: the text must end in one, and the rule gets it without."""

    read: Callable[[], str]
    write: Callable[[str], None] | None = None
    newline: bool = False

    @property
    def mode(self) -> int:
        return 0o444 if self.write is None else 0o644


#: Content of a directory; None stands for a directory in it.
_Entries = dict[str, _File | None]


class ResctrlTree:
    """A Tree (cotune/sim/trees.py); while nothing is mounted, an empty directory nothing can be made in."""

    def __init__(self, spec: ResctrlSpec, groups: Groups) -> None:
        self._spec = spec
        self.groups = groups

    # --- Tree -------------------------------------------------------------------------------------------------------

    def exists(self, path: str) -> bool:
        """Whether a file or directory is there."""
        parent, _, name = path.rpartition("/")
        entries = self._entries(parent)
        return not path or (entries is not None and name in entries)

    def isdir(self, path: str) -> bool:
        """Whether it is a directory."""
        return self._entries(path) is not None

    def mode(self, path: str) -> int:
        """Permission bits. Directories inherit those of their group (rdtgroup_add_files, mongroup_create_dir)."""
        if not self.isdir(path):
            return self._file(path).mode
        parts = path.split("/")
        return 0o755 if parts[0] in self.groups.state["groups"] and path else 0o555

    def read(self, path: str) -> str:
        """The whole text of a file."""
        return self._file(path).read()

    def write(self, path: str, text: str) -> None:
        """rdtgroup_file_write: E2BIG past a page; the rules see the text up to the first NUL."""
        file = self._file(path)
        if file.write is None:
            refuse(errno.EACCES)
        if len(text.encode(errors="surrogateescape")) > PAGE:
            refuse(errno.E2BIG)
        if file.newline and not text.endswith("\n"):
            refuse(errno.EINVAL)
        file.write(text.removesuffix("\n" if file.newline else "").split("\0")[0])

    def listdir(self, path: str) -> list[str]:
        """Names in a directory."""
        return sorted(self._entries(path) or ())

    def mkdir(self, path: str) -> None:
        """rdtgroup_mkdir: control groups at the top, monitoring groups in mon_groups; ENOENT while not mounted."""
        if self.groups.state["options"] is None:
            refuse(errno.ENOENT)
        parts = path.split("/")
        if "\n" in parts[-1]:
            refuse(errno.EINVAL)
        parent = self._monitored(parts[:-1])
        if len(parts) == 1 and self._spec.resources:
            self.groups.make(path)
        elif parent is not None and parts[-1] != "mon_groups":
            self.groups.make_monitor(parent, parts[-1])
        else:
            refuse(errno.EPERM)

    def rmdir(self, path: str) -> None:
        """rdtgroup_rmdir: groups with all their tasks; EBUSY for the mount point, EPERM for every other directory."""
        parts = path.split("/")
        parent = self._monitored(parts[:-1])
        if not path:
            refuse(errno.EPERM if self.groups.state["options"] is None else errno.EBUSY)
        elif path in self.groups.state["groups"]:
            self.groups.remove(path)
        elif parent is not None:
            self.groups.remove_monitor(parent, parts[-1])
        else:
            refuse(errno.EPERM)

    def rename(self, path: str) -> None:
        """resctrl has no rename before 6.4: ENOENT for what is not there, else EPERM."""
        refuse(errno.EPERM if self.exists(path) else errno.ENOENT)

    def set_counters(self, path: str, counters: Mapping[int, Mapping[str, int | str]]) -> None:
        """Let a group's own events read so (domain -> event -> value): a number, ``Error`` or ``Unavailable``."""
        parts = path.split("/")
        parent = self._monitored(parts[:-1])
        group = parent["monitors"][parts[-1]] if parent is not None else self.groups.state["groups"][path]
        table = self.groups.state["counters"].setdefault(str(group["rmid"]), {})
        table.update({str(domain): dict(events) for domain, events in counters.items()})

    # --- directories ------------------------------------------------------------------------------------------------

    def _file(self, path: str) -> _File:
        parent, _, name = path.rpartition("/")
        file = (self._entries(parent) or {}).get(name)
        return file if file is not None else refuse(errno.ENOENT)

    def _monitored(self, parts: list[str]) -> Group | None:
        """The control group whose mon_groups directory this is."""
        if self._spec.monitoring is None or parts[-1:] != ["mon_groups"]:
            return None
        return self.groups.state["groups"].get("/".join(parts[:-1]))

    def _entries(self, path: str) -> _Entries | None:
        """Content of a directory, None when it is none."""
        parts = path.split("/") if path else []
        state = self.groups.state
        if state["options"] is None:
            return None if parts else {}
        if parts[:1] == ["info"]:
            return self._info(parts[1:])
        if parts and parts[0] in state["groups"]:
            return self._group(state["groups"][parts[0]], parts[1:])
        found = self._group(self.groups.root, parts)
        if found is not None and not parts:
            found |= {"info": None, **{name: None for name in state["groups"] if name}}
        return found

    def _group(self, group: Group, parts: list[str]) -> _Entries | None:
        """Below a control group."""
        monitoring = self._spec.monitoring
        if not parts:
            files = self._common_files(group, group) | self._control_files(group)
            return files | ({"mon_groups": None, "mon_data": None} if monitoring is not None else {})
        if monitoring is None:
            return None
        if parts[0] == "mon_data":
            return self._data([group, *group["monitors"].values()], parts[1:])
        if parts[0] != "mon_groups":
            return None
        if len(parts) == 1:
            return dict.fromkeys(group["monitors"])
        monitor = group["monitors"].get(parts[1])
        if monitor is None:
            return None
        if len(parts) == 2:
            return self._common_files(monitor, group) | {"mon_data": None}
        return self._data([monitor], parts[3:]) if parts[2] == "mon_data" else None

    def _common_files(self, group: Group, parent: Group) -> _Entries:
        groups = self.groups
        return {
            "tasks": _File(partial(groups.show_tasks, group), partial(groups.write_tasks, group)),
            "cpus": _File(partial(groups.show_cpus, group), partial(groups.write_cpus, group, parent)),
            "cpus_list": _File(partial(groups.show_cpus_list, group), partial(groups.write_cpus_list, group, parent)),
        }

    def _control_files(self, group: Group) -> _Entries:
        groups = self.groups
        return {
            "schemata": _File(partial(groups.schemata.show, group), partial(groups.write_schemata, group), True),
            "size": _File(partial(groups.schemata.sizes, group)),
            "mode": _File(lambda: group["mode"] + "\n", partial(groups.write_mode, group), True),
        }

    def _data(self, members: list[Group], parts: list[str]) -> _Entries | None:
        """mon_data: a directory per domain, a file per event."""
        monitoring = self._spec.monitoring
        assert monitoring is not None
        state = self.groups.state
        domains = {f"mon_L3_{domain.id:02}": domain.id for domain in online(state, monitoring.domains)}
        if not parts:
            return dict.fromkeys(domains)
        if len(parts) > 1 or parts[0] not in domains:
            return None
        rmids = [member["rmid"] for member in members]
        show = partial(show_event, monitoring, state, rmids, domains[parts[0]])
        return {event: _File(partial(show, event)) for event in monitoring.events}

    # --- info -------------------------------------------------------------------------------------------------------

    def _info(self, parts: list[str]) -> _Entries | None:
        lines = {schema.name: schema for schema in self.groups.schemata.lines}
        monitoring = self._spec.monitoring
        if not parts:
            names = [*lines, *(["L3_MON"] if monitoring is not None else [])]
            return {"last_cmd_status": _File(lambda: self.groups.state["status"] or "ok\n"), **dict.fromkeys(names)}
        if len(parts) > 1:
            return None
        if parts[0] in lines:
            return self._schema_info(lines[parts[0]])
        if parts[0] != "L3_MON" or monitoring is None:
            return None
        return {
            "num_rmids": _report(monitoring.rmids),
            "mon_features": _report("\n".join(monitoring.events)),
            "max_threshold_occupancy": _File(
                lambda: f"{self.groups.state['threshold']}\n", self.groups.write_threshold
            ),
        }

    def _schema_info(self, schema: Schema) -> _Entries:
        resource = schema.resource
        if isinstance(resource, Cache):
            found: _Entries = {
                "num_closids": _report(schema.closids),
                "cbm_mask": _report(f"{resource.mask:x}"),
                "min_cbm_bits": _report(resource.min_bits),
                "shareable_bits": _report(f"{resource.shareable:x}"),
                "bit_usage": _File(partial(self.groups.schemata.bit_usage, schema)),
            }
            return found | ({"sparse_masks": _report(int(resource.sparse))} if self.groups.age.sparse_masks else {})
        files: _Entries = {
            "num_closids": _report(schema.closids),
            "min_bandwidth": _report(resource.low),
            "bandwidth_gran": _report(resource.step),
            "delay_linear": _report(int(resource.linear)),
        }
        # Only Intel throttles by delay (thread_throttle_mode_init).
        if self.groups.age.modern and resource.linear:
            files["thread_throttle_mode"] = _report("max")
        return files


def _report(value: int | str) -> _File:
    return _File(lambda: f"{value}\n")
