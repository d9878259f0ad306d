"""The application: which verbs there are."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from cotune.cli.ending import Call, run_application

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
    app.callback()(globals_callback(host=False))
    for module in VERBS.values():
        importlib.import_module(module).register(app)
    return app


def run(arguments: list[str]) -> int:
    """Run one command line; returns the exit code (the table of ``cotune --help``)."""
    verb = next((word for word in arguments if word in VERBS), None)
    call = Call("viewfs", verb, f"views.{verb or 'error'}", "interrupted")
    return run_application(call, arguments, build)
