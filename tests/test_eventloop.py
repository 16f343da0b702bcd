"""The event loop of a worker."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from distributed.coroutines import check_may_block
from distributed.eventloop import EventLoop


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    loop = EventLoop()
    yield loop
    loop.close(10)


def run(loop: EventLoop, coroutine: Any) -> Any:
    return loop.run(coroutine, contextvars.copy_context())


async def pause() -> None:
    """Others have their turn."""
    await asyncio.sleep(0)  # on a worker, as it were: it only yields


async def double(x: int) -> int:
    await pause()
    return 2 * x


async def fail(error: BaseException) -> None:
    await pause()
    raise error


def test_the_result_of_a_coroutine(loop: EventLoop) -> None:
    assert [run(loop, double(x)) for x in range(3)] == [0, 2, 4]


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1), asyncio.CancelledError()])
def test_its_exception_whatever_it_is(loop: EventLoop, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        run(loop, fail(error))
    assert caught.value is error
    # Between the caller and the coroutine there is nothing of asyncio.
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    assert not any("asyncio" in file or "concurrent" in file for file in files)
    assert run(loop, double(1)) == 2


def test_many_threads_wait_for_one_loop(loop: EventLoop) -> None:
    here: list[int] = []

    async def meet(x: int) -> tuple[int, str]:
        here.append(x)
        while len(here) < 8:
            await pause()
        return x, threading.current_thread().name

    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda x: run(loop, meet(x)), range(8)))
    assert results == [(x, "coroutines") for x in range(8)]


def test_each_coroutine_has_a_context_of_its_own(loop: EventLoop) -> None:
    variable = contextvars.ContextVar[str]("variable", default="nothing")

    async def look(new: str) -> str:
        old = variable.get()
        variable.set(new)
        await pause()
        return old + variable.get()

    variable.set("mine-")
    assert run(loop, look("a")) == "mine-a"
    assert run(loop, look("b")) == "mine-b"
    assert variable.get() == "mine-"


def test_what_it_starts_beside_itself_does_not_end_the_loop(
    loop: EventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    async def leave_behind() -> Any:
        return asyncio.get_running_loop().create_task(fail(SystemExit(3)))

    with caplog.at_level(logging.ERROR, "distributed.worker"):
        task = run(loop, leave_behind())
        assert run(loop, double(4)) == 8
        while not task.done():
            run(loop, double(0))
        assert run(loop, double(5)) == 10
    assert "a coroutine in the background has failed" in caplog.text
    assert isinstance(task.exception(), SystemExit)


def test_blocking_is_refused_in_the_loop_and_nowhere_else(loop: EventLoop) -> None:
    async def call(function: Callable[[], None]) -> None:
        function()

    async def call_elsewhere(function: Callable[[], None]) -> None:
        await asyncio.to_thread(function)

    check_may_block()
    run(loop, call_elsewhere(check_may_block))
    with pytest.raises(RuntimeError, match="hold up the event loop of its worker: use `await"):
        run(loop, call(check_may_block))


def test_the_end_cancels_what_runs_and_lets_it_clean_up() -> None:
    loop = EventLoop()
    begun, cleaned = threading.Event(), threading.Event()

    async def wait_for_ever() -> None:
        begun.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await pause()
            cleaned.set()

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(run, loop, wait_for_ever())
        assert begun.wait(10)
        loop.close(10)
        assert cleaned.is_set()
        assert isinstance(waiting.exception(10), asyncio.CancelledError)
    assert not loop._thread.is_alive()
    with pytest.raises(asyncio.CancelledError, match="the worker ends"):
        run(loop, double(1))


def test_the_end_does_not_wait_for_what_will_not_end() -> None:
    loop = EventLoop()
    begun, gate = threading.Event(), threading.Event()

    async def hold() -> str:
        begun.set()
        gate.wait()
        return "done"

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(run, loop, hold())
        assert begun.wait(10)
        loop.close(0.01)
        assert loop._thread.is_alive()
        gate.set()
        assert waiting.result(10) == "done"
    loop._thread.join(10)
    assert not loop._thread.is_alive()
