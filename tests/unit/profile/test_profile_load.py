"""load_profile as others use it: sources, results, warnings, the catalogue."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cotune import resources
from cotune.errors import Origin, ProfileError, UsageError
from cotune.profile import include
from cotune.profile.document import MAX_BYTES
from cotune.profile.load import MAX_PROBLEMS, ShippedProfile, digest, list_profiles, load_profile

HEAD = "apiVersion: cotune/v1\nkind: IsolationProfile\nmetadata: {name: test, version: 1.0.0, description: A test}\n"

FULL = """\
apiVersion: cotune/v1
kind: IsolationProfile
metadata: {name: online-offline, version: 1.2.0, description: Online services and batch jobs on one host}
requires: {features: [cpu.identity], boot: [cgwb_v1]}
vars: {offline_memory: 64GiB}
host:
  sysctl: {vm.min_free_kbytes: "min(4GiB, 3%)", vm.watermark_scale_factor: 50, net.ipv4.conf.eth0/100.forwarding: 1}
  sched: {group_identity: true}
  memory: {use_priority_oom: true}
  block:
    - match: {mountpoint: /data}
      nr_requests: 64
      scheduler: mq-deadline
      wbt_lat_usec: 0
  mounts:
    - match: {mountpoint: /data, fstype: ext4}
      options: {lazytime: true, barrier: false, commit: 30}
      accept_data_loss: true
groups:
  system: {match: {cgroup: system.slice}, memory: {priority: 12}}
  pods: {match: {cgroup: ["kubepods*/**/pod*", "/kubepods/pod[0-9]?"]}, memory: {wmark_ratio: 95}}
  online:
    match: {cgroup: online}
    create: true
    cpu: {identity: high, smt_expeller: true, shares: 4096, quota: 4.0, burst: 50%, cpus: 0-7}
    memory: {limit: 8GiB, wmark_min_adj: -25, wmark_ratio: 95, priority: 12}
  offline:
    match: {cgroup: offline}
    create: true
    cpu: {identity: low, shares: 2}
    memory: {limit: "${offline_memory}", wmark_min_adj: 50, priority: 0, dirty_bytes: 256MiB}
    io: {throttle: [{device: {mountpoint: /data}, write_bps: 100MiB, write_iops: 2000}]}
    pids: {max: max}
    tasks: {unit: batch.service}
  unit: {match: {systemd: nginx.service}, required: true, tasks: {comm: [a, b]}}
