"""A cluster on this machine, for this session."""

from __future__ import annotations

import atexit
import json
import logging
import os
import queue
import sys
import threading
import time
import weakref
from collections.abc import Mapping
from typing import Any

import dask
from dask.config import serialize

from distributed.core.patience import CLIENT_GRACE_SECONDS, SILENCE_SECONDS
from distributed.errors import DistributedError, TimeoutError
from distributed.machine import count_cpus
from distributed.nanny import REGISTERED, STARTED, pause_after
from distributed.output import pass_on
from distributed.paths import python_like_ours, resolved
from distributed.processes import Child, describe_exit
from distributed.registry import close_at_exit
from distributed.resources import as_option, check_resources

# A scheduler or a worker that has not started by then never will, unless the machine is very slow.
START_SECONDS = 30.0
# The end: processes that do not end on request within this time are killed.
END_SECONDS = 1.5

# A process that has lived for so long and dies is replaced at once; after shorter lives there are pauses.
STEADY_SECONDS = 10.0

_STARTED = "Start scheduler at "

logger = logging.getLogger("distributed.local")


class _Place:
    """One process of a cluster: it runs the command. Once `keep` is set, another takes its place if it
    dies, until `end`. What it announces before is put into `lines`, and None if it ends."""

    def __init__(
        self, what: str, environment: Mapping[str, str], command: str, *arguments: str
    ) -> None:
        self.what = what
        self.arguments = arguments
        self.lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.keep = False
        self._environment = environment
        self._command = f"from distributed_commands import {command}; {command}()"
        self._lock = threading.Lock()  # held to start a process
        self._ending = threading.Event()
        self._crashes = 0  # in a row, after short lives
        self._start()

    def _start(self) -> None:
        self._started_at = time.monotonic()
        command = python_like_ours(self._command, *self.arguments, "--with-parent")
        self.child = Child(command, self._on_text, self._on_exit, self._environment)

    def _on_text(self, text: str, is_error: bool) -> None:
        if is_error or not text.startswith((_STARTED, STARTED, REGISTERED)):
            pass_on(text, is_error, self)  # a task has printed it
        elif not self.keep:
            self.lines.put(text)

    def _on_exit(self, child: Child) -> None:
        self.lines.put(None)
        status = child.process.returncode
        if not self.keep or status == 0:
            return  # it has been told to end
        lived = time.monotonic() - self._started_at
        self._crashes = self._crashes + 1 if lived < STEADY_SECONDS else 0
        pause = pause_after(self._crashes) if self._crashes else 0.0
        if not self._ending.is_set():
            after = f"in {pause:g} s" if pause else "now"
            reason = describe_exit(status)
            logger.warning("%s died (%s); starting another %s", self.what, reason, after)
        self._ending.wait(pause)
        with self._lock:
            if not self._ending.is_set():
                self._start()

    def end(self, deadline: float) -> None:
        """Ask it to end, and kill it at that time."""
        self._ending.set()
        with self._lock:
            child = self.child
        child.terminate()
        if not child.join(max(0.1, deadline - time.monotonic())):
            child.kill()
            child.join()


class LocalCluster:
    """A scheduler and `n_workers` worker processes of `threads_per_worker` threads, on loopback.

    Without numbers: as many single-threaded workers as there are cores. Each has the `resources`, as in
    {'GPU': 1}. The processes are those that the commands `dscheduler` and `dworker` run; they see the
    modules that this process sees, and dask's configuration as it is here now (the values that JSON
    knows); files of workers are in its `temporary_directory`, if that is set. They end with `close`, and
    also when this process ends in whatever way; if one dies before, another takes its place.
    `worker_timeout` and `client_timeout` are options of the scheduler: how many seconds those may be
    silent.

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
        worker_timeout: float = SILENCE_SECONDS,
        client_timeout: float = CLIENT_GRACE_SECONDS,
    ) -> None:
        if n_workers is None:
            n_workers = max(1, count_cpus() // (threads_per_worker or 1))
        self.n_workers = n_workers
        self.threads_per_worker = threads_per_worker or 1
        self._memory_limit = memory_limit
        self._resources = as_option(check_resources(resources or {}))
        self._timeout = timeout
        self._environment = {"DASK_INTERNAL_INHERIT_CONFIG": serialize(plain(dask.config.config))}
        self._directory = dask.config.get("temporary_directory", None)
        if self._directory is not None:
            self._directory = os.path.abspath(self._directory)
            os.makedirs(self._directory, exist_ok=True)
        self._places: list[_Place] = []
        self._finalizer = weakref.finalize(self, _end, self._places, os.getpid())
        self._finalizer.atexit = False  # see `_close_all`
        _clusters.add(self)
        options = ("--host", host, "--worker-timeout", str(worker_timeout))
        options += ("--client-timeout", str(client_timeout))
        try:
            self._scheduler = self._start(
                "the scheduler of the cluster", "dscheduler", *options, "--port", str(port)
            )
            self._address = self._expect(_STARTED, self._scheduler)
            # Whoever knows it looks for the next one there.
            port_found = self._address.rpartition(":")[2]
            self._scheduler.arguments = (*options, "--port", port_found)
            self._scheduler.keep = True
            self.scheduler_address = f"tcp://{self._address}"
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
        place = self._start(
            "a worker of the cluster",
            "dworker",
            self._address,
            "--nprocs",
            str(count),
            "--nthreads",
            str(self.threads_per_worker),
            "--memory-limit",
            str(self._memory_limit or 0),
            "--resources",
            self._resources,
            "--import-path",
            json.dumps(resolved(sys.path)),
            *(() if self._directory is None else ("--local-directory", self._directory)),
        )
        for _ in range(count):
            self._expect(REGISTERED, place)
        place.keep = True

    @property
    def scheduler_pid(self) -> int:
        """The process id of the scheduler."""
        return self._scheduler.child.pid

    def _start(self, what: str, command: str, *arguments: str) -> _Place:
        place = _Place(what, self._environment, command, *arguments)
        self._places.append(place)
        return place

    def _expect(self, beginning: str, place: _Place) -> str:
        """Wait for such a line; what stands behind its beginning."""
        deadline = time.monotonic() + self._timeout
        child, what = place.child, place.what
        while True:
            try:
                line = place.lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise TimeoutError(
                    f"{what} has not started within {self._timeout:g} s{_said(child)}"
                ) from None
            if line is None:
                status = describe_exit(child.process.returncode or 0)
                raise DistributedError(f"{what} did not start ({status}){_said(child)}")
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
    close_at_exit()  # first, or they would hear that their clusters have gone
    for cluster in tuple(_clusters):
        cluster.close()


def plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of dask's configuration can be told to another process: all that JSON can express.

    >>> plain({"a": {"b": 1, "c": print}, "scheduler": print})
    {'a': {'b': 1}}
    """
    found: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            found[name] = plain(value)
            continue
        try:
            json.dumps(value)
        except (TypeError, ValueError):
            continue
        found[name] = value
    return found


def _said(child: Child) -> str:
    return "; its last output:\n" + "\n".join(child.tail) if child.tail else ""


def _end(places: list[_Place], owner: int) -> None:
    """Workers first, so that they need not look for a scheduler that is gone."""
    if os.getpid() != owner:
        return  # a fork of the session that started them has ended
    deadline = time.monotonic() + END_SECONDS
    for place in reversed(places):
        place.end(deadline)
    places.clear()
