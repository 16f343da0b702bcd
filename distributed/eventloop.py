"""The event loop in which a worker awaits the coroutines of its tasks."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Coroutine
from contextvars import Context
from typing import Any

from distributed.coroutines import serve_here

logger = logging.getLogger("distributed.worker")


class EventLoop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._closed = False  # by another thread
        self._ended = False
        self._tasks: set[asyncio.Task[None]] = set()  # asyncio itself has only weak references
        self._thread = threading.Thread(target=self._serve, name="coroutines", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Any], context: Context) -> Any:
        """Wait for the coroutine; its result, or raises what it raises. CancelledError of asyncio if the
        loop is closed before it has ended."""
        call = _Call(coroutine)
        with self._lock:
            if self._closed:
                call.give_up()
            else:
                self._loop.call_soon_threadsafe(self._begin, call, context=context)
        call.ended.wait()
        error, call.error = call.error, None
        if error is None:
            return call.value
        try:
            raise error
        finally:
            del error  # it refers to this frame

    def close(self, seconds: float) -> None:
        """Cancel what runs there; the loop ends as soon as that has ended. Waits for it no longer than
        this."""
        with self._lock:
            self._closed = True
            self._loop.call_soon_threadsafe(lambda: self._spawn(self._finish()))
        self._thread.join(seconds)

    # In the thread of the loop

    def _serve(self) -> None:
        serve_here()
        asyncio.set_event_loop(self._loop)
        while not self._ended:
            try:
                self._loop.run_forever()
            except BaseException:
                # Such as SystemExit in what a user's coroutine has started beside itself.
                logger.exception("a coroutine in the background has failed")
        self._loop.close()

    def _begin(self, call: _Call) -> None:
        self._spawn(call.run()).add_done_callback(call.finish)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _finish(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._loop.shutdown_asyncgens()
        await self._loop.shutdown_default_executor()
        self._ended = True
        self._loop.stop()


class _Call:
    """A coroutine that a thread waits for."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.ended = threading.Event()
        self.value: Any = None
        self.error: BaseException | None = None
        self._coroutine = coroutine

    async def run(self) -> None:
        # An exception is not left to asyncio: SystemExit would end the loop.
        try:
            self.value = await self._coroutine
        except BaseException as error:
            self.error = error

    def finish(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():  # before it has begun
            self.give_up()
        else:
            self.ended.set()

    def give_up(self) -> None:
        self._coroutine.close()
        self.error = asyncio.CancelledError("the worker ends")
        self.ended.set()
