"""What every verb shares: the global options, the session, and output for people or machines."""

from __future__ import annotations

import functools
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

if TYPE_CHECKING:
    import typer

    from cotune.session import Session

#: One line of output: pieces of (style, text). Styles are rich's; they only show on a terminal.
Line = list[tuple[str, str]]


@dataclass(frozen=True)
class Globals:
    """The global options."""

    root: Path | None = None
    state_dir: Path | None = None
    sim: str | None = None
    json: bool = False
    text: bool = False
    verbose: bool = False
    no_color: bool = False

    def words(self) -> list[str]:
        """The options that say which host and state, as a command line would repeat them."""
        given = (("--root", self.root), ("--state-dir", self.state_dir), ("--sim", self.sim))
        return [word for option, value in given if value is not None for word in (option, str(value))]


@dataclass(frozen=True)
class Cli:
    """Handed to every verb."""

    options: Globals

    @contextmanager
    def session(self) -> Iterator[Session]:
        """The host and state the global options name."""
        from cotune.session import open_session

        with open_session(self.options.root, self.options.state_dir, self.options.sim) as session:
            yield session

    def emit(self, verb: str, record: dict[str, Any], lines: Callable[[], Iterable[Line]]) -> None:
        """Print a result: with ``--json`` the record, otherwise the lines; with ``--text`` the record has both."""
        if self.options.json:
            if self.options.text:
                shown = ("".join(_printable(text) for _, text in line) for line in lines())
                record = {**record, "text": "".join(f"{line}\n" for line in shown)}
            text = json.dumps({"schema": f"cotune.{verb}/v1", **record}, indent=2, default=str)
            self.print([[("", text)]])
        else:
            self.print([(style, _printable(text)) for style, text in line] for line in lines())

    def print(self, lines: Iterable[Line]) -> None:
        """Print lines to standard output, in colour on a terminal.

        The work is done by then: an output that cannot be written is said on standard error and changes no exit code.
        """
        try:
            self._print(lines)
        except BrokenPipeError:
            raise
        except OSError as error:
            print(f"cotune: the result could not be printed: {error.strerror}", file=sys.stderr)
            # what is buffered would fail again at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _print(self, lines: Iterable[Line]) -> None:
        if sys.stdout.isatty() and not self.options.json and not self.options.no_color and "NO_COLOR" not in os.environ:
            from rich.console import Console
            from rich.text import Text

            console = Console(highlight=False, soft_wrap=True)
            for line in lines:
                console.print(Text.assemble(*((text, style) for style, text in line)))
        else:
            sys.stdout.write("".join("".join(text for _, text in line) + "\n" for line in lines))
            sys.stdout.flush()

    def note(self, text: str) -> None:
        """A remark for people, on standard error."""
        if not self.options.json:
            print(text, file=sys.stderr)

    @contextmanager
    def progress(self, label: str) -> Iterator[Callable[[int, int], None]]:
        """A progress bar on a terminal, for work that takes longer than a moment; nothing elsewhere."""
        if not sys.stderr.isatty() or self.options.json:
            yield lambda done, total: None
            return
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True, no_color=self.options.no_color), transient=True) as bar:
            task = bar.add_task(label, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)


def _printable(text: str) -> str:
    """Text with control characters escaped: names of cgroups and processes must not steer a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


#: Global options that choose a host.
_HOST = ("root", "sim")


def _parameters(host: bool) -> list[inspect.Parameter]:
    """The global options; without those that choose a host for a program that works on the running one only."""
    import typer

    def option(name: str, kind: Any, *words: str, **more: Any) -> inspect.Parameter:
        annotation = Annotated[kind, typer.Option(*words, rich_help_panel="Global options", **more)]
        default = False if kind is bool else None
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)

    path: Any = Path | None
    found = [
        option("root", path, "--root", metavar="DIR", help="Work on the host whose / is DIR."),
        option("state_dir", path, "--state-dir", metavar="DIR", help="Keep transactions and the lock in DIR."),
        option("sim", str | None, "--sim", metavar="KERNEL", help="Work on a simulated host, e.g. anck-4.19."),
        option("json", bool, "--json", help="Print one JSON object."),
        option("text", bool, "--text", help="With --json: also what is printed without, as the key text."),
        option("verbose", bool, "-v", "--verbose", help="More detail; tracebacks of internal errors."),
        option("no_color", bool, "--no-color", help="No colours, even on a terminal."),
    ]
    return [parameter for parameter in found if host or parameter.name not in _HOST]


def globals_callback(host: bool = True) -> Callable[..., None]:
    """The application's callback: keeps global options given before the verb. ``host`` as in :func:`command`."""

    def callback(context: typer.Context, **given: Any) -> None:
        context.obj = Globals(**given)

    return _signed(callback, _parameters(host))


def command(function: Callable[..., int | None], host: bool = True) -> Callable[..., int | None]:
    """Give a verb the global options; its first parameter becomes a :class:`Cli`.

    ``host`` is whether another host than the running one can be chosen.
    """
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    common = _parameters(host)
    names = {parameter.name for parameter in common}

    @functools.wraps(function)
    def wrapper(context: typer.Context, **given: Any) -> int | None:
        before = context.obj or Globals()
        after = {name: value for name in names if (value := given.pop(name))}
        return function(Cli(replace(before, **after)), **given)

    return _signed(wrapper, [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + common)


def _signed(function: Callable[..., Any], parameters: list[inspect.Parameter]) -> Callable[..., Any]:
    """Typer reads options from the signature and the annotations, so both are set."""
    import typer

    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    parameters = [context, *parameters]
    function.__dict__.pop("__wrapped__", None)
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return function
