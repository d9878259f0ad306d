"""Finding knobs by what people call them: the key, the last part of it, or the kernel file."""

from __future__ import annotations

from difflib import get_close_matches

from cotune.controls import CONTROLS
from cotune.controls.base import Control
from cotune.errors import UsageError
from cotune.knobs import BY_KEY, KNOBS
from cotune.knobs.base import Knob


def knob_files(knob: Knob) -> dict[str, str]:
    """The kernel files a knob sets: cgroup version (``v1``, ``v2``) or ``any`` → file name, or sysctl name."""
    control = CONTROLS[knob.control]
    if control.scope == "sysctl":
        return {"any": knob.key if knob.section == "sysctl" else knob.part}
    if control.scope == "file":
        return {"any": file_path(knob)}
    files: dict[str, str] = {}
    for form in knob_forms(knob):
        files.update(form.parts[knob.part].files if knob.part in form.parts else next(iter(form.parts.values())).files)
    return files


def knob_forms(knob: Knob) -> list[Control]:
    """The controls a knob is part of: one for cgroup v1 and v2 alike, or one for each.

    A knob that is lowered into another part (cpu.smt_expeller) has the control it names.
    """
    control = CONTROLS[knob.control]
    forms = [control, CONTROLS[control.v2]] if control.v2 else [control]
    return [form for form in forms if knob.part in form.parts] or [control]


def other_names(knob: Knob) -> list[str]:
    """Names the file of a knob has on some kernels, beside those of :func:`knob_files`."""
    return [name for form in knob_forms(knob) if knob.part in form.parts for name in form.parts[knob.part].also]


def file_path(knob: Knob) -> str:
    """The path of a knob of scope ``file``; for a scheduler feature, its name."""
    part = CONTROLS[knob.control].parts.get(knob.part)
    return part.files["any"] if part else knob.part


def find_knobs(word: str) -> list[Knob]:
    """The knobs a word means: by key, else by kernel file, else by the end of the key. Empty when it means none."""
    if word in BY_KEY:
        return [BY_KEY[word]]
    by_file = [knob for knob in KNOBS if word in (*knob_files(knob).values(), *other_names(knob))]
    return by_file or [knob for knob in KNOBS if knob.key.endswith(f".{word}")]


def need_knobs(word: str) -> list[Knob]:
    """Like :func:`find_knobs`, but raises UsageError, with what is similar, when the word means no knob."""
    found = find_knobs(word)
    if not found:
        names = {name: None for knob in KNOBS for name in (knob.key, *knob_files(knob).values())}
        close = get_close_matches(word, names, n=1)
        hint = f"did you mean {close[0]}?" if close else "cotune knobs lists them"
        raise UsageError(f"{word} is neither a knob nor the file of one", hint)
    return found
