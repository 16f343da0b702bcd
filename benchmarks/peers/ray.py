"""ray: a head node on this machine with two processors, and one driver."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray

from benchmarks.system import Cannot, Graph, Key, System
from benchmarks.workloads import WORKERS, inc


def _call(func: Callable[[Any], Any], *inputs: Any) -> Any:
    """It replaces references among arguments by their values, but not those in lists."""
    return func(list(inputs))


class Ray(System):
    def __init__(self) -> None:
        self.name = f"ray {ray.__version__}"
        ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)
        self._remote: dict[Any, Any] = {}
        self.gather(self.map(inc, range(-100, 0)))

    def submit(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        remote = self._remote.get(func)
        if remote is None:
            remote = self._remote[func] = ray.remote(func)
        return remote.remote(*args, **kwargs)

    then = submit

    def result(self, future: Any) -> Any:
        return ray.get(future)

    def gather(self, futures: list[Any]) -> list[Any]:
        return ray.get(futures)

    def wait(self, futures: list[Any]) -> None:
        ray.wait(futures, num_returns=len(futures), fetch_local=False)

    def get(self, graph: Graph, key: Key) -> Any:
        """In a loop of its remote calls: what a task needs stands before it."""
        futures: dict[Key, Any] = {}
        for name, (func, argument) in graph.items():
            if isinstance(argument, list):
                futures[name] = self.submit(_call, func, *[futures[k] for k in argument])
            else:
                futures[name] = self.submit(func, argument)
        return ray.get(futures[key])

    def visit(self, func: Callable[..., Any], *args: Any) -> Any:
        raise Cannot("has one session a process")

    def close(self) -> None:
        ray.shutdown()


def start() -> Ray:
    return Ray()
