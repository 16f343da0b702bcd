"""The worker process: runs tasks, keeps their results, and gives them to whoever asks.

One thread, the loop, owns all sockets: a DEALER to the scheduler, a ROUTER that serves data, and
connections to other workers. It lets `core/worker.py` decide. Task threads run the user's functions;
another thread turns results into bytes and back, so that no code of a user ever holds up the loop.
"""

from __future__ import annotations

import logging
import queue
import shutil
import tempfile
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import psutil

from distributed.codec import decode, encode_parts
from distributed.core.answers import MAX_SAID_BYTES
from distributed.core.streams import Item
from distributed.core.worker import WorkerCore
from distributed.core.worker_events import (
    Answered,
    Asked,
    Completed,
    Delete,
    Execute,
    Fetch,
    Fetched,
    FetchEnded,
    GivenUp,
    Keep,
    Learn,
    Raised,
    Received,
    Seceding,
    Serve,
    Source,
    Starting,
    Tell,
    Unsendable,
)
from distributed.coroutines import AWAITED
from distributed.descriptors import Doorkeeper
from distributed.errands import Errands, run_errands
from distributed.errors import ProtocolError, SchedulerGone
from distributed.iterators import repeatable
from distributed.logs import Seldom
from distributed.messages import (
    PROTOCOL,
    PYTHON,
    Answer,
    Audit,
    Call,
    Files,
    Goodbye,
    Heartbeat,
    HelloAgain,
    Message,
    PutFile,
    Refused,
    StartAgain,
    Unload,
    Welcome,
    WorkerHello,
)
from distributed.registry import get_client, get_worker
from distributed.running import Running
from distributed.serialize import dumps, nbytes, pickle_bytes
from distributed.tasks import JOIN_SECONDS, TaskThreads, Unreadable, workers_here
from distributed.tracebacks import dump_exception
from distributed.transfer import Fetcher, Server
from distributed.transport import (
    CONNECTED,
    DISCONNECTED,
    REFUSED,
    Address,
    Context,
    Dealer,
    Frame,
    Poller,
    Router,
)
from distributed.unpickling import unpickle, unpickle_frames
from distributed.uploads import Uploads

if TYPE_CHECKING:
    from distributed.executor import Executor

HEARTBEAT_SECONDS = 2.0
# The loop looks up at least so often.
TURN_SECONDS = 0.5
# How often it is said again that the scheduler cannot be reached.
COMPLAINT_SECONDS = 10.0
SUSPICION_SECONDS = 0.01
# Whoever wants to look at the state waits for the loop so long.
LOOK_SECONDS = 5.0

# Why it ended: somebody stopped it, the scheduler ended the cluster or wants a new process in its place, or
# its lifetime is over.
STOPPED, DISMISSED, START_AGAIN, EXPIRED = "stopped", "dismissed", "start again", "expired"

logger = logging.getLogger("distributed.worker")

# Data from elsewhere: its key, its frames, and the assignment that waits for it, if any.
Pickled = tuple[str, "Sequence[Frame]", int]
# Its key, its value, and the size of that.
Unpickled = tuple[str, Any, int]

# The last two are looked for here by dask and others.
__all__ = ["DISMISSED", "EXPIRED", "START_AGAIN", "STOPPED", "Worker", "get_client", "get_worker"]


