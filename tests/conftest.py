"""Fixtures of all tests."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest
import zmq

from distributed import Executor, LocalCluster
from tests.support import Baseline

# A test that takes longer hangs.
MAX_SECONDS = 60

# Where the environment wants no bytecode written, each of the many processes that tests start would compile
# the package anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture(scope="session", autouse=True)
def zero_copy_thread() -> None:
    """The first message that pyzmq sends without a copy starts a thread of its own, for the life of the
    process. Not ours, so let it be there before we count."""
    with (
        zmq.Context() as context,
        context.socket(zmq.PUSH) as push,
        context.socket(zmq.PULL) as pull,
    ):
        push.bind("inproc://start")
        pull.connect("inproc://start")
        push.send(bytes(1_000_000), copy=False)
        pull.recv()


@pytest.fixture(autouse=True)
def time_limit() -> Iterator[None]:
    """Ends a test that hangs, and shows where every thread stands."""

    def expire(number: int, frame: FrameType | None) -> None:
        faulthandler.dump_traceback(file=sys.__stderr__)
        raise TimeoutError(f"the test has not ended within {MAX_SECONDS} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.alarm(MAX_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def no_leaks(time_limit: None) -> Iterator[None]:
    """A test leaves no thread, no process and no socket behind."""
    baseline = Baseline()
    yield
    baseline.check()


@pytest.fixture(scope="session")
def cluster() -> Iterator[LocalCluster]:
    """Two workers of one thread each, shared by all tests that do not kill any."""
    with LocalCluster(n_workers=2, threads_per_worker=1) as cluster:
        yield cluster


@pytest.fixture
def executor(cluster: LocalCluster) -> Iterator[Executor]:
    """Connected to the shared cluster."""
    with Executor(cluster) as executor:
        yield executor


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[str]:
    """Tasks `block(gate)` run until there is this file; at the latest until the end of the test."""
    path = tmp_path / "gate"
    yield str(path)
    path.touch()
