"""Connections that are there and lead nowhere."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from distributed import Executor, SchedulerGone, transfer, transport, wait
from tests.chaos.cluster import WORKER_TIMEOUT, Cluster, send_signal
from tests.chaos.tasks import block_of, slowly_add
from tests.support import wait_until

SECONDS = 1.0


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:  # type: ignore[override]
    """All are impatient."""
    monkeypatch.setattr(transport, "SILENCE_SECONDS", SECONDS)
    with Cluster(nprocs=2, proxied=1, worker_options=("--death-timeout", str(SECONDS))) as cluster:
        yield cluster


@pytest.fixture
def executor(cluster: Cluster) -> Iterator[Executor]:  # type: ignore[override]
    with Executor(cluster.client_link.place, scheduler_timeout=SECONDS) as executor:
        yield executor


def gives_up(executor: Executor) -> None:
    future = executor.submit(slowly_add, 1, 1, 60.0)
    with pytest.raises(SchedulerGone, match="no scheduler has answered"):
        future.result(20)


def test_what_closes_every_connection_is_not_waited_for(
    cluster: Cluster, executor: Executor
) -> None:
    """As when something else listens at the scheduler's address now."""
    cluster.worker_link.cut()
    cluster.client_link.cut()
    gives_up(executor)
    nanny = cluster.nannies[0]
    assert nanny is not None
    wait_until(lambda: not nanny.alive, 20, "the worker gives up")
    assert any("no scheduler has answered" in line for line in cluster.lines)
    cluster.nannies[0] = None


@contextmanager
def stopped(cluster: Cluster) -> Iterator[None]:
    assert cluster.scheduler is not None
    send_signal(cluster.scheduler.pid, signal.SIGSTOP)
    yield
    send_signal(cluster.scheduler.pid, signal.SIGCONT)


def test_a_scheduler_that_stands_still_is_not_waited_for(
    cluster: Cluster, executor: Executor
) -> None:
    """Its connections stay open, and new ones are accepted: by the kernel."""
    with stopped(cluster):
        gives_up(executor)
    # Until then what is submitted ends at once: there has been no scheduler for too long.
    wait_until(lambda: executor._connection.alone_seconds is None)
    assert executor.submit(slowly_add, 1, 2).result(20) == 3


@pytest.mark.parametrize("known", [True, False])
def test_data_of_a_worker_that_stands_still_is_had_otherwise(
    monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    """By those who have been connected to it, and by those who try to."""
    monkeypatch.setattr(transfer, "SILENCE_SECONDS", SECONDS)
    with Cluster(nprocs=2) as cluster, cluster.connect() as executor:
        blocks = [executor.submit(block_of, n, 100_000) for n in range(5)]
        wait(blocks)
        places = executor.who_has(blocks)
        ((victim, _),) = Counter(places[block.key][0] for block in blocks).most_common(1)
        there = [n for n, block in enumerate(blocks) if places[block.key] == [victim]]
        if known:
            assert blocks[there[0]].result() == block_of(there[0], 100_000)
        pid = executor.scheduler_info()["workers"][victim]["pid"]
        send_signal(pid, signal.SIGSTOP)
        assert blocks[there[1]].result(3 * WORKER_TIMEOUT) == block_of(there[1], 100_000)
        send_signal(pid, signal.SIGCONT)
        wait_until(lambda: len(executor.ncores()) == 2, what="the return of the worker")
