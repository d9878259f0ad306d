"""The modules, run as Ansible runs them, on a simulated host as files."""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.collection.lab import Modules, cotune, simulated

pytestmark = [pytest.mark.root, pytest.mark.slow]


def profile(name: str = "", **cpu: Any) -> dict[str, Any]:
    """A profile for one new group of its own name."""
    name = name or f"t{uuid.uuid4().hex[:8]}"
    group = {"match": {"cgroup": name}, "create": True, "cpu": cpu or {"shares": 128}}
    metadata = {"name": name, "version": "1.0.0"}
    return {"apiVersion": "cotune/v1", "kind": "IsolationProfile", "metadata": metadata, "groups": {"g": group}}


@pytest.fixture
def wanted(host: Modules) -> Iterator[dict[str, Any]]:
    """A profile that is rolled back in the end."""
    made = profile()
    yield made
    host.run("profile", profile=made["metadata"]["name"], state="absent", allow=["force"])


def group_of(anck: Path, made: dict[str, Any]) -> Path:
    return anck / "sys/fs/cgroup/cpu,cpuacct" / str(made["metadata"]["name"])


def test_applied_and_absent(host: Modules, anck: Path, wanted: dict[str, Any]) -> None:
    first = host.run("profile", profile=wanted, label="run-1").ok()
    assert first["changed"] and first["outcome"] == "done" and first["transaction"]
    assert [change["knob"] for change in first["changes"]] == ["cgroup", "cpu.shares"]
    assert (group_of(anck, wanted) / "cpu.shares").read_text() == "128\n"
    again = host.run("profile", profile=wanted).ok()
    assert not again["changed"] and again["counts"] == {"changes": 0, "unsupported": 0, "pending": 0}
    assert len(json.dumps(again)) < 300, "a host that needs nothing answers in a few words"
    gone = host.run("profile", profile=wanted, state="absent").ok()
    assert gone["changed"] and gone["outcome"] == "absent" and gone["rolled_back"] == [first["transaction"]]
    assert not group_of(anck, wanted).exists()
    assert not host.run("profile", profile=wanted, state="absent").ok()["changed"]


