"""The unit that ships: systemd itself finds nothing wrong with it, and it starts the command there is."""

from __future__ import annotations

import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

from viewfs.service import DEFAULT_MOUNT

UNIT = Path(__file__).resolve().parents[3] / "packaging" / "systemd" / "viewfs.service"


def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    copy = tmp_path / UNIT.name
    # the program is where a package would put it, not here
    copy.write_text(UNIT.read_text().replace("/usr/bin/viewfs", "/bin/true"))
    command = ["systemd-analyze", "verify", "--man=no", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_it_serves_where_the_commands_look() -> None:
    parser = ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment]
    parser.read(UNIT)
    service = parser["Service"]
    assert service["ExecStart"] == f"/usr/bin/viewfs mount --foreground {DEFAULT_MOUNT}"
    assert service["ExecStopPost"].endswith(DEFAULT_MOUNT)
    assert (service["Type"], service["Restart"]) == ("notify", "on-failure")
