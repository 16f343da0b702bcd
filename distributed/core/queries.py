"""Questions about the state of the cluster, each a function of the scheduler's tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from distributed.core.lifecycle import Lifecycle
from distributed.core.states import Task, Worker

Keys = tuple[str, ...] | None


def ncores(state: Lifecycle, keys: Keys) -> dict[str, int]:
    """{address: threads}"""
    return {worker.address: worker.nthreads for worker in _workers(state)}


def who_has(state: Lifecycle, keys: Keys) -> dict[str, list[str]]:
    """{key: [addresses]}, of the keys asked for or of all that are in memory."""
    if keys is None:
        return {task.key: _addresses(task) for task in state.tasks.values() if task.holders}
    return {key: _addresses(state.tasks.get(key)) for key in keys}


def has_what(state: Lifecycle, keys: Keys) -> dict[str, list[str]]:
    """{address: [keys]}"""
    return {worker.address: [task.key for task in worker.holds] for worker in _workers(state)}


def nbytes(state: Lifecycle, keys: Keys) -> dict[str, int]:
    """{key: bytes}, of the keys asked for or of all that are in memory."""
    if keys is None:
        return {task.key: task.nbytes for task in state.tasks.values() if task.holders}
    found = ((key, state.tasks.get(key)) for key in keys)
    return {key: task.nbytes for key, task in found if task is not None}


def processing(state: Lifecycle, keys: Keys) -> dict[str, list[str]]:
    """{address: [keys]} of what workers have been given and have not reported."""
    return {
        worker.address: [task.key for task in worker.assigned.values() if isinstance(task, Task)]
        for worker in _workers(state)
    }


def scheduler_info(state: Lifecycle, keys: Keys) -> dict[str, Any]:
    """What workers there are, how many tasks are in which state, and how often an audit has found
    something wrong."""
    return {
        "workers": {worker.address: _describe(state, worker) for worker in _workers(state)},
        "tasks": _count(task.state for task in state.tasks.values()),
        "repairs": state.repairs,
    }


QUERIES: dict[str, Callable[[Lifecycle, Keys], Any]] = {
    query.__name__: query
    for query in (ncores, who_has, has_what, nbytes, processing, scheduler_info)
}


def _workers(state: Lifecycle) -> Iterable[Worker]:
    return state.queues.workers.values()


def _addresses(task: Task | None) -> list[str]:
    return [] if task is None else [holder.address for holder in task.holders]


def _describe(state: Lifecycle, worker: Worker) -> dict[str, Any]:
    return {
        "name": worker.name,
        "id": worker.id,
        "host": worker.address.partition("://")[2].rpartition(":")[0],
        "status": "running" if worker.gone_since is None else "away",
        "seconds_since_seen": state.queues.now - worker.last_seen,
        "nthreads": worker.nthreads,
        "pid": worker.pid,
        "memory": worker.memory,
        "memory_limit": worker.memory_limit,
        "resources": worker.stock.totals,
        "processing": worker.busy,
        "in_memory": len(worker.holds),
    }


def _count(states: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for state in states:
        counts[state] = counts.get(state, 0) + 1
    return counts
