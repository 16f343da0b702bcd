"""The threads that run tasks.

A task is handed to them by putting it into `pending` and its number into a queue. Whoever pops it from
`pending` has it: a thread that runs it, or the loop that takes it back. That one dictionary operation is
atomic, so there is no lock and no task that both runs and was taken back.
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Mapping, MutableSequence
from contextvars import ContextVar, copy_context
from time import perf_counter_ns
from types import AsyncGeneratorType
from typing import TYPE_CHECKING, Any, NoReturn

from distributed.core.jobs import Job
from distributed.core.worker_events import GivenUp, Raised
from distributed.coroutines import AWAITED
from distributed.errors import Reschedule, SerializationError
from distributed.iterators import Replay, fresh, repeatable
from distributed.keys import shown_key
from distributed.loaded_functions import LoadedFunctions
from distributed.packing import unpack_call
from distributed.running import Running
from distributed.serialize import nbytes, pickle_bytes
from distributed.tracebacks import dump_exception

if TYPE_CHECKING:
    from distributed.eventloop import EventLoop
    from distributed.worker import Worker

# A result up to this size travels with the message that the task has finished, if a client wants it.
INLINE_BYTES = 4096
# Seconds that the end of the worker waits for running tasks. They cannot be interrupted; the process
# ends without them.
JOIN_SECONDS = 0.2

logger = logging.getLogger("distributed.worker")

_thread = threading.local()  # `state`, a TaskThread

_is_fork = False  # of a worker: a task has called os.fork(), and this is the child


def _note_fork() -> None:
    global _is_fork
    _is_fork = True


os.register_at_fork(after_in_child=_note_fork)


def _end_fork(error: BaseException | None) -> NoReturn:
    """A child has come back from its task. It ends as a script does there, for its parent may wait for it.
    Its result is nobody's, and the sockets are the parent's."""
    status = 0
    try:
        if isinstance(error, SystemExit) and isinstance(error.code, int | None):
            status = error.code or 0
        elif error is not None:
            status = 1
            traceback.print_exception(error)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status & 0xFF)


# How a task ended: its value and its report, an item of `Completed`; or no value, and what it has raised.
Result = tuple[Any, "tuple[int, int, int, bytes | None, bytes | None] | Raised | GivenUp"]


Current = tuple["Worker", int]  # and the assignment of a task


class TaskThread:
    """What a thread of tasks is at."""

    __slots__ = ("current", "seceded")

    def __init__(self) -> None:
        self.current: Current | None = None
        self.seceded = False


# In a coroutine, and in what it starts: its task, and the thread that waits for it.
_awaited: ContextVar[tuple[Current, TaskThread] | None] = ContextVar("awaited", default=None)


def current_task() -> Current | None:
    """The worker and the assignment of the task that this thread, or this coroutine, runs."""
    state: TaskThread | None = getattr(_thread, "state", None)
    if state is not None:
        return state.current
    awaited = _awaited.get()
    return None if awaited is None else awaited[0]


def completed(value: Any) -> Any:
    """The result of a call by a task that has returned one of `AWAITED`."""
    current: Current = _thread.state.current
    return current[0].complete(value)


# The workers that run in this process: mostly none or one.
workers_here: set[Worker] = set()


class Unreadable:
    """In place of data that could not be unpickled on this worker."""

    def __init__(self, key: str, error: BaseException) -> None:
        self.key = key
        self.error = error


class TaskThreads:
    """`values` is where inputs are found; `wake` is called when there are results to take; which tasks run
    is noted in `running`."""

    def __init__(
        self,
        worker: Worker,
        values: Mapping[str, Any],
        wake: Callable[[], object],
        running: Running,
    ) -> None:
        self.results: deque[Result] = deque()
        self._began: dict[int, int] = {}  # assignment -> when a thread took it, on perf_counter_ns
        self._worker = worker
        self._values = values
        self._wake = wake
        self._running = running
        self._pending: dict[int, Job] = {}
        self._queue: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self.functions = LoadedFunctions()
        self._ready = self.functions.ready
        self._types: dict[type, bytes | None] = {}  # pickled
        self._threads: list[threading.Thread] = []
        self._event_loop: EventLoop | None = None
        self._event_loop_lock = threading.Lock()
        self._stopped = False

    # Called by the loop

    def start(self, count: int) -> None:
        for _ in range(count):
            self._start_one()

    def _start_one(self) -> None:
        thread = threading.Thread(target=self._run, name="task", daemon=True)
        thread.start()  # raises RuntimeError if the system has no more
        self._threads = [other for other in self._threads if other.is_alive()]
        self._threads.append(thread)

    def give(self, jobs: list[Job]) -> None:
        pending, put = self._pending, self._queue.put
        for job in jobs:
            pending[job.assignment] = job
            put(job.assignment)

    def take_back(self, assignment: int) -> bool:
        """False if a thread has it."""
        return self._pending.pop(assignment, None) is not None

    def running_for(self) -> list[tuple[int, int]]:
        """(assignment, milliseconds) of what threads are at, seceded ones too."""
        now = perf_counter_ns()
        return [
            (number, (now - start) // 1_000_000) for number, start in tuple(self._began.items())
        ]

    def stop(self) -> None:
        """The threads end, those that run a task after it. Does not wait long."""
        self._pending.clear()
        for _ in self._threads:
            self._queue.put(None)
        with self._event_loop_lock:
            self._stopped = True
            event_loop = self._event_loop
        if event_loop is not None:
            event_loop.close(JOIN_SECONDS)
        for thread in self._threads:
            thread.join(JOIN_SECONDS / len(self._threads))

    # Called by a thread of a task, or by its coroutine

    def secede(self) -> bool:
        """Let another thread take the place of the task's, once; false if that has happened before, or if
        the task has ended and left this coroutine behind."""
        state: TaskThread | None = getattr(_thread, "state", None)
        awaited = _awaited.get()
        if state is None and awaited is not None and awaited[0] is awaited[1].current:
            state = awaited[1]
        if state is None or state.seceded:
            return False
        state.seceded = True
        try:
            self._start_one()
        except RuntimeError:
            state.seceded = False  # the place stays this task's
            raise
        return True

    def complete(self, value: Any) -> Any:
        """The result of a call that has returned one of `AWAITED`: this thread waits for it.

        Raises TypeError for an asynchronous generator.
        """
        while type(value) in AWAITED:
            if isinstance(value, AsyncGeneratorType):
                raise TypeError(
                    f"{value.__qualname__} is an asynchronous generator, and what it yields cannot be read "
                    "elsewhere: return [item async for item in ...] from an async function"
                )
            context = copy_context()
            state: TaskThread | None = getattr(_thread, "state", None)
            if state is not None and state.current is not None:
                context.run(_awaited.set, (state.current, state))
            value = self._started_event_loop().run(value, context)
        return value

    def _started_event_loop(self) -> EventLoop:
        with self._event_loop_lock:
            if self._stopped:
                raise RuntimeError("the worker ends")
            if self._event_loop is None:
                from distributed.eventloop import EventLoop

                self._event_loop = EventLoop()
            return self._event_loop

    def _run(self) -> None:
        slot = self._running.take()
        # What raises here is no error of a task, but what a task has done to the process: the thread keeps
        # its slot then, and the nanny finds the task in it.
        self._run_tasks(*slot)
        self._running.give_back(slot)

    def _run_tasks(self, running: MutableSequence[int], slot: int) -> None:
        state = _thread.state = TaskThread()
        pending, get, append, wake = self._pending, self._queue.get, self.results.append, self._wake
        began = self._began
        while not state.seceded:
            assignment = get()
            if assignment is None:
                return
            job = pending.pop(assignment, None)
            if job is None:
                continue  # taken back
            state.current = (self._worker, assignment)
            began[assignment] = perf_counter_ns()
            # Until the next one begins: what a task has done to the process may end it when the task has
            # returned, before the result has been told. Once that is told, nobody is blamed for it.
            running[slot] = assignment
            append(self._call(job))
            del began[assignment]
            state.current = None
            job = None
            wake()

    def _call(self, job: Job) -> Result:
        assignment = job.assignment
        try:
            function = self._ready.get(job.function)
            if function is None:
                function = self.functions.load(job.function)
            args, kwargs = self._arguments(job)
            if job.timed:
                self._worker.announce(assignment)
            start = perf_counter_ns()
            value = function(*args, **kwargs)
            if type(value) in AWAITED:
                value = self.complete(value)
            value = repeatable(value)
            microseconds = (perf_counter_ns() - start) // 1000
            if _is_fork:
                _end_fork(None)
            size = nbytes(value)
            inline, kind = self._describe(value, size) if job.wanted else (None, None)
            return value, (assignment, size, microseconds, inline, kind)
        except Reschedule:
            return None, GivenUp(assignment)
        except BaseException as error:
            # Whatever it is, SystemExit too: it ends the task, not the worker.
            if _is_fork:
                _end_fork(error)
            if isinstance(error, ModuleNotFoundError):
                self._say_what_to_do(error)
            return None, Raised(assignment, dump_exception(error))

    def _say_what_to_do(self, error: ModuleNotFoundError) -> None:
        notes: list[str] = getattr(error, "__notes__", [])
        note = (
            f"worker {self._worker.name} cannot import {error.name}: install it there, send it with "
            "Executor.upload_file(), or have it pickled with what uses it "
            "(cloudpickle.register_pickle_by_value(module))"
        )
        error.__notes__ = [*notes, note]  # type: ignore[attr-defined]

    def _arguments(self, job: Job) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if not job.inputs:
            return unpack_call(job.arguments, {})
        kinds = set(map(type, map(self._values.__getitem__, job.inputs)))
        if Unreadable in kinds:
            self._blame(job.inputs)
        return unpack_call(job.arguments, self._values)

    def _blame(self, keys: Iterable[str]) -> None:
        for key in keys:
            value = self._values[key]
            if isinstance(value, Unreadable):
                raise SerializationError(
                    f"the input {shown_key(key)} cannot be read on this worker: {value.error!r}"
                ) from value.error

    def _describe(self, value: Any, size: int) -> tuple[bytes | None, bytes | None]:
        """The value pickled, if that is small; otherwise its type."""
        if size <= INLINE_BYTES and type(value) is not Replay:
            try:
                inline = pickle_bytes(value)
            except SerializationError:
                pass  # it can still be used by other tasks here
            else:
                if len(inline) <= INLINE_BYTES:
                    return inline, None
        return None, self.pickled_type(type(fresh(value)))

    def pickled_type(self, kind: type) -> bytes | None:
        """None if it cannot be pickled."""
        if kind not in self._types:
            try:
                self._types[kind] = pickle_bytes(kind)
            except SerializationError:
                self._types[kind] = None
        return self._types[kind]
