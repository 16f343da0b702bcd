"""What a task may say to the worker that runs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from distributed.futures import leave_slot
from distributed.registry import get_client
from distributed.tasks import current_task

if TYPE_CHECKING:
    from distributed.executor import Executor


@contextmanager
def worker_client(timeout: float | None = None, separate_thread: bool = True) -> Iterator[Executor]:
    """The Executor of this task's worker, as `get_client()` gives it. With `separate_thread` the task gives
    its place to another at once, otherwise when it waits for the first time; `timeout` means nothing, for
    the worker is connected.

    >>> from distributed import Executor
    >>> def twice(x):
    ...     with worker_client() as client:
    ...         return client.submit(int.__add__, x, x).result()
    >>> with Executor(n_workers=1, threads_per_worker=1) as e:
    ...     e.submit(twice, 4).result()
    8
    """
    if separate_thread:
        secede()
    yield get_client()


def secede() -> None:
    """Give this task's place on its worker to another, and go on beside it. (What waits for futures does
    that by itself.)

    Raises ValueError outside of a task.
    """
    if current_task() is None:
        raise ValueError("secede() is for tasks, and no task runs in this thread")
    leave_slot()


def rejoin() -> None:
    """Returns at once: a task that has given its place away goes on beside the others until it ends.

    Raises ValueError outside of a task.
    """
    if current_task() is None:
        raise ValueError("rejoin() is for tasks, and no task runs in this thread")
