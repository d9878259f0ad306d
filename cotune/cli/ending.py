"""How a command line ends: the one place that turns exceptions into messages and exit codes, for all programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from cotune.errors import CotuneError, Interrupted, ProfileError, RollbackIncomplete, UsageError

if TYPE_CHECKING:
    import typer


class Call(NamedTuple):
    """A command line: its program and verb (None: help, or nothing that is known).

    ``schema`` names its record in ``--json``, ``interrupted`` is what to say after Ctrl-C.
    """

    program: str
    verb: str | None
    schema: str
    interrupted: str
    json: bool = False
    verbose: bool = False


def run_application(call: Call, arguments: list[str], build: Callable[[], typer.Typer]) -> int:
    """Run a command line; returns the exit code."""
    call = call._replace(json="--json" in arguments, verbose="-v" in arguments or "--verbose" in arguments)
    try:
        return _invoke(build(), arguments, call)
    except CotuneError as error:
        return _report(error, call)
    except KeyboardInterrupt:
        return _report(Interrupted(call.interrupted), call)
    except BrokenPipeError:
        # whoever read our output went away; keep Python from complaining at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return _internal(error, call)


def _invoke(app: typer.Typer, arguments: list[str], call: Call) -> int:
    import typer

    try:
        result: Any = app(arguments, prog_name=call.program, standalone_mode=False)
    except typer.Abort:
        raise KeyboardInterrupt from None
    except typer.TyperException as error:
        return _usage(error, call)
    return result if isinstance(result, int) else 0


def _usage(error: typer.TyperException, call: Call) -> int:
    """A command line Typer does not understand; it knows best how to show that."""
    if call.json:
        words = " ".join(filter(None, (call.program, call.verb)))
        return _report(UsageError(str(error), f"see {words} --help"), call)
    show = getattr(error, "show", None)
    if show is not None:
        show()
    else:
        print(f"{call.program}: {error}", file=sys.stderr)
    return 2


def _report(error: CotuneError, call: Call) -> int:
    """Print an error for people or as JSON; returns its exit code."""
    if call.json:
        import json

        problems = (
            [
                {"where": str(p.origin), "path": p.origin.path, "message": p.message, "hint": p.hint}
                for p in error.problems
            ]
            if isinstance(error, ProfileError)
            else [{"message": error.message, "hint": error.hint}]
        )
        left = list(error.left) if isinstance(error, RollbackIncomplete) else []
        record = {"schema": f"cotune.{call.schema}/v1", "exit": error.exit_code, "errors": problems, "left": left}
        print(json.dumps(record, indent=2))
        return error.exit_code
    print(f"{call.program}: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"  hint: {error.hint}", file=sys.stderr)
    return error.exit_code


def _internal(error: Exception, call: Call) -> int:
    if call.verbose:
        import traceback

        traceback.print_exc()
    text = f"internal error: {type(error).__name__}: {error}"
    return _report(CotuneError(text, "run again with -v for the traceback and report it"), call)
