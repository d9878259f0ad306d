"""Fixtures of the simulated kernel's tests: fresh hosts and a helper that names errnos."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from cotune.sim.kernel import SimKernel

Attempt = Callable[..., str]


@pytest.fixture
def anck() -> SimKernel:
    return SimKernel("anck-4.19")


@pytest.fixture
def seed() -> SimKernel:
    return SimKernel("anck-seed")


@pytest.fixture
def mainline() -> SimKernel:
    return SimKernel("mainline-v1")


@pytest.fixture
def attempt() -> Attempt:
    """Call something and return ``OK`` or the name of the errno it failed with."""

    def call(operation: Callable[..., object], *arguments: object) -> str:
        try:
            operation(*arguments)
        except OSError as error:
            assert error.errno is not None
            assert error.strerror
            return errno.errorcode[error.errno]
        return "OK"

    return call
