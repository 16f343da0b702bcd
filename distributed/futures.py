"""Futures, and what one does with many of them: wait, as_completed, fire_and_forget."""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import sys
import threading
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from dask._task_spec import TaskRef
from dask.base import is_dask_collection

from distributed.connection import Connection
from distributed.core.client_events import Await, CallOff, Desist, Firing
from distributed.core.entries import CANCELLED, ERROR, FINISHED, LOST, PENDING, Entry
from distributed.coroutines import check_may_block
from distributed.errors import (
    CancelledError,
    KilledWorker,
    LostData,
    OutOfMemory,
    SchedulerGone,
    SerializationError,
    TimeoutError,
)
from distributed.graphs import handles_within
from distributed.html import as_table
from distributed.keys import is_text, shown_key, shown_text, wire_key
from distributed.packing import Handle, note_hidden_handle
from distributed.shapes import items_in
from distributed.tasks import current_task
from distributed.tracebacks import load_exception
from distributed.units import Seconds, optional_seconds
from distributed.unpickling import unpickle
from distributed.waiting import Deadline, Waiting, deadline_of

if TYPE_CHECKING:
    from distributed.executor import Executor

# What is raised for an ending without a result that has no status of its own.
_ENDINGS = {
    "gone": SchedulerGone,
    "killed": KilledWorker,
    "memory": OutOfMemory,
    "stuck": SerializationError,
    "timeout": TimeoutError,
}

# Names of the lives of keys, see `Future._life`.
_process = uuid.uuid4().hex
_lives = itertools.count(1)
_naming = threading.Lock()


