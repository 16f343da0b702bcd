"""Calls do not see each other through their function, nor through what it imports."""

from __future__ import annotations

import functools
import operator
from typing import Any

import dask
import dask.array
import dask.array._shuffle
import numpy as np

from distributed import Executor


class Counter:
    calls = 0

    def __init__(self) -> None:
        self.n = 0

    def add(self) -> int:
        self.n += 1
        return self.n

    def count(self) -> int:
        type(self).calls += 1
        return self.calls


def test_calls_do_not_see_what_others_did_to_their_function(executor: Executor) -> None:
    names: dict[str, Any] = {"__name__": "__main__", "Counter": Counter}
    exec("n = [0]\ndef over_global():\n n[0] += 1\n return n[0]", names)
    counter = Counter()
    array = np.zeros(100_000)
    held = [1]

    def over_array() -> int:
        array[:] += 1
        return int(array.max())

    over_list = functools.partial(append, held)
    for func in (counter.add, over_array, over_list, names["over_global"]):
        futures = [executor.submit(func, pure=False) for _ in range(6)]
        assert set(executor.gather(futures)) == {executor.submit(func).result()}, func
    assert (counter.n, array.max(), held, names["n"]) == (0, 0, [1], [0])


def append(items: list[int]) -> int:
    items.append(1)
    return len(items)


def test_tasks_of_a_graph_do_not_see_each_other_either(executor: Executor) -> None:
    calls = [dask.delayed(functools.partial(append, []), pure=False)() for _ in range(4)]
    assert dask.compute(*calls, scheduler=executor.get) == (1, 1, 1, 1)
    func = functools.partial(append, [])
    graph: dict[str, Any] = {f"x{i}": (func,) for i in range(4)}
    graph |= {f"y{i}": (operator.neg, (func,)) for i in range(4)}
    assert executor.get(graph, list(graph)) == [1] * 4 + [-1] * 4


def test_threads_of_a_fresh_worker_may_import_at_once() -> None:
    with Executor(n_workers=1, threads_per_worker=2) as e:
        funcs = (dask.array.core.getter, dask.array._shuffle.concatenate_arrays)
        futures = [e.submit(callable, func) for func in funcs]
        futures += [e.submit(func, [1], 0) for func in (dask.array.core.getter,)]
        assert e.gather(futures) == [True, True, 1]
