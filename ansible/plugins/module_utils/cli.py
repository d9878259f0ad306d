# Copyright: the cotune authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Running cotune and viewfs on a host, and what their exit codes mean."""

from __future__ import annotations

import json
import os
from typing import Any, NoReturn

#: Exit code of cotune and viewfs, in a word.
OUTCOMES = {
    0: "done",
    1: "differences",
    2: "refused",
    3: "unsupported",
    4: "undone",
    5: "incomplete",
    6: "locked",
    7: "not_permitted",
    70: "internal_error",
    130: "interrupted",
}
#: Options that say which host and which state, of every module.
HOST_OPTIONS: dict[str, Any] = {
    "root": {"type": "path"},
    "state_dir": {"type": "path"},
}


class Command:
    """A program of cotune with the options that say which host it works on."""

    def __init__(self, module: Any, beside: str = "") -> None:
        """``beside`` is another program, in the folder of the executable."""
        self.module = module
        self.executable: str = module.params["executable"]
        if beside:
            self.executable = os.path.join(os.path.dirname(self.executable), beside)
        self.options: list[str] = []
        for name in ("root", "state_dir"):
            if module.params.get(name):
                self.options += ["--" + name.replace("_", "-"), module.params[name]]

    def is_installed(self) -> bool:
        """Whether the program is there."""
        return os.access(self.executable, os.X_OK) and os.path.isfile(self.executable)

    def version(self) -> str:
        """The version of the program."""
        output: str = self.module.run_command([self.executable, "--version"], check_rc=True)[1]
        return output.split()[-1]

    def run(self, words: list[str], accept: tuple[int, ...] = (0,), cwd: str | None = None) -> dict[str, Any]:
        """The JSON object that ``words`` print. Fails the module for an exit code that is not in ``accept``."""
        if not self.is_installed():
            self.module.fail_json(
                msg="%s is not there: install cotune with the role cotune.host.host, or set executable"
                % self.executable,
                outcome="not_installed",
            )
        command = [self.executable, "--json"] + (["--text"] if self.module._diff else []) + self.options + words
        code, output, errors = self.module.run_command(command, cwd=cwd)
        record = _parse(output)
        if code not in accept or record is None:
            self._fail(words[0], code, record or {}, output, errors)
        return record

    def _fail(self, verb: str, code: int, record: dict[str, Any], output: str, errors: str) -> NoReturn:
        program = os.path.basename(self.executable)
        outcome = OUTCOMES.get(code, "internal_error")
        problems = record.get("errors") or []
        texts = [_sentence(problem) for problem in problems] or [(errors or output).strip()]
        self.module.fail_json(
            msg="%s %s: exit %d (%s): %s" % (program, verb, code, outcome.replace("_", " "), "\n".join(texts)),
            exit_code=code,
            outcome=outcome,
            errors=problems,
            left=record.get("left", []),
            **{key: record[key] for key in ("restored", "removed") if key in record},
        )
        raise AssertionError("fail_json returned")


def _parse(output: str) -> dict[str, Any] | None:
    try:
        record = json.loads(output)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _sentence(problem: Any) -> str:
    if not isinstance(problem, dict):
        return str(problem)
    where = [problem[key] for key in ("where", "path") if problem.get(key)]
    hint = problem.get("hint")
    return ": ".join(where + [problem.get("message", "")]) + (" (%s)" % hint if hint else "")
