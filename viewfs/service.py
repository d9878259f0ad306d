"""The running service: mounting, going to the background, and the record that ``viewfs status`` reads."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cotune import fuse
from cotune.errors import CotuneError, NotPermitted, UsageError
from cotune.host.cgroups import read_layout
from cotune.kernel.real import RealKernel
from cotune.state import make_private, replace_file
from viewfs.mountapi import read_mounts, unmount
from viewfs.notify import notify
from viewfs.policy import Policies, choose_policies
from viewfs.processes import still_runs

if TYPE_CHECKING:
    from viewfs.state import Book

#: The type the mount has in /proc/mounts.
FSTYPE = "fuse.viewfs"
DEFAULT_MOUNT = "/run/cotune/views"
#: Seconds: see viewfs.handles.Handles.
WINDOW = 0.05


#: Files it may have open, as its unit says.
_FILES = 524288


class Record(NamedTuple):
    """A service that was started: where it is mounted, its process with start time, and its event loop.

    ``policies`` is the file named to it, empty for the host's, and ``compat`` what it was told to be compatible with.
    """

    mount: str
    pid: int
    starttime: int
    loop: str
    policies: str = ""
    compat: str = ""

    @property
    def running(self) -> bool:
        """Whether that process is still there; one that only waits to be reaped is not."""
        return still_runs(self.pid, self.starttime)

    @property
    def mounted(self) -> bool:
        """Whether its mount is there."""
        return is_mounted(self.mount)


def run_directory(state_dir: Path | None) -> Path:
    """Where records are kept."""
    return state_dir if state_dir is not None else Path("/run/cotune")


def _record_path(directory: Path, mount: str) -> Path:
    return directory / f"viewfs-{sha256(os.fsencode(mount)).hexdigest()[:16]}.json"


def write_record(directory: Path, record: Record) -> None:
    """Keep a record. Raises NotPermitted."""
    make_private(directory)
    replace_file(_record_path(directory, record.mount), json.dumps(record._asdict()) + "\n")


def read_records(directory: Path) -> list[Record]:
    """All records, by mount point. One that cannot be read is left out."""
    found = []
    for path in directory.glob("viewfs-*.json"):
        with contextlib.suppress(OSError, ValueError, TypeError):
            found.append(Record(**json.loads(path.read_text())))
    return sorted(found)


def drop_record(directory: Path, mount: str) -> None:
    """Forget a record."""
    _record_path(directory, mount).unlink(missing_ok=True)


def is_mounted(mount: str) -> bool:
    """Whether a file system of ours is mounted there; it may be dead."""
    return any(entry.point == mount and entry.fstype == FSTYPE for entry in read_mounts())


def clear_stale(directory: Path, mount: str) -> None:
    """Unmount what a service that died left at ``mount``. Raises UsageError when one still serves it."""
    for record in read_records(directory):
        if record.mount == mount and record.running and record.pid != os.getpid():
            raise UsageError(f"{mount} is served already, by process {record.pid}", "see viewfs status")
    while is_mounted(mount):
        if _answers(mount):
            raise UsageError(f"{mount} is served already", "name another mount point, or unmount it first")
        _unmount(mount)


def _answers(mount: str) -> bool:
    try:
        os.statvfs(mount)
    except OSError:
        return False  # ENOTCONN: nobody serves it any more
    return True


def _unmount(mount: str) -> None:
    try:
        unmount(mount)
    except OSError as error:
        raise NotPermitted(f"{mount} cannot be unmounted: {error.strerror}", "run as root") from None


class Options(NamedTuple):
    """How to serve: the kind of event loop, and where the policies come from (see :class:`Record`)."""

    loop: str = "auto"
    policies: str = ""
    compat: str = ""


def policies_at(mount: str, directory: Path) -> Policies:
    """The policies of the service that is or was mounted there; those of the host without one. Raises ProfileError."""
    for record in read_records(directory):
        if record.mount == mount:
            return choose_policies(record.policies, record.compat)
    return choose_policies()


def start(mount: Path, directory: Path, book: Book, options: Options, foreground: bool) -> None:
    """Serve views at ``mount``; in the background unless ``foreground``, returning once the mount is there.

    Records are kept in ``directory``; what is attached, in ``book``.

    Raises Unsupported, UsageError, NotPermitted, ProfileError.
    """
    fuse.require()
    loop = fuse.make_loop(options.loop)
    if os.geteuid() != 0:
        raise NotPermitted("views of all containers can be served by root only", "run as root")
    point = os.path.realpath(mount)
    clear_stale(directory, point)
    policies = choose_policies(options.policies, options.compat)
    try:
        os.makedirs(point, mode=0o755, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{point} cannot be a mount point: {error.strerror}") from None
    record = Record(point, 0, 0, loop.name, options.policies, options.compat)
    if foreground:
        _serve(record, directory, book, loop, policies, lambda: None)
    else:
        _in_background(lambda ready: _serve(record, directory, book, loop, policies, ready))


def _serve(
    record: Record, directory: Path, book: Book, loop: fuse.Loop, policies: Policies, ready: Callable[[], None]
) -> None:
    from viewfs.callers import Callers
    from viewfs.container import Groups
    from viewfs.daemon import ViewFs
    from viewfs.loadavg import Sampler
    from viewfs.processes import start_time
    from viewfs.sources import Host
    from viewfs.subjects import Subjects
    from viewfs.tree import Tree
    from viewfs.views import VIEWS, find_view
    from viewfs.watch import start as start_keeper

    _raise_file_limit()
    # the load sampler shares the interpreter: it has to give way sooner than after the usual 5 ms
    sys.setswitchinterval(0.0005)
    groups = Groups(read_layout(RealKernel()), policies.of)
    callers, host, sampler = Callers(), Host(), Sampler()
    subjects = Subjects(groups, host, sampler.get)
    tree = Tree(VIEWS, lambda path: find_view(path) is not None)
    operations = ViewFs(loop, tree, groups, callers, subjects, WINDOW)

    def mounted() -> None:
        write_record(directory, record._replace(pid=os.getpid(), starttime=start_time(os.getpid())))
        ready()
        # the last one knows the output that is left, and there are no threads yet; the keeper ends when this end closes
        ends.callback(os.close, start_keeper(record.mount, directory, book, policies.of))
        sampler.start()
        notify("READY=1")

    with contextlib.ExitStack() as ends:
        for end in (host.close, callers.close, subjects.close, sampler.close):
            ends.callback(end)
        ends.callback(drop_record, directory, record.mount)
        ends.callback(notify, "STOPPING=1")
        fuse.serve(operations, record.mount, {"fsname=viewfs", "subtype=viewfs", "allow_other", "ro"}, loop, mounted)


def _raise_file_limit() -> None:
    """Each container keeps a few dozen files open."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # without CAP_SYS_RESOURCE, or above fs.nr_open
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(hard, _FILES),) * 2)
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _in_background(serve: Callable[[Callable[[], None]], None]) -> None:
    """Run ``serve`` in a process of its own session; returns when it says it is ready. Raises what it failed with."""
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    if os.fork():
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            answer = json.loads(pipe.read() or b'{"error": "the service ended at once", "hint": "", "exit": 70}')
        if answer["error"]:
            raise _failure(answer)
        return
    os.close(reader)
    code = 70
    try:
        os.setsid()
        os.chdir("/")
        serve(lambda: _ready(writer))
        code = 0
    except CotuneError as error:
        code = error.exit_code
        _tell(writer, error.message, error.hint, code)
    except BaseException as error:
        logging.getLogger("viewfs").exception("the service failed")
        _tell(writer, f"{type(error).__name__}: {error}", "run it with --foreground to see more", code)
    finally:
        os._exit(code)


def _ready(writer: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    _tell(writer, "", "", 0)
    os.close(null)


def _tell(writer: int, error: str, hint: str, code: int) -> None:
    with contextlib.suppress(OSError):  # told already, or nobody waits any more
        os.write(writer, json.dumps({"error": error, "hint": hint, "exit": code}).encode())
        os.close(writer)


def _failure(answer: dict[str, object]) -> CotuneError:
    kinds = {kind.exit_code: kind for kind in (UsageError, NotPermitted)}
    kind = kinds.get(answer["exit"]) if isinstance(answer["exit"], int) else None
    return (kind or CotuneError)(str(answer["error"]), str(answer["hint"]))
