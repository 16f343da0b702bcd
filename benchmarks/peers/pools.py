"""What the pools of processes have in common."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future, wait
from typing import Any

from benchmarks.system import System
from benchmarks.workloads import WORKERS, inc


class Pool(System):
    def __init__(self, name: str, pool: Executor) -> None:
        self.name = name
        self._pool = pool
        self.gather(
            self.map(inc, range(-10 * WORKERS, 0))
        )  # its processes start with the first calls

    def submit(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
        return self._pool.submit(func, *args, **kwargs)

    def gather(self, futures: list[Any]) -> list[Any]:
        return [future.result() for future in futures]

    def wait(self, futures: list[Any]) -> None:
        wait(futures)

    def close(self) -> None:
        self._pool.shutdown()
