"""The application: which verbs there are, and the one place that turns exceptions into exit codes."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from typing import TYPE_CHECKING, Any

from cotune.errors import CotuneError, Interrupted, Problem, ProfileError

if TYPE_CHECKING:
    import typer

#: Verb → module with a function ``register(app)``, in the order of the help text.
VERBS = {
    "mount": "viewfs.cli.mount",
    "attach": "viewfs.cli.attach",
    "detach": "viewfs.cli.detach",
    "status": "viewfs.cli.status",
    "wire": "viewfs.cli.wire",
    "hook": "viewfs.cli.hook",
    "validate": "viewfs.cli.validate",
}


def build() -> typer.Typer:
    """The Typer application."""
    import typer

    from cotune.cli.context import globals_callback

    app = typer.Typer(
        name="viewfs",
        help="Give each container its own /proc and list of online CPUs.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(globals_callback())
    for module in VERBS.values():
        importlib.import_module(module).register(app)
    return app


def run(arguments: list[str]) -> int:
    """Run one command line; returns the exit code (the table of ``cotune --help``)."""
    import typer

    as_json, verbose = "--json" in arguments, "-v" in arguments or "--verbose" in arguments
    try:
        result: Any = build()(arguments, prog_name="viewfs", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except CotuneError as error:
        return _report(error, as_json)
    except (KeyboardInterrupt, typer.Abort):
        return _report(Interrupted("interrupted"), as_json)
    except typer.TyperException as error:
        show = getattr(error, "show", None)
        if show is None:
            return _report(CotuneError(str(error)), as_json)
        show()
        return 2
    except Exception as error:
        if verbose:
            import traceback

            traceback.print_exc()
        text = f"internal error: {type(error).__name__}: {error}"
        return _report(CotuneError(text, "run again with -v for the traceback and report it"), as_json)


def _report(error: CotuneError, as_json: bool) -> int:
    """Print an error for people or as JSON; returns its exit code."""
    if as_json:
        problems = error.problems if isinstance(error, ProfileError) else [error]
        errors = [
            {"message": problem.message, "hint": problem.hint}
            | ({"where": str(problem.origin), "path": problem.origin.path} if isinstance(problem, Problem) else {})
            for problem in problems
        ]
        print(json.dumps({"schema": "cotune.error/v1", "exit": error.exit_code, "errors": errors}, indent=2))
    else:
        print(f"viewfs: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"  hint: {error.hint}", file=sys.stderr)
    return error.exit_code
