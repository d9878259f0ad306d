"""What the engine tests on simulated hosts share."""

from __future__ import annotations

from pathlib import Path

from cotune.apply import Result, apply
from cotune.host.facts import Host
from cotune.journal import Journal
from cotune.kernel.port import Kernel
from cotune.planning import Options
from cotune.profile.load import Profile, load_profile

HEADER = "apiVersion: cotune/v1\nkind: IsolationProfile\n"


def write_profile(folder: Path, name: str, body: str) -> Profile:
    """A profile with the given body, loaded."""
    path = folder / f"{name}.yaml"
    path.write_text(f"{HEADER}metadata: {{name: {name}}}\n{body}")
    return load_profile([str(path)])


def run(kernel: Kernel, journal: Journal, profile: Profile, options: Options | None = None) -> Result:
    """Apply a profile with nobody watching."""
    return apply(profile, Host(kernel), journal, options or Options(), lambda: "now", lambda done, total: None)


def snapshot(kernel: Kernel) -> dict[str, str]:
    """Every readable value of a simulated host: cgroups, sysctls, block queues, memory manager, file systems."""
    values: dict[str, str] = {}
    for top in ("/sys/fs/cgroup", "/proc/sys", "/sys/block", "/sys/kernel", "/proc/fs"):
        if kernel.exists(top):
            _walk(kernel, top, values)
    values.pop("/proc/sys/kernel/random/boot_id", None)  # every simulated host has its own
    values.pop("/sys/kernel/debug/bdi/bdi_wb_link", None)  # a report: which cgroups were ever seen together
    values["mounts"] = str(kernel.mounts())
    return values


def _walk(kernel: Kernel, path: str, values: dict[str, str]) -> None:
    for name in kernel.listdir(path):
        child = kernel.realpath(f"{path}/{name}")
        if child in values:
            continue
        try:
            values[child] = kernel.read(child)
        except IsADirectoryError:
            values[child] = "(directory)"
            _walk(kernel, child, values)
        except OSError as error:
            values[child] = f"({error.errno})"


def changed(before: dict[str, str], after: dict[str, str]) -> dict[str, tuple[str | None, str | None]]:
    """Paths whose value differs, with both."""
    return {
        path: (before.get(path), after.get(path))
        for path in before.keys() | after.keys()
        if before.get(path) != after.get(path)
    }
