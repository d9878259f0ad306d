"""FaultyKernel: faults strike where they were told to, exactly as often, and nothing else changes."""

from __future__ import annotations

import errno
import signal
import subprocess
from collections.abc import Callable

import pytest

from cotune.errors import UsageError
from cotune.kernel.port import Kernel, Project, Quota
from cotune.sim.faults import Fault, FaultyKernel, parse_fault
from cotune.sim.kernel import SimKernel

Attempt = Callable[..., str]
CPU, MEM = "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/memory"
SHARES = f"{CPU}/user.slice/cpu.shares"


def faulty(sim: SimKernel, *specs: str) -> FaultyKernel:
    return FaultyKernel(sim, [parse_fault(spec) for spec in specs])


def test_both_are_kernels(anck: SimKernel) -> None:
    kernel: Kernel = faulty(anck)
    assert kernel.name == anck.name == "sim:anck-4.19"
    inner: Kernel = anck
    assert kernel.mounts() == inner.mounts()
    assert kernel.realpath("/sys/fs/cgroup/cpu") == "/sys/fs/cgroup/cpu,cpuacct"
    assert kernel.exists(SHARES)
    assert kernel.subdirs(CPU) == inner.subdirs(CPU)


def test_errno_at_the_nth_write_only(anck: SimKernel, attempt: Attempt) -> None:
    kernel = faulty(anck, "errno=EIO,write=2")
    assert [attempt(kernel.write, SHARES, str(n)) for n in (10, 20, 30)] == ["OK", "EIO", "OK"]
    assert kernel.writes == 3
    assert kernel.read(SHARES) == "30\n"


def test_a_refused_write_is_not_carried_out(anck: SimKernel, attempt: Attempt) -> None:
    kernel = faulty(anck, "errno=EBUSY,write=1")
    assert attempt(kernel.write, SHARES, "10") == "EBUSY"
    assert kernel.read(SHARES) == "1024\n"


def test_a_plus_makes_it_last(anck: SimKernel, attempt: Attempt) -> None:
    kernel = faulty(anck, "errno=EIO,write=2+")
    assert [attempt(kernel.write, SHARES, "10") for _ in range(4)] == ["OK", "EIO", "EIO", "EIO"]


def test_only_matching_paths_count(anck: SimKernel, attempt: Attempt) -> None:
    kernel = faulty(anck, "errno=EBUSY,write=2,path=*/memory.limit_in_bytes")
    limit = f"{MEM}/user.slice/memory.limit_in_bytes"
    assert [attempt(kernel.write, p, "1G") for p in (limit, SHARES, limit, limit)] == ["OK", "EINVAL", "EBUSY", "OK"]
    assert kernel.writes == 4


@pytest.mark.parametrize("operation", ["mkdir", "rmdir", "remount", "read", "listdir"])
def test_other_operations(anck: SimKernel, attempt: Attempt, operation: str) -> None:
    kernel = faulty(anck, f"errno=EPERM,{operation}=1")
    calls = {
        "mkdir": (kernel.mkdir, f"{CPU}/x"),
        "rmdir": (kernel.rmdir, f"{CPU}/x"),
        "remount": (kernel.remount, "/data", ["commit=9"]),
        "read": (kernel.read, SHARES),
        "listdir": (kernel.listdir, CPU),
    }
    results = {name: attempt(*call) for name, call in calls.items()}
    expected = dict.fromkeys(calls, "OK") | {operation: "EPERM"}
    if operation == "mkdir":
        expected["rmdir"] = "ENOENT"
    assert results == expected
    assert kernel.counts[operation] == 1


@pytest.mark.parametrize("operation", ["mount", "unmount", "tool", "project", "quota"])
def test_operations_of_file_systems(attempt: Attempt, operation: str) -> None:
    kernel = faulty(SimKernel("guest-6.1"), f"errno=EPERM,{operation}=1")
    calls = {
        "mount": (kernel.mount, "ext4", "/dev/nvme1n1", "/quota", ["prjquota"]),
        "project": (kernel.set_project, "/quota", Project(7, inherit=True)),
        "quota": (kernel.set_quota, "/quota", 7, Quota(hard=4096)),
        "unmount": (kernel.unmount, "/quota"),
        "tool": (kernel.tool, "tune2fs", ["-l", "/dev/nvme1n1"]),
    }
    results = {name: attempt(*call) for name, call in calls.items()}
    expected = dict.fromkeys(calls, "OK") | {operation: "EPERM"}
    if operation == "mount":
        expected |= {"project": "ENOTTY", "quota": "ESRCH", "unmount": "EINVAL"}
    assert results == expected
    assert kernel.counts[operation] == 1


def test_projects_and_quotas_are_read(attempt: Attempt) -> None:
    kernel = faulty(SimKernel("guest-6.1"), "errno=EIO,read=2+")
    kernel.mount("ext4", "/dev/nvme1n1", "/quota", ["prjquota"])
    kernel.set_quota("/quota", 7, Quota(hard=4096))
    assert kernel.quota("/quota", 7) == Quota(hard=4096)
    assert attempt(kernel.quota, "/quota", 7) == "EIO"
    assert attempt(kernel.project, "/quota") == "EIO"