defaults: {unsupported: skip}
"""


def profile_file(folder: Path, text: str, name: str = "p.yaml") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def stdin(monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text)))


def refused(*sources: str) -> str:
    with pytest.raises(ProfileError) as caught:
        load_profile(sources)
    return str(caught.value)


def warnings(folder: Path, body: str) -> list[str]:
    path = profile_file(folder, HEAD + body)
    return [str(w).removeprefix(path + ":") for w in load_profile([path]).warnings]


def test_the_whole_format(tmp_path: Path) -> None:
    path = profile_file(tmp_path, FULL)
    profile = load_profile([path])
    assert (profile.name, profile.version, profile.files) == ("online-offline", "1.2.0", (path,))
    assert profile.description.startswith("Online services")
    assert profile.warnings == ()
    assert profile.data["groups"]["offline"]["memory"]["limit"] == "64GiB"
    assert profile.data["host"]["mounts"][0]["options"] == {"lazytime": True, "barrier": False, "commit": 30}
    assert "vars" not in profile.data
    assert "include" not in profile.data


def test_origins(tmp_path: Path) -> None:
    path = profile_file(tmp_path, FULL)
    profile = load_profile([path])
    assert profile.origin("groups", "offline", "cpu", "shares") == Origin(path, 30, 34, "groups.offline.cpu.shares")
    # a value that is not there has the origin of its nearest ancestor
    assert profile.origin("groups", "offline", "cpu", "quota").path == "groups.offline.cpu"
    assert profile.origin("nothing").path == ""
    throttle = profile.origin("groups", "offline", "io", "throttle", 0, "write_bps")
    assert throttle.path == "groups.offline.io.throttle[0].write_bps"


def test_digest_depends_on_the_meaning_only(tmp_path: Path) -> None:
    one = load_profile([profile_file(tmp_path, HEAD + "vars: {s: 10}\nhost: {sysctl: {vm.swappiness: '${s}'}}\n")])
    two = load_profile([profile_file(tmp_path, "# x\n" + HEAD + "host:\n  sysctl:\n    vm.swappiness: 0xA\n")])
    other = load_profile([profile_file(tmp_path, HEAD + "host: {sysctl: {vm.swappiness: 11}}\n")])
    assert one.digest == two.digest != other.digest
    assert len(one.digest) == 64
    assert digest({"b": 1, "a": "é"}) == digest({"a": "é", "b": 1})


def test_standard_input(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stdin(monkeypatch, (HEAD + "include: [base]\n").encode())
    monkeypatch.chdir(tmp_path)
    profile_file(tmp_path, HEAD + "host: {sysctl: {vm.swappiness: 1}}\n", "base.yaml")
    profile = load_profile(["-"])
    assert profile.files == ("base.yaml", "<stdin>")
    assert profile.data["host"] == {"sysctl": {"vm.swappiness": 1}}


def test_standard_input_fails_in_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin(monkeypatch, b"")
    assert refused("-").startswith("<stdin>: the file is empty")
    stdin(monkeypatch, b"#" * (MAX_BYTES + 10))
    assert refused("-").startswith("<stdin>: the file is larger than 1 MiB")
    stdin(monkeypatch, HEAD.encode())
    assert "standard input can be read only once" in refused("-", "-")
    monkeypatch.setattr(sys, "stdin", None)
    assert "standard input cannot be read" in refused("-")


def test_no_source() -> None:
    with pytest.raises(UsageError, match="no profile was named"):
        load_profile([])


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert refused(str(tmp_path / "gone.yaml")).startswith(f"{tmp_path}/gone.yaml: no such file")
    assert refused(str(tmp_path)).startswith(f"{tmp_path}: this is a directory")
    assert "no file can have this name" in refused("a\0b.yaml")
    assert refused("a\0b")
    assert "the name of the profile is empty" in refused("")
    assert "cannot be read: file name too long" in refused("x" * 300 + ".yaml")
    assert refused("x" * 300)
    loop = tmp_path / "loop.yaml"
    loop.symlink_to(loop)
    assert "cannot be read" in refused(str(loop))
    assert refused("/dev/null").startswith("/dev/null: the file is empty")
    assert "larger than 1 MiB" in refused("/dev/zero")


def test_ten_megabytes(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    with path.open("wb") as file:
        file.truncate(10 * 2**20)
    assert refused(str(path)) == (
        f"{path}: the file is larger than 1 MiB (10.0 MiB) (a profile is a few kilobytes: is this the right file?)"
    )


def test_unreadable_file(tmp_path: Path) -> None:
    """In a child process that gives up root, which may read everything; the file is found before that."""
    path = profile_file(tmp_path, HEAD)
    Path(path).chmod(0)
    code = (
        "import os, yaml, jsonschema\n"
        "from cotune.profile.load import load_profile\n"
        f"os.chdir({str(tmp_path)!r})\n"
        "os.getuid() or os.setuid(65534)\n"
        "load_profile(['p.yaml'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "p.yaml: the file cannot be read: permission denied (run as a user who may read it)" in done.stderr


def test_a_pipe_is_a_file(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, HEAD.encode())
    os.close(writing)
    try:
        assert load_profile([f"/dev/fd/{reading}"]).name == "test"
    finally:
        os.close(reading)


def test_names_of_shipped_profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped, here = tmp_path / "shipped", tmp_path / "here"
    shipped.mkdir()
    here.mkdir()
    monkeypatch.setattr(resources, "profiles_dir", lambda: shipped)
    monkeypatch.setattr(include, "SYSTEM_PROFILES", str(tmp_path / "none"))
    monkeypatch.chdir(here)
    profile_file(shipped, HEAD.replace("test", "batch"), "batch.yaml")
    profile_file(shipped, "a: [", "broken.yaml")
    profile_file(shipped, "x", "README.md")
    assert load_profile(["batch"]).name == "batch"
    assert "no such file, and no profile of that name (did you mean batch?)" in refused("batsh")
    assert "no such file" in refused("batch.yaml")
    assert "no such file" in refused("./batch")
    (here / "batch").mkdir()  # a directory is no profile
    assert load_profile(["batch"]).name == "batch"
    (here / "batch").rmdir()
    profile_file(here, HEAD.replace("test", "mine"), "batch")
    assert load_profile(["batch"]).name == "mine"
    entries = list_profiles()
    assert entries[0] == ShippedProfile("batch", "A batch", str(shipped / "batch.yaml"))
    assert entries[1].name == "broken"
    assert entries[1].description.startswith("cannot be read: ")
    assert len(entries) == 2


def test_an_incomplete_installation_still_reads_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Path:
        raise UsageError("no profiles here")

    monkeypatch.setattr(resources, "profiles_dir", missing)
    assert load_profile([profile_file(tmp_path, HEAD)]).name == "test"
    assert "no such file" in refused("batch")


def test_file_names_that_are_not_utf8(tmp_path: Path) -> None:
    path = str(tmp_path) + "/caf\udce9.yaml"
    with open(path, "w") as file:
        file.write("a: [")
    text = refused(path)
    assert "caf\\udce9.yaml:" in text
    text.encode()


def test_problems_are_capped_and_in_order(tmp_path: Path) -> None:
    body = "".join(f"x{n}: 1\n" for n in range(50))
    path = profile_file(tmp_path, HEAD + body)
    with pytest.raises(ProfileError) as caught:
        load_profile([path])
    problems = caught.value.problems
    assert len(problems) == MAX_PROBLEMS + 1
    assert [p.origin.line for p in problems[:-1]] == list(range(4, 24))
    assert problems[-1].message == "... and 30 more problems"


def test_all_stages_report_together(tmp_path: Path) -> None:
    body = """\