def test_check_mode_changes_nothing_and_shows_the_diff_of_cotune(
    host: Modules, anck: Path, wanted: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "profile.yaml"
    file.write_text(json.dumps(wanted))
    _, shown = cotune("--root", anck, "diff", file)
    would = host.run("profile", profile=str(file), check_mode=True, diff_mode=True).ok()
    assert would["changed"] and would["outcome"] == "differences"
    assert would["diff"] == [{"prepared": shown}]
    assert not group_of(anck, wanted).exists() and "transaction" not in would
    host.run("profile", profile=str(file)).ok()
    assert not host.run("profile", profile=str(file), check_mode=True).ok()["changed"]
    _, shown = cotune("--root", anck, "rollback", "--profile", wanted["metadata"]["name"], "--dry-run")
    would = host.run("profile", profile=str(file), state="absent", check_mode=True, diff_mode=True).ok()
    assert would["changed"] and would["diff"] == [{"prepared": shown}]
    assert group_of(anck, wanted).exists()


def test_rollback_by_label(host: Modules, anck: Path, wanted: dict[str, Any]) -> None:
    label = f"run-{uuid.uuid4().hex}"
    host.run("profile", profile=wanted, label=label).ok()
    assert not host.run("profile", label="another", state="absent").ok()["changed"]
    assert group_of(anck, wanted).exists()
    undone = host.run("profile", label=label, state="absent").ok()
    assert undone["changed"] and undone["ansible_facts"] == {"cotune_outcome": "absent", "cotune_label": label}
    assert not group_of(anck, wanted).exists()


def test_profiles_are_merged(host: Modules, anck: Path, wanted: dict[str, Any]) -> None:
    name = wanted["metadata"]["name"]
    text = {"name": "over.yaml", "content": json.dumps(profile(name, shares=300))}
    result = host.run("profile", profile=[wanted, text]).ok()
    assert [change["desired"] for change in result["changes"] if change["knob"] == "cpu.shares"] == [300]
    status = json.loads(cotune("--root", anck, "status", "--json")[1])
    assert name in status["profiles"]


@pytest.mark.parametrize(
    ("arguments", "outcome", "message"),
    [
        ({"profile": "nosuch"}, "refused", "exit 2 (refused): nosuch: no such file"),
        ({"profile": {"kind": "x"}}, "refused", "profile-1.yaml"),
        ({"profile": []}, None, "the list is empty"),
        ({"profile": 7}, None, "expected a text or a mapping"),
        ({"profile": {"src": "a.yaml"}}, None, "action plugin"),
        ({"executable": "/nonexistent/cotune", "profile": "base"}, "not_installed", "role cotune.host.host"),
        ({"profile": None}, None, "one of the following is required"),
        ({"profile": None, "label": "x"}, None, "profile, src"),
    ],
)
def test_errors(host: Modules, arguments: dict[str, Any], outcome: str | None, message: str) -> None:
    result = host.run("profile", **{"profile": None, **arguments}).failed(outcome)
    assert message in result["msg"] and "Traceback" not in result["msg"]


def test_a_profile_is_chosen_on_the_host(host: Modules, anck: Path, wanted: dict[str, Any]) -> None:
    choice = {"by": "dialect", "of": {"anck-4.19": wanted, "mainline-v2": "base"}}
    host.run("profile", profile=[choice]).ok()
    assert group_of(anck, wanted).exists()
    assert not host.run("profile", profile={"by": "cgroup_mode", "of": {"default": wanted}}).ok()["changed"]
    result = host.run("profile", profile={"by": "cgroup_mode", "of": {"v2": "base"}}).failed("unsupported")
    assert result["msg"] == "profile: the cgroup_mode of this host is v1, and of has v2"
    assert "by: expected one of" in host.run("profile", profile={"by": "mood", "of": {}}).failed()["msg"]


def test_what_is_required_and_missing(host: Modules) -> None:
    needs = {**profile(), "requires": {"boot": ["no_such_word"]}}
    result = host.run("profile", profile=needs, check_mode=True).failed("unsupported")
    assert result["exit_code"] == 3 and "not booted with no_such_word" in result["msg"]


def test_consent(host: Modules, wanted: dict[str, Any]) -> None:
    greedy = {**wanted, "host": {"sysctl": {"vm.min_free_kbytes": "10%"}}}
    assert "--force" in host.run("profile", profile=greedy, check_mode=True).failed("refused")["msg"]
    assert host.run("profile", profile=greedy, check_mode=True, allow=["force"]).ok()["changed"]


def test_a_refusal_by_the_kernel_is_undone_and_told(collections: Path, tmp_path: Path, anck: Path) -> None:
    made = profile(shares=128, quota=2.0)
    with simulated(tmp_path, "anck-4.19", "errno=EINVAL,write=1+,path=*/cpu.cfs_quota_us") as point:
        result = Modules(collections, root=str(point)).run("profile", profile=made).failed("undone")
        assert result["exit_code"] == 4 and "Everything written before it was undone" in result["msg"]
        assert not group_of(point, made).exists()


def test_a_lock_is_told_apart(host: Modules, anck: Path, wanted: dict[str, Any]) -> None:
    import fcntl

    lock = anck / "run/cotune/lock"
    host.run("profile", profile=wanted).ok()
    with open(lock, "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        result = host.run("profile", profile=wanted, wait=0).failed("locked")
    assert result["exit_code"] == 6


def test_nothing_is_done_where_another_installation_is_expected(
    host: Modules, anck: Path, wanted: dict[str, Any], tmp_path: Path
) -> None:
    record = tmp_path / "installation"
    expect: dict[str, Any] = {"installation": "abc", "installation_file": str(record)}
    host.run("profile", profile=wanted, **expect).failed("not_installed")
    assert not group_of(anck, wanted).exists()
    record.write_text("abc\n")
    assert host.run("profile", profile=wanted, **expect).ok()["changed"]


def test_applied_at_boot(collections: Path, anck: Path, wanted: dict[str, Any], tmp_path: Path) -> None:
    upper, work = tmp_path / "upper", tmp_path / "work"
    upper.mkdir()
    work.mkdir()
    # /etc is written in a mount namespace of the module's own
    layers = f"lowerdir=/etc,upperdir={upper},workdir={work}"
    script = f'mount -t overlay overlay -o {layers} /etc && exec "$@"'
    host = Modules(collections, ("unshare", "--mount", "sh", "-c", script, "sh"), root=str(anck))
    sent = {"name": "mine.yaml", "content": json.dumps(wanted)}
    assert host.run("profile", profile=sent, boot=True, check_mode=True).ok()["changed"]
    assert not (upper / "cotune").exists()
    assert host.run("profile", profile=sent, boot=True, allow=["force"]).ok()["changed"]
    assert (upper / "cotune/boot/1-mine.yaml").read_text() == sent["content"]
    words = (upper / "cotune/apply.env").read_text()
    assert words == 'COTUNE_APPLY="--force -- /etc/cotune/boot/1-mine.yaml"\n'
    assert not host.run("profile", profile=sent, boot=True, allow=["force"]).ok()["changed"]
    result = host.run("profile", profile=[sent, wanted], boot=True, diff_mode=True).ok()
    assert [one.get("after_header") for one in result["diff"]] == [
        "/etc/cotune/apply.env",
        "/etc/cotune/boot/2-profile-2.yaml",
    ]
    assert "cannot stand in a unit" in host.run("profile", profile=sent, only=["a b"], boot=True).failed()["msg"]
    assert host.run("profile", profile=wanted["metadata"]["name"], state="absent", boot=True).ok()["changed"]
    assert not (upper / "cotune/apply.env").is_file() and not list((upper / "cotune/boot").glob("*.yaml"))


def test_facts(host: Modules) -> None:
    facts = host.run("facts", knobs=True).ok()["ansible_facts"]["cotune"]
    assert facts["dialect"] == "anck-4.19" and facts["boot_words"]["psi_v1"] == "psi_v1=1"
    assert facts["pressure"] == {"host": True, "cgroups": True} and "kubelet" in facts["managers"]
    assert "cpu.identity" in {*facts["knobs"]["yes"], *facts["knobs"]["gated"]}
    assert host.run("facts", executable="/nonexistent").ok()["ansible_facts"] == {"cotune_outcome": "not_installed"}


def test_audit(host: Modules, anck: Path, wanted: dict[str, Any]) -> None:
    host.run("profile", profile=wanted).ok()
    assert host.run("audit", profile=wanted).ok()["state"] == "ok"
    (group_of(anck, wanted) / "cpu.shares").write_text("77")
    result = host.run("audit", profile=wanted).ok()
    assert result["state"] == "drift" and [one["current"] for one in result["status"]["drift"]] == [77]
    assert [change["desired"] for change in result["differences"]["changes"]] == [128]
    host.run("profile", profile=wanted).ok()
    assert host.run("audit", profile=profile()).ok()["state"] == "differs"


def test_report(collections: Path, tmp_path: Path) -> None:
    answers = tmp_path / "answers"
    answers.mkdir()
    status = {"profiles": ["batch"], "held": 3, "drift": [{}], "interrupted": [], "vanished": 0}
    (answers / "b.json").write_text(json.dumps({"host": "b", "state": "drift", "status": status}))
    (answers / "a.json").write_text(json.dumps({"host": "a", "state": "unreachable", "error": "no\nroute"}))
    modules = Modules(collections, executable=None)
    result = modules.run("report", folder=str(answers), dest=str(tmp_path / "r.json")).ok()
    assert result["totals"] == {"unreachable": 1, "drift": 1}
    written = json.loads((tmp_path / "r.json").read_text())
    assert [one["host"] for one in written["hosts"]] == ["a", "b"]
    rows = (tmp_path / "r.txt").read_text().splitlines()
    assert [row.split() for row in rows[1:]] == [
        ["a", "unreachable", "-", "-", "-", "no", "route"],
        ["b", "drift", "3", "1", "-", "batch"],
    ]
    assert "No such file" in modules.run("report", folder="/nonexistent", dest=str(tmp_path / "x")).failed()["msg"]


def pressure(total: int) -> str:
    return "".join(f"{kind} avg10=12.50 avg60=0.00 avg300=0.00 total={total}\n" for kind in ("some", "full"))


class TestGate:
    """The health gate, on files that a kernel would have."""

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        (tmp_path / "proc/pressure").mkdir(parents=True)
        for name in ("cpu", "memory", "io"):
            (tmp_path / "proc/pressure" / name).write_text(pressure(5))
        return tmp_path

    @pytest.fixture
    def gate(self, collections: Path, root: Path) -> Modules:
        return Modules(collections, executable=None, root=str(root), seconds=1)

    def test_open(self, gate: Modules) -> None:
        assert gate.run("gate").ok()["readings"] == {"host memory.full": 0.0, "host io.full": 0.0}

    def test_averages(self, gate: Modules) -> None:
        assert gate.run("gate", seconds=0, pressure={"cpu.some": 13}).ok()["readings"] == {"host cpu.some": 12.5}
        result = gate.run("gate", seconds=0, pressure={"cpu.some": 12}).failed()
        assert result["problems"] == ["host cpu.some is 12.5 percent, at most 12 are allowed"]

    def test_closed_without_anything_to_read(self, gate: Modules, root: Path) -> None:
        for file in (root / "proc/pressure").iterdir():
            file.unlink()
        assert "pressure of the host cannot be read" in gate.run("gate").failed()["msg"]
        assert "pressure of online cannot be read" in gate.run("gate", groups=["online"]).failed()["msg"]

    def test_throttling_and_latency_in_place_of_pressure(self, gate: Modules, root: Path) -> None:
        group = root / "sys/fs/cgroup/cpu/online"
        group.mkdir(parents=True)
        (group / "cpu.stat").write_text("nr_periods 100\nnr_throttled 90\nthrottled_time 1\n")
        assert gate.run("gate", groups=["online"]).ok()["readings"] == {"online nr_throttled": 0.0}
        (group / "cpuacct.wait_latency").write_text("0-1ms: \t10\n10-100ms: \t3\n>=100ms: \t4\n")
        assert gate.run("gate", groups=["/online"]).ok()["readings"]["/online cpuacct.wait_latency"] == 0.0

    def test_check_of_the_user(self, gate: Modules) -> None:
        assert gate.run("gate", check=["true"]).ok()
        result = gate.run("gate", check=["sh", "-c", "echo not well >&2; exit 3"]).failed()
        assert result["problems"] == ["sh -c echo not well >&2; exit 3: exit 3: not well"]

    @pytest.mark.parametrize("key", ["cpu", "cpu.most", "disk.some"])
    def test_wrong_key(self, gate: Modules, key: str) -> None:
        assert f"pressure: {key}: expected" in gate.run("gate", pressure={key: 1}).failed()["msg"]

    def test_a_simulated_host(self, collections: Path, anck: Path) -> None:
        gate = Modules(collections, executable=None, root=str(anck), seconds=0)
        assert gate.run("gate").ok()["readings"] == {"host memory.full": 0.0, "host io.full": 0.0}


class TestViews:
    """Policies; containers are attached in tests of their own."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        return tmp_path / "etc" / "views.yaml"

    @pytest.fixture
    def views(self, collections: Path, file: Path, tmp_path: Path) -> Modules:
        return Modules(collections, policies_file=str(file), state_dir=str(tmp_path / "state"))

    def test_policies(self, views: Modules, file: Path) -> None:
        wanted = {"default": {"cpu": "quota"}}
        assert views.run("views", policies=wanted, check_mode=True).ok()["changed"] and not file.exists()
        result = views.run("views", policies=wanted, diff_mode=True).ok()
        assert result["policies_changed"] and result["diff"][0]["after"] == file.read_text()
        assert os.stat(file).st_mode & 0o777 == 0o644
        assert not views.run("views", policies=wanted).ok()["changed"]
        result = views.run("views", policies={"default": {"cpu": "host"}}, backup=True).ok()
        assert json.loads(Path(result["backup_file"]).read_text())["default"] == {"cpu": "quota"}
        assert views.run("views", policies={}).ok()["changed"] and not file.exists()

    def test_wrong_policies_are_not_written(self, views: Modules, file: Path) -> None:
        result = views.run("views", policies={"default": {"cpus": 1}}).failed("refused")
        assert re.search(r'unknown key "cpus".*did you mean cpu', result["msg"]) and not file.exists()

    def test_nothing_to_detach(self, views: Modules) -> None:
        assert not views.run("views", detach=["docker:nosuch"]).ok()["changed"]