def test_a_cgroup_vanishes(anck: SimKernel, attempt: Attempt) -> None:
    pod = f"{CPU}/kubepods/besteffort/pod-a"
    kernel = faulty(anck, f"vanish={pod},write=2")
    assert attempt(kernel.write, f"{pod}/cpu.shares", "5") == "OK"
    assert attempt(kernel.write, f"{pod}/cpu.shares", "6") == "ENOENT"
    assert not kernel.exists(pod)
    assert 4101 not in anck.pids(), "its container has ended"


def test_vanishing_at_the_nth_operation_on_it(anck: SimKernel, attempt: Attempt) -> None:
    pod = f"{CPU}/kubepods/besteffort/pod-a"
    kernel = faulty(anck, f"vanish={pod},op=3")
    calls = [(kernel.read, SHARES), (kernel.read, f"{pod}/cpu.shares"), (kernel.write, f"{pod}/cpu.shares", "9"),
             (kernel.listdir, pod)]  # fmt: skip
    assert [attempt(*call) for call in calls] == ["OK", "OK", "OK", "ENOENT"]


def test_a_sibling_with_a_longer_name_is_another_cgroup(anck: SimKernel) -> None:
    pod = f"{CPU}/kubepods/besteffort/pod-a"
    anck.mkdir(f"{pod}b")
    kernel = faulty(anck, f"vanish={pod},op=1")
    kernel.write(f"{pod}b/cpu.shares", "9")
    assert kernel.exists(pod)
    kernel.listdir("/sys/fs/cgroup/cpu,cpuacct/kubepods/besteffort/pod-a/..")
    assert kernel.exists(pod)


def test_both_spellings_of_a_comounted_controller_count(anck: SimKernel, attempt: Attempt) -> None:
    kernel = faulty(anck, "errno=EIO,write=1,path=*/cpu,cpuacct/*")
    assert attempt(kernel.write, SHARES, "9") == "EIO"


def test_vanishing_from_a_kernel_whose_processes_must_live(anck: SimKernel) -> None:
    pod = f"{CPU}/kubepods/besteffort/pod-a"
    outer = FaultyKernel(faulty(anck), [Fault(1, "read", vanish=pod)])
    outer.read(SHARES)
    assert not anck.exists(pod)
    assert 4101 in anck.pids()
    assert anck.read(f"{CPU}/kubepods/besteffort/cgroup.procs") == "4101\n"


def test_a_third_party_writes_first(anck: SimKernel) -> None:
    kernel = faulty(anck, f"thirdparty={SHARES}:77,write=2")
    other = f"{CPU}/system.slice/cpu.shares"
    kernel.write(other, "10")
    assert kernel.read(SHARES) == "1024\n"
    kernel.write(other, "20")
    assert kernel.read(SHARES) == "77\n"
    assert kernel.writes == 2, "a third party's write is not ours"


def test_several_faults(anck: SimKernel, attempt: Attempt) -> None:
    kernel = faulty(anck, f"thirdparty={SHARES}:77,write=1", "errno=EIO,write=1", "errno=EINTR,write=2")
    assert [attempt(kernel.write, SHARES, "5") for _ in range(3)] == ["EIO", "EINTR", "OK"]


def test_whoever_asks_is_killed(anck: SimKernel, attempt: Attempt) -> None:
    with subprocess.Popen(["sleep", "600"]) as caller:
        kernel = FaultyKernel(anck, [parse_fault("kill=caller,write=2")], lambda: caller.pid)
        kernel.write(SHARES, "9")
        assert caller.poll() is None
        assert attempt(kernel.write, SHARES, "10") == "EINTR"
        assert caller.wait(60) == -signal.SIGKILL
    assert kernel.read(SHARES) == "9\n"
    unseen = FaultyKernel(anck, [parse_fault("kill=caller,write=1")], lambda: 0)
    assert attempt(unseen.write, SHARES, "10") == "EINTR"


def test_parsing() -> None:
    assert parse_fault("errno=EBUSY,write=3,path=*/x") == Fault(3, "write", "*/x", number=errno.EBUSY)
    assert parse_fault("mkdir=1,errno=ENOSPC") == Fault(1, "mkdir", number=errno.ENOSPC)
    cpus = parse_fault("thirdparty=/sys/fs/cgroup/cpuset/a/cpuset.cpus:0-3,5,write=2")
    assert cpus.third_party == ("/sys/fs/cgroup/cpuset/a/cpuset.cpus", "0-3,5")
    row = parse_fault("thirdparty=/b/blkio.throttle.write_bps_device:8:0 1000,write=1")
    assert row.third_party == ("/b/blkio.throttle.write_bps_device", "8:0 1000")
    assert parse_fault("vanish=/c/online/,write=5+") == Fault(5, vanish="/c/online", lasting=True)


@pytest.mark.parametrize(
    "spec",
    ["", "errno=EBUSY", "write=3", "errno=EWHAT,write=1", "errno=11,write=1", "errno=EIO,write=0", "errno=EIO,write=x",
     "errno=EIO,write=1,mkdir=2", "errno=EIO,vanish=/a,write=1", "vanish=a,write=1", "thirdparty=/a,write=1",
     "thirdparty=a:1,write=1", "errno=EIO,write=1,write=2", "errno=,write=1", "when=3", "kill=9,write=1"],
)  # fmt: skip
def test_bad_specs(spec: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_fault(spec)
    assert caught.value.hint
