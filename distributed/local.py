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
from typing import TYPE_CHECKING, Any

import dask
from dask.config import serialize

from distributed.arguments import (
    checked_count,
    parameters,
    refuse_asynchronous,
    refuse_security,
    refuse_unknown,
)
from distributed.core.patience import CLIENT_GRACE_SECONDS, SILENCE_SECONDS
from distributed.errors import DistributedError, TimeoutError
from distributed.html import as_table
from distributed.logs import say_once
from distributed.machine import count_cpus, parse_memory_limit
from distributed.nanny import REGISTERED, STARTED, pause_after
from distributed.output import pass_on
from distributed.paths import python_like_ours, resolved
from distributed.processes import Child, describe_exit
from distributed.registry import close_at_exit
from distributed.resources import as_option, check_resources
from distributed.units import Seconds, seconds

if TYPE_CHECKING:
    from distributed.executor import Executor

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
        self.workers = 0  # that it runs
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
    {'GPU': 1}, and may use `memory_limit`: a size as in '4 GiB', bytes, a share of the machine's up to 1,
    'auto' for its threads' share, None for no limit. The processes are those that the commands `dscheduler`
    and `dworker` run; they see the modules that this process sees, and dask's configuration as it is here
    now (the values that JSON knows); files of workers are in `local_directory`, by default its
    `temporary_directory` if that is set. They end with `close`, and also when this process ends in whatever
    way; if one dies before, another takes its place. The scheduler listens on `host` and `scheduler_port`
    (also called `port`; 0 picks a free one). `worker_timeout` and `client_timeout` say how long members may
    be silent. `silence_logs` is the level from which on the package logs in this session, until the cluster
    is closed ('ERROR', or a number); False leaves it as it is. `name` is shown.

    Workers are processes always: `processes=False`, for one worker with all threads, makes one process of
    that. There is no dashboard yet, and no encryption: `dashboard_address` is answered by a warning,
    `security` and `asynchronous=True` by a NotImplementedError.

    Raises TimeoutError or DistributedError, with the last lines of output, if they do not start within
    `timeout`; TypeError for parameters that do not exist, with the nearest that does. (Times are in
    seconds, or as in '1 minute'.)

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
        timeout: Seconds = START_SECONDS,
        resources: Mapping[str, float] | None = None,
        worker_timeout: Seconds = SILENCE_SECONDS,
        client_timeout: Seconds = CLIENT_GRACE_SECONDS,
        processes: bool | None = None,
        scheduler_port: int | None = None,
        local_directory: str | os.PathLike[str] | None = None,
        name: str | None = None,
        silence_logs: str | int | bool | None = None,
        dashboard_address: str | None = None,
        security: Any = None,
        asynchronous: bool = False,
        **unknown: Any,
    ) -> None:
        refuse_unknown("LocalCluster()", unknown, parameters(LocalCluster))
        refuse_asynchronous(asynchronous)
        refuse_security(security)
        if dashboard_address is not None:
            say_once("there is no dashboard yet: dashboard_address means nothing here")
        if processes is False:
            n_workers = 1 if n_workers is None else n_workers
            threads_per_worker = threads_per_worker or count_cpus() // n_workers
            say_once(
                "processes=False means nothing here: workers are processes, with their own memory"
            )
        if n_workers is None:
            n_workers = max(1, count_cpus() // (threads_per_worker or 1))
        self.name = name
        self.n_workers = checked_count("n_workers", n_workers, least=0)
        self.threads_per_worker = checked_count("threads_per_worker", threads_per_worker or 1)
        # Here, where the caller stands, if it is no such thing.
        parse_memory_limit(memory_limit, self.threads_per_worker)
        self._memory_limit = memory_limit
        self._resources = as_option(check_resources(resources or {}))
        self._timeout = seconds("timeout", timeout)
        self._level_before = _silence(silence_logs)
        self._environment = {"DASK_INTERNAL_INHERIT_CONFIG": serialize(plain(dask.config.config))}
        self._directory = local_directory or dask.config.get("temporary_directory", None)
        if self._directory is not None:
            self._directory = os.path.abspath(self._directory)
            os.makedirs(self._directory, exist_ok=True)
        self.status = "starting"  # then 'running', then 'closed'
        self._places: list[_Place] = []
        self._finalizer = weakref.finalize(self, _end, self._places, os.getpid())
        self._finalizer.atexit = False  # see `_close_all`
        _clusters.add(self)
        options = ("--host", host)
        options += ("--worker-timeout", str(seconds("worker_timeout", worker_timeout)))
        options += ("--client-timeout", str(seconds("client_timeout", client_timeout)))
        port = port if scheduler_port is None else scheduler_port
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
            self.status = "running"
        except BaseException:
            self.close()
            raise

    def add_worker(self) -> None:
        """Start one more worker like the others; returns once it is there."""
        self._start_workers(1)
        self.n_workers += 1

    def scale(self, n: int) -> None:
        """Have `n` workers: start what is missing, or end those that came last.

        Results that lie on one that ends are made again where they are needed; what it runs runs elsewhere.
        Returns once new ones are there.
        """
        missing = checked_count("n", n, least=0) - self.n_workers
        if missing > 0:
            self._start_workers(missing)
        for place in self._to_end(-missing) if missing < 0 else ():
            self._places.remove(place)
            place.end(time.monotonic() + END_SECONDS)
        self.n_workers = n

    def _to_end(self, count: int) -> list[_Place]:
        """Places with so many workers in all, the last first. One process may have started several, which
        end together: others are started in place of those that are too many."""
        chosen: list[_Place] = []
        for place in reversed(self._places):
            if count <= 0 or place is self._scheduler:
                break
            chosen.append(place)
            count -= place.workers
        if count < 0:
            self._start_workers(-count)
        return chosen

    def adapt(self, minimum: int = 0, maximum: int | None = None, **options: Any) -> None:
        """Not there: refused, for it would have to start and end workers by itself."""
        raise NotImplementedError(
            "there is no adapt(): scale(n) starts or ends workers; on one machine as many workers as cores "
            "cost little when they are idle"
        )

    def get_client(self) -> Executor:
        """A new Executor of this cluster."""
        from distributed.executor import Executor

        return Executor(self)

    @property
    def scheduler_info(self) -> dict[str, Any]:
        """As `Executor.scheduler_info()`: the workers, and how many tasks are in which state."""
        from distributed.executor import Executor

        with Executor(self, set_as_default=False) as executor:
            return executor.scheduler_info()

    def get_logs(self) -> dict[str, str]:
        """{process: the last lines of what it has printed and logged}."""
        return {
            f"{place.what}, process {place.child.pid}": "\n".join(place.child.tail)
            for place in self._places
        }

    @property
    def dashboard_link(self) -> str | None:
        """None: there is no dashboard yet."""
        return None

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
        place.workers = count
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
        self.status = "closed"
        self._finalizer()
        if self._level_before is not None:
            logging.getLogger("distributed").setLevel(self._level_before)
            self._level_before = None
        _clusters.discard(self)

    def __enter__(self) -> LocalCluster:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        name = "LocalCluster" if self.name is None else f"LocalCluster {self.name}"
        if not self._finalizer.alive:
            return f"<{name}: closed>"
        threads = self.n_workers * self.threads_per_worker
        return f"<{name}: {self.scheduler_address}, workers: {self.n_workers}, threads: {threads}>"

    def _repr_html_(self) -> str:
        return as_table(repr(self))


def _silence(level: str | int | bool | None) -> int | None:
    """Log from this level on, in this session; the level of before, if that has changed."""
    if level is None or isinstance(level, bool):
        return None
    package = logging.getLogger("distributed")
    before = package.level
    package.setLevel(level.upper() if isinstance(level, str) else level)
    return before


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
