"""`async def` functions as tasks."""

from __future__ import annotations

import asyncio
import functools
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import pytest

from distributed import (
    CancelledError,
    Executor,
    Future,
    LocalCluster,
    Lock,
    TimeoutError,
    get_client,
    get_worker,
)
from tests.support import wait_until


async def inc(x: int) -> int:
    await asyncio.sleep(0)  # on a worker
    return x + 1


async def add(x: int, y: int) -> int:
    await asyncio.sleep(0)  # on a worker
    return x + y


class Adder:
    def __init__(self, n: int) -> None:
        self.n = n

    async def __call__(self, x: int) -> int:
        return x + self.n

    async def add(self, x: int) -> int:
        return x + self.n


def through(x: int) -> Awaitable[int]:
    return inc(x)


@functools.wraps(inc)
def decorated(*args: Any) -> Any:
    return inc(*args)


FUNCTIONS: list[Callable[[int], Any]] = [
    inc,
    functools.partial(add, y=1),
    Adder(1),
    Adder(1).add,
    through,
    decorated,
    lambda x: inc(x),
]


@pytest.fixture
def one_worker() -> Iterator[Executor]:
    """With two threads, on a cluster of its own."""
    with LocalCluster(1, threads_per_worker=2) as cluster, Executor(cluster) as executor:
        yield executor


@pytest.mark.parametrize("function", FUNCTIONS)
def test_its_result_is_the_result(executor: Executor, function: Callable[[int], Any]) -> None:
    assert executor.submit(function, 1).result() == 2
    assert executor.gather(executor.map(function, range(20))) == list(range(1, 21))
    assert executor.submit(function, executor.submit(function, 1)).result() == 3
    assert set(executor.run(function, 1).values()) == {2}
    assert executor.get({"x": (function, 1), "y": (sum, ["x", "x"])}, "y") == 4
    lazy = dask.delayed(function)
    assert lazy(lazy(lazy(1))).compute() == 4  # one task
    assert executor.compute(dask.delayed(sum)([lazy(1), lazy(2)]), sync=True) == 5


def test_large_results_and_results_of_all_kinds(executor: Executor) -> None:
    async def make(n: int) -> Any:
        return bytes(n)

    async def generate() -> Any:
        return (x for x in range(3))

    assert len(executor.submit(make, 1_000_000).result()) == 1_000_000
    numbers = executor.submit(generate)
    assert executor.submit(sum, numbers).result() == 3
    assert executor.submit(max, numbers).result() == 2


def test_its_exception_with_the_lines_of_the_coroutine(executor: Executor) -> None:
    async def fail() -> None:
        await asyncio.sleep(0)  # on a worker
        raise KeyError("nothing")

    async def outer() -> None:
        await fail()

    future = executor.submit(outer)
    with pytest.raises(KeyError, match="nothing"):
        future.result()
    lines = traceback.extract_tb(future.traceback())
    assert [line.name for line in lines] == ["outer", "fail"]
    attempts = executor.submit(outer, retries=1, pure=False)
    assert isinstance(attempts.exception(), KeyError)
    with pytest.raises(KeyError):
        executor.run(outer)


def test_an_asynchronous_generator_is_refused(executor: Executor) -> None:
    async def count() -> AsyncIterator[int]:
        yield 1

    with pytest.raises(TypeError, match=r"count is an asynchronous generator.*return \[item async"):
        executor.submit(count).result()


def test_it_has_the_worker_and_the_client_of_its_task(executor: Executor) -> None:
    async def look() -> tuple[str, bool, bool]:
        await asyncio.sleep(0)  # on a worker
        elsewhere = await asyncio.to_thread(get_worker)
        return get_worker().name, elsewhere is get_worker(), get_client() is get_worker().client

    futures = executor.map(lambda _: look(), range(6))
    for name, same, its_client in executor.gather(futures):
        assert name in executor.ncores()
        assert same and its_client


