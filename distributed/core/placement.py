"""Where a task runs: estimates of how soon each worker could start it, and the choice among them.

All times are seconds. They only have to be right enough to order the candidates.
"""

from __future__ import annotations

from collections.abc import Iterable

from distributed.core.states import Function, Task, Worker

# What a fetch costs before the first byte arrives: two messages and two thread hand-overs. With less,
# tiny inputs would be moved to spread microsecond tasks, which costs more than it gains.
FETCH_SECONDS = 0.001
# Between loopback (4 GB/s in chunks) and a 1 Gbit network (0.1 GB/s): moving 100 MB counts as 0.2 s.
BYTES_PER_SECOND = 500e6
# A task of a kind that has not been timed yet. Long, so that unknown work is spread over the cluster
# rather than queued behind other unknown work.
UNKNOWN_SECONDS = 0.5
# Holders looked at for each task: an input that a hundred workers hold makes all of them good.
MAX_CANDIDATES = 16


def seconds_of(function: Function | None) -> float:
    """What a call of the function is expected to take."""
    if function is None or function.seconds is None:
        return UNKNOWN_SECONDS
    return function.seconds


def wait_seconds(worker: Worker, now: float) -> float:
    """Until a thread of the worker is free for one more task."""
    ahead = worker.busy + len(worker.queue) - worker.nthreads + 1
    if ahead <= 0:
        return 0.0
    usual = ahead * (worker.seconds or UNKNOWN_SECONDS) / worker.nthreads
    # What has taken so long already may take as long again, whatever the tasks before it took.
    return max(usual, now - worker.reported_at)


# What it takes to move inputs, in seconds, by who holds them. Mostly each is held by one worker, and there
# are few of these, however many the inputs.
Parcels = dict[tuple[Worker, ...], float]


def parcels_of(task: Task) -> Parcels:
    """The inputs of the task."""
    found: Parcels = {}
    for dependency in task.dependencies:
        holders = dependency.holders
        cost = FETCH_SECONDS + dependency.nbytes / BYTES_PER_SECOND
        found[holders] = found[holders] + cost if holders in found else cost
    return found


def move_seconds(parcels: Parcels, worker: Worker) -> float:
    """To bring those that the worker does not hold."""
    total = 0.0
    for holders, seconds in parcels.items():
        if worker not in holders:
            total += seconds
    return total


def near(parcels: Parcels) -> dict[Worker, None]:
    """The workers that hold at least one input, at most MAX_CANDIDATES of each and about as many in all."""
    found: dict[Worker, None] = {}
    for holders in parcels:
        for worker in holders[:MAX_CANDIDATES]:
            found[worker] = None
        if len(found) >= MAX_CANDIDATES:
            break
    return found


def choose(parcels: Parcels, candidates: Iterable[Worker], now: float) -> Worker | None:
    """The worker that could start a task with these inputs earliest; among equals the one that has to move
    least, then the least busy. None if there are no candidates."""
    best: Worker | None = None
    best_cost: tuple[float, float, float, str] | None = None
    for worker in candidates:
        moving = move_seconds(parcels, worker)
        # Inputs are fetched while the task waits, so the longer counts.
        start = max(moving, wait_seconds(worker, now))
        cost = (start, moving, worker.busy / worker.nthreads, worker.id)
        if best_cost is None or cost < best_cost:
            best, best_cost = worker, cost
    return best


def may_run(task: Task, worker: Worker) -> bool:
    """Whether the caller allows this worker, and it has what the task asks for, free or not."""
    resources = task.options.resources
    return allows(task, worker) and (not resources or worker.stock.suffices(resources))


def allows(task: Task, worker: Worker) -> bool:
    """Whether the caller's restriction allows this worker."""
    wanted = task.options.workers
    return not wanted or task.options.loose or not worker.aliases.isdisjoint(wanted)
