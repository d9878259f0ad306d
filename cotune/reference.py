"""The reference pages derived from the catalogue and the command line: docs/knobs.md and the man pages.

``python -m cotune.reference`` in a checkout writes them anew; the tests compare.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cotune.knobs import KNOBS
from cotune.knobs.base import Knob
from cotune.knobs.examples import example
from cotune.knobs.lookup import knob_files, knob_forms
from cotune.yamltext import render

if TYPE_CHECKING:
    import typer

CONFIDENCE = {
    "live": "seen on a running kernel",
    "source": "read in kernel source, not run",
    "docs": "documentation only, not run",
    "talk": "a talk only: the public source trees do not have it",
}
REVERSIBLE = {
    "partial": "only in part: not every original can be put back",
    "no": "cannot be undone, so apply wants --allow-irreversible",
}
#: Title of a chapter → the families of keys in it.
_CHAPTERS = {
    "CPU": ("cpu",),
    "Memory": ("memory",),
    "IO": ("io",),
    "Processes": ("pids",),
    "Host switches and memory management": ("host",),
    "Sysctls": ("vm", "kernel"),
    "Block devices": ("block",),
    "ext4": ("mount",),
    "resctrl": ("resctrl",),
}
Field = tuple[str, str]


def fields(knob: Knob) -> list[Field]:
    """What there is to say about a knob: (name, text), in order."""
    control, *others = knob_forms(knob)
    part = control.parts.get(knob.part)
    found = [("Value", knob.type.expected + (f"; a bare number is {knob.unit}" if knob.unit else ""))]
    found += [("Sets", ", ".join(_files(knob)))]
    if part and part.gate:
        found.append(("Switch", f"{part.gate.name} = {part.gate.value}, on kernels that have it; set and restored"))
    if partners := partners_of(knob):
        found.append(("Together with", ", ".join(partners)))
    if control.reach == "subtree":
        found.append(("Reach", "the group and every group below it that no more specific group matches"))
    if control.owner == "runtime":
        found.append(("Owner", "kubelet, runc and systemd set it too in their own cgroups"))
    if control.reversible != "yes":
        found.append(("Undo", REVERSIBLE[control.reversible]))
    if control.resets:
        found.append(("Resets", ", ".join(control.resets)))
    causes = {f"{symbol}: {cause}": None for form in (control, *others) for symbol, cause in form.causes.items()}
    found += [("Refused" if not index else "", cause) for index, cause in enumerate(causes)]
    found.append(("Source", f"{knob.source or 'none named'}; {CONFIDENCE[knob.confidence]}"))
    return found


def partners_of(knob: Knob) -> list[str]:
    """Other knobs that are compared, ordered and put back together with this one."""
    parts = [part for form in knob_forms(knob) if form.coupled for part in form.parts.values()]
    return list(dict.fromkeys(part.knob for part in parts if part.knob not in ("", knob.key)))


def _files(knob: Knob) -> Iterator[str]:
    names = {"v1": "on cgroup v1", "v2": "on cgroup v2"}
    for version, file in knob_files(knob).items():
        yield f"{file} {names[version]}" if version in names else file


def knobs_markdown() -> str:
    """docs/knobs.md."""
    lines = [
        "# Knobs",
        "",
        "<!-- Written by `python -m cotune.reference` from the catalogue. -->",
        "",
        f"The {len(KNOBS)} keys a profile can set. `cotune explain KNOB` says the same, and whether it works on your "
        "host. How values are written is told in [profiles](profiles.md); which kernel has what in "
        "[kernels](kernels.md).",
        "",
    ]
    for title, knobs in _chapters():
        lines += [f"## {title}", ""]
        for knob in knobs:
            lines += [f"### {knob.key}", "", f"**{knob.title}.** {_escaped(knob.doc)}", ""]
            name = ""
            for field, text in fields(knob):
                name = field or name
                lines.append(f"- {name}: {_escaped(text)}")
            lines += ["", "```yaml", render(example(knob)).rstrip("\n"), "```", ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _chapters() -> list[tuple[str, list[Knob]]]:
    return [
        (title, [knob for knob in KNOBS if knob.key.partition(".")[0] in families])
        for title, families in _CHAPTERS.items()
    ]


def _escaped(text: str) -> str:
    return re.sub(r"([*_<>|])", r"\\\1", text)


# --- man pages --------------------------------------------------------------------------------------------------------


def knobs_man(version: str) -> str:
    """cotune-knobs(7)."""
    lines = [
        *_head("COTUNE-KNOBS", 7, version, "cotune-knobs", "the keys of a cotune profile"),
        ".SH DESCRIPTION",
        f"The {len(KNOBS)} kernel settings an isolation profile can name. cotune explain KNOB says the same, and "
        "whether it works on this host.",
    ]
    for title, knobs in _chapters():
        lines.append(f".SH {title.upper()}")
        for knob in knobs:
            lines += [".TP", f".B {_roff(knob.key)}", _roff(f"{knob.title}. {knob.doc}"), ".RS"]
            for field, text in fields(knob):
                lines += [".br", _roff(f"{field}: {text}" if field else text)]
            lines.append(".RE")
    return "\n".join([*lines, *_see_also(["cotune (1)"])]) + "\n"


class Program(NamedTuple):
    """What a manual page says of a program besides its command line.

    ``files`` are (path, what it is); ``see`` are other pages, such as ``cotune (1)``.
    """

    name: str
    what: str
    files: tuple[Field, ...]
    see: tuple[str, ...]


COTUNE = Program(
    "cotune",
    "apply isolation profiles to a host as one undoable transaction",
    (("/var/lib/cotune", "Transactions, readable for root only."), ("/run/cotune", "The lock.")),
    ("cotune-knobs (7)", "viewfs (1)"),
)


def program_man(program: Program, app: typer.Typer, version: str) -> str:
    """The page in section 1 of a program, from the same declarations as its ``--help``."""
    import typer

    from cotune.cli.app import EXIT_CODES

    root: Any = typer.main.get_command(app)
    lines = [
        *_head(program.name.upper(), 1, version, program.name, program.what),
        ".SH SYNOPSIS",
        f".B {program.name}",
        "[GLOBAL OPTIONS] COMMAND [OPTIONS] [ARGUMENTS]",
        ".SH DESCRIPTION",
        _roff(root.help),
        ".SH GLOBAL OPTIONS",
        *_options(root.params),
        ".SH COMMANDS",
    ]
    common = {parameter.name for parameter in root.params}
    for name, command in _verbs(root.commands):
        own = [parameter for parameter in command.params if parameter.name not in common]
        usage = " ".join(_metavar(p) for p in own if p.param_type_name == "argument")
        lines += [f".SS {program.name} {_roff(name)} {_roff(usage)}".rstrip(), *_paragraphs(command.help or "")]
        lines += _options([p for p in own if p.param_type_name == "option"])
    lines += [".SH EXIT STATUS"]
    for code, meaning in EXIT_CODES.items():
        lines += [".TP", f".B {code}", _roff(meaning)]
    lines += [".SH FILES"]
    for path, text in program.files:
        lines += [".TP", f".I {path}", text]
    return "\n".join([*lines, *_see_also(program.see)]) + "\n"


def _see_also(pages: Iterable[str]) -> list[str]:
    *others, last = pages
    return [".SH SEE ALSO", *(f".BR {page} ," for page in others), f".BR {last}"]


def _verbs(commands: dict[str, Any], group: str = "") -> Iterator[tuple[str, Any]]:
    """Every verb with its name, those of a group behind the name of the group."""
    for name, command in commands.items():
        if hasattr(command, "commands"):
            yield from _verbs(command.commands, f"{group}{name} ")
        else:
            yield f"{group}{name}", command


def _head(title: str, section: int, version: str, name: str, what: str) -> list[str]:
    return [
        r".\" Generated from the declarations of the program: not to be edited.",
        f'.TH {title} {section} "" "cotune {version}" "cotune manual"',
        ".SH NAME",
        f"{name.replace('-', chr(92) + '-')} \\- {what}",
    ]


def _options(parameters: Iterable[Any]) -> Iterator[str]:
    for parameter in parameters:
        if parameter.param_type_name != "option" or getattr(parameter, "hidden", False):
            continue
        words = ", ".join(sorted(parameter.opts, key=len))
        value = "" if parameter.is_flag else f" {_metavar(parameter)}"
        yield from (".TP", f".B {_roff(words + value)}", _roff(parameter.help or ""))


def _metavar(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _paragraphs(text: str) -> Iterator[str]:
    """The help of a verb; its examples, one to a line, stay apart."""
    for index, paragraph in enumerate(re.split(r"\n\s*\n", textwrap.dedent(text).strip())):
        if index:
            yield ".PP"
        yield _roff(" ".join(paragraph.split()))


def _roff(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    escaped = "".join(char if char.isascii() else f"\\[u{ord(char):04X}]" for char in escaped)
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def pages(root: Path) -> dict[Path, str]:
    """Every generated page of a checkout: path → text."""
    from cotune import __version__
    from cotune.cli.app import build

    return {
        root / "docs" / "knobs.md": knobs_markdown(),
        root / "packaging" / "man" / "cotune.1": program_man(COTUNE, build(), __version__),
        root / "packaging" / "man" / "cotune-knobs.7": knobs_man(__version__),
    }


def write(found: dict[Path, str]) -> None:
    """Write pages, and name them."""
    for path, text in found.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path)


if __name__ == "__main__":
    write(pages(Path(__file__).resolve().parents[1]))