def test_no_more_run_at_a_time_than_there_are_threads(one_worker: Executor) -> None:
    counts = {"now": 0, "most": 0}

    async def count() -> int:
        mine = get_worker().__dict__.setdefault("counts_of_a_test", dict(counts))
        mine["now"] += 1
        mine["most"] = max(mine["most"], mine["now"])
        await asyncio.sleep(0.01)  # on a worker
        mine["now"] -= 1
        return int(mine["most"])

    futures = [one_worker.submit(count, pure=False) for _ in range(12)]
    assert max(one_worker.gather(futures)) == 2


def test_it_awaits_tasks_that_take_its_place(executor: Executor) -> None:
    async def ask(levels: int) -> int:
        client = get_client()
        if not levels:
            return await client.submit(pow, 2, 10)
        below = client.map(ask, [levels - 1] * 2, pure=False)
        return sum(await asyncio.gather(*below))

    assert executor.submit(ask, 3).result(timeout=30) == 8 * 1024


def test_what_it_awaits_may_fail_or_be_cancelled_or_be_large(executor: Executor) -> None:
    async def ask() -> list[Any]:
        client = get_client()
        large = client.submit(bytes, 500_000)
        outcomes = await asyncio.gather(
            large, client.submit(divmod, 1, 0), client.submit(abs, -1), return_exceptions=True
        )
        cancelled = client.submit(pow, 2, 3, workers="nobody")
        cancelled.cancel()
        try:
            await cancelled
        except CancelledError:
            outcomes.append("cancelled")
        return [len(outcomes[0]), type(outcomes[1]), *outcomes[2:]]

    assert executor.submit(ask).result(timeout=30) == [500_000, ZeroDivisionError, 1, "cancelled"]


def test_a_session_awaits_futures_too(executor: Executor) -> None:
    async def main() -> list[int]:
        futures = executor.map(inc, range(5))
        return [*await asyncio.gather(*futures), await executor.submit(inc, 9)]

    assert asyncio.run(main()) == [1, 2, 3, 4, 5, 10]


def wait_for_result() -> Any:
    return get_client().submit(inc, 1, pure=False).result()


def wait_for_many() -> Any:
    client = get_client()
    return client.gather(client.map(inc, range(1, 2)))[0]


def wait_for_a_collection() -> Any:
    return dask.delayed(inc)(1).compute()


def wait_for_a_lock() -> Any:
    with Lock("of a coroutine"):
        return 2


@pytest.mark.parametrize(
    "wait", [wait_for_result, wait_for_many, wait_for_a_collection, wait_for_a_lock]
)
def test_what_would_hold_up_the_event_loop_is_refused(
    executor: Executor, wait: Callable[[], Any]
) -> None:
    async def block() -> Any:
        return wait()

    async def block_elsewhere() -> Any:
        return await asyncio.to_thread(wait)

    with pytest.raises(RuntimeError, match=r"use `await future`, and `await asyncio.to_thread"):
        executor.submit(block).result(timeout=20)
    assert executor.submit(block_elsewhere).result(timeout=20) == 2


def note_and_wait_for_ever(begun: str, ended: str) -> Any:
    async def wait() -> None:
        with open(begun, "a") as file:
            file.write("begun\n")
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            Path(ended).touch()

    return wait()


def test_a_time_limit_and_force_end_it(one_worker: Executor, tmp_path: Path) -> None:
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    future = one_worker.submit(note_and_wait_for_ever, str(begun), str(ended), time_limit=0.5)
    with pytest.raises(TimeoutError, match=r"time limit of 0\.5 s"):
        future.result(timeout=20)
    begun.unlink()
    future = one_worker.submit(note_and_wait_for_ever, str(begun), str(ended), pure=False)
    wait_until(begun.exists, 20)
    future.cancel(force=True)
    assert one_worker.submit(inc, 1).result(timeout=20) == 2


def test_it_cleans_up_when_its_worker_ends(one_worker: Executor, tmp_path: Path) -> None:
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    future = one_worker.submit(note_and_wait_for_ever, str(begun), str(ended))
    wait_until(begun.exists, 20)
    one_worker.shutdown()
    wait_until(ended.exists)
    assert isinstance(future, Future)
