"""Trees of files that belong to a project. Other mounts are not entered and symbolic links not followed."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator

from cotune.kernel.port import Kernel, Project

#: What a file without a project of its own answers: links, sockets, devices; and one that is gone.
_PASSED_OVER = (errno.ELOOP, errno.ENOTTY, errno.EINVAL, errno.ENXIO, errno.ENODEV, errno.ENOENT)
_TICK = 256


def foreign_below(kernel: Kernel, top: str, project: int) -> str:
    """The first file or directory below ``top`` that belongs to another project; empty when all belong to it."""
    try:
        return next((path for path, is_directory, found in _walk(kernel, top) if found.id != project), "")
    except OSError as error:
        return f"{error.filename or top}, which cannot be read ({error.strerror}), perhaps"


def assign_tree(kernel: Kernel, top: str, project: Project, tick: Callable[[int], None] | None = None) -> None:
    """Give a directory and everything below it a project. ``tick`` is told now and then how many. Raises OSError.

    Taking a project away again (one without inheritance) leaves alone what belongs to other projects than ``top``.
    The directory itself comes first: what is made below it meanwhile inherits the project.
    """
    before = kernel.project(top)
    kernel.set_project(top, project)
    for number, (path, is_directory, found) in enumerate(_walk(kernel, top)):
        if tick and number % _TICK == 0:
            tick(number)
        if found.id == before.id or project.inherit:
            wanted = Project(project.id, project.inherit and is_directory)
            if found != wanted:
                _set(kernel, path, wanted)


def _set(kernel: Kernel, path: str, project: Project) -> None:
    try:
        kernel.set_project(path, project)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise


def _walk(kernel: Kernel, top: str) -> Iterator[tuple[str, bool, Project]]:
    """Everything below ``top``: path, whether it is a directory, and its project."""
    points = {mount.point for mount in kernel.mounts()}
    todo = [top]
    while todo:
        directory = todo.pop()
        try:
            names, inner = kernel.listdir(directory), set(kernel.subdirs(directory))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                raise
            continue
        for name in names:
            path = f"{directory.rstrip('/')}/{name}"
            if path in points:
                continue
            try:
                found = kernel.project(path)
            except OSError as error:
                if error.errno not in _PASSED_OVER:
                    raise
                continue
            yield path, name in inner, found
            if name in inner:
                todo.append(path)
