"""A graph to futures: what `Executor.get`, `compute` and `persist` have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dask

from distributed.arguments import option_finder
from distributed.borrowing import borrow
from distributed.expressions import Plan
from distributed.futures import Future
from distributed.graphs import graph_calls

if TYPE_CHECKING:
    from distributed.executor import Executor


def submit_graph(
    executor: Executor, plan: Plan, keys: Any, given: dict[str, Any]
) -> dict[Any, Future]:
    """A future for each of the keys. `given` are the options for all tasks, see `arguments.py`."""
    options = option_finder(given, plan.annotations, dask.get_annotations())
    find = _Finder(executor, plan.futures)
    calls, wires, used = graph_calls(plan.graph, keys, options, find)
    borrowed = borrow(executor, used.values())
    entries = executor._connection.submit(*calls)
    found = {entry.key: Future(entry, executor) for entry in entries}
    others = [wire for wire in dict.fromkeys(wires.values()) if wire not in found]
    found.update(zip(others, executor._adopt(others), strict=True))
    del borrowed, used  # not before: the work that needs them is known now
    return {key: found[wire] for key, wire in wires.items()}


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
        return self._executor._adopt(wires, announce=False)[0] if wires else None