groups:
  a: {match: {cgroup: ../x}, cpu: {share: 1, shares: 1}}
  b: {cpu: {quota: "${q}"}}
  c: 5
  d: {match: {cgroup: d}, create: maybe, cpu: {identity: low, smt_expeller: true}}
"""
    text = refused(profile_file(tmp_path, HEAD + body)).split("\n")
    assert [line.split("p.yaml:")[1].split(": ")[0] for line in text] == [
        "5:23", "5:36", "5:54", "6:3", "6:20", "7:6", "8:35", "8:77",
    ]  # fmt: skip


def test_every_broken_file_is_reported(tmp_path: Path) -> None:
    one, two = profile_file(tmp_path, "a: [", "1.yaml"), profile_file(tmp_path, "- b", "2.yaml")
    assert len(refused(one, two, "gone.yaml").split("\n")) == 3


def test_null_deletes_what_a_base_sets(tmp_path: Path) -> None:
    base = profile_file(tmp_path, HEAD + "groups: {g: {match: {cgroup: a}, cpu: {shares: 2, idle: true}}}\n", "b.yaml")
    top = profile_file(tmp_path, HEAD + "groups: {g: {match: {cgroup: null, systemd: a.service}, cpu: {shares: }}}\n")
    group = load_profile([base, top]).data["groups"]["g"]
    assert group == {"match": {"systemd": "a.service"}, "cpu": {"idle": True}}


def test_an_included_file_needs_no_metadata(tmp_path: Path) -> None:
    profile_file(tmp_path, "apiVersion: cotune/v1\nkind: IsolationProfile\n", "part.yaml")
    assert load_profile([profile_file(tmp_path, HEAD + "include: [part]\n")]).name == "test"
    profile_file(tmp_path, "vars: {a: 1}\n", "part.yaml")
    text = refused(profile_file(tmp_path, HEAD + "include: [part]\n"))
    assert "part.yaml:1:1: the key apiVersion is missing" in text


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            "groups: {g: {match: {cgroup: system.slice}, cpu: {shares: 2}}}",
            "4:59: groups.g.cpu.shares: systemd may rewrite",
        ),
        ("groups: {g: {match: {cgroup: user.slice/a}, memory: {limit: max}}}", "groups.g.memory.limit: systemd may"),
        (
            "groups: {g: {match: {cgroup: kubepods*/**}, cpu: {quota: max}}}",
            "cpu.quota: the kubelet and runc may rewrite",
        ),
        ("groups: {g: {match: {systemd: a.service}, cpu: {quota: max}}}", "set-property --runtime a.service"),
        (
            "host: {block: [{match: {majmin: '8:32'}, nr_requests: 64}]}",
            "4:33: host.block[0].match.majmin: minor numbers",
        ),
        ("host: {block: [{match: {device: sda}}]}", "4:16: host.block[0]: this entry sets nothing"),
        ("host: {mounts: [{match: {mountpoint: /a}}]}", "this entry sets nothing"),
        ("host: {sysctl: {vm.min_free_kbyte: 1000}}", "did you mean vm.min_free_kbytes?"),
    ],
)
def test_warnings(tmp_path: Path, body: str, expected: str) -> None:
    (warning,) = warnings(tmp_path, body + "\n")
    assert expected in warning


@pytest.mark.parametrize(
    "body",
    [
        "groups: {g: {match: {cgroup: system.slice}, memory: {priority: 12}}}",
        "groups: {g: {match: {cgroup: system.slices}, cpu: {shares: 2}}}",
        "groups: {g: {match: {cgroup: 'a/**/b?/[!x]*/[]-]'}, cpu: {shares: 2}}}",
        "groups: {g: {match: {cgroup: 'system.slice/dev-disk\\x2dby.swap'}}}",
        "groups: {g: {match: {cgroup: a}, cpu: {smt_expeller: true, identity: high}}}",
        "groups: {g: {match: {cgroup: a}, cpu: {smt_expeller: false, identity: low}}}",
        "groups: {g: {match: {systemd: 'user@1000.service'}}}",
        "host: {sysctl: {kernel.printk: 4 4 1 7, fs.file-max: 1000000, kernel.sysrq: true}}",
        "host: {block: [{match: {device: /dev/nvme*n1}, scheduler: none}]}",
        "groups:\nhost:\nvars:\ninclude:\nrequires:\ndefaults:\n",
        "include: []\n",
    ],
)
def test_right_without_warnings(tmp_path: Path, body: str) -> None:
    assert warnings(tmp_path, body + "\n") == []


def test_a_list_of_owned_cgroups_warns_once(tmp_path: Path) -> None:
    body = "groups: {g: {match: {cgroup: [kubepods/a, kubepods/b]}, cpu: {shares: 2}}}\n"
    assert len(warnings(tmp_path, body)) == 1


def test_import_is_lean() -> None:
    code = "import sys, cotune.profile.load; print([m for m in ('yaml', 'jsonschema', 'difflib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_result_is_plain_json(tmp_path: Path) -> None:
    data: dict[str, Any] = load_profile([profile_file(tmp_path, FULL)]).data
    assert json.loads(json.dumps(data)) == data
