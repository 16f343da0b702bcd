"""Ourselves."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import distributed
from benchmarks import cores, zero
from benchmarks.system import Graph, Key, System, peak_memory
from benchmarks.workloads import WORKERS, inc, merge, tree
from distributed import Executor, LocalCluster


class Ours(System):
    def __init__(self) -> None:
        self.name = f"distributed {distributed.__version__}"
        self._cluster = LocalCluster(n_workers=WORKERS, threads_per_worker=1)
        self._executor = Executor(self._cluster)
        self.submit = self.then = self._executor.submit  # type: ignore[method-assign]
        self.own = {
            "core-tree": partial(cores.measure, tree),
            "core-merge": partial(cores.measure, merge),
            **{f"zero-{count}": partial(zero.measure, count) for count in (2, 16, 64)},
        }
        self.gather(self.map(inc, range(-10 * WORKERS, 0)))
        self.scheduler_pid = self._cluster.scheduler_pid
        self.worker_pids = list(self._executor.run(os.getpid).values())

    def map(self, func: Callable[..., Any], *iterables: Iterable[Any]) -> list[Any]:
        return self._executor.map(func, *iterables)

    def result(self, future: Any) -> Any:
        return future.result()

    def gather(self, futures: list[Any]) -> list[Any]:
        return self._executor.gather(futures)

    def wait(self, futures: list[Any]) -> None:
        distributed.wait(futures)

    def get(self, graph: Graph, key: Key) -> Any:
        return self._executor.get(graph, key)

    def visit(self, func: Callable[..., Any], *args: Any) -> Any:
        with Executor(self._cluster) as executor:
            return executor.submit(func, *args).result()

    def memory(self) -> dict[str, int]:
        return {"scheduler": peak_memory(self.scheduler_pid), **super().memory()}

    def close(self) -> None:
        self._executor.close()
        self._cluster.close()


def start() -> Ours:
    return Ours()
