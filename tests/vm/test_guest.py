"""A kernel with cgroup v2: everything in ``inside``, shared out to two guests with one pytest each."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from tests.conftest import SUMMARY
from tests.vm.guest import Guest, Missing, find_parts
from tests.vm.report import INSIDE, Result, cases, read_results

pytestmark = pytest.mark.slow

#: seconds until a guest is switched off; it needs a quarter of that on a machine with two CPUs and little else to do
LIMIT = 900.0
#: Modules inside that take about half of the time. They have a guest of their own: emulating Python keeps one CPU busy,
#: and most machines have two.
APART = {"test_crashes", "test_groups", "test_io", "test_kernel", "test_main_road", "test_order", "test_refusals"}
FIRST, SECOND = "guest-1", "guest-2"


class Told(NamedTuple):
    """The results of each case, and the guest's console."""

    results: dict[str, list[Result]]
    log: str


def command(wanted: list[str]) -> str:
    """The shell command of a guest: one pytest for all, since starting Python takes seconds there."""
    test = [sys.executable, "-m", "pytest", "-q", "-rN", "--tb=short", "--color=no", "-p", "no:cacheprovider"]
    test += ["-p", "tests.vm.report", "--basetemp=/run/pytest"]
    test += [f"tests/vm/inside/{case.replace('::', '.py::')}" for case in wanted]
    return f"{INSIDE}=/run/share/results PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 TMPDIR=/run {shlex.join(test)}"


def place(case: str) -> str:
    """The guest in which a case runs."""
    return SECOND if case.partition("::")[0] in APART else FIRST


class Guests:
    """The two guests. Each starts when the first of its cases asks for it, with all that are selected here."""

    def __init__(self, names: set[str], folders: pytest.TempPathFactory) -> None:
        """``names`` are those of the tests of this session."""
        self._names, self._folders = names, folders
        self._told: dict[str, Told] = {}

    def told(self, guest: str) -> Told:
        """What a guest has to tell; waits for its end."""
        if guest not in self._told:
            self._told[guest] = self._run(guest)
        return self._told[guest]

    def _run(self, guest: str) -> Told:
        try:
            parts = find_parts()
        except Missing as missing:
            pytest.skip(str(missing))
        mine = (case for case in cases() if place(case) == guest)
        wanted = [case for case in mine if f"{test_in_the_guest.__name__}[{case}]" in self._names]
        running = Guest(self._folders.mktemp(guest), parts, command(wanted))
        try:
            ended = running.wait(LIMIT)
        finally:
            running.kill()
        told = Told({}, running.log() + ("" if ended else f"\nswitched off after {LIMIT:.0f} s"))
        for result in read_results(running.share / "results"):
            told.results.setdefault(result.case, []).append(result)
        return told


@pytest.fixture(scope="module")
def guests(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Guests:
    return Guests({item.name for item in request.session.items}, tmp_path_factory)


def alone(guest: str, *values: object, name: str) -> Any:
    """Parameters of a test about one guest; all of them wait for it in the same worker."""
    return pytest.param(guest, *values, id=name, marks=pytest.mark.xdist_group(guest))


@pytest.mark.parametrize(("guest", "case"), [alone(place(case), case, name=case) for case in cases()])
def test_in_the_guest(guests: Guests, guest: str, case: str) -> None:
    told = guests.told(guest)
    results = told.results.get(case, [])
    failed = [f"{result.id}\n{result.text}" for result in results if result.outcome == "failed"]
    if failed:
        pytest.fail("\n\n".join(failed), pytrace=False)
    if not results:
        pytest.fail(f"the guest did not run it\n{told.log}", pytrace=False)
    skipped = [result.text for result in results if result.outcome == "skipped"]
    if len(skipped) == len(results):
        pytest.skip(f"in the guest: {skipped[0]}")


@pytest.mark.parametrize("guest", [alone(guest, name=guest) for guest in (FIRST, SECOND)])
def test_the_guest_ended_by_itself(guests: Guests, guest: str, record_property: Callable[[str, object], None]) -> None:
    told = guests.told(guest)
    ready = re.search(r"ready after (\S+) s", told.log)
    ended = re.search(r"ended with exit (\d) after (\S+) s", told.log)
    assert ready, told.log
    assert ended, told.log
    assert int(ended[1]) in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED), told.log
    number = sum(map(len, told.results.values()))
    record_property(SUMMARY, f"{guest}: ready after {ready[1]} s, {number} tests, off after {ended[2]} s")
