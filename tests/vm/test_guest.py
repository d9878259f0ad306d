"""A kernel with cgroup v2: everything in ``inside``, run by one pytest in one guest."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.conftest import SUMMARY
from tests.vm.guest import Guest, Missing, find_parts
from tests.vm.report import INSIDE, Result, cases, read_results

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("both-cpus")]

#: seconds until the guest is switched off; it needs a quarter of that on a machine with two CPUs and little else to do
LIMIT = 900.0


class Told(NamedTuple):
    """The results of each case, and the guest's console."""

    results: dict[str, list[Result]]
    log: str


def command(wanted: list[str]) -> str:
    """The shell command of the guest: one pytest for all, since starting Python takes seconds there."""
    test = [sys.executable, "-m", "pytest", "-q", "-rN", "--tb=short", "--color=no", "-p", "no:cacheprovider"]
    test += ["-p", "tests.vm.report", "--basetemp=/run/pytest"]
    test += [f"tests/vm/inside/{case.replace('::', '.py::')}" for case in wanted]
    return f"{INSIDE}=/run/share/results PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 TMPDIR=/run {shlex.join(test)}"


@pytest.fixture(scope="module")
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """Start the guest with the cases selected here, and wait for its end."""
    try:
        parts = find_parts()
    except Missing as missing:
        pytest.skip(str(missing))
    names = {item.name for item in request.session.items}
    wanted = [case for case in cases() if f"{test_in_the_guest.__name__}[{case}]" in names]
    guest = Guest(tmp_path_factory.mktemp("guest"), parts, command(wanted))
    try:
        ended = guest.wait(LIMIT)
    finally:
        guest.kill()
    told = Told({}, guest.log() + ("" if ended else f"\nswitched off after {LIMIT:.0f} s"))
    for result in read_results(guest.share / "results"):
        told.results.setdefault(result.case, []).append(result)
    return told


@pytest.mark.parametrize("case", cases())
def test_in_the_guest(told: Told, case: str) -> None:
    results = told.results.get(case, [])
    failed = [f"{result.id}\n{result.text}" for result in results if result.outcome == "failed"]
    if failed:
        pytest.fail("\n\n".join(failed), pytrace=False)
    if not results:
        pytest.fail(f"the guest did not run it\n{told.log}", pytrace=False)
    skipped = [result.text for result in results if result.outcome == "skipped"]
    if len(skipped) == len(results):
        pytest.skip(f"in the guest: {skipped[0]}")


def test_the_guest_ended_by_itself(told: Told, record_property: Callable[[str, object], None]) -> None:
    ready = re.search(r"ready after (\S+) s", told.log)
    ended = re.search(r"ended with exit (\d) after (\S+) s", told.log)
    assert ready, told.log
    assert ended, told.log
    assert int(ended[1]) in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED), told.log
    number = sum(map(len, told.results.values()))
    record_property(SUMMARY, f"guest: ready after {ready[1]} s, {number} tests, off after {ended[2]} s")
