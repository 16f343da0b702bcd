"""Results from the workers, also those that are lost just when somebody has waited for them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from distributed import Executor, Future, LocalCluster, connection, futures, gathering, transfer
from distributed.core.client_events import Unreachable
from distributed.core.entries import PENDING
from tests.support import block, wait_until

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
    def fetch(places: dict[str, list[str]], deadline: Any) -> Any:
        return {}, dict.fromkeys(places, "the connection is unreachable")

    monkeypatch.setattr(executor._connection, "fetch", fetch)
    monkeypatch.setattr(gathering, "FIRST_PAUSE", 0.001)
    future = executor.submit(block_of, 8, workers=next(iter(executor.ncores())))
    reason = r"block_of-\w+ could not be fetched in 5 attempts: the connection is unreachable"
    with pytest.raises(gathering.LostData, match=reason):
        executor.gather([future])


def test_workers_that_die_meanwhile_are_no_reason_to_give_up(
    executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often a result is lost before it has come, it is made again, and asked for again."""
    fetch = executor._connection.fetch
    processes = iter(range(1, 20))
    fetches = []

    def fail_often(places: dict[str, list[str]], deadline: Any) -> Any:
        fetches.append(places)
        if len(fetches) <= 2 * gathering.FETCH_ATTEMPTS:
            return {}, dict.fromkeys(places, "the connection is closed")
        return fetch(places, deadline)

    monkeypatch.setattr(executor._connection, "fetch", fail_often)
    monkeypatch.setattr(gathering, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(gathering, "LAST_PAUSE", 0.001)
    monkeypatch.setattr(gathering._Attempts, "_process", lambda *_: next(processes))
    assert executor.submit(block_of, 8).result() == block_of(8)


def test_what_a_worker_turns_out_not_to_have_is_asked_for_again(
    executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = executor._connection.fetch
    fetches = []

    def find_nothing(places: dict[str, list[str]], deadline: Any) -> Any:
        fetches.append(places)
        return ({}, {}) if len(fetches) <= gathering.FETCH_ATTEMPTS else fetch(places, deadline)

    monkeypatch.setattr(executor._connection, "fetch", find_nothing)
    monkeypatch.setattr(gathering, "FIRST_PAUSE", 0.001)
    assert executor.submit(block_of, 6).result() == block_of(6)


def test_a_timeout_names_the_time_that_was_asked_for(executor: Executor, gate: str) -> None:
    """Not what was left of it when a result had been lost and was made again."""
    future = executor.submit(block, gate)
    with pytest.raises(
        TimeoutError, match=r"1 of 1 tasks \(block-\w+\) have not ended within 0.1 s"
    ):
        future.result(0.1)
    with pytest.raises(TimeoutError, match=r"1 of 2 tasks \(block-\w+\) .* within 0.2 s"):
        futures.wait([future, executor.submit(block_of, 1)], 0.2)


def test_wait_returns_when_all_have_ended_at_the_same_time(executor: Executor, gate: str) -> None:
    """A result that is lost while another task still runs is made again, and waited for."""
    lost, runs = executor.submit(block_of, 5), executor.submit(block, gate)
    futures.wait([lost])
    ended: list[Any] = []
    waiter = threading.Thread(target=lambda: ended.append(futures.wait([lost, runs])))
    waiter.start()
    wait_until(lambda: runs._entry.waiters)
    lose(lost)
    Path(gate).touch()
    waiter.join()
    ((done, not_done),) = ended
    assert done == {lost, runs} and not not_done
    assert lost.result() == block_of(5)


def test_the_first_that_has_ended_is_one_that_is_there(
    executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    future = executor.submit(block_of, 4)
    completed = futures.as_completed
    losses = [future]

    class Losing(completed):  # type: ignore[misc,valid-type]
        def __next__(self) -> Any:
            found = super().__next__()
            if losses:
                lose(losses.pop())
            return found

    monkeypatch.setattr(futures, "as_completed", Losing)
    done, not_done = futures.wait([future], return_when=futures.FIRST_COMPLETED)
    assert done == {future} and not not_done


def test_as_completed_hands_out_what_is_there(executor: Executor) -> None:
    future = executor.submit(block_of, 3)
    ended = futures.as_completed([future])
    wait_until(lambda: ended._waiting.done)
    lose(future)
    assert next(ended).status == "finished"
    assert list(ended) == []


def test_a_callback_is_called_once_also_if_the_result_is_lost(executor: Executor) -> None:
    future = executor.submit(block_of, 2)
    calls: list[Any] = []
    future.add_done_callback(calls.append)
    wait_until(lambda: calls)
    lose(future)
    assert future.result() == block_of(2)
    executor.submit(block_of, 1).result()
    assert calls == [future]
