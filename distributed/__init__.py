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
    SchedulerGone,
    SerializationError,
    TimeoutError,
)
from distributed.executor import Client, Executor
from distributed.futures import Future, as_completed, fire_and_forget, futures_of, wait
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
    "wait",
]

compat.install()
