"""The executors of this process, and which of them is meant where none is named."""

from __future__ import annotations

import atexit
import itertools
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from operator import itemgetter
from typing import TYPE_CHECKING

from distributed.errors import DistributedError
from distributed.tasks import current_task, workers_here
from distributed.transport import parse_address

if TYPE_CHECKING:
    from distributed.executor import Executor
    from distributed.worker import Worker

_count = itertools.count()
# In the order in which they were made.
_executors: weakref.WeakValueDictionary[int, Executor] = weakref.WeakValueDictionary()
# Of those, and of what has been made current: the youngest that lives is the default.
_defaults: weakref.WeakValueDictionary[int, Executor] = weakref.WeakValueDictionary()


def remember(executor: Executor, is_default: bool = True) -> None:
    """There is one more, which is the default from now on unless it is not to be."""
    number = next(_count)
    _executors[number] = executor
    if is_default:
        _defaults[number] = executor


@contextmanager
def as_default(executor: Executor) -> Iterator[None]:
    """It is the default, until another is made or the `with` ends."""
    number = next(_count)
    _defaults[number] = executor
    try:
        yield
    finally:
        _defaults.pop(number, None)


def _living(executors: weakref.WeakValueDictionary[int, Executor]) -> list[Executor]:
    """The oldest first. Not those of a parent process of which this is a fork."""
    return [
        executor
        for _, executor in sorted(executors.items(), key=itemgetter(0))
        if executor._process == os.getpid() and not executor._connection.closed
    ]


@atexit.register
def close_at_exit() -> None:
    """The interpreter ends: close all executors, and let those that wait for results wait."""
    for executor in reversed(_living(_executors)):
        executor._close(at_exit=True)


def default_client() -> Executor:
    """The Executor that dask collections are computed with where none is named: inside a task that of
    its worker, otherwise the one that was made last and is not closed.

    Raises ValueError if there is none.

    >>> from distributed import Executor
    >>> with Executor(n_workers=1, threads_per_worker=1) as e:
    ...     default_client() is e
    True
    >>> default_client()
    Traceback (most recent call last):
      ...
    ValueError: there is no Executor here: make one with Executor(address)
    """
    current = current_task()
    if current is not None:
        return current[0].client
    living = _living(_defaults)
    if living:
        return living[-1]
    for worker in tuple(workers_here):
        return worker.client  # a function that `Executor.run` runs beside the tasks
    raise ValueError("there is no Executor here: make one with Executor(address)")


def get_client(address: str | None = None) -> Executor:
    """As `default_client`, or the Executor of this process for that scheduler.

    Inside a task it can submit more work and wait for it: the task's place is given to others
    meanwhile.

    Raises ValueError if there is none.
    """
    if address is None:
        return default_client()
    try:
        return executor_for(parse_address(address).url)
    except DistributedError as error:
        raise ValueError(str(error)) from None


def get_worker() -> Worker:
    """The worker that runs the task in which this is called; also in a thread that a task has started, and
    in a function that `Executor.run` runs beside the tasks.

    Raises ValueError elsewhere.
    """
    worker = worker_here()
    if worker is not None:
        return worker
    raise ValueError("no worker runs in this process: call it in a task")


def worker_here() -> Worker | None:
    """As `get_worker`, or None."""
    current = current_task()
    if current is not None:
        return current[0]
    return next(iter(tuple(workers_here)), None)


def executor_for(scheduler_address: str) -> Executor:
    """An executor of this process for that scheduler: a worker has one for all its tasks, a session
    mostly one too.

    Raises DistributedError if there is none.
    """
    current = current_task()
    if current is not None:
        return current[0].client
    for executor in _living(_executors):
        if executor.scheduler_address == scheduler_address:
            return executor
    for worker in tuple(workers_here):
        if worker.scheduler.url == scheduler_address:
            return worker.client
    raise DistributedError(
        f"no Executor of this process is connected to the scheduler at {scheduler_address}, from which "
        "this comes: make one first"
    )
