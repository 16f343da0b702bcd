"""What a session leaves behind at its exit, clients inside tasks, and exceptions that end loops."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from distributed import Client, Executor, LocalCluster, as_completed, get_client
from tests.cluster.test_commands import BIN

PROGRAM = """
import asyncio, threading, time
from distributed import Executor, as_completed, wait

def slow():
    time.sleep(60)

async def awaits(future):
    await future

if __name__ == "__main__":
    e = Executor(n_workers=1, threads_per_worker=1)
    future = e.submit(slow)
    begun = threading.Event()

    def waits():
        begun.set()
        {waits}

    threading.Thread(target=waits, daemon=True).start()
    begun.wait()
    {waited}
    {close}
"""
# Until the thread waits, for as far as one can see from outside.
WAITED = (
    "[None for _ in iter(lambda: not (future._entry.waiters or e._connection._questions), False)]"
)


@pytest.mark.parametrize(
    "waits",
    [
        "future.result()",
        "e.gather([future])",
        "wait([future])",
        "next(as_completed([future]))",
        "asyncio.run(awaits(future))",
        "e.run(slow)",
    ],
)
def test_who_still_waits_at_exit_says_nothing(waits: str) -> None:
    program = PROGRAM.format(waits=waits, waited=WAITED, close="")
    environment = {**os.environ, "PYTHONPATH": str(BIN.parent)}
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_but_hears_of_an_executor_that_is_closed_before() -> None:
    program = PROGRAM.format(waits="future.result()", waited=WAITED, close="e.close()")
    environment = {**os.environ, "PYTHONPATH": str(BIN.parent)}
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 0
    assert "CancelledError" in ended.stderr


# Clients inside tasks --------------------------------------------------------------------------


@pytest.mark.parametrize("make", [Client, Executor])
def test_without_an_address_a_task_gets_a_client_of_its_own_cluster(
    executor: Executor, make: type[Executor]
) -> None:
    def within(n: int) -> tuple[str, bool, int, int]:
        with make() as client:
            children = psutil.Process().children(recursive=True)
            answer = client.submit(abs, -n, pure=False).result(20)
            return client.scheduler_address, client.cluster is None, len(children), answer

    # As many at once as there are threads: the tasks that they wait for need room.
    for future in executor.map(within, range(4)):
        assert future.result(30) == (executor.scheduler_address, True, 0, future.result()[3])
    assert executor.submit(lambda: get_client().submit(abs, -7).result(20)).result(30) == 7


def test_so_does_a_function_that_runs_beside_the_tasks(executor: Executor) -> None:
    def within() -> str:
        with Client() as client:
            return client.scheduler_address

    assert set(executor.run(within).values()) == {executor.scheduler_address}


def test_who_says_how_many_workers_gets_them(executor: Executor) -> None:
    def within() -> tuple[str, int]:
        with Executor(n_workers=1, threads_per_worker=1) as client:
            assert isinstance(client.cluster, LocalCluster)
            return client.scheduler_address, client.submit(abs, -3).result(20)

    address, answer = executor.submit(within).result(40)
    assert address != executor.scheduler_address
    assert answer == 3


# Exceptions that end loops ---------------------------------------------------------------------


def stop(kind: type[BaseException], value: int) -> int:
    if value == 1:
        raise kind("this is not the end")
    return value


WAYS: dict[str, Callable[[Executor, list[Any]], Any]] = {
    "result": lambda e, futures: list(map(lambda future: future.result(20), futures)),
    "gather": lambda e, futures: list(map(lambda future: e.gather(future), futures)),
    "as_completed": lambda e, futures: list(as_completed(futures, with_results=True)),
    "run": lambda e, futures: list(map(lambda n: e.run(stop, StopIteration, n), range(3))),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [StopIteration, StopAsyncIteration])
def test_an_exception_of_a_task_does_not_end_a_loop_in_silence(
    executor: Executor, way: str, kind: type[BaseException]
) -> None:
    futures = executor.map(stop, [kind] * 3, range(3))
    with pytest.raises(
        RuntimeError, match=r"the task raised Stop.*Iteration.'this is not"
    ) as caught:
        WAYS[way](executor, futures)
    assert isinstance(caught.value.__cause__, (StopIteration, StopAsyncIteration))
    assert isinstance(futures[1].exception(20), RuntimeError)
