"""The schemata of resctrl: parsing, showing, and who owns which bits of a cache.

Rules: arch/x86/kernel/cpu/resctrl/ctrlmondata.c and rdtgroup.c of Linux 6.1, checked against recorded operations.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from typing import NamedTuple, NoReturn

from cotune.sim.files import U32_MAX, Refusal, parse_u64, refuse
from cotune.sim.resctrl_spec import Bandwidth, Cache, Domain, ResctrlSpec
from cotune.sim.resctrl_state import EXCLUSIVE, SHAREABLE, Group, State, online, say

#: The kernel's isspace, as far as texts can hold it.
BLANKS = " \t\n\v\f\r"
#: Without anything to allocate, closid_init still has room for as many ids as its map has bits.
_MAX_CLOSIDS = 32


class Schema(NamedTuple):
    """One line of schemata. With code and data apart, ``peer`` is the other half's name."""

    name: str
    resource: Cache | Bandwidth
    peer: str | None
    closids: int


_Show = Callable[[Schema, int], str]


def schemas(spec: ResctrlSpec, options: list[str]) -> list[Schema]:
    """The lines of schemata, in order (schemata_list_create)."""
    found = []
    for resource in spec.resources:
        name = resource.name
        if ("cdp" in options and name == "L3") or ("cdpl2" in options and name == "L2"):
            data, code = f"{name}DATA", f"{name}CODE"
            half = resource.closids // 2
            found += [Schema(data, resource, code, half), Schema(code, resource, data, half)]
        else:
            found.append(Schema(name, resource, None, resource.closids))
    return found


def _mba_sc(state: State) -> bool:
    return "mba_MBps" in (state["options"] or ())


