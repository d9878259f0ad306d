"""Thousands of damaged profiles: each loads or is refused with a ProfileError, never anything else."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cotune.errors import ProfileError, UsageError
from cotune.profile.document import parse_document
from cotune.profile.load import load_profile

SEED_PROFILE = (Path(__file__).parent / "test_profile_load.py").read_text().split('FULL = """\\\n')[1].split('"""')[0]
SEED_DATA = yaml.safe_load(SEED_PROFILE)
ROUNDS = 700

SCALARS: list[Any] = [
    None, True, False, 0, 1, -1, 2**31, 2**63, -(2**70), 1.5, 1e308, "", " ", "max", "on", "${x}", "${offline_memory}",
    "$${", "${", "../..", "/", "**", "a/**b", "[", "8:32", "a\nb", "\0", "\u202e", "\ud800", "é" * 50, "x" * 5000,
    "50%",
    "-5%", "1e9999", "min(1,2)", "min(min(1,2),3)", "99999999999999999999TiB", "node:9999999",
    "0-99999999999", "٣", "💥",
]  # fmt: skip
KEYS = [
    "cpu", "memory", "shares", "limit", "match", "cgroup", "systemd", "include", "vars", "x", "", "é", "<<", "a b",
    "on", "vm.swappiness", "memory_limit", "metadata", "name", "device", "throttle", "groups", "host", "\n", "${x}",
]  # fmt: skip
TOKENS = [
    "a", "b: ", "- ", "? ", ": ", "&a ", "*a", "*b ", "!!str ", "!x ", "\n", "\n  ", "\n    ", "\n\t", "[", "]", "{",
    "}", ",", "'", '"', "|", ">", "%YAML 1.1\n", "%TAG ! x\n", "---\n", "...\n", "<<: ", "groups:",
    "apiVersion: cotune/v1\n",
    "${a}", "\t", "#", "\\", "\ufeff", "\u2028", "\x85", "é", "0", "-1", ".inf", "~", "null", "\r\n", "\r", "@", "`",
    "=", "1e5",
]  # fmt: skip


def outcome(raw: bytes, path: Path) -> Any:
    """What becomes of the file ``raw``: its data, or the problems it is refused with."""
    path.write_bytes(raw)
    try:
        return load_profile([str(path)]).data
    except ProfileError as error:
        assert error.problems
        for problem in error.problems:
            str(problem).encode()
            assert str(problem).isprintable(), repr(str(problem))
            assert problem.origin.file.startswith(str(path.parent))
            assert len(str(problem)) < 2000
        return str(error)
    except UsageError as error:
        return str(error)


def collections(value: Any) -> list[Any]:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    here = [value] if isinstance(value, (dict, list)) else []
    return here + [deep for child in children for deep in collections(child)]


def mutate_structure(random_: random.Random) -> bytes:
    data = copy.deepcopy(SEED_DATA)
    for _ in range(random_.randrange(1, 5)):
        target = random_.choice(collections(data))
        value = copy.deepcopy(random_.choice([random_.choice(SCALARS), random_.choice(collections(data)), [], {}]))
        if isinstance(target, dict):
            key = random_.choice([*target, random_.choice(KEYS)])
            action = random_.randrange(3)
            if action == 0:
                target.pop(key, None)
            else:
                target[key if action == 1 else random_.choice(KEYS)] = value
        elif target and random_.random() < 0.3:
            target.pop()
        else:
            target.insert(0, value)
    # YAML reads JSON, and JSON can spell every string
    return json.dumps(data, ensure_ascii=random_.random() < 0.5, indent=random_.choice([None, 1])).encode(
        "utf-8", "replace"
    )


def mutate_bytes(random_: random.Random) -> bytes:
    raw = bytearray(SEED_PROFILE.encode())
    for _ in range(random_.randrange(1, 6)):
        start = random_.randrange(len(raw))
        end = min(len(raw), start + random_.randrange(12))
        action = random_.randrange(5)
        if action == 0:
            raw[start] = random_.randrange(256)
        elif action == 1:
            del raw[start:end]
        elif action == 2:
            raw[start:start] = raw[end : end + random_.randrange(60)]
        elif action == 3:
            raw[start:end] = random_.choice(TOKENS).encode()
        else:
            raw[start] = random_.choice(b" \t\n:-[]{}'\"&*!%@`#,?|>$")
    return bytes(raw)


def random_text(random_: random.Random) -> bytes:
    body = "".join(random_.choices(TOKENS, k=random_.randrange(1, 40)))
    return (body if random_.random() < 0.7 else SEED_PROFILE[:120] + body).encode()


@pytest.mark.parametrize("make", [mutate_structure, mutate_bytes, random_text])
def test_fuzz(make: Callable[[random.Random], bytes], tmp_path: Path) -> None:
    random_ = random.Random(make.__name__)
    outcomes = [outcome(make(random_), tmp_path / "fuzz.yaml") for _ in range(ROUNDS)]
    assert any(isinstance(result, str) for result in outcomes)


def test_fuzzed_includes(tmp_path: Path) -> None:
    """Damaged files that include each other."""
    random_ = random.Random(5)
    for _ in range(100):
        for name in "abc":
            include = random_.sample(
                ["a", "b", "c", "./a.yaml", "../x", "/", ".", "..", "", "a.yaml/b", "${a}", "d"], 2
            )
            data = {**SEED_DATA, "include": include}
            if random_.random() < 0.3:
                data = json.loads(mutate_structure(random_)) | {"include": include}
            (tmp_path / f"{name}.yaml").write_text(json.dumps(data))
        outcome(json.dumps({**SEED_DATA, "include": ["a"]}).encode(), tmp_path / "main.yaml")


def test_both_parsers_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where both accept a document it means the same; positions included."""

    def parsed(raw: bytes) -> Any:
        try:
            document = parse_document(raw, "f")
        except ProfileError:
            return None
        return document.data, document.origins

    random_ = random.Random(11)
    samples = [make(random_) for make in (mutate_structure, mutate_bytes, random_text) for _ in range(100)]
    first = [parsed(raw) for raw in samples]
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    second = [parsed(raw) for raw in samples]
    for raw, one, other in zip(samples, first, second, strict=True):
        assert one is None or other is None or one == other, raw
