"""Any text at all: the import ends, and what it writes is a valid profile."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cotune.importing.profile import import_script, profile_name, profile_text
from cotune.profile.load import load_profile

CASES = Path(__file__).resolve().parents[2] / "cases" / "import"
SCRIPTS = [path.read_text() for path in sorted(CASES.glob("*.sh"))]
LINES = [line for script in SCRIPTS for line in script.splitlines()]
PIECES = [
    "echo ", "printf '%s' ", "> ", ">> ", "/sys/fs/cgroup/cpu/", "offline/", "a/", "../", "cpu.shares", "cpu.max",
    "memory.limit_in_bytes", "cpu.bvt_warp_ns", "cpuset.cpus", "blkio.throttle.read_bps_device", "/proc/sys/", "vm/",
    "swappiness", "/sys/block/", "sda", "queue/", "scheduler", "2 ", "-1 ", "max ", "9" * 30, " 8:0 1 ", "0x10", "1G",
    "$X", "${X}", "${X:-", "}", "$((", "))", "**", "1<<", "$(", ")", "`", "'", '"', "\\", "\n", ";", "&&", "||", "|",
    "&", "(", "{", "}", "for x in ", "{1..9}", "{a,b}", "do ", "done", "if ", "[ -e ", "] ", "[[ ", "]] ", "then ",
    "else ", "elif ", "fi", "while ", "case ", " in ", "*)", ";;", "esac", "function ", "f() ", "X=", "X=(", "X+=",
    "$X[@]", "${X[@]}", "cat <<E > ", "\nE\n", "<<< ", "tee ", "sudo ", "sh -c '", "sysctl -w ", "a.b=", "=", "cd ",
    "mkdir ", "mount -o remount,", "commit=5", "nobarrier ", "/data", "cgset -r ", "cgcreate -g cpu:", "exit ", "#",
    "systemctl set-property a.service ", "CPUQuota=", "50%", "*", "?", "[", "~", "\t", "\r", "é", "\u2028", "\u202e",
    "\x1b", "\ufffd", "\x7f",
]  # fmt: skip


def check(source: str) -> None:
    """Import ``source`` and load the profile it gives."""
    imported = import_script(source, profile_name("x.sh"))
    text = profile_text(imported, "x.sh", "0")
    for item in imported.unread:
        assert item.reason
        assert 1 <= item.line <= source.count("\n") + 1
        assert item.text.isprintable()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.yaml"
        path.write_text(text, encoding="utf-8")
        assert load_profile([str(path)]).data["metadata"]["name"] == "x"


BOUNDED = settings(max_examples=120, deadline=5000, suppress_health_check=[HealthCheck.too_slow])


@BOUNDED
@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_pieces_of_the_language(source: str) -> None:
    check(source)


@BOUNDED
@given(st.text(max_size=200))
@example("echo 1 > /sys/fs/cgroup/cpu/\u2028/cpu.shares")
def test_any_text(source: str) -> None:
    check(source.replace("\0", ""))


@BOUNDED
@given(st.data())
def test_damaged_scripts(data: st.DataObject) -> None:
    script = data.draw(st.sampled_from(SCRIPTS))
    for _ in range(data.draw(st.integers(1, 4))):
        begin = data.draw(st.integers(0, len(script)))
        end = data.draw(st.integers(begin, min(len(script), begin + 30)))
        script = script[:begin] + data.draw(st.sampled_from([*PIECES, *LINES])) + script[end:]
    check(script)


@pytest.mark.parametrize(
    "source",
    [
        "(" * 5000,
        "{ " * 5000,
        "if " * 5000,
        "! " * 5000 + "true",
        "$(" * 5000,
        "${X:-" * 5000,
        '"$(' * 3000,
        "echo $((" + "(" * 5000 + "1" + ")" * 5000 + ")) > /proc/sys/vm/swappiness",
        "echo $((" + "-" * 5000 + "1)) > /proc/sys/vm/swappiness",
        "echo $((" + "2**" * 900 + "2)) > /proc/sys/vm/swappiness",
        "echo " + "{a,b}" * 200_000 + " > /proc/sys/vm/swappiness",
        "for i in {1..999}; do " * 19 + "echo" + "; done" * 19,
        "X=aa\n" + "X=$X$X\n" * 200 + "echo $X > /proc/sys/vm/swappiness",
        "X=(a b)\n" + 'X=("${X[@]}" "${X[@]}")\n' * 200,
        "[ " + "! " * 900 + "-e x ] && echo 1 > /proc/sys/vm/swappiness",
        "a" * 1_000_000,
        "'" + "a\n" * 300_000,
        '"' * 1_000_000,
        "\\" * 1_000_000,
        "echo 1 > /proc/sys/vm/swappiness\n" * 8_000,
        "cat <<E\n" * 30_000,
        "sh -c 'sh -c \"sh -c x\"'\n" * 1000,
        "A=1 " * 60_000,
        "#" * 1_000_000,
        "x=$" * 100_000,
    ],
    ids=lambda source: f"{source[:12]!r}",
)  # fmt: skip
def test_bounds(source: str) -> None:
    check(source)
