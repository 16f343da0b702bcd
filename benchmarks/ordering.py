"""How many results have to be held, in our order of a graph's tasks and in dask's.

    python -m benchmarks.ordering

For some usual computations it plays the graph through, one, two and eight tasks at a time, and prints the
largest number of results that were held at once, and what it took to find the order.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dask
import dask.array as da
from dask._task_spec import Task, TaskRef
from dask.order import order as dask_order

from distributed import graphs
from distributed.expressions import plan_compute
from distributed.ordering import order

THREADS = (1, 2, 8)
Inputs = Mapping[Any, Sequence[Any]]


def computations() -> dict[str, Any]:
    x = da.random.random((10_000, 10_000), chunks=(500, 500))
    tall = da.random.random((200_000, 20), chunks=(5000, 20))
    square = x[:3000, :3000]
    table = dask.datasets.timeseries(end="2000-02-28")
    return {
        "mean": x.mean(),
        "transpose": (x + x.T).sum(),
        "standard deviation": x.std(),
        "stencil": x.map_overlap(lambda block: block, depth=1, boundary="none").sum(),
        "svd": da.linalg.svd(tall)[1],
        "matrix product": (square @ square).sum(),
        "anomalies": (x - x.mean(axis=0)).std(),
        "rechunk": x.rechunk((10_000, 50)).sum(),
        "cumulative sum": x.cumsum(axis=0).max(),
        "groupby": table.groupby("name").x.mean(),
        "shuffle": table.shuffle("name").x.sum(),
        "rolling": table.x.rolling("1h").mean().max(),
    }


def graph_of(collection: Any) -> tuple[Inputs, list[Any]]:
    """The inputs of each task that the computation comes down to, and the keys that are asked for."""
    work, keys = plan_compute([collection], True)
    graph = graphs._Graph(work.graph, lambda key: None)
    wanted = [graph.resolve(key) for key in keys]
    vertices = graphs._fuse(graph, set(wanted), lambda key: None, ())
    return {name: vertex.inputs for name, vertex in vertices.items()}, wanted


def most_held(inputs: Inputs, sequence: Sequence[Any], wanted: Sequence[Any], threads: int) -> int:
    """Of the tasks that can run, the first in the sequence runs next."""
    place = {name: number for number, name in enumerate(sequence)}
    users: dict[Any, list[Any]] = {name: [] for name in inputs}
    for name, needed in inputs.items():
        for other in needed:
            users[other].append(name)
    missing = {name: len(needed) for name, needed in inputs.items()}
    uses = {name: len(found) + (name in wanted) for name, found in users.items()}
    ready = sorted(place[name] for name in inputs if not missing[name])
    running: list[Any] = []
    held = most = 0
    while ready or running:
        while ready and len(running) < threads:
            running.append(sequence[heapq.heappop(ready)])
        name = running.pop(0)
        held += 1
        most = max(most, held)
        for other in inputs[name]:
            uses[other] -= 1
            held -= not uses[other]
        for user in users[name]:
            missing[user] -= 1
            if not missing[user]:
                heapq.heappush(ready, place[user])
    return most


def timed(find: Callable[[], Sequence[Any]]) -> tuple[Sequence[Any], float]:
    start = time.perf_counter()
    found = find()
    return found, (time.perf_counter() - start) / len(found) * 1e6


def by_dask(inputs: Inputs) -> Sequence[Any]:
    places = dask_order({name: Task(name, int, *map(TaskRef, inputs[name])) for name in inputs})
    return sorted(inputs, key=places.__getitem__)


def main() -> None:
    print(
        f"{'most results held, by threads:':30} {'ours':>15} {'dask.order':>15} {'µs a task':>16}"
    )
    for name, collection in computations().items():
        inputs, wanted = graph_of(collection)
        ours, our_time = timed(lambda i=inputs, w=wanted: order(i, w))  # type: ignore[misc]
        dasks, dask_time = timed(lambda i=inputs: by_dask(i))  # type: ignore[misc]
        held = [
            "/".join(str(most_held(inputs, sequence, wanted, n)) for n in THREADS)
            for sequence in (ours, dasks)
        ]
        times = f"{our_time:>7.1f} {dask_time:>8.1f}"
        print(f"{name:20} {len(inputs):>5} tasks {held[0]:>14} {held[1]:>15} {times}")


if __name__ == "__main__":
    main()
