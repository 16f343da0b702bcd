"""dask.distributed: scheduler and workers in processes of their own, as in a cluster of machines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import dask

import distributed
from benchmarks.system import Graph, Key, System, peak_memory
from benchmarks.workloads import WORKERS, inc

START_SECONDS = 60.0
# As all others are.
LOOPBACK = ("--host", "127.0.0.1")


class Dask(System):
    def __init__(self) -> None:
        self.name = f"dask.distributed {distributed.__version__}"
        self._processes: list[subprocess.Popen[bytes]] = []
        file = Path("scheduler.json").resolve()
        # The last turn's has the address of a scheduler that has ended.
        file.unlink(missing_ok=True)
        scheduler = self._run(
            "dask_scheduler", *LOOPBACK, "--port", "0", "--scheduler-file", str(file)
        )
        address = _address(file, scheduler)
        limits = ("--nworkers", str(WORKERS), "--nthreads", "1", "--memory-limit", "0")
        self._run("dask_worker", address, *LOOPBACK, *limits, "--local-directory", os.getcwd())
        self._address = address
        self._scheduler = scheduler.pid
        self._client = distributed.Client(address)
        self.submit = self.then = self._client.submit  # type: ignore[method-assign]
        self._client.wait_for_workers(WORKERS, timeout=START_SECONDS)
        self.gather(self.map(inc, range(-10 * WORKERS, 0)))

    def _run(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        quiet = ("--no-dashboard",)
        command = [sys.executable, "-m", f"distributed.cli.{module}", *arguments, *quiet]
        self._processes.append(subprocess.Popen(command))
        return self._processes[-1]

    def map(self, func: Callable[..., Any], *iterables: Iterable[Any]) -> list[Any]:
        return self._client.map(func, *iterables)

    def result(self, future: Any) -> Any:
        return future.result()

    def gather(self, futures: list[Any]) -> list[Any]:
        return self._client.gather(futures)

    def wait(self, futures: list[Any]) -> None:
        distributed.wait(futures)

    def get(self, graph: Graph, key: Key) -> Any:
        return self._client.get(graph, key)

    def visit(self, func: Callable[..., Any], *args: Any) -> Any:
        with distributed.Client(self._address, set_as_default=False) as client:
            return client.submit(func, *args).result()

    def memory(self) -> dict[str, int]:
        return {"scheduler": peak_memory(self._scheduler), **super().memory()}

    def close(self) -> None:
        self._client.close()
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            process.wait()


def _address(file: Path, process: subprocess.Popen[bytes]) -> str:
    """The scheduler's, once it has written that down."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            return json.loads(file.read_text())["address"]
        except (FileNotFoundError, json.JSONDecodeError):
            time.sleep(0.05)
    raise OSError(f"dask's scheduler has not started within {START_SECONDS:g} s")


def start() -> Dask:
    dask.config.set({"distributed.admin.large-graph-warning-threshold": "1GiB"})
    return Dask()
