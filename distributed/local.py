"""A cluster on this machine, for this session."""

from __future__ import annotations

import atexit
import os
import queue
import sys
import time
import weakref
from typing import Any

from distributed.errors import DistributedError, TimeoutError
from distributed.machine import count_cpus
from distributed.nanny import REGISTERED, STARTED
from distributed.processes import Child, describe_exit, python_command

# A scheduler or a worker that has not started by then never will.
START_SECONDS = 30.0
# The end: processes that do not end on request within this time are killed.
END_SECONDS = 1.5

_STARTED = "Start scheduler at "


class LocalCluster:
    """A scheduler and `n_workers` worker processes of `threads_per_worker` threads, on loopback.

    Without numbers: as many single-threaded workers as there are cores. The processes are those that the
    commands `dscheduler` and `dworker` run; they see the modules that this process sees. They end with
    `close`, and also when this process ends in whatever way.

    Raises TimeoutError or DistributedError, with the last lines of output, if they do not start.

    >>> with LocalCluster(n_workers=1) as cluster:
    ...     cluster
    <LocalCluster: tcp://127.0.0.1:..., workers: 1, threads: 1>
    """

    def __init__(
        self,
        n_workers: int | None = None,
        threads_per_worker: int | None = None,
        memory_limit: str | float | None = "auto",
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        if n_workers is None:
            n_workers = max(1, count_cpus() // (threads_per_worker or 1))
        self.n_workers = n_workers
        self.threads_per_worker = threads_per_worker or 1
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._children: list[Child] = []
        self._finalizer = weakref.finalize(self, _end, self._children)
        _clusters.add(self)
        try:
            self._scheduler = self._start("dscheduler", "--host", host, "--port", str(port))
            place = self._expect(_STARTED, self._scheduler)
            self.scheduler_address = f"tcp://{place}"
            if n_workers:
                self._start_workers(place, n_workers, memory_limit)
        except BaseException:
            self.close()
            raise

    def _start_workers(self, place: str, count: int, memory_limit: Any) -> None:
        child = self._start(
            "dworker",
            place,
            "--nprocs",
            str(count),
            "--nthreads",
            str(self.threads_per_worker),
            "--memory-limit",
            str(memory_limit or 0),
        )
        for _ in range(count):
            self._expect(REGISTERED, child)

    @property
    def scheduler_pid(self) -> int:
        """The process id of the scheduler."""
        return self._scheduler.pid

    def _start(self, command: str, *arguments: str) -> Child:
        lines = self._lines

        def on_line(line: str, is_error: bool) -> None:
            if is_error:
                print(line, file=sys.stderr, flush=True)
            elif line.startswith((_STARTED, REGISTERED)):
                lines.put(line)
            elif not line.startswith(STARTED):
                print(line, flush=True)  # a task has printed it

        child = Child(
            python_command(
                f"from distributed.cli import {command}; {command}()", *arguments, "--with-parent"
            ),
            on_line,
            lambda child: lines.put(None),
            {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
        )
        self._children.append(child)
        return child

    def _expect(self, beginning: str, child: Child) -> str:
        """Wait for such a line; what stands behind its beginning."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise TimeoutError(
                    f"the cluster has not started within {START_SECONDS:g} s{_said(child)}"
                ) from None
            if line is None:
                status = describe_exit(child.process.returncode or 0)
                raise DistributedError(f"the cluster did not start ({status}){_said(child)}")
            if line.startswith(beginning):
                return line.removeprefix(beginning).strip()

    def close(self) -> None:
        """End all processes, within two seconds."""
        self._finalizer()
        _clusters.discard(self)

    def __enter__(self) -> LocalCluster:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if not self._finalizer.alive:
            return "<LocalCluster: closed>"
        threads = self.n_workers * self.threads_per_worker
        return f"<LocalCluster: {self.scheduler_address}, workers: {self.n_workers}, threads: {threads}>"


_clusters: weakref.WeakSet[LocalCluster] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for cluster in tuple(_clusters):
        cluster.close()


def _said(child: Child) -> str:
    return "; its last output:\n" + "\n".join(child.tail) if child.tail else ""


def _end(children: list[Child]) -> None:
    """Workers first, so that they need not look for a scheduler that is gone."""
    deadline = time.monotonic() + END_SECONDS
    for child in reversed(children):
        child.terminate()
        if not child.join(max(0.1, deadline - time.monotonic())):
            child.kill()
            child.join()
    children.clear()
