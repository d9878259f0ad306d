"""An unchanged fleet over SSH: cotune's collection against the same settings as Ansible tasks, in one run.

Run with ``python -m bench.fleet [--hosts N] [--rounds N] [--many N]`` as root, on cgroup v1. The hosts are SSH servers
on loopback addresses of this machine, and every one of them is this machine: the settings are sysctls at the value they
have already, and files of a cgroup made for each host. The rival is what people write today: ``ansible.posix.sysctl``
(taken from the package ``ansible`` of the index, into ``.cache``), ``ansible.builtin.copy`` and ``lineinfile``, in
loops. Both run with the same Ansible, pipelining and forks, over connections that are open already.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import psutil

from tests.fleet.controller import Controller
from tests.fleet.ssh import Server, make_key
from tests.host.lab import remove_tree

CGROUP = Path("/sys/fs/cgroup")
ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "ansible-posix"
AIM = 0.3
SYSCTLS = 30
#: At least 30 of these exist on any kernel.
CANDIDATES = (
    *(f"net.core.{name}" for name in ("rmem_max", "wmem_max", "rmem_default", "wmem_default", "somaxconn")),
    *(f"net.core.{name}" for name in ("netdev_max_backlog", "optmem_max", "netdev_budget", "dev_weight", "busy_poll")),
    *(f"net.ipv4.tcp_{name}" for name in ("fin_timeout", "keepalive_time", "keepalive_intvl", "keepalive_probes")),
    *(f"net.ipv4.tcp_{name}" for name in ("max_syn_backlog", "tw_reuse", "slow_start_after_idle", "mtu_probing")),
    *(f"net.ipv4.tcp_{name}" for name in ("sack", "timestamps", "window_scaling", "syn_retries", "synack_retries")),
    *(f"vm.{name}" for name in ("swappiness", "max_map_count", "overcommit_memory", "vfs_cache_pressure")),
    *(f"vm.{name}" for name in ("min_free_kbytes", "watermark_scale_factor", "page-cluster", "stat_interval")),
    *("kernel.pid_max", "kernel.threads-max", "fs.file-max", "fs.aio-max-nr", "fs.inotify.max_user_watches"),
)


class Setting(NamedTuple):
    """One cgroup file of a host, and how a profile says the same."""

    controller: str
    file: str
    text: str
    section: str
    key: str
    value: object


FILES = (
    Setting("cpu", "cpu.shares", "512", "cpu", "shares", 512),
    Setting("cpu", "cpu.cfs_period_us", "200000", "cpu", "period", "200ms"),
    Setting("cpu", "cpu.cfs_quota_us", "150000", "cpu", "quota", "150ms"),
    Setting("cpu", "cpu.cfs_burst_us", "50000", "cpu", "burst", "50ms"),
    Setting("cpuset", "cpuset.cpus", "0", "cpu", "cpus", "0"),
    Setting("cpuset", "cpuset.mems", "0", "cpu", "mems", "0"),
    Setting("memory", "memory.limit_in_bytes", "1073741824", "memory", "limit", "1GiB"),
    Setting("memory", "memory.soft_limit_in_bytes", "536870912", "memory", "soft_limit", "512MiB"),
    Setting("memory", "memory.swappiness", "10", "memory", "swappiness", 10),
    Setting("pids", "pids.max", "500", "pids", "max", 500),
)
CONTROLLERS = tuple(dict.fromkeys(setting.controller for setting in FILES))

RIVAL = """\
- hosts: fleet
  gather_facts: false
  tasks:
    - name: Sysctls
      ansible.posix.sysctl:
        name: "{{ item.key }}"
        value: "{{ item.value }}"
        sysctl_set: true
        reload: false
        sysctl_file: "{{ rival_sysctl_file }}"
      loop: "{{ bench_sysctls | dict2items }}"
    - name: Half of the cgroup files
      ansible.builtin.copy:
        content: "{{ item.text }}\\n"
        dest: "/sys/fs/cgroup/{{ item.controller }}/{{ bench_group }}/{{ item.file }}"
        unsafe_writes: true
      loop: "{{ bench_files[:5] }}"
    - name: The other half
      ansible.builtin.lineinfile:
        path: "/sys/fs/cgroup/{{ item.controller }}/{{ bench_group }}/{{ item.file }}"
        regexp: ^
        line: "{{ item.text }}"
        unsafe_writes: true
      loop: "{{ bench_files[5:] }}"
