"""The application: which verbs there are, and the one place that turns exceptions into exit codes."""

from __future__ import annotations

import gc
import importlib
import io
import os
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING, Any

from cotune.cli.context import Globals
from cotune.errors import CotuneError, Interrupted, ProfileError, RollbackIncomplete, UsageError

if TYPE_CHECKING:
    import typer

#: Verb → module below cotune.cli, in the order of the help text.
VERBS = {
    "validate": "validate",
    "diff": "diff",
    "apply": "apply",
    "status": "status",
    "why": "why",
    "rollback": "rollback",
    "recover": "recover",
    "history": "history",
    "show": "show",
    "facts": "facts",
    "doctor": "doctor",
    "selftest": "selftest",
    "capture": "capture",
    "import": "importing",
    "profiles": "profiles",
    "knobs": "knobs",
    "explain": "explain",
    "schema": "schema",
    "demo": "demo",
    "sim": "sim",
}
_WITH_VALUE = ("--root", "--state-dir", "--sim")
EXIT_CODES = {
    0: "done or no difference",
    1: "differences found, or parts of a script not read",
    2: "usage or invalid profile, or a plan refused",
    3: "something required is unsupported here",
    4: "apply failed and was rolled back",
    5: "rollback incomplete",
    6: "another run holds the lock",
    7: "not permitted",
    70: "internal error",
    130: "interrupted",
}
_EPILOG = "Exit codes: " + ", ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items()) + "."


def build(only: str | None = None) -> typer.Typer:
    """The Typer application with one verb, or with all of them."""
    import typer

    from cotune.cli.context import globals_callback

    app = typer.Typer(
        name="cotune",
        help="Apply versioned isolation profiles to a Linux host as one undoable transaction.",
        epilog=_EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(globals_callback())
    for verb, module in VERBS.items():
        if only in (None, verb):
            importlib.import_module(f"cotune.cli.{module}").register(app)
    return app


def find_verb(arguments: list[str]) -> str | None:
    """The verb of a command line, or None when there is none (help, completion)."""
    skip = False
    for argument in arguments:
        if skip:
            skip = False
        elif argument in _WITH_VALUE:
            skip = True
        elif not argument.startswith("-"):
            return argument if argument in VERBS else None
    return None


def run(arguments: list[str]) -> int:
    """Run one command line; returns the exit code."""
    completing = any(name.startswith("_COTUNE_COMPLETE") or name == "_TYPER_COMPLETE_ARGS" for name in os.environ)
    verb = None if completing else find_verb(arguments)
    settings = Globals(json="--json" in arguments, verbose="-v" in arguments or "--verbose" in arguments)
    try:
        return _invoke(build(verb), arguments, verb, settings)
    except CotuneError as error:
        return _report(error, verb, settings)
    except KeyboardInterrupt:
        return _report(Interrupted("interrupted; what was begun has been undone"), verb, settings)
    except BrokenPipeError:
        # whoever read our output went away; keep Python from complaining at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return _internal(error, verb, settings)


def prepare_process() -> None:
    """What a process of our own needs, and a caller of :func:`run` might not want."""
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    # names of cgroups and processes may hold anything; printing them must never fail
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # a command lives for a moment and makes many small records but no cycles worth collecting
    gc.disable()


def _interrupt(number: int, frame: FrameType | None) -> None:
    """A termination request ends like Ctrl-C: what was begun is undone first."""
    raise KeyboardInterrupt


def _invoke(app: typer.Typer, arguments: list[str], verb: str | None, settings: Globals) -> int:
    import typer

    try:
        result: Any = app(arguments, prog_name="cotune", standalone_mode=False)
    except typer.Abort:
        raise KeyboardInterrupt from None
    except typer.TyperException as error:
        return _usage(error, verb, settings)
    return result if isinstance(result, int) else 0


def _usage(error: typer.TyperException, verb: str | None, settings: Globals) -> int:
    """A command line Typer does not understand; it knows best how to show that."""
    if settings.json:
        return _report(
            UsageError(str(error), f"see cotune {verb} --help" if verb else "see cotune --help"), verb, settings
        )
    show = getattr(error, "show", None)
    if show is not None:
        show()
    else:
        print(f"cotune: {error}", file=sys.stderr)
    return 2


def _report(error: CotuneError, verb: str | None, settings: Globals) -> int:
    """Print an error for people or as JSON; returns its exit code."""
    if settings.json:
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
        record = {"schema": f"cotune.{verb or 'error'}/v1", "exit": error.exit_code, "errors": problems, "left": left}
        print(json.dumps(record, indent=2))
        return error.exit_code
    print(f"cotune: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"  hint: {error.hint}", file=sys.stderr)
    return error.exit_code


def _internal(error: Exception, verb: str | None, settings: Globals) -> int:
    if settings.verbose:
        import traceback

        traceback.print_exc()
    text = f"internal error: {type(error).__name__}: {error}"
    return _report(CotuneError(text, "run again with -v for the traceback and report it"), verb, settings)
