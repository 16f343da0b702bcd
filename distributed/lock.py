"""Locks for the whole cluster: of all those that have one name, at most one is held at a time."""

from __future__ import annotations

import threading
import uuid
from typing import Any
from weakref import WeakValueDictionary

from distributed.connection import Connection
from distributed.core.client_events import Conceding
from distributed.core.contenders import DENIED, HOLDING, Contender
from distributed.core.entries import CANCELLED, LOST
from distributed.errors import CancelledError, DistributedError, SchedulerGone
from distributed.executor import Executor
from distributed.messages import IsLocked
from distributed.registry import get_client
from distributed.tasks import current_task


class Lock:
    """A lock that sessions and tasks share by its name.

    `name` is any string; without one it is a new lock that nobody has yet. `client` is the Executor
    whose cluster it belongs to. By default that is decided when the lock is first used: the client of
    the task, or the newest Executor of this process.

    A lock object that is dropped while it is held stays held, until its client ends.

    It may be pickled into tasks: what arrives is another lock of the same name, which is not held. All that
    arrive in a process under one name are one object, so code that puts its locks in the order of their
    `id` finds the same order in each task. Each task, and each thread that runs none, holds that object for
    itself, and has the client that it would get by `get_client()`.

    The locks go to those who wait in the order in which they asked. A lock is free again when its holder
    releases it, or ends: a process that dies, or cannot be reached, loses what it held after some
    seconds. It is not reentrant: who asks again for a lock that he holds waits for himself.

    A task that waits for a lock keeps its thread. So a task must not wait for other tasks while it
    holds a lock that these, or those before them, need.

    >>> def withdraw(amount, account):
    ...     with Lock(account):
    ...         return f"{amount} from {account}: nobody else touches it now"
    >>> with Executor(n_workers=1, threads_per_worker=1) as e:
    ...     e.submit(withdraw, 5, "alice").result()
    ...     with Lock("alice") as lock:
    ...         Lock("alice").acquire(timeout=0.01), lock.locked()
    '5 from alice: nobody else touches it now'
    (False, True)

    Raises TypeError if the name is not a string, ValueError if it is not one that can be encoded.
    """

    def __init__(self, name: str | None = None, client: Executor | None = None) -> None:
        if name is None:
            name = f"lock-{uuid.uuid4().hex}"
        if not isinstance(name, str):
            raise TypeError(f"the name of a lock is a string, not {name!r:.100}")
        name.encode()  # what fails here would fail later, in a thread that cannot tell the caller
        self.name = name
        self._client = client
        self._arrived = False
        # The contenders that have the lock, and their connections, by who may release it.
        self._held: dict[Any, tuple[Contender, Connection]] = {}

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Wait for the lock; true once it is held by this object, false after `timeout` seconds, or with
        `blocking=False` if it is not free at the moment.

        Raises SchedulerGone (an OSError) if there is no scheduler any more, CancelledError if the client
        is closed meanwhile, DistributedError if the client has too many locks, ValueError if there is no
        client or the timeout makes no sense.

        >>> with Executor(n_workers=1, threads_per_worker=1) as e:
        ...     lock, other = Lock("printer"), Lock("printer")
        ...     lock.acquire(), other.acquire(blocking=False), other.acquire(timeout=0.01)
        (True, False, False)
        """
        if timeout is not None and (timeout < 0 or not blocking):
            raise ValueError("a timeout is at least 0, and goes with blocking=True")
        if timeout == 0:
            blocking, timeout = False, None
        # A task that waits here keeps its slot, other than one that waits for futures. The next task
        # in its place would come to wait for the lock as well, and the next, and all of them would sit
        # there with their inputs in memory: a whole array, chunk by chunk.
        connection = self._connection()
        contender = connection.contend(self.name, blocking, timeout)
        if contender.status is HOLDING:
            self._held[self._holder()] = contender, connection
            return True
        if contender.status is CANCELLED:
            raise CancelledError(f"waiting for the lock {self.name} ended: {contender.reason}")
        if contender.status is LOST:
            raise SchedulerGone(contender.reason)
        if contender.status is DENIED and contender.reason:
            raise DistributedError(f"the lock {self.name} cannot be had: {contender.reason}")
        return False

    def release(self) -> None:
        """Let go of the lock: the next who waits gets it. Any thread may do that; only of a lock that was
        pickled into this process the task or the thread that holds it.

        Raises RuntimeError if this object does not hold it, or it is not held by this task or thread: it
        never was, or the lock was lost with the connection to the scheduler.

        >>> with Executor(n_workers=1, threads_per_worker=1) as e:
        ...     lock = Lock("printer")
        ...     lock.acquire()
        ...     lock.release()
        ...     lock.locked()
        True
        False
        """
        held, connection = self._held.pop(self._holder(), (None, None))
        if held is None or connection is None or held.status is not HOLDING:
            who = "this task or thread" if self._arrived else "this object"
            reason = "" if held is None else f" any more: {held.reason}"
            raise RuntimeError(f"the lock {self.name} is not held by {who}{reason}")
        connection.handle(Conceding(held))

    def locked(self) -> bool:
        """Whether anybody holds the lock; the scheduler is asked.

        Raises DistributedError, of which SchedulerGone is one, if it cannot be asked.

        >>> with Executor(n_workers=1, threads_per_worker=1) as e:
        ...     with Lock("printer"):
        ...         Lock("printer").locked(), Lock("scanner").locked()
        (True, False)
        """
        locked: bool = self._connection().ask(lambda request: IsLocked(request, self.name))
        return locked

    def _holder(self) -> Any:
        return current_task() or threading.get_ident() if self._arrived else None

    def _connection(self) -> Connection:
        if self._arrived:
            return get_client()._connection
        if self._client is None:
            self._client = get_client()
        return self._client._connection

    def __enter__(self) -> Lock:
        self.acquire()
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def __repr__(self) -> str:
        held = any(contender.status is HOLDING for contender, _ in tuple(self._held.values()))
        return f"<Lock: {self.name}{', held' if held else ''}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrive, (self.name,)


# Those that were pickled into this process, by name.
_arrived: WeakValueDictionary[str, Lock] = WeakValueDictionary()
_arriving = threading.Lock()


def _arrive(name: str) -> Lock:
    with _arriving:
        lock = _arrived.get(name)
        if lock is None:
            lock = _arrived[name] = Lock(name)
            lock._arrived = True
        return lock