class Schemata:
    """The schemata of a mounted resctrl."""

    def __init__(self, spec: ResctrlSpec, state: State) -> None:
        self.state = state
        self.lines = schemas(spec, state["options"] or [])
        #: closids_supported: what every resource has.
        self.closids = min([_MAX_CLOSIDS, *(schema.closids for schema in self.lines)])
        # A splittable cache leaves room for the longer names of its halves (schemata_list_add).
        names = [len(r.name) + (4 if isinstance(r, Cache) and r.cdp else 0) for r in spec.resources]
        self.name_width = max(names, default=0)
        self._digits = max((resource.digits for resource in spec.resources), default=0)

    # --- values -----------------------------------------------------------------------------------------------------

    def domains(self, schema: Schema) -> list[Domain]:
        """The domains a line shows."""
        return online(self.state, schema.resource.domains)

    def value(self, schema: Schema, domain: int, closid: int) -> int:
        """The value in force."""
        return self.state["controls"][schema.name][str(domain)][closid]

    def default(self, schema: Schema) -> int:
        """What everything is set to at mount, and a domain when it appears."""
        if isinstance(schema.resource, Cache):
            return schema.resource.mask
        return U32_MAX if _mba_sc(self.state) else schema.resource.high

    def reset(self) -> None:
        """Defaults everywhere."""
        self.state["controls"] = {schema.name: {} for schema in self.lines}
        self.add_domains()

    def add_domains(self) -> None:
        """Defaults in domains that have appeared; domains that have gone lose their values (domain_remove_cpu)."""
        for schema in self.lines:
            table = self.state["controls"][schema.name]
            present = {str(domain.id) for domain in self.domains(schema)}
            for gone in table.keys() - present:
                del table[gone]
            for new in present - table.keys():
                table[new] = [self.default(schema)] * schema.resource.closids

    # --- showing ----------------------------------------------------------------------------------------------------

    def show(self, group: Group) -> str:
        """rdtgroup_schemata_show: names right-aligned, masks filled with zeros and numbers with blanks."""
        return self._rows(group, self._padded)

    def _padded(self, schema: Schema, value: int) -> str:
        width = self._digits
        return f"{value:0{width}x}" if isinstance(schema.resource, Cache) else f"{value:>{width}}"

    def sizes(self, group: Group) -> str:
        """rdtgroup_size_show: bytes of cache, rounded down to whole bits; bandwidth as it is."""
        return self._rows(group, _size)

    def _rows(self, group: Group, show: _Show) -> str:
        lines = []
        for schema in self.lines:
            cells = [(d.id, show(schema, self.value(schema, d.id, group["closid"]))) for d in self.domains(schema)]
            lines.append(f"{schema.name:>{self.name_width}}:" + ";".join(f"{i}={text}" for i, text in cells) + "\n")
        return "".join(lines)

    def bit_usage(self, schema: Schema) -> str:
        """rdt_bit_usage_show: X hardware and software, H hardware, S software, E exclusive, 0 unused."""
        cache = schema.resource
        assert isinstance(cache, Cache)
        cells = []
        for domain in self.domains(schema):
            shared = exclusive = 0
            for group in self.state["groups"].values():
                value = self.value(schema, domain.id, group["closid"])
                shared |= value if group["mode"] == SHAREABLE else 0
                exclusive |= value if group["mode"] == EXCLUSIVE else 0
            letters = [_usage(cache.shareable >> b & 1, shared >> b & 1, exclusive >> b & 1) for b in range(cache.bits)]
            cells.append(f"{domain.id}=" + "".join(reversed(letters)))
        return ";".join(cells) + "\n"

    # --- writing ----------------------------------------------------------------------------------------------------

    def write(self, group: Group, text: str) -> None:
        """rdtgroup_schemata_write of a text without its last newline: all lines or none."""
        staged: dict[tuple[str, int], int] = {}
        for line in text.split("\n"):
            name, colon, rest = line.partition(":")
            name = name.strip(BLANKS)
            if not colon:
                self._deny("Missing ':'\n")
            if not rest:
                self._deny(f"Missing '{name}' value\n")
            for schema in self.lines:
                if schema.name == name:
                    self._parse_line(schema, rest, group, staged)
                    break
            else:
                self._deny(f"Unknown or unsupported resource name '{name}'\n")
        for (name, domain), value in staged.items():
            self.state["controls"][name][str(domain)][group["closid"]] = value

    def _deny(self, reason: str) -> NoReturn:
        say(self.state, reason)
        refuse(errno.EINVAL)

    def _parse_line(self, schema: Schema, rest: str, group: Group, staged: dict[tuple[str, int], int]) -> None:
        """parse_line. A domain that does not exist is EINVAL without a word in last_cmd_status."""
        present = {domain.id for domain in self.domains(schema)}
        while rest:
            cell, _, rest = rest.partition(";")
            word, equals, value = cell.partition("=")
            try:
                domain = parse_u64(word, 10)
            except Refusal:
                equals = ""
            if not equals:
                self._deny("Missing '=' or non-numeric domain\n")
            if domain not in present:
                refuse(errno.EINVAL)
            if (schema.name, domain) in staged:
                self._deny(f"Duplicate domain {domain}\n")
            value = value.strip(BLANKS)
            if isinstance(schema.resource, Cache):
                staged[schema.name, domain] = self._parse_mask(schema, schema.resource, domain, group, value)
            elif _mba_sc(self.state):
                # The software controller's goal takes effect at once, whatever the rest of the text says (parse_bw).
                self.state["controls"][schema.name][str(domain)][group["closid"]] = self._parse_number(value)
            else:
                staged[schema.name, domain] = self._parse_bandwidth(schema.resource, value)

    def _parse_number(self, text: str) -> int:
        try:
            value = parse_u64(text, 10)
        except Refusal:
            value = U32_MAX + 1
        if value > U32_MAX:
            self._deny(f"Invalid MB value {text}\n")
        return value

    def _parse_bandwidth(self, resource: Bandwidth, text: str) -> int:
        """bw_validate: inside the range, rounded up to a whole step."""
        value = self._parse_number(text)
        if not resource.low <= value <= resource.high:
            self._deny(f"MB value {value} out of range [{resource.low},{resource.high}]\n")
        return -(-value // resource.step) * resource.step

    def _parse_mask(self, schema: Schema, cache: Cache, domain: int, group: Group, text: str) -> int:
        """cbm_validate, then the rules of exclusive groups (parse_cbm)."""
        try:
            value = parse_u64(text, 16)
        except Refusal:
            self._deny(f"Non-hex character in the mask {text}\n")
        if (value == 0 and cache.min_bits > 0) or value > cache.mask:
            self._deny("Mask out of range\n")
        lowest = lowest_run(value)
        if value != lowest and not cache.sparse:
            self._deny(f"The mask {value:x} has non-consecutive 1-bits\n")
        if lowest.bit_count() < cache.min_bits:
            self._deny(f"Need at least {cache.min_bits} bits in the mask\n")
        if self._overlaps(schema, domain, value, group["closid"], only_exclusive=True):
            self._deny("Overlaps with exclusive group\n")
        if group["mode"] == EXCLUSIVE and self._overlaps(schema, domain, value, group["closid"]):
            self._deny("Overlaps with other group\n")
        return value

    # --- exclusive groups -------------------------------------------------------------------------------------------

    def _overlaps(self, schema: Schema, domain: int, mask: int, closid: int, *, only_exclusive: bool = False) -> bool:
        """rdtgroup_cbm_overlaps: with other groups, in both halves, and with what hardware uses."""
        cache = schema.resource
        if isinstance(cache, Cache) and not only_exclusive and mask & cache.shareable:
            return True
        return any(mask & used for used in self._others(schema, domain, closid, only_exclusive))

    def _others(self, schema: Schema, domain: int, closid: int, only_exclusive: bool) -> Iterator[int]:
        for group in self.state["groups"].values():
            if group["closid"] == closid or (only_exclusive and group["mode"] != EXCLUSIVE):
                continue
            for name in (schema.name, schema.peer):
                if name is not None:
                    yield self.state["controls"][name][str(domain)][group["closid"]]

    def check_exclusive(self, group: Group) -> None:
        """rdtgroup_mode_test_exclusive: its masks may touch nobody else's."""
        caches = [schema for schema in self.lines if isinstance(schema.resource, Cache)]
        for schema in caches:
            for domain in self.domains(schema):
                mask = self.value(schema, domain.id, group["closid"])
                if self._overlaps(schema, domain.id, mask, group["closid"]):
                    self._deny("Schemata overlaps\n")
        if not caches:
            self._deny("Cannot be exclusive without CAT/CDP\n")

    def initialise(self, closid: int) -> None:
        """rdtgroup_init_alloc: a new group gets what is shared or unused, and all of the bandwidth.

        ENOSPC when too few bits of a cache are left.
        """
        values: dict[tuple[str, str], int] = {}
        for schema in self.lines:
            for domain in self.domains(schema):
                value = self.default(schema)
                if isinstance(schema.resource, Cache):
                    value = self._free_bits(schema, domain.id, closid)
                    if value.bit_count() < schema.resource.min_bits:
                        say(self.state, f"No space on {schema.name}:{domain.id}\n")
                        refuse(errno.ENOSPC)
                values[schema.name, str(domain.id)] = value
        for (name, where), value in values.items():
            self.state["controls"][name][where][closid] = value

    def _free_bits(self, schema: Schema, domain: int, closid: int) -> int:
        """__init_one_rdt_domain and cbm_ensure_valid: of the free bits the lowest run."""
        cache = schema.resource
        assert isinstance(cache, Cache)
        taken = 0
        for used in self._others(schema, domain, closid, only_exclusive=True):
            taken |= used
        shared = cache.shareable
        for group in self.state["groups"].values():
            if group["mode"] == SHAREABLE and group["closid"] != closid:
                for name in filter(None, (schema.name, schema.peer)):
                    shared |= self.state["controls"][name][str(domain)][group["closid"]]
        return lowest_run(shared | (cache.mask & ~taken))


def lowest_run(mask: int) -> int:
    """The lowest 1-bits of a mask up to the first gap."""
    low = mask & -mask
    return mask & ~(mask + low)


def _size(schema: Schema, value: int) -> str:
    cache = schema.resource
    return str(cache.size // cache.bits * value.bit_count() if isinstance(cache, Cache) else value)


def _usage(hardware: int, shared: int, exclusive: int) -> str:
    if hardware:
        return "X" if shared else "H"
    return "S" if shared else "E" if exclusive else "0"
