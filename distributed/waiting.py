"""Who waits for entries to end, and what wakes them: a thread that sleeps, or a function to be called."""

from __future__ import annotations

import _thread
import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from distributed.core.entries import Waiter
from distributed.coroutines import check_may_block
from distributed.errands import Errands, run_errands
from distributed.errors import TimeoutError
from distributed.units import seconds

logger = logging.getLogger("distributed.executor")


class Deadline:
    """When a call must be over. Errors name the time that its caller gave it, not what is left of that."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._at = time.monotonic() + seconds

    def left(self) -> float:
        return self._at - time.monotonic()

    def missed(self, what: str, why: str = "") -> TimeoutError:
        """The error that says what has not happened, and why."""
        return TimeoutError(f"{what} within {self.seconds:g} s{why and ': '}{why}")


def deadline_of(timeout: Any) -> Deadline | None:
    """Of what a caller gave as `timeout`: see `units.seconds`."""
    return None if timeout is None else Deadline(seconds("timeout", timeout))


class Waiting(Waiter):
    """A waiter with a thread behind it."""

    __slots__ = ("_lock",)

    def __init__(self, each: bool = False, eager: bool = False) -> None:
        super().__init__(each, eager)
        self._lock = _thread.allocate_lock()
        self._lock.acquire()

    def wake(self) -> None:
        # Only ever called under the connection's lock, so nothing comes between these two.
        if self._lock.locked():
            self._lock.release()

    def sleep(self, timeout: float | None) -> bool:
        """Until `wake`; false if that did not come in time.

        Raises RuntimeError in the event loop of a worker.
        """
        check_may_block()
        patience = -1 if timeout is None else min(max(0.0, timeout), threading.TIMEOUT_MAX)
        return self._lock.acquire(True, patience)


class Callback(Waiter):
    """A waiter that runs a function, in the thread of callbacks."""

    __slots__ = ("_queue", "_run")

    def __init__(self, run: Callable[[], object], queue: Errands) -> None:
        super().__init__()
        self._run = run
        self._queue = queue

    def wake(self) -> None:
        self._queue.put(self._run)


class Callbacks:
    """The thread in which callbacks run. There is none before the first."""

    def __init__(self) -> None:
        self._queue: Errands = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def waiter(self, run: Callable[[], object]) -> Callback:
        """One that runs the function when it is woken. Called under the connection's lock."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, name="distributed-callbacks", daemon=True
            )
            self._thread.start()
        return Callback(run, self._queue)

    def close(self) -> None:
        """The thread ends when all that have been woken have run; waits for it, unless it is ours."""
        if self._thread is None:
            return
        self._queue.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        run_errands(self._queue, logger, "a callback of a future has failed")
