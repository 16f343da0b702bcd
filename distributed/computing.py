"""A graph to futures: what `Executor.get`, `compute` and `persist` have in common."""

from __future__ import annotations

from collections.abc import Mapping
from pickle import PickleBuffer
from typing import TYPE_CHECKING, Any

import dask

from distributed.arguments import option_finder
from distributed.borrowing import borrow
from distributed.collecting import GRAPH_OBJECTS, SeldomCollected
from distributed.core.client_events import Calls
from distributed.expressions import Plan
from distributed.futures import Future
from distributed.graphs import GraphCalls
from distributed.serialize import dumps

if TYPE_CHECKING:
    from distributed.executor import Executor
    from distributed.transport import Frame


def submit_graph(
    executor: Executor, plan: Plan, keys: Any, given: dict[str, Any], ship: bool = False
) -> dict[Any, Future]:
    """A future for each of the keys. `given` are the options for all tasks, see `arguments.py`.

    With `ship`, large data in the graph goes straight to the workers. That is fast, but like all scattered
    data it is lost with a worker that holds it: only for callers that can begin again.
    """
    executor._connection.check_open()  # before a lot of work for nothing
    options = option_finder(given, plan.annotations, dask.get_annotations())
    find = _Finder(executor, plan.futures)
    with SeldomCollected(GRAPH_OBJECTS):
        graph = GraphCalls(plan.graph, keys, options, find, executor._kept, ship)
        needed: list[Future] = []  # by work that is not known yet
        made = _submit_parts(executor, graph, needed)
    found = {future.wire: future for future in made}
    wires = graph.wires
    others = [wire for wire in dict.fromkeys(wires.values()) if wire not in found]
    found.update(zip(others, executor._adopt(others), strict=True))
    del needed
    futures = {key: found[wire] for key, wire in wires.items()}
    executor._kept.update(futures)
    return futures


def _submit_parts(executor: Executor, graph: GraphCalls, needed: list[Future]) -> list[Future]:
    """Futures of what is wanted. Each part is sent as soon as it is packed. What it depends on is `needed`
    until all is known."""
    made: list[Future] = []
    try:
        for calls, used, data in graph:
            needed += borrow(executor, used.values())
            needed += _send(executor, data)
            made += [Future(entry, executor) for entry in executor._connection.submit(calls)]
    except BaseException:
        # What has been sent is not needed by anything.
        executor._connection.handle(Calls({}, [], graph=graph))
        raise
    return made


def _send(executor: Executor, data: dict[str, Frame]) -> list[Future]:
    """The data on the workers. Waits for the first of them, if there are none yet."""
    if not data:
        return []
    executor.wait_for_workers(1)
    items = [(wire, dumps(PickleBuffer(buffer))) for wire, buffer in data.items()]
    return executor._scatter(items, workers=None, broadcast=False)


class _Finder:
    """Finds the future that a graph means by a key that it does not have itself."""

    def __init__(self, executor: Executor, known: Mapping[Any, Future]) -> None:
        self._executor = executor
        self._known = known
        self._names: dict[Any, list[str]] | None = None

    def __call__(self, key: Any) -> Future | None:
        if key in self._known:
            return self._known[key]
        if self._names is None:
            self._names = self._executor._connection.names()
        wires = self._names.get(key, [])
        if len(wires) > 1:
            raise ValueError(
                f"the graph refers to {key!r}, and there are {len(wires)} futures of that name: "
                "use the futures themselves"
            )
        return self._executor._adopt(wires)[0] if wires else None
