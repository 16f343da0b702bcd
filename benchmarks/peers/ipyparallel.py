"""ipyparallel: a controller, two engines, and the view that balances their load."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import ipyparallel

from benchmarks.system import System
from benchmarks.workloads import WORKERS, inc


class IPyParallel(System):
    def __init__(self) -> None:
        self.name = f"ipyparallel {ipyparallel.__version__}"
        self._cluster = ipyparallel.Cluster(n=WORKERS, log_level=logging.ERROR)
        self._client = self._cluster.start_and_connect_sync()
        self._view = self._client.load_balanced_view()
        self.submit = self._view.apply_async  # type: ignore[method-assign]
        self.gather(self.map(inc, range(-10 * WORKERS, 0)))

    def gather(self, futures: list[Any]) -> list[Any]:
        return [future.get() for future in futures]

    def wait(self, futures: list[Any]) -> None:
        self._client.wait(futures)

    def visit(self, func: Callable[..., Any], *args: Any) -> Any:
        client = self._cluster.connect_client_sync()
        try:
            return client.load_balanced_view().apply_sync(func, *args)
        finally:
            client.close()

    def close(self) -> None:
        self._client.close()
        self._cluster.stop_cluster_sync()


def start() -> IPyParallel:
    return IPyParallel()
