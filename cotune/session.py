"""A session: the host a command works on and where its state is kept."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cotune.errors import UsageError
from cotune.host.facts import Host
from cotune.journal import Journal
from cotune.ledger import Ledger
from cotune.state import StateDir, default_state, given_state, held, make_private

if TYPE_CHECKING:
    from cotune.sim.kernel import SimKernel


@dataclass
class Session:
    """``host`` to work on, ``state`` directory, and the ``journal`` in it."""

    host: Host
    state: StateDir
    journal: Journal

    def ledger(self) -> Ledger:
        """Who owns what, from the transactions in force."""
        return Ledger(self.journal.load(), self.host.boot_id)


@contextmanager
def open_session(root: Path | None, state_dir: Path | None, sim: str | None) -> Iterator[Session]:
    """A session on the running host, on the directory ``root``, or on the simulated kernel ``sim``.

    A simulated host lives in the state directory and is saved when the session ends. Raises UsageError.
    """
    if sim is not None and root is not None:
        raise UsageError("--sim and --root exclude each other", "a simulated kernel has no directory")
    opened = _simulated(sim, state_dir) if sim is not None else _real(str(root or "/"), state_dir)
    with opened as session:
        yield session


@contextmanager
def _real(root: str, state_dir: Path | None) -> Iterator[Session]:
    from cotune.kernel.real import RealKernel

    try:
        kernel = RealKernel(root)
    except OSError as error:
        raise UsageError(f"--root {root}: {error.strerror}", "name a directory that holds proc and sys") from None
    state = given_state(state_dir) if state_dir else default_state(root, kernel.realpath)
    try:
        yield Session(Host(kernel), state, Journal(state))
    finally:
        kernel.close()


@contextmanager
def _simulated(name: str, state_dir: Path | None) -> Iterator[Session]:
    with simulated_host(name, state_dir, wait=60.0) as (kernel, state):
        yield Session(Host(kernel), state, Journal(state))


@contextmanager
def simulated_host(name: str, state_dir: Path | None, wait: float) -> Iterator[tuple[SimKernel, StateDir]]:
    """The simulated host of a state directory, held for the caller alone and saved at the end.

    ``wait`` is in seconds. Raises UsageError, Locked, NotPermitted.
    """
    from cotune.sim.kernel import SimKernel

    # apart from the running host's transactions: another boot id there would look like a reboot
    state = given_state((state_dir or default_state("/").path) / "sim" / name)
    kernel = SimKernel(name)  # an unknown name is refused before anything is made
    make_private(state.path)
    path = simulated_file(state, name)
    # the simulated host is loaded, changed and saved as a whole, so commands on it take turns
    with held(state.path / "host.lock", wait, "wait for it, unmount the host (sim mount), or pass another --state-dir"):
        if path.exists():
            kernel = SimKernel.load(name, path)
        try:
            yield kernel, state
        finally:
            kernel.save(path)


def simulated_file(state: StateDir, name: str) -> Path:
    """Where the simulated kernel of a state directory is saved."""
    return state.path / f"{name}.json"


def timestamp() -> str:
    """Now, in UTC, as journals keep it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
