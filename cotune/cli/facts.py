"""cotune facts: what this host is, as far as profiles care."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

from cotune.cli.context import Cli, Line, command

if TYPE_CHECKING:
    from cotune.host.facts import Host

_STATES = {
    "yes": ("supported", "green"),
    "gated": ("supported, behind a switch that cotune sets", "cyan"),
    "no": ("not available", "yellow"),
    "unknown": ("unknown", "magenta"),
}


def register(app: typer.Typer) -> None:
    """Add the verb to the application."""

    @app.command()
    @command
    def facts(cli: Cli) -> int:
        """Show what kernel and host this is: cgroups, memory, CPUs, disks, mounts, and which knobs it supports.

        The kernel family is concluded from its files, not from its release. Reads only.

        Examples:

            cotune facts

            cotune facts --json

            cotune facts --sim anck-4.19
        """
        with cli.session() as session:
            record = _gather(session.host)
        cli.emit("facts", record, lambda: _lines(record))
        return 0


def _gather(host: Host) -> dict[str, Any]:
    from cotune.host import summary
    from cotune.host.dialect import find_dialect
    from cotune.host.managers import find_managers
    from cotune.host.resctrl import resctrl_facts

    dialect = find_dialect(host)
    return {
        "kernel": host.kernel.name,
        "release": host.release,
        "dialect": dialect.name,
        "dialect_clues": list(dialect.clues),
        "boot_id": host.boot_id,
        "cgroup_mode": host.layout.mode,
        "controllers": summary.controllers(host),
        "mem_total": host.mem_total,
        "page_size": host.page_size,
        "cpus_online": _cpulist(host.online),
        "cpu_count": len(host.online),
        "nodes": {str(node): _cpulist(cpus) for node, cpus in host.nodes.items()},
        "boot_words": summary.boot_words(host),
        "pressure": summary.pressure(host),
        "managers": [manager.name for manager in find_managers(host)],
        "block": [disk._asdict() for disk in summary.disks(host)],
        "ext4": [mount._asdict() for mount in summary.ext4_mounts(host)],
        "resctrl": resctrl_facts(host),
        "knobs": {key: support._asdict() for key, support in summary.support_table(host).items()},
    }


def _cpulist(numbers: frozenset[int]) -> str:
    from cotune.units import format_cpulist

    return format_cpulist(numbers)


def _lines(record: dict[str, Any]) -> Iterator[Line]:
    from cotune.units import human_size

    yield _field("kernel", record["release"])
    yield _field("family", record["dialect"], "bold", "by probing: " + "; ".join(record["dialect_clues"]))
    yield _field("boot id", record["boot_id"])
    yield _field("memory", human_size(record["mem_total"]), "", f"pages of {human_size(record['page_size'])}")
    yield _field("CPUs", f"{record['cpu_count']} online ({record['cpus_online']})")
    nodes = "; ".join(f"node {node}: {cpus}" for node, cpus in record["nodes"].items())
    yield _field("NUMA", f"{len(record['nodes'])} node{'s' if len(record['nodes']) != 1 else ''}", "", nodes)
    yield from _cgroup_lines(record)
    yield from _boot_lines(record["boot_words"])
    shown = [name for name, there in record["pressure"].items() if there]
    yield _field("pressure", "of " + " and ".join(shown) if shown else "not shown")
    yield _field("managers", ", ".join(record["managers"]) or "none known")
    yield from _storage_lines(record)
    yield from _resctrl_lines(record["resctrl"])
    yield from knob_lines({key: item["state"] for key, item in record["knobs"].items()})


def _cgroup_lines(record: dict[str, Any]) -> Iterator[Line]:
    yield _field("cgroups", record["cgroup_mode"])
    width = max((len(name) for name in record["controllers"]), default=0)
    for name, where in record["controllers"].items():
        line: Line = [("", f"  {name:<{width}}  v{where['version']}  "), ("dim", where["mount"])]
        if where.get("enabled") is False:
            line.append(("cyan", "  available, not enabled for child groups"))
        yield line


def _boot_lines(words: dict[str, str | None]) -> Iterator[Line]:
    given = [word for word in words.values() if word]
    absent = [name for name, word in words.items() if not word]
    yield _field("boot words", " ".join(given) or "none of interest", "", f"not given: {', '.join(absent)}")


def _storage_lines(record: dict[str, Any]) -> Iterator[Line]:
    from cotune.units import human_size

    yield _field("disks", "" if record["block"] else "none")
    for disk in record["block"]:
        kind = "rotating" if disk["rotational"] else "flash or virtual"
        scheduler = disk["scheduler"] or "no scheduler"
        yield [
            ("", f"  {disk['name']:<10} {disk['device']:<8} {scheduler:<12} "),
            ("dim", f"{human_size(disk['size'])}, {kind}"),
        ]
    yield _field("ext4", "" if record["ext4"] else "none")
    for mount in record["ext4"]:
        options = ", ".join(f"{name} {value}" for name, value in mount["options"].items() if name in mount["unusual"])
        yield [("", f"  {mount['point']:<10} {mount['source']:<14} "), ("dim", options or "default options")]


def _resctrl_lines(record: dict[str, Any]) -> Iterator[Line]:
    if not record["mounted"]:
        yield _field("resctrl", record["reason"])
        return
    most = f"{len(record['classes'])} of at most {record['classes_at_most']} classes beside the default one"
    yield _field("resctrl", ", ".join(["mounted", *record["options"]]), "", most)
    for name, values in record["resources"].items():
        caches = ", ".join(map(str, values["caches"]))
        told = ", ".join(f"{key} {value}" for key, value in values.items() if key != "caches")
        yield [("", f"  {name:<10} caches {caches:<8} "), ("dim", told)]


def knob_lines(states: dict[str, str]) -> Iterator[Line]:
    """Knobs by whether they work here, wrapped."""
    import textwrap

    for state, (title, style) in _STATES.items():
        keys = [key for key, found in states.items() if found == state]
        if keys:
            yield [(style, f"knobs {title} ({len(keys)})")]
            for row in textwrap.wrap(", ".join(keys), 100, break_on_hyphens=False):
                yield [("", f"  {row}")]


def _field(name: str, text: str, style: str = "", remark: str = "") -> Line:
    line: Line = [("dim", f"{name:<11} "), (style, text)]
    return [*line, ("dim", f"  ({remark})")] if remark else line
