"""Results from the workers, also those that are lost just when somebody has waited for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from distributed import Executor, Future, LocalCluster, connection, futures, gathering, transfer
from distributed.core.client_events import Unreachable
from distributed.core.entries import PENDING
from tests.support import wait_until

# Too long to come with the news that it is there.
LENGTH = 100_000


def block_of(number: int) -> bytes:
    return bytes([number]) * LENGTH


def lose(future: Future) -> None:
    """As if the worker that holds it had turned out not to. It may be computed again very soon: whether it
    is lost is looked at before anything else can happen."""
    entry, connection = future._entry, future.executor._connection
    with connection._lock:
        connection._decide(Unreachable([(entry.key, entry.address)]))
        assert entry.status is PENDING
    connection._poller.wake()


def losing_after_the_wait(lost: Future, wait: Callable[..., None]) -> Callable[..., None]:
    losses = [lost]

    def wait_and_lose(waited: Iterable[Future], *others: Any) -> None:
        wait(waited, *others)
        if losses:
            lose(losses.pop())

    return wait_and_lose


@pytest.mark.parametrize("errors", ["raise", "skip"])
def test_what_is_lost_after_it_was_waited_for_is_not_left_out(
    executor: Executor, monkeypatch: pytest.MonkeyPatch, errors: str
) -> None:
    numbers = range(5)
    blocks = executor.map(block_of, numbers)
    wait = losing_after_the_wait(blocks[2], gathering.wait_for)
    monkeypatch.setattr(gathering, "wait_for", wait)
    assert executor.gather(blocks, errors=errors) == [block_of(number) for number in numbers]


def test_what_is_lost_after_it_was_waited_for_has_not_failed(
    executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    future = executor.submit(block_of, 7)
    wait = losing_after_the_wait(future, futures.wait_for)
    monkeypatch.setattr(futures, "wait_for", wait)
    assert future.exception() is None


def test_a_link_to_a_worker_that_is_idle_for_long_is_closed(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEARTBEAT_SECONDS", 0.01)
    with Executor(cluster) as executor:
        links = executor._connection._fetcher._links
        future = executor.submit(block_of, 9)
        assert future.result() == block_of(9) and links
        monkeypatch.setattr(transfer, "IDLE_SECONDS", 0.0)
        wait_until(lambda: not links)
        assert future.result() == block_of(9)


def test_what_its_worker_never_gives_is_reported(
    executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor._connection, "fetch", lambda places, deadline: {})
    future = executor.submit(block_of, 8)
    with pytest.raises(gathering.LostData, match=r"in 5 attempts: is the worker's port reachable"):
        executor.gather([future])
