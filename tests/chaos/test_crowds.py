"""Very many clients, and very many changes of mind."""

from __future__ import annotations

import queue
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import psutil
import pytest

from distributed import Executor, Future, wait
from distributed.processes import python_command
from tests.chaos.cluster import Cluster
from tests.chaos.tasks import slowly_add
from tests.support import wait_until

CLIENTS, PROCESSES = 500, 5
CALLS = 10_000
# The grace in which a client may come back, and a machine that is busy.
FORGET_SECONDS = 20.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:  # type: ignore[override]
    with Cluster(nannies=1, nprocs=2) as cluster:
        yield cluster


@pytest.fixture
def executor(cluster: Cluster) -> Iterator[Executor]:  # type: ignore[override]
    with cluster.connect() as executor:
        yield executor


def forgotten(executor: Executor) -> bool:
    return not executor.scheduler_info()["tasks"]


def test_500_clients_that_connect_and_vanish(cluster: Cluster, executor: Executor) -> None:
    assert cluster.scheduler is not None
    scheduler = psutil.Process(cluster.scheduler.pid)
    before = scheduler.num_fds()
    with ExitStack() as stack:
        crowds = []
        for number in range(PROCESSES):
            statement = (
                "from tests.chaos.visitor import crowd; "
                f"crowd({cluster.place!r}, {time.time_ns() + number}, {CLIENTS // PROCESSES})"
            )
            crowd = subprocess.Popen(python_command(statement), stdout=subprocess.PIPE)
            stack.enter_context(crowd)
            stack.callback(crowd.kill)
            crowds.append(crowd)
        for crowd in crowds:
            assert crowd.stdout is not None
            assert crowd.stdout.readline() == b"ready\n"
        assert scheduler.num_fds() >= before + CLIENTS
        assert executor.scheduler_info()["tasks"] == {"memory": CLIENTS}
    # They are dead now, and nobody has said goodbye.
    assert executor.gather(executor.map(slowly_add, range(100), range(100))) == list(
        range(0, 200, 2)
    )
    wait_until(lambda: forgotten(executor), FORGET_SECONDS, "the end of what they wanted")
    assert scheduler.num_fds() == before


def test_10000_cancels_against_10000_submits(executor: Executor) -> None:
    """Every call is cancelled, from another thread; every second is then submitted again, and stays."""
    salt = time.time_ns()
    given: list[Future] = []
    again: dict[int, Future] = {}
    to_be_cancelled: queue.SimpleQueue[Future] = queue.SimpleQueue()

    def call_off() -> None:
        for number in range(CALLS):
            to_be_cancelled.get().cancel()
            if number % 2:
                again[number] = executor.submit(slowly_add, salt, number)

    canceller = threading.Thread(target=call_off)
    canceller.start()
    for number in range(CALLS):
        given.append(executor.submit(slowly_add, salt, number))
        to_be_cancelled.put(given[-1])
    canceller.join()
    wait(given, timeout=30)
    assert {future.status for future in given} == {"cancelled"}
    assert executor.gather(list(again.values())) == [salt + number for number in again]
    given.clear()
    again.clear()
    wait_until(lambda: forgotten(executor), FORGET_SECONDS, "the end of it all")
