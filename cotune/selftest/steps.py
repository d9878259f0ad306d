"""The words probes are written in.

A family is a table of files, a file a list of steps, a step one operation with the result that is known for it. The
tables state ranges on their own and never look at the knob catalogue: a wrong range there must not hide itself here.

Conditions are words that must all hold: a kernel family (``anck``, ``mainline``, ``tencentos``, ``openeuler``), a
release (``<5.8``, ``>=5.15``), how it begins (``build=4.19.91-25.``), or the value of a sysctl
(``kernel.sched_group_identity_enabled=0``).

Texts may hold ``{name}``: ``page``, ``page-1``, ``page+1`` (bytes), ``unlimited`` (the largest v1 size), ``cpus``,
``cpu``, ``cpu2``, ``mems`` (of the scratch group), ``disk``, ``disk2``, ``partition`` (MAJ:MIN), ``disk_sysfs``, and
``parent:FILE`` for what FILE reads in the parent of the family's group. A step whose name has no value on this host is
left out.
"""

from __future__ import annotations

from typing import NamedTuple

#: Condition → what holds then: ``OK TEXT``, the name of an errno, or nothing when no rule is known.
Other = dict[str, str]


class Step(NamedTuple):
    """One operation: ``what`` it is in words, and the ``errno`` (OK for success) and read-back known for it.

    ``reads`` None means that the text afterwards is not compared; after a refusal it must be the one before.
    ``group`` is below the family's group; ``file`` another file than the one the step is listed under.
    """

    what: str
    op: str
    input: str
    errno: str
    reads: str | None
    group: str
    file: str
    other: tuple[tuple[str, str], ...]


class File(NamedTuple):
    """A control file, where its rules come from, and its steps in order.

    ``irreversible`` files are only tried on request: their values cannot be taken back, or reach past the group.
    """

    name: str
    source: str
    steps: tuple[Step, ...]
    irreversible: bool = False


class Family(NamedTuple):
    """Files of one controller that are probed together, in a group of their own.

    ``versions`` are those of cgroup the controller may be on. ``unsafe`` is a condition under which the family is left
    out, and why.
    """

    name: str
    controller: str
    versions: tuple[int, ...]
    files: tuple[File, ...]
    unsafe: tuple[str, str] | None = None


class HostFile(NamedTuple):
    """A file of the whole host: only read, and only compared with the ``form`` (a regular expression) of its text."""

    path: str
    form: str
    source: str


def reads(what: str, text: str | None, *, group: str = "", file: str = "", other: Other | None = None) -> Step:
    """A read that gives ``text``."""
    return Step(what, "read", "", "OK", text, group, file, _pairs(other))


def takes(
    what: str, text: str, then: str | None = None, *, group: str = "", file: str = "", other: Other | None = None
) -> Step:
    """A write that succeeds and reads back as ``then``, or as it was written."""
    return Step(what, "write", text, "OK", text if then is None else then, group, file, _pairs(other))


def refuses(
    what: str, text: str, errno: str = "EINVAL", *, group: str = "", file: str = "", other: Other | None = None
) -> Step:
    """A write that fails and changes nothing."""
    return Step(what, "write", text, errno, None, group, file, _pairs(other))


def triggers(what: str, text: str, *, other: Other | None = None) -> Step:
    """A write that succeeds; what can be read afterwards is not compared."""
    return Step(what, "write", text, "OK", None, "", "", _pairs(other))


def makes(group: str, errno: str = "OK", what: str = "a child group") -> Step:
    """A mkdir below the family's group."""
    return Step(what, "mkdir", "", errno, None, group, "", ())


def removes(group: str) -> Step:
    """A rmdir below the family's group."""
    return Step("the child group again", "rmdir", "", "OK", None, group, "", ())


def _pairs(other: Other | None) -> tuple[tuple[str, str], ...]:
    return tuple((other or {}).items())