class Future(Handle, TaskRef):  # type: ignore[misc]  # dask finds it in graphs as it is a TaskRef
    """A result that is being computed, or lies on a worker.

    Made by `Executor.submit` and its siblings. The data stays on the cluster while there is a future
    for it: dropping the last one (`del`, leaving the scope) frees it.

    `Future(key, client)` is another future for a key that this client has futures of, or for the key
    of a call that another client has made and has not named. Without a client it is of the default one.

    A future may be an argument of further calls, and may be pickled into tasks.
    """

    __slots__ = ("__weakref__", "_entry", "executor")

    # Two futures are equal if they are one: a TaskRef compares keys.
    __eq__ = object.__eq__
    __hash__ = object.__hash__
    __str__ = object.__str__

    def __init__(self, key: Any, client: Executor | None = None) -> None:
        if type(key) is not Entry:
            from distributed.registry import default_client

            client = default_client() if client is None else client
            key = _entry_of(key, client)
        self._entry: Entry = key
        self.executor: Executor = client  # type: ignore[assignment]

    @property
    def wire(self) -> str:  # type: ignore[override]
        return self._entry.key

    @property
    def key(self) -> Any:
        """The name of the work: the function's name and a hash, or what the caller gave."""
        return shown_key(self._entry.key)

    @property
    def status(self) -> str:
        """'pending', 'finished', 'error', 'cancelled', or 'lost' (the data cannot be had again)."""
        return self._entry.status

    @property
    def type(self) -> type | None:
        """The type of the result, once it is known."""
        inline, kind = self._entry.inline, self._entry.kind
        if inline is not None:
            return type(unpickle(inline))
        return None if kind is None else unpickle(kind)

    def done(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self._entry.status is not PENDING

    def cancelled(self) -> bool:
        return self._entry.status is CANCELLED

    def result(self, timeout: Seconds | None = None) -> Any:
        """Wait for the result and fetch it. `timeout` is in seconds.

        Raises what the task raised, with the lines of its traceback; CancelledError; TimeoutError, also if
        the task took longer than it may; KilledWorker if four workers died of the task; LostData if it
        cannot be computed again; SchedulerGone if there has been no scheduler for too long;
        SerializationError if the result, or what the task needs of other workers, cannot be pickled.
        """
        deadline = deadline_of(timeout)
        self._await(deadline)
        # Nearly always it is a small result that has come with the news.
        inline = self._entry.inline
        if inline is not None:
            return unpickle(inline)
        from distributed.gathering import collect

        values, failure = collect(self._connection, [self], True, deadline)
        if failure is not None:
            try:
                raise failure
            finally:
                del self, failure  # a traceback that is kept must not keep the future
        return values[self._entry]

    def exception(self, timeout: Seconds | None = None) -> BaseException | None:
        """Wait until it has ended; the exception that `result` would raise, None if there is none.

        Raises CancelledError, TimeoutError.
        """
        status = self._await(deadline_of(timeout))
        if status is CANCELLED:
            raise self.failure()
        return None if status is FINISHED else self.failure()

    def traceback(self, timeout: Seconds | None = None) -> TracebackType | None:
        """As `exception`, but the lines where it was raised: print it with the traceback module."""
        exception = self.exception(timeout)
        return None if exception is None else exception.__traceback__

    def cancel(self, force: bool = False) -> None:
        """Call the work off, and all that waits for its result, unless another client wants it. With
        `force` also what has started, see `Executor.cancel`."""
        self._connection.handle(CallOff([self._entry], force))

    def release(self) -> None:
        """Let go of the data now, as if the future had been dropped. It reads 'cancelled' then."""
        entry = self._entry
        if entry.status is not CANCELLED:
            self._entry = Entry(entry.key)
            self._entry.status = CANCELLED
            self._entry.ending = "the future was released"
            self._connection.drop(entry)

    def __await__(self) -> Generator[Any, None, Any]:
        """As `result`, in a coroutine: the event loop goes on meanwhile."""
        return self._awaited().__await__()

    async def _awaited(self) -> Any:
        import asyncio  # of a session that awaits nothing, it would be a tenth of the time of its start

        while not self.done():
            _secede()
            await self._ended()
        if self._entry.status is FINISHED and self._entry.inline is None:
            return await asyncio.to_thread(self.result)  # it is fetched
        return self.result()

    async def _ended(self) -> None:
        import asyncio

        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody waits there
                loop.call_soon_threadsafe(ended.set)

        self._connection.call_back(self._entry, wake)
        await ended.wait()

    def add_done_callback(self, fn: Callable[[Future], object]) -> None:
        """Call `fn(future)` once it has ended, in a thread for callbacks; at once if it has."""
        self._connection.call_back(self._entry, lambda: fn(self))

    def retry(self) -> None:
        """Run it again, if it has failed, and what failed before it; see `Executor.retry`."""
        self.executor.retry([self])

    @property
    def client(self) -> Executor:
        """The Executor that it belongs to."""
        return self.executor

    @property
    def _connection(self) -> Connection:
        return self.executor._connection

    def _await(self, deadline: Deadline | None) -> str:
        """How it has ended. A result that is lost meanwhile is waited for again."""
        while (status := self._entry.status) is PENDING:
            wait_for([self], deadline)
        return status

    def failure(self) -> BaseException:
        """What `result` raises: made anew each time, for raising adds to the traceback."""
        entry = self._entry
        if isinstance(entry.ending, bytes):
            return load_exception(entry.ending)
        if isinstance(entry.ending, tuple):
            how, why = entry.ending
            return _ENDINGS[how](shown_text(why))
        text = shown_text(entry.ending)
        if entry.status is CANCELLED:
            return CancelledError(f"{self.key} was cancelled{text and ': '}{text}")
        return LostData(text)

    def __dask_tokenize__(self) -> tuple[str, str, str]:
        return "future", self._entry.key, self._life

    @property
    def _life(self) -> str:
        """Tells this life of the key from others: the key may be cancelled and made again. Dask keeps
        expressions by their tokens, and would give back one with dead futures if these had the same."""
        entry = self._entry
        with _naming:
            if not entry.life:
                entry.life = f"{_process}-{next(_lives)}"
        return entry.life

    def __repr__(self) -> str:
        kind = _shown_type(self) if self.status is FINISHED else ""
        return f"<Future: status: {self.status}{kind and f', type: {kind}'}, key: {self.key}>"

    def _repr_html_(self) -> str:
        return as_table(repr(self))

    def __reduce__(self) -> tuple[Callable[[str, str, str], Future], tuple[str, str, str]]:
        note_hidden_handle(self._entry.key)
        return _revive, (self._entry.key, self.executor.scheduler_address, self._life)

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # After a failed __init__ or at the end of the interpreter there is nothing to let go of.
        entry = getattr(self, "_entry", None)
        if entry is not None and entry.handles and not is_finalizing():
            self._connection.drop(entry)


def _entry_of(key: Any, client: Executor) -> Entry:
    """That of a key as users write it.

    Raises TypeError if it is no key, ValueError if this client has futures of several tasks with that key,
    or none and it can only be a name that somebody has given.
    """
    from distributed.executor import Executor

    if not isinstance(client, Executor):
        raise TypeError(f"a future belongs to an Executor, not to {client!r:.100}")
    wire_key(key, "")  # it is a key
    wires = client._connection.names().get(key, [])
    if len(wires) > 1:
        raise ValueError(
            f"this client has futures of {len(wires)} different tasks with the key {key!r}"
        )
    if not wires and not (isinstance(key, str) and is_text(key)):
        raise ValueError(f"this client has no future with the key {key!r:.100}")
    (entry,) = client._connection.adopt(wires or [key], announce=True)
    return entry


def _shown_type(future: Future) -> str:
    """Of its result, as far as this process knows the type; to look at a future must not fail."""
    try:
        kind = future.type
    except Exception:
        return "of a module that is not here"
    if kind is None:
        return ""
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def _revive(key: str, scheduler_address: str, life: str) -> Future:
    """A future that was unpickled: it belongs to the client of this process for that scheduler."""
    from distributed.registry import executor_for

    (future,) = executor_for(scheduler_address)._adopt([key])
    with _naming:
        future._entry.life = future._entry.life or life
    return future


def leave_slot() -> None:
    """Called before a thread blocks: if it is a task's, another task takes its place meanwhile.

    Raises RuntimeError in a worker's event loop.
    """
    check_may_block()
    _secede()


def _secede() -> None:
    current = current_task()
    if current is not None:
        current[0].secede(current[1])


# Many futures ----------------------------------------------------------------------------------

ALL_COMPLETED = concurrent.futures.ALL_COMPLETED
FIRST_COMPLETED = concurrent.futures.FIRST_COMPLETED
FIRST_EXCEPTION = concurrent.futures.FIRST_EXCEPTION


class DoneAndNotDone(NamedTuple):
    done: set[Future]
    not_done: set[Future]


def futures_of(o: Any, client: Executor | None = None) -> list[Future]:
    """The futures in dask collections: the parts of those that were persisted.

    Takes a collection, a future, or containers of them as in `Executor.gather`. With a `client` only those
    that belong to it.
    """
    found: dict[Future, None] = {}
    stack = [o]
    while stack:
        item = stack.pop()
        if isinstance(item, Future):
            found[item] = None
        elif is_dask_collection(item):
            nodes = item.__dask_graph__().values()
            handles = (handle for node in nodes for handle in handles_within(node))
            found.update((handle, None) for handle in handles if isinstance(handle, Future))
        else:
            stack += reversed(list(items_in(item) or ()))
    return [future for future in found if client is None or future.executor is client]


def flat_futures(given: Any, caller: str) -> list[Future]:
    """Those in a future, a dask collection, or a container or another iterable of these; of a mapping its
    keys, if they are futures. Raises TypeError that names the caller for anything else."""
    if isinstance(given, Future):
        return [given]
    if isinstance(given, Mapping) and given and all(isinstance(key, Future) for key in given):
        return list(given)
    if is_dask_collection(given):
        return futures_of(given)
    items = items_in(given)
    if items is None and isinstance(given, Iterable) and not isinstance(given, (str, bytes)):
        items = given
    if items is None:
        raise TypeError(f"{caller}() takes futures, not {type(given).__name__}: {given!r:.100}")
    return [future for item in items for future in flat_futures(item, caller)]


def wait(
    fs: Any, timeout: Seconds | None = None, return_when: str = ALL_COMPLETED
) -> DoneAndNotDone:
    """Block until all have ended; or with `return_when='FIRST_COMPLETED'` one has, with
    `'FIRST_EXCEPTION'` one has failed.

    A result that is lost with its worker meanwhile is waited for again: all have ended at the same time.
    Takes futures, or dask collections that were persisted: a list of them, or one. Returns the sets
    (done, not_done). Raises TimeoutError after `timeout`, in seconds or as in '1 minute'.
    """
    if return_when not in (ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION):
        raise ValueError(
            f"return_when is ALL_COMPLETED, FIRST_COMPLETED or FIRST_EXCEPTION, not {return_when!r}"
        )
    waited = flat_futures(fs, "wait")
    deadline = deadline_of(timeout)
    if return_when == ALL_COMPLETED:
        wait_for(waited, deadline)
        return DoneAndNotDone(set(waited), set())
    if return_when == FIRST_EXCEPTION:
        wait_for(waited, deadline, eager=True)
    done = {future for future in waited if future.done()}
    while waited and not done:
        next(as_completed(waited, timeout=timeout))
        done = {future for future in waited if future.done()}
    return DoneAndNotDone(done, {future for future in waited if future not in done})


def wait_for(futures: Sequence[Future], deadline: Deadline | None, eager: bool = False) -> None:
    """Block until all have ended, or with `eager` until one has failed. What was lost meanwhile is waited
    for again. Raises TimeoutError."""
    while True:
        pending: dict[Connection, None] = {}
        for future in futures:
            if not future.done():
                pending[future._connection] = None
            elif eager and future.status != "finished":
                return  # and what else is asked for may take long
        if not pending:
            return
        for connection in pending:
            leave_slot()
            entries = [future._entry for future in futures if future._connection is connection]
            connection.wait(entries, deadline, eager)


class as_completed(Iterator[Any]):
    """The futures in the order in which they end, as an iterator.

    `with_results`: pairs (future, result); the exception of a failed one is raised by the iterator,
    which then goes on, or with `raise_errors=False` stands in the place of the result. More futures may be
    added while it runs. `timeout` is the longest wait, in seconds or as in '1 minute', for each next one.
    It takes what `wait` takes, so persisted collections too. `loop` means nothing here.
    """

    def __init__(
        self,
        futures: Any = (),
        loop: Any = None,
        with_results: bool = False,
        raise_errors: bool = True,
        *,
        timeout: Seconds | None = None,
    ) -> None:
        self._with_results = with_results
        self._raise_errors = raise_errors
        self._timeout = optional_seconds("timeout", timeout)
        self._waiting = Waiting(each=True)
        self._futures: dict[Entry, list[Future]] = {}
        self._ready: deque[Future] = deque()
        self._taken = 0  # of `_waiting.done`
        self.update(() if futures is None else futures)

    def add(self, future: Any) -> None:
        """One more to wait for, or those of a collection."""
        self.update(future)

    def update(self, futures: Any) -> None:
        """More to wait for."""
        fresh: dict[Connection, list[Entry]] = {}
        for future in flat_futures(futures, "as_completed"):
            waiting = self._futures.setdefault(future._entry, [])
            if not waiting:
                fresh.setdefault(future._connection, []).append(future._entry)
            waiting.append(future)
        for connection, entries in fresh.items():
            connection.handle(Await(self._waiting, entries))

    def count(self) -> int:
        """How many have not been handed out yet."""
        return len(self._ready) + sum(len(futures) for futures in self._futures.values())

    def is_empty(self) -> bool:
        return not self.count()

    def has_ready(self) -> bool:
        """Whether the next one is there without waiting."""
        self._take()
        while self._ready and not self._ready[0].done():
            self.update(self._ready.popleft())  # it was lost since, and is made again
        return bool(self._ready)

    def next_batch(self) -> list[Any]:
        """Wait for the next, and return it with all that have ended by then."""
        batch = [next(self)]
        while self.has_ready():
            batch.append(next(self))
        return batch

    def batches(self) -> Iterator[list[Any]]:
        """Lists of those that have ended meanwhile, until all have been handed out."""
        while not self.is_empty():
            yield self.next_batch()

    def clear(self) -> None:
        """Hand out none of those that are left."""
        self._desist()
        self._futures.clear()
        self._ready.clear()
        self._take()

    def _take(self) -> None:
        done = self._waiting.done
        while self._taken < len(done):
            entry = done[self._taken]
            self._taken += 1
            self._ready += self._futures.pop(entry, ())
        if self._taken == len(done) and not self._futures:
            # Everything has been handed out: entries need not be kept alive any longer.
            self._waiting.done = []
            self._taken = 0

    def __iter__(self) -> as_completed:
        return self

    def __next__(self) -> Any:
        while not self.has_ready():
            if not self._futures:
                raise StopIteration
            leave_slot()
            if not self._waiting.sleep(self._timeout):
                raise TimeoutError(
                    f"none of {len(self._futures)} futures has ended within {self._timeout:g} s"
                )
        future = self._ready.popleft()
        if not self._with_results:
            return future
        failure = None if self._raise_errors or future.cancelled() else future.exception()
        return future, future.result() if failure is None else failure

    def _desist(self) -> None:
        for entry, futures in getattr(self, "_futures", {}).items():
            futures[0]._connection.handle_later(Desist(self._waiting, [entry]))

    __del__ = _desist


_forgotten: set[Future] = set()


def fire_and_forget(obj: Any) -> None:
    """Let the work be done although nobody keeps its future: for what it does, not what it returns.

    The scheduler keeps it until it has ended, also when this session has left, and logs how it fails. Two
    workers keep its recipe for the next scheduler: if this one dies, the work goes on as long as one of
    them lives, or this session. What ends while there is no scheduler may be done twice. `cancel` and
    `restart` call it off. A cluster that ends with its session takes it along.
    """
    fired: dict[Connection, list[Entry]] = {}
    for future in flat_futures(obj, "fire_and_forget"):
        fired.setdefault(future._connection, []).append(future._entry)
        _forgotten.add(future)
        future.add_done_callback(_forgotten.discard)
    for connection, entries in fired.items():
        connection.handle(Firing(entries))


__all__ = [
    "ALL_COMPLETED",
    "CANCELLED",
    "ERROR",
    "FINISHED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "LOST",
    "PENDING",
    "DoneAndNotDone",
    "Future",
    "as_completed",
    "fire_and_forget",
    "futures_of",
    "wait",
]
