"""What the pools of processes have in common."""

from __future__ import annotations

from concurrent.futures import Executor, wait
from typing import Any

from benchmarks.system import System
from benchmarks.workloads import WORKERS, inc


class Pool(System):
    def __init__(self, name: str, pool: Executor) -> None:
        self.name = name
        self._pool = pool
        self.submit = pool.submit  # type: ignore[method-assign]
        self.gather(
            self.map(inc, range(-10 * WORKERS, 0))
        )  # its processes start with the first calls

    def gather(self, futures: list[Any]) -> list[Any]:
        return [future.result() for future in futures]

    def wait(self, futures: list[Any]) -> None:
        wait(futures)

    def close(self) -> None:
        self._pool.shutdown()
