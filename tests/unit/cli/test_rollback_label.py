"""rollback --label: every transaction of one run, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.conftest import Cotune

SWAPPINESS, SHARES = "/proc/sys/vm/swappiness", "/sys/fs/cgroup/cpu/jobs/cpu.shares"
SYSCTL = "host:\n  sysctl: {vm.swappiness: 10}\n"
GROUP = "groups:\n  jobs:\n    match: {cgroup: jobs}\n    create: true\n    cpu: {shares: 64}\n"


def read(cotune: Cotune, path: str) -> str:
    with cotune.host() as kernel:
        return kernel.read(path).strip()


def apply(cotune: Cotune, name: str, body: str, label: str = "") -> None:
    cotune("apply", cotune.profile(body, name), *(["--label", label] if label else []))


def states(cotune: Cotune) -> list[str]:
    """The states of all transactions, oldest first."""
    return [one["state"] for one in cotune.json("history")["transactions"]][::-1]


@pytest.mark.parametrize("applied", [False, True], ids=["nothing applied", "another label"])
def test_no_transaction_is_no_error(mainline: Cotune, applied: bool) -> None:
    """A host that had nothing to do in a run has no transaction of it, and rollback of a run goes over all hosts."""
    if applied:
        apply(mainline, "host", SYSCTL, "run-1")
    said = "nothing to roll back: no transaction with the label run-2 is in force"
    assert mainline("rollback", "--label", "run-2").lines == [said]
    record = mainline.json("rollback", "--label", "run-2")
    assert (record["transactions"], record["errors"]) == ([], [])
    assert record["notes"] == ["no transaction with the label run-2 is in force"]
    assert states(mainline) == ["committed"] * applied


def test_profile_without_transaction_is_no_error(mainline: Cotune) -> None:
    said = "nothing to roll back: no transaction of the profile host is in force"
    assert mainline("rollback", "--profile", "host").lines == [said]


def test_several_newest_first_and_others_stay(mainline: Cotune) -> None:
    before = read(mainline, SWAPPINESS)
    apply(mainline, "host", SYSCTL, "run-1")
    apply(mainline, "jobs", GROUP)
    apply(mainline, "host", SYSCTL.replace("10", "20"), "run-1")
    record = mainline.json("rollback", "--label", "run-1")
    assert [one["transaction"] for one in record["transactions"]] == ["000003", "000001"]
    assert [(one["path"], str(one["value"])) for one in record["restored"]] == [(SWAPPINESS, before)]
    assert (read(mainline, SWAPPINESS), read(mainline, SHARES)) == (before, "64")
    assert states(mainline) == ["rolled-back", "committed", "rolled-back"]
    assert "nothing to roll back" in mainline("rollback", "--label", "run-1").out


def test_superseded_is_refused_as_a_whole(mainline: Cotune) -> None:
    apply(mainline, "host", SYSCTL, "run-1")
    apply(mainline, "jobs", GROUP, "run-1")
    apply(mainline, "other", SYSCTL.replace("10", "30"))
    refused = mainline("rollback", "--label", "run-1", code=2).err
    assert "transaction 000001 (host) was superseded: sysctl vm.swappiness belongs to transaction 000003" in refused
    assert "roll back transaction 000003 first" in refused
    assert (read(mainline, SWAPPINESS), read(mainline, SHARES)) == ("30", "64")
    assert states(mainline) == ["committed"] * 3
    mainline("rollback", "3")
    mainline("rollback", "--label", "run-1")
    assert states(mainline) == ["rolled-back"] * 3


def test_what_others_changed_is_left_and_named(mainline: Cotune) -> None:
    before = read(mainline, SWAPPINESS)
    apply(mainline, "host", SYSCTL, "run-1")
    apply(mainline, "jobs", GROUP, "run-1")
    mainline.write(SWAPPINESS, "77")
    record = mainline.json("rollback", "--label", "run-1", code=5)
    assert len(record["left"]) == 1
    assert "vm.swappiness" in record["left"][0]
    assert record["errors"] == record["left"]
    assert record["removed"] == ["/sys/fs/cgroup/cpu/jobs"]
    assert read(mainline, SWAPPINESS) == "77"
    # undone as one plan, they end as one, and are there to be tried again
    assert states(mainline) == ["partly-rolled-back"] * 2
    again = mainline.json("rollback", "--label", "run-1", "--force")
    assert [one["path"] for one in again["restored"]] == [SWAPPINESS]
    assert read(mainline, SWAPPINESS) == before
    assert states(mainline) == ["rolled-back"] * 2


def test_transactions_of_an_earlier_boot_are_over(mainline: Cotune) -> None:
    apply(mainline, "host", SYSCTL, "run-1")
    (saved,) = Path(mainline.directory).glob("sim/*/mainline-v1.json")
    saved.unlink()  # a fresh host has another boot id
    assert "no transaction with the label run-1 is in force" in mainline("rollback", "--label", "run-1").out


@pytest.mark.parametrize(
    "words", [["rollback", "--label", ""], ["rollback", "--profile", " "], ["apply", "x", "--label", ""]]
)
def test_an_empty_name_is_refused(mainline: Cotune, words: list[str]) -> None:
    """A script whose variable is not set must not roll back all that has no label."""
    apply(mainline, "host", SYSCTL)
    assert "is empty" in mainline(*words, code=2).err
    assert read(mainline, SWAPPINESS) == "10"
