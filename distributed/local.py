"""A cluster on this machine, for this session."""

from __future__ import annotations

import atexit
import os
import queue
import time
import weakref
from collections.abc import Mapping
from typing import TypeAlias

from distributed.errors import DistributedError, TimeoutError
from distributed.machine import count_cpus
from distributed.nanny import REGISTERED, STARTED, python_like_ours
from distributed.processes import Child, describe_exit, pass_on
from distributed.resources import as_option, check_resources

# A scheduler or a worker that has not started by then never will, unless the machine is very slow.
START_SECONDS = 30.0
# The end: processes that do not end on request within this time are killed.
END_SECONDS = 1.5

_STARTED = "Start scheduler at "

_Lines: TypeAlias = "queue.SimpleQueue[str | None]"


class LocalCluster:
    """A scheduler and `n_workers` worker processes of `threads_per_worker` threads, on loopback.

    Without numbers: as many single-threaded workers as there are cores. Each has the `resources`, as in
    {'GPU': 1}. The processes are those that the commands `dscheduler` and `dworker` run; they see the
    modules that this process sees. They end with `close`, and also when this process ends in whatever way.

    Raises TimeoutError or DistributedError, with the last lines of output, if they do not start within
    `timeout` seconds.

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
        timeout: float = START_SECONDS,
        resources: Mapping[str, float] | None = None,
    ) -> None:
        if n_workers is None:
            n_workers = max(1, count_cpus() // (threads_per_worker or 1))
        self.n_workers = n_workers
        self.threads_per_worker = threads_per_worker or 1
        self._memory_limit = memory_limit
        self._resources = as_option(check_resources(resources or {}))
        self._timeout = timeout
        self._children: list[Child] = []
        self._finalizer = weakref.finalize(self, _end, self._children, os.getpid())
        _clusters.add(self)
        try:
            self._scheduler, lines = self._start("dscheduler", "--host", host, "--port", str(port))
            self._place = self._expect(_STARTED, self._scheduler, lines, "the scheduler")
            self.scheduler_address = f"tcp://{self._place}"
            if n_workers:
                self._start_workers(n_workers)
        except BaseException:
            self.close()
            raise

    def add_worker(self) -> None:
        """Start one more worker like the others; returns once it is there."""
        self._start_workers(1)
        self.n_workers += 1

    def _start_workers(self, count: int) -> None:
        child, lines = self._start(
            "dworker",
            self._place,
            "--nprocs",
            str(count),
            "--nthreads",
            str(self.threads_per_worker),
            "--memory-limit",
            str(self._memory_limit or 0),
            "--resources",
            self._resources,
        )
        for _ in range(count):
            self._expect(REGISTERED, child, lines, "a worker")

    @property
    def scheduler_pid(self) -> int:
        """The process id of the scheduler."""
        return self._scheduler.pid

    def _start(self, command: str, *arguments: str) -> tuple[Child, _Lines]:
        """Run the command; what it announces comes into the queue, and None when it ends."""
        lines: _Lines = queue.SimpleQueue()

        def on_line(line: str, is_error: bool) -> None:
            if not is_error and line.startswith((_STARTED, REGISTERED)):
                lines.put(line)
            elif is_error or not line.startswith(STARTED):
                pass_on(line, is_error)  # a task has printed it

        child = Child(
            python_like_ours(
                f"from distributed.cli import {command}; {command}()", *arguments, "--with-parent"
            ),
            on_line,
            lambda child: lines.put(None),
        )
        self._children.append(child)
        return child, lines

    def _expect(self, beginning: str, child: Child, lines: _Lines, what: str) -> str:
        """Wait for such a line; what stands behind its beginning."""
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise TimeoutError(
                    f"{what} of the cluster has not started within {self._timeout:g} s{_said(child)}"
                ) from None
            if line is None:
                status = describe_exit(child.process.returncode or 0)
                raise DistributedError(
                    f"{what} of the cluster did not start ({status}){_said(child)}"
                )
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


def _end(children: list[Child], owner: int) -> None:
    """Workers first, so that they need not look for a scheduler that is gone."""
    if os.getpid() != owner:
        return  # a fork of the session that started them has ended
    deadline = time.monotonic() + END_SECONDS
    for child in reversed(children):
        child.terminate()
        if not child.join(max(0.1, deadline - time.monotonic())):
            child.kill()
            child.join()
    children.clear()