class Worker:
    """A worker that serves its data at `host:port` (0: any free port) as soon as it exists.

    `scheduler` is where it registers once it runs. `nthreads` tasks run at a time. Without a scheduler
    for `death_timeout` seconds it gives up. Others are told the URL `contact` in place of where it listens.
    `local_directory` is where files that users upload are put; it goes with the worker. `on_registered` is
    called each time that it has registered. `running` is the path of a file in which it notes what it runs,
    for its nanny; see `running.py`.
    """

    def __init__(
        self,
        scheduler: Address,
        *,
        nthreads: int,
        name: str | None = None,
        id: str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        contact: str | None = None,
        memory_limit: int = 0,
        resources: dict[str, float] | None = None,
        local_directory: str | None = None,
        nanny: str = "",
        running: str | None = None,
        death_timeout: float | None = None,
        on_registered: Callable[[], object] | None = None,
    ) -> None:
        self.scheduler = scheduler
        self.id = id or uuid.uuid4().hex
        self.nthreads = nthreads
        self._memory_limit = memory_limit
        self._resources = resources or {}
        self._nanny = nanny
        self._death_timeout = death_timeout
        self._on_registered = on_registered
        self._running = Running(running)
        self._context: Any = Context()
        try:
            self._router = Router(self._context, host, port)
        except OSError:
            self._context.term()
            raise
        self.address = contact or self._router.address.url
        self.name = name or self.address
        self.local_directory = tempfile.mkdtemp(prefix="worker-", dir=local_directory)
        self._poller = Poller()
        self._poller.add(self._router)
        self._doorkeeper = Doorkeeper(self._router, self._poller, logger)
        self._dealer = Dealer(self._context, scheduler)
        self._poller.add(self._dealer)
        self._fetcher = Fetcher(self._context, self._poller, self._doorkeeper.lend)
        self._server = Server(self._router, self._collect, self._accept)
        # Results by key. Task threads read them: a dict's single operations are atomic, and what a task
        # needs is there before the task is given to a thread.
        self._values: dict[str, Any] = {}
        self._threads = TaskThreads(self, self._values, self._poller.wake, self._running)
        # Functions that were unpickled before refer to what a file replaces.
        self._files = Uploads(self.local_directory, self._threads.functions.load_again)
        self._core = WorkerCore(self.address, self._threads.take_back)
        # What other threads have for the loop: functions to call there.
        self._posted: deque[Callable[[], object]] = deque()
        self._events: list[Any] = []
        self._heeded: list[threading.Event] = []  # to set once the events have been decided on
        self._arrived: dict[Source, Any] = {}  # values that the core has not decided on
        self._pickling: Errands = queue.SimpleQueue()
        self._unpickling_for = self._running.take()
        self._client: Executor | None = None
        self._client_lock = threading.Lock()
        self._process = psutil.Process()
        self._epoch = ""  # of the scheduler that has welcomed us
        self._introduced = False  # hello has been said on this connection
        self._hello_is_due = False
        self._registered = False
        self._alone_since: float | None = time.monotonic()
        self._next_complaint = time.monotonic() + 1.0
        self._may_complain = Seldom(COMPLAINT_SECONDS)
        self._next_heartbeat = 0.0
        self._next_look = 0.0
        self._nbytes = 0  # of memory, when we looked last
        self._ending = ""
        self._failure: Exception | None = None

    # Called from anywhere

    def run(self) -> str:
        """Work until stopped; returns why: STOPPED, DISMISSED, START_AGAIN or EXPIRED.

        Raises SchedulerGone if there was no scheduler for `death_timeout` seconds, or it refuses us.
        """
        pickler = threading.Thread(
            target=run_errands,
            args=(self._pickling, logger, "data could not be prepared"),
            name="pickling",
            daemon=True,
        )
        pickler.start()
        self._threads.start(self.nthreads)
        workers_here.add(self)
        self._alone_since = time.monotonic()
        try:
            while not self._ending:
                self._turn()
            self._running.absolve()
            if self._registered:
                self._dealer.send(encode_parts([Goodbye()]))
        finally:
            self._close(pickler)
        if self._failure is not None:
            raise self._failure
        return self._ending

    def stop(self, why: str = STOPPED) -> None:
        """End `run` soon. May be called from any thread and from a signal handler."""
        self._ending = self._ending or why
        self._poller.wake()

    @property
    def wake_descriptor(self) -> int:
        """For `signal.set_wakeup_fd`, so that a signal is noticed at once."""
        return self._poller.wake_descriptor

    def secede(self, assignment: int) -> None:
        """A task of this thread is about to wait for others: give its place to another task."""
        if self._threads.secede():
            self._post(lambda: self._events.append(Seceding(assignment)))

    def complete(self, value: Any) -> Any:
        """The result of a call that has returned a coroutine, see `TaskThreads.complete`."""
        return self._threads.complete(value)

    def look(self, describe: Callable[[WorkerCore], Any]) -> Any:
        """What the function says of the core, between two events. Raises queue.Empty if the loop stands."""
        told: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._post(lambda: told.put(describe(self._core)))
        return told.get(timeout=LOOK_SECONDS)

    def announce(self, assignment: int) -> None:
        """A task with a time limit starts in this thread: returns when the scheduler has been told."""
        told = threading.Event()

        def start() -> None:
            self._events.append(Starting(assignment))
            self._heeded.append(told)

        self._post(start)
        while not told.wait(TURN_SECONDS) and not self._ending:
            pass

    @property
    def client(self) -> Executor:
        """The client that tasks of this worker share, for the futures that they use."""
        with self._client_lock:
            if self._client is None:
                from distributed.executor import Executor

                self._client = Executor(self.scheduler, _worker=self.id)
            return self._client

    def _post(self, act: Callable[[], object]) -> None:
        self._posted.append(act)
        self._poller.wake()

    # The loop

    def _turn(self) -> None:
        self._poller.arm()
        busy = self._posted or self._threads.results or self._ending or self._events
        suspicious = self._router.suspicious
        patience = SUSPICION_SECONDS if suspicious else TURN_SECONDS
        ready = self._poller.wait(0 if busy else patience)
        if self._dealer in ready:
            self._hear()
        if suspicious or self._router in ready:
            self._server.handle()
        if self._doorkeeper.short or self._fetcher.short:
            self._make_do()
        for channel in ready:
            if self._fetcher.owns(channel):
                self._fetcher.handle(channel)
        while self._posted:
            self._posted.popleft()()
        self._take_results()
        self._check_scheduler()
        events, self._events = self._events, []
        if events:
            for effect in self._core.handle(events):
                _CARRY_OUT[type(effect)](self, effect)
            self._arrived.clear()
            while self._heeded:
                self._heeded.pop().set()
        if self._hello_is_due:
            self._hello()

    def _make_do(self) -> None:
        """There are too many open files, by tasks or by those who connect."""
        self._doorkeeper.turn()
        self._fetcher.retry()

    def _hear(self) -> None:
        for event in self._dealer.events():
            if event == CONNECTED:
                self._hello_is_due = True
            elif event == DISCONNECTED:
                self._introduced = self._registered = self._hello_is_due = False
                if self._alone_since is None:  # and not for each attempt that comes to nothing
                    self._alone_since = time.monotonic()
                    self._next_complaint = time.monotonic() + 1.0
            elif event == REFUSED and self._may_complain():
                logger.error("what answers at %s is not a scheduler", self.scheduler.url)
        for frames in self._dealer.receive():
            try:
                messages = decode(frames[0])
            except ProtocolError as error:
                logger.error("the scheduler sent nonsense: %s", error)
                continue
            for message in messages:
                handler = _HEAR.get(type(message))
                if handler is not None:
                    handler(self, message)
                else:
                    self._events.append(message)

    def _on_hello_again(self, message: HelloAgain) -> None:
        # Later in this turn: with all that came before this and the core has not taken in yet. If our last
        # hello has not been answered, the scheduler said this before it heard that: another would tell of
        # what we have now when much may have changed.
        if self._registered:
            self._hello_is_due = True

    def _hello(self) -> None:
        hello = WorkerHello(
            worker=self.id,
            epoch=self._epoch,
            name=self.name,
            address=self.address,
            nthreads=self.nthreads,
            memory_limit=self._memory_limit,
            resources=self._resources,
            pid=self._process.pid,
            nanny=self._nanny,
            protocol=PROTOCOL,
            python=PYTHON,
            holds=tuple(self._core.holds()),
            assigned=tuple(self._core.assigned()),
        )
        self._introduced, self._registered, self._hello_is_due = True, False, False
        self._tell([hello, *self._core.reminders()])

    def _on_welcome(self, message: Welcome) -> None:
        ours = self._files.without(message.files)
        if ours and message.epoch != self._epoch:
            self._tell([Files(ours)])
        self._files.install_all(message.files)
        self._registered = True
        self._epoch = message.epoch
        self._alone_since = None
        logger.info("registered with %s", self.scheduler.url)
        if self._on_registered is not None:
            self._on_registered()

    def _on_refused(self, message: Refused) -> None:
        self._failure = SchedulerGone(message.reason)
        self._ending = STOPPED

    def _on_start_again(self, message: StartAgain) -> None:
        self._ending = START_AGAIN

    def _on_goodbye(self, message: Goodbye) -> None:
        logger.info("the scheduler ends the cluster")
        self._ending = DISMISSED

    def _check_scheduler(self) -> None:
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + TURN_SECONDS
            self._doorkeeper.tick()
        if self._registered and now >= self._next_heartbeat:
            self._next_heartbeat = now + HEARTBEAT_SECONDS
            self._tell([Heartbeat(self._memory())])
            self._fetcher.tidy()
        if self._alone_since is None:
            return
        alone = now - self._alone_since
        if self._death_timeout is not None and alone > self._death_timeout:
            self._failure = SchedulerGone(
                f"no scheduler has answered at {self.scheduler.url} for {self._death_timeout:g} s"
            )
            self._ending = STOPPED
        elif now >= self._next_complaint:
            self._next_complaint = now + COMPLAINT_SECONDS
            logger.warning("no scheduler answers at %s; trying again", self.scheduler.url)

    def _memory(self) -> int:
        """Bytes that this process uses; where that cannot be read now, as far as we know."""
        try:
            self._nbytes = self._process.memory_info().rss
        except OSError as error:
            logger.debug("memory cannot be read: %s", error)
        return self._nbytes

    def _tell(self, batch: list[Message]) -> None:
        if not self._introduced:
            return  # the next hello tells all that matters; what ends after it has to be told
        for frame in encode_parts(batch):
            self._dealer.send((frame,))

    # What the core has decided

    def _carry_out_tell(self, effect: Tell) -> None:
        self._tell(effect.batch)

    def _execute(self, effect: Execute) -> None:
        self._threads.give(effect.jobs)

    def _keep(self, effect: Keep) -> None:
        arrived, values = self._arrived, self._values
        for source, key in effect.items:
            values[key] = arrived.pop(source)

    def _delete(self, effect: Delete) -> None:
        for key in effect.keys:
            self._values.pop(key, None)

    def _learn(self, effect: Learn) -> None:
        self._threads.functions.learn(effect.function, effect.blob)

    def _unload(self, effect: Unload) -> None:
        for function in effect.functions:
            self._threads.functions.unlearn(function)

    # Results of tasks

    def _take_results(self) -> None:
        results = self._threads.results
        if not results:
            return
        items = []
        for _ in range(len(results)):
            value, report = results.popleft()
            if isinstance(report, (Raised, GivenUp)):
                self._events.append(report)
            else:
                self._arrived[report[0]] = value
                items.append(report)
        if items:
            self._events.append(Completed(items))

    # Data

    def _fetch(self, effect: Fetch) -> None:
        request, address = effect.request, effect.address
        left = 1  # parts that are being unpickled, and the end of the transfer

        def one_less() -> None:
            nonlocal left
            left -= 1
            if not left:
                self._events.append(FetchEnded(request))

        def on_items(items: list[Item]) -> None:
            nonlocal left
            pickled: list[Pickled] = []
            versions: list[int] = []
            for key, version, frames in items:
                if isinstance(frames, list):
                    # To read it may end this process: then that is what the task comes to.
                    pickled.append((key, frames, self._core.waiting_for(key)))
                    versions.append(version)
                elif isinstance(frames, str):
                    self._events.append(Unsendable(request, key, frames))
            if pickled:
                left += 1
                self._pickling.put(lambda: self._unpickle(pickled, partial(arrive, versions)))

        def arrive(versions: list[int], values: list[Unpickled]) -> None:
            came = []
            for (key, value, size), version in zip(values, versions, strict=True):
                self._arrived[key, version] = value
                came.append((key, size, version))
            self._events.append(Fetched(request, came))
            one_less()

        def on_end(error: str | None) -> None:
            if error is not None:
                logger.info("fetching from %s has failed: %s", address, error)
            one_less()

        self._fetcher.get(address, effect.keys, on_items, on_end)

    def _unpickle(
        self, items: Sequence[Pickled], arrive: Callable[[list[Unpickled]], None]
    ) -> None:
        running, slot = self._unpickling_for
        values: list[Unpickled] = []
        for key, frames, assignment in items:
            running[slot] = assignment
            try:
                value = repeatable(unpickle_frames(frames))
            except BaseException as error:
                # The task that wants it fails with this, where it looks the value up.
                value = Unreadable(key, error)
            values.append((key, value, nbytes(value)))
        running[slot] = 0
        self._post(lambda: arrive(values))

    def _collect(self, keys: Sequence[str], reply: Callable[[list[Item]], None]) -> None:
        """Turn values into frames, not in this thread."""
        version = self._core.version
        values = [(key, version(key), key in self._values, self._values.get(key)) for key in keys]

        def pickle_all() -> None:
            items: list[Item] = []
            for key, number, here, value in values:
                self._running.pickles(key)
                items.append((key, number, _frames(value) if here else None))
            self._running.pickles("")
            self._post(lambda: reply(items))

        self._pickling.put(pickle_all)

    def _accept(self, key: str, assignment: int, frames: Sequence[Frame]) -> None:
        def arrive(values: list[Unpickled]) -> None:
            ((_, value, size),) = values
            self._arrived[assignment] = value
            kind = self._threads.pickled_type(type(value))
            self._events.append(Received(key, assignment, size, kind))

        self._pickling.put(lambda: self._unpickle([(key, frames, 0)], arrive))

    # Questions

    def _on_audit(self, message: Audit) -> None:
        self._events.append(Asked(message, self._threads.running_for()))

    # Calls beside the tasks

    def _serve(self, effect: Serve) -> None:
        message = effect.message
        if isinstance(message, Call):
            self._start_call(message)
        else:
            self._put_file(message)

    def _start_call(self, message: Call) -> None:
        try:
            threading.Thread(target=self._answer, args=(message,), name="call", daemon=True).start()
        except RuntimeError as error:  # the system has no more threads for us
            answer = Answer(message.request, False, dump_exception(error))
            self._events.append(Answered(answer))

    def _answer(self, message: Call) -> None:
        try:
            func, args, kwargs = unpickle(message.call)
            value = func(*args, **kwargs)
            if type(value) in AWAITED:
                value = self.complete(value)
            blob = pickle_bytes(value)
        except BaseException as error:
            failure = Answer(message.request, False, dump_exception(error))
            self._post(lambda: self._events.append(Answered(failure)))
        else:
            self._post(lambda: self._take_answer(message.request, blob))

    def _take_answer(self, request: int, blob: bytes) -> None:
        if len(blob) <= MAX_SAID_BYTES:
            self._events.append(Answered(Answer(request, True, blob)))
            return
        key = f"answer-{uuid.uuid4().hex}"
        self._arrived[key, request] = blob
        self._events.append(Answered(Answer(request, True, (key, len(blob)))))

    def _put_file(self, message: PutFile) -> None:
        try:
            self._files.install(message.name, message.content)
        except (OSError, ValueError) as error:
            answer = Answer(message.request, False, dump_exception(error))
        else:
            answer = Answer(message.request, True, pickle_bytes(None))
        self._events.append(Answered(answer))

    # The end

    def _close(self, pickler: threading.Thread) -> None:
        workers_here.discard(self)
        self._pickling.put(None)
        self._threads.stop()
        pickler.join(JOIN_SECONDS)
        if self._client is not None:
            self._client.close()
        self._fetcher.close()
        self._doorkeeper.close()
        self._dealer.close()
        self._router.close()
        self._poller.close()
        self._context.term()
        shutil.rmtree(self.local_directory, ignore_errors=True)


def _frames(value: Any) -> list[Frame] | str:
    if isinstance(value, Unreadable):
        return str(value.error)
    try:
        return dumps(value)
    except BaseException as error:
        return str(error)


_HEAR: dict[Any, Callable[[Worker, Any], None]] = {
    Welcome: Worker._on_welcome,
    Refused: Worker._on_refused,
    HelloAgain: Worker._on_hello_again,
    StartAgain: Worker._on_start_again,
    Goodbye: Worker._on_goodbye,
    Audit: Worker._on_audit,
}

_CARRY_OUT: dict[Any, Callable[[Worker, Any], None]] = {
    Tell: Worker._carry_out_tell,
    Execute: Worker._execute,
    Keep: Worker._keep,
    Delete: Worker._delete,
    Learn: Worker._learn,
    Unload: Worker._unload,
    Fetch: Worker._fetch,
    Serve: Worker._serve,
}