"""


class Figures(NamedTuple):
    """One ansible-playbook."""

    seconds: float
    #: CPU seconds of all the controller's processes, and of the hosts'
    controller: float
    hosts: float
    #: bytes at most: of all the controller's processes together, and of ansible-playbook itself
    memory: float
    main_memory: float
    #: CPU seconds of ansible-playbook itself, which more cores do not make shorter
    main_cpu: float


class Meter:
    """A cgroup whose processes are measured together, also those that outlive their parents (ssh's masters)."""

    def __init__(self, name: str) -> None:
        self._cpu = CGROUP / "cpuacct" / name
        self._memory = CGROUP / "memory" / name
        for path in (self._cpu, self._memory):
            path.mkdir()

    def close(self) -> None:
        """Remove it. After an interruption a process of Ansible may still be in it."""
        for pid in (self._cpu / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        for path in (self._cpu, self._memory):
            remove_tree(path)

    def prefix(self) -> list[str]:
        """Start of a command that runs inside."""
        join = f"echo $$ > {self._cpu}/cgroup.procs && echo $$ > {self._memory}/cgroup.procs"
        return ["sh", "-c", f'{join} && exec "$@"', "sh"]

    def cpu(self) -> float:
        """CPU seconds used, user and system."""
        return int((self._cpu / "cpuacct.usage").read_text()) / 1e9

    def look(self) -> tuple[float, float, float]:
        """Bytes of anonymous memory of all its processes, shared pages once; bytes and CPU seconds of the largest."""
        lines = dict(line.split() for line in (self._memory / "memory.stat").read_text().splitlines())
        largest = (0.0, 0.0)
        for pid in (self._memory / "cgroup.procs").read_text().split():
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(int(pid))
                largest = max(largest, (process.memory_info().rss, sum(process.cpu_times()[:2])))
        return int(lines["total_rss"]), *largest

    @contextmanager
    def peak(self) -> Iterator[list[float]]:
        """The most of each seen during a block, looked at ten times a second."""
        seen = [0.0, 0.0, 0.0]
        done = threading.Event()

        def watch() -> None:
            while not done.wait(0.1):
                seen[:] = map(max, seen, self.look())

        watching = threading.Thread(target=watch)
        watching.start()
        try:
            yield seen
        finally:
            done.set()
            watching.join()


def sysctls() -> dict[str, str]:
    """Sysctls with the values this machine has, so that nothing is ever to be changed."""
    found: dict[str, str] = {}
    for name in CANDIDATES:
        path = Path("/proc/sys", name.replace(".", "/"))
        if path.exists() and len(found) < SYSCTLS:
            found[name] = path.read_text().strip()
    return found


def profile() -> dict[str, Any]:
    """The settings as a profile, the same for every host but for the group."""
    sections: dict[str, Any] = {"match": {"cgroup": "{{ bench_group }}"}}
    for setting in FILES:
        sections.setdefault(setting.section, {})[setting.key] = setting.value
    return {
        "apiVersion": "cotune/v1",
        "kind": "IsolationProfile",
        "metadata": {"name": "bench"},
        "host": {"sysctl": {key: int(value) for key, value in sysctls().items()}},
        "groups": {"bench": sections},
    }


@contextmanager
def group(name: str) -> Iterator[None]:
    """A cgroup in every hierarchy that the settings need."""
    paths = [CGROUP / controller / name for controller in CONTROLLERS]
    try:
        for path in paths:
            path.mkdir()
        yield
    finally:
        for path in paths:
            remove_tree(path)


def fetch_posix(collections: Path) -> None:
    """Put ``ansible.posix`` where Ansible finds it; the index has it inside the package ``ansible`` only."""
    if not any(CACHE.glob("*.whl")):
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download"]
        subprocess.run([*pip, "--no-deps", "--dest", CACHE, "ansible"], check=True)
    with zipfile.ZipFile(next(CACHE.glob("*.whl"))) as wheel:
        members = [name for name in wheel.namelist() if name.startswith("ansible_collections/ansible/posix/")]
        wheel.extractall(collections, members)


class Bench:
    """The controller, the servers, and what is measured."""

    def __init__(self, folder: Path, hosts: int, stack: ExitStack) -> None:
        self.folder = folder
        name = f"cotune-bench-{os.getpid()}"
        self.names = [f"{name}-{number}" for number in range(hosts)]
        for each in self.names:
            stack.enter_context(group(each))
        self.here = stack.enter_context(closing(Meter(f"{name}-controller")))
        self.there = stack.enter_context(closing(Meter(f"{name}-hosts")))
        self.controller = stack.enter_context(closing(Controller(folder / "controller", prefix=self.here.prefix())))
        self.key = make_key(folder / "key")
        self.servers = []
        for number in range(hosts):
            server = Server(folder / f"ssh{number}", f"127.0.2.{number + 1}", self.key, self.there.prefix())
            stack.callback(server.stop)
            self.servers.append(server)
        self.controller.install_collection()
        fetch_posix(self.controller.collections)
        (folder / "rival.yml").write_text(RIVAL)

    def inventory(self, count: int) -> None:
        """So many hosts; names beyond the servers share one, each with a state of its own."""
        hosts = {}
        for number in range(count):
            server, each = self.servers[number % len(self.servers)], self.names[number % len(self.names)]
            hosts[f"host{number:04}"] = {
                "ansible_host": server.address,
                "ansible_port": server.port,
                "bench_group": each,
                "cotune_state_dir": f"{self.folder}/state{number}",
                "rival_sysctl_file": f"{self.folder}/sysctl{number}.conf",
            }
        variables = {
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.key),
            "ansible_python_interpreter": "/usr/bin/python3",
            "bench_sysctls": sysctls(),
            "bench_files": [setting._asdict() for setting in FILES],
            "cotune_profiles": [profile()],
            "cotune_install": False,
            "cotune_units": False,
            "cotune_executable": str(Path(sys.executable).with_name("cotune")),
        }
        self.controller.write_inventory(hosts, variables)

    def run(self, playbook: str, *, unchanged: bool = True) -> Figures:
        """One ansible-playbook; ends the benchmark when a host failed, or changed and should not have."""
        cpu, there, begin = self.here.cpu(), self.there.cpu(), time.perf_counter()
        with self.here.peak() as memory:
            play = self.controller.play(playbook)
        figures = Figures(time.perf_counter() - begin, self.here.cpu() - cpu, self.there.cpu() - there, *memory)
        if play.code or not play.recap or (unchanged and play.hosts("changed")):
            raise SystemExit(f"{playbook}: exit {play.code}\n{play.out}\n{play.err}")
        return figures

    def measure(self, playbooks: dict[str, str], hosts: int, rounds: int) -> dict[str, Figures]:
        """The median of each playbook over rounds in which they take turns, after one run of each that may change."""
        self.inventory(hosts)
        for playbook in playbooks.values():
            self.run(playbook, unchanged=False)
        taken: dict[str, list[Figures]] = {label: [] for label in playbooks}
        for _ in range(rounds):
            for label, playbook in playbooks.items():
                taken[label].append(self.run(playbook))
        return {
            label: Figures(*(median(column) for column in zip(*all_, strict=True))) for label, all_ in taken.items()
        }


def show(figures: dict[str, Figures], hosts: int) -> None:
    """One line for each playbook."""
    for label, each in figures.items():
        wall, controller, main_, host = (
            1000 * seconds / hosts for seconds in (each.seconds, each.controller, each.main_cpu, each.hosts)
        )
        print(
            f"  {label:<6} {hosts:4} hosts {each.seconds:7.2f} s, per host {wall:6.0f} ms; CPU per host: controller "
            f"{controller:5.0f} ms ({main_:.0f} in ansible-playbook itself), host {host:6.0f} ms; controller's memory "
            f"{each.memory / 2**20:.0f} MiB ({each.main_memory / 2**20:.0f})"
        )


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--hosts", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--many", type=int, default=96, help="hosts for what each further one costs; 0: none")
    options = parser.parse_args()
    if os.geteuid() != 0 or not (CGROUP / "cpuacct/cpuacct.usage").exists():
        raise SystemExit("needs root and cgroup v1 with separate controllers: nothing measured")
    site = "cotune.host.site"
    with tempfile.TemporaryDirectory(prefix="cotune-bench-") as name, ExitStack() as stack:
        bench = Bench(Path(name), options.hosts, stack)
        print(f"{SYSCTLS + len(FILES)} settings, {options.hosts} unchanged hosts, median of {options.rounds} rounds")
        few = bench.measure({"tasks": f"{name}/rival.yml", "cotune": site}, options.hosts, options.rounds)
        show(few, options.hosts)
        for what in ("seconds", "controller"):
            ratio = getattr(few["cotune"], what) / getattr(few["tasks"], what)
            label = "time" if what == "seconds" else "CPU of the controller"
            print(f"cotune / tasks, {label}: {ratio:.2f} (aim ≤ {AIM:g}){'' if ratio <= AIM else '  MISSED'}")
        if options.many:
            print(f"more hosts: names that share the {options.hosts} servers, each with a state of its own")
            quarter = options.many // 4
            growth(many(bench, site, quarter), many(bench, site, options.many), options.many - quarter)


def many(bench: Bench, site: str, hosts: int) -> Figures:
    """One unchanged run with more hosts than servers."""
    figures = bench.measure({"cotune": site}, hosts, 1)
    show(figures, hosts)
    return figures["cotune"]


def growth(few: Figures, many: Figures, further: int) -> None:
    """What each further host costs the controller."""
    print(
        f"each further host: {1000 * (many.seconds - few.seconds) / further:.0f} ms, "
        f"CPU of the controller {1000 * (many.controller - few.controller) / further:.0f} ms "
        f"({1000 * (many.main_cpu - few.main_cpu) / further:.0f}), "
        f"its memory {(many.memory - few.memory) / further / 1024:.0f} KiB "
        f"({(many.main_memory - few.main_memory) / further / 1024:.0f})"
    )


if __name__ == "__main__":
    main()
