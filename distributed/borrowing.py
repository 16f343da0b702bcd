"""Futures in the arguments of work that is about to be submitted: those that were cancelled, and those of
another Executor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from distributed.core.entries import Item
from distributed.futures import Future
from distributed.packing import Handle, handles_in

if TYPE_CHECKING:
    from distributed.executor import Executor


def borrow(executor: Executor, handles: Iterable[Handle]) -> list[Future]:
    """Make those of other executors among these ours too, for as long as the result lives.

    Raises ValueError if one is of another scheduler, CancelledError if one was cancelled.
    """
    foreign: dict[str, None] = {}
    for handle in handles:
        if not isinstance(handle, Future):
            continue
        if handle.cancelled():
            raise handle.failure()
        if handle.executor is not executor:
            _check_same_scheduler(executor, handle)
            foreign[handle.wire] = None
    if not foreign:
        return []
    borrowed = executor._adopt(list(foreign))
    # Their owner may let go of them as soon as the scheduler knows that we want them too.
    executor._ask("ncores")
    return borrowed


def borrow_for(executor: Executor, items: Iterable[Item], arguments: Any) -> list[Future]:
    """Those that the items need. Mostly none, so the arguments are searched only if a key is new."""
    known = executor._connection.core.entries
    if all(wire in known for item in items if item[2] for wire in item[2]):
        return []
    return borrow(executor, handles_in(arguments))


def _check_same_scheduler(executor: Executor, future: Future) -> None:
    if future.executor._connection.epoch != executor._connection.epoch:
        raise ValueError(
            f"the future {future.key!r} belongs to the scheduler at "
            f"{future.executor.scheduler_address}, and this is the executor of the one at "
            f"{executor.scheduler_address}: gather it there, and scatter the value here"
        )
