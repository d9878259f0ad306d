"""views.yaml: what it means, and what is said about a wrong one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cotune.errors import ProfileError
from tests.unit.views.grove import CASES
from viewfs.policy import Policies, load_policies, schema
from viewfs.types import Policy

WRONG: list[dict[str, Any]] = yaml.safe_load((CASES / "policies_wrong.yaml").read_text(encoding="utf-8"))
HEAD = "apiVersion: cotune/v1\nkind: ContainerViews\n"


def load(tmp_path: Path, text: str) -> Policies:
    file = tmp_path / "views.yaml"
    file.write_text(text, encoding="utf-8")
    return load_policies(str(file))


def test_without_entries_the_defaults_hold(tmp_path: Path) -> None:
    assert load(tmp_path, HEAD).of("/docker/1234") == Policy() == Policies().of("/")


def test_the_last_matching_entry_wins(tmp_path: Path) -> None:
    policies = load(
        tmp_path,
        HEAD
        + "default: {cpu: quota, loadavg: false}\n"
        + "containers:\n"
        + "  - {match: {cgroup: [/kubepods/**, /docker/*]}, cpu: min, topology: view}\n"
        + "  - {match: {cgroup: /kubepods/besteffort/*}, uptime: host, compat: lxcfs}\n"
        + "  - {match: {cgroup: /kubepods/besteffort/x}, compat: none, loadavg: true, swap: false}\n",
    )
    default = Policy(cpu="quota", loadavg=False)
    assert policies.of("/lxc/a") == default == policies.of("/docker/a/b")
    assert policies.of("/docker/a") == policies.of("kubepods") == default._replace(cpu="min", topology="view")
    inner = default._replace(cpu="min", topology="view", uptime="host", compat="lxcfs")
    assert policies.of("/kubepods/besteffort/y/") == inner
    assert policies.of("/kubepods/besteffort/x") == inner._replace(compat="", loadavg=True, swap=False)


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("/a/*/c", "/a/b/c", True),
        ("/a/*/c", "/a/b/b/c", False),
        ("/a/**/c", "/a/b/b/c", True),
        ("/a/**/c", "/a/c", True),
        ("**/c", "/c", True),
        ("/a/[!b]?", "/a/xy", True),
        ("/a/[!b]?", "/a/by", False),
        ("/A", "/a", False),
    ],
)
def test_patterns(tmp_path: Path, pattern: str, path: str, matches: bool) -> None:
    policies = load(tmp_path, HEAD + f'containers:\n  - {{match: {{cgroup: "{pattern}"}}, cpu: host}}\n')
    assert (policies.of(path).cpu == "host") is matches


@pytest.mark.parametrize("case", WRONG, ids=lambda case: str(case["name"]))
def test_wrong_files(case: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ProfileError) as raised:
        load(tmp_path, case["text"] if case.get("whole") else HEAD + case["text"])
    said = [str(problem).removeprefix(f"{tmp_path}/") for problem in raised.value.problems]
    assert said == case["problems"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="no such file"):
        load_policies(str(tmp_path / "none.yaml"))


def test_the_example_of_the_documentation_loads(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[3] / "docs/views.md").read_text(encoding="utf-8")
    policies = load(tmp_path, page.partition("\n## Policies\n")[2].partition("```yaml\n")[2].partition("```")[0])
    assert policies.default == Policy()
    assert policies.of("/kubepods/pod1/c") == Policy(cpu="quota")
    assert policies.of("/lxc.payload.web").compat == policies.of("/docker/1").compat == "lxcfs"


def test_the_schema_knows_every_setting() -> None:
    assert set(schema()["properties"]["default"]["properties"]) == set(Policy._fields)
