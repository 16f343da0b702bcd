"""A task cluster for Python on ZeroMQ.

`dscheduler` runs the scheduler, `dworker` the workers; in a Python session an `Executor` submits
functions and gets futures. See README.md.
"""

from distributed import compat
from distributed.errors import (
    CancelledError,
    DistributedError,
    KilledWorker,
    LostData,
    OutOfMemory,
    ProtocolError,
    RemoteError,
    Reschedule,
    SchedulerGone,
    SerializationError,
    TimeoutError,
)
from distributed.executor import Client, Executor
from distributed.futures import Future, as_completed, fire_and_forget, futures_of, wait
from distributed.inside import rejoin, secede, worker_client
from distributed.local import LocalCluster
from distributed.lock import Lock
from distributed.progress import progress
from distributed.registry import default_client, get_client, get_worker
from distributed.version import __version__

__all__ = [
    "CancelledError",
    "Client",
    "DistributedError",
    "Executor",
    "Future",
    "KilledWorker",
    "LocalCluster",
    "Lock",
    "LostData",
    "OutOfMemory",
    "ProtocolError",
    "RemoteError",
    "Reschedule",
    "SchedulerGone",
    "SerializationError",
    "TimeoutError",
    "__version__",
    "as_completed",
    "default_client",
    "fire_and_forget",
    "futures_of",
    "get_client",
    "get_worker",
    "progress",
    "rejoin",
    "secede",
    "wait",
    "worker_client",
]

compat.install()

# Names of dask.distributed that are not here, and what to use.
_ELSEWHERE = {
    "Queue": "a list of futures, `as_completed(...).add`, or a Lock around what you share",
    "Variable": "a future, passed to whoever needs it",
    "Event": "a future that others wait for",
    "Semaphore": "`resources=` in submit, and `dworker --resources`",
    "MultiLock": "several Locks, taken in one order",
    "Pub": "futures and `as_completed`",
    "Sub": "futures and `as_completed`",
    "Actor": "a value that tasks take and return",
    "Scheduler": "`dscheduler`, or a LocalCluster",
    "Worker": "`dworker`, or a LocalCluster; `get_worker()` in a task",
    "Nanny": "`dworker`, which has one",
    "SpecCluster": "a LocalCluster, or `dscheduler` and `dworker`",
    "SSHCluster": "`dscheduler` and `dworker` on the machines",
    "SubprocessCluster": "a LocalCluster, which is made of processes",
    "Security": "a network that you trust, or a tunnel: nothing is encrypted yet",
    "SchedulerPlugin": "`story`, `why` and `dump` of an Executor",
    "WorkerPlugin": "`Executor.run`, which calls a function on each worker",
    "NannyPlugin": "`Executor.run`, which calls a function on each worker",
    "performance_report": "`dump` and `story` of an Executor",
    "get_task_stream": "`story` of an Executor",
}


def __getattr__(name: str) -> object:
    if name in _ELSEWHERE:
        raise AttributeError(
            f"there is no distributed.{name} here: use {_ELSEWHERE[name]} "
            "(docs/coming-from-dask-distributed.md has more)"
        )
    raise AttributeError(f"module 'distributed' has no attribute {name!r}")
