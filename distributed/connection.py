"""A client's connection: the thread that owns its sockets, around `core/client.py`.

Calls come from any thread. They go through the core under one lock and leave their messages in an outbox.
The thread is woken, and sends what is there in one go; a call that comes alone sends for itself, which
saves waking the thread (see docs/decisions/0006-direct-send.md). What comes in goes through the core in the
same way; it wakes the callers that wait for it.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Any

from distributed.codec import decode, encode, encode_parts
from distributed.core.answers import data_in
from distributed.core.client import ClientCore
from distributed.core.client_events import (
    Abandon,
    Adopt,
    Answered,
    Await,
    Calls,
    Caution,
    Conceding,
    Connected,
    Contending,
    Desist,
    Dropped,
    Effect,
    Introduced,
    Rejected,
    Sending,
    Tell,
    Wake,
    Welcomed,
)
from distributed.core.contenders import WAITING, Contender
from distributed.core.entries import CANCELLED, LOST, Entry, Item, Options
from distributed.errors import (
    CancelledError,
    DistributedError,
    ProtocolError,
    SchedulerGone,
    TimeoutError,
)
from distributed.keys import shown_key, shown_text
from distributed.logs import Seldom
from distributed.messages import (
    Goodbye,
    Heartbeat,
    Message,
)
from distributed.questions import REPEATABLE, Question, reason_for
from distributed.recipes import Function
from distributed.transfer import Fetcher, Shortage, noting
from distributed.transport import (
    CONNECTED,
    DISCONNECTED,
    REFUSED,
    Address,
    Context,
    Dealer,
    Frame,
    Poller,
)
from distributed.waiting import Callbacks, Deadline, Waiting

# Without a scheduler for so long, futures that are pending fail, if nobody has said otherwise. One that is
# started again on the same address within the time carries on.
SCHEDULER_GONE_SECONDS = 60.0
# How often a client says that it lives; see cli.scheduler.MIN_CLIENT_TIMEOUT.
HEARTBEAT_SECONDS = 2.0
# The thread looks up at least so often.
TURN_SECONDS = 0.1
# A call that comes alone sends for itself if nothing has been sent for so long. Calls in quicker
# succession are left to the thread, which makes one message of several. It may have to wait for the
# interpreter's lock, so a call also sends, with all before it, if nothing has been sent for longer.
ALONE_SECONDS = 0.0002
LOOP_SECONDS = 0.001
# How often it is said again that something else answers in the place of the scheduler.
COMPLAINT_SECONDS = 10.0
# Without a scheduler for this long, a session that wants something is told.
WORRY_SECONDS = 3.0
# Dropped futures are released together, so often or when there are so many: one by one they would cost
# as much as the tasks that made them.
RELEASE_SECONDS = 0.1
MAX_DROPPED = 1000

logger = logging.getLogger("distributed.executor")


class Connection:
    """Connects to the scheduler at `address`. Without one for `scheduler_timeout` seconds, what is pending
    fails.

    `worker` is the id of the worker whose tasks it serves, if it does.

    Raises SchedulerGone, an OSError, if that has not answered within `timeout` seconds or refuses.
    """

    def __init__(
        self,
        address: Address,
        timeout: float,
        worker: str = "",
        scheduler_timeout: float = SCHEDULER_GONE_SECONDS,
    ) -> None:
        self.address = address
        self._scheduler_timeout = scheduler_timeout
        self._next_heartbeat = 0.0
        self._process = os.getpid()
        self.core = ClientCore(uuid.uuid4().hex, worker)
        self._lock = threading.Lock()
        self._outbox: list[Message] = []
        # Filled by `Future.__del__`, which may run anywhere, even under the lock.
        self._dropped: deque[Entry] = deque()
        self._next_release = 0.0
        self._jobs: deque[Callable[[], object]] = deque()
        self._questions: dict[int, Question] = {}
        self._requests = 0
        self._callbacks = Callbacks()
        self._welcomed = threading.Event()
        self._rejection = ""
        self._lost_since: float | None = time.monotonic()
        self._has_worried = False  # and said so
        self._closing = False
        self._at_exit = False
        self._context: Any = Context()
        # Whoever touches a socket holds this; who holds this may ask for `_lock`, not the other way round.
        self._sockets = threading.Lock()
        self._sent_at = 0.0
        self._may_complain = Seldom(COMPLAINT_SECONDS)
        self._poller = Poller(self._sockets)
        self._dealer = Dealer(self._context, address)
        self._poller.add(self._dealer)
        self._fetcher = Fetcher(self._context, self._poller)
        self._thread = threading.Thread(target=self._run, name="distributed-client", daemon=True)
        self._thread.start()
        self._wait_for_welcome(timeout)

    def _wait_for_welcome(self, timeout: float) -> None:
        try:
            welcomed = self._welcomed.wait(timeout)
        except BaseException:
            self.close()
            raise
        if not welcomed or self._rejection:
            self.close()
            raise SchedulerGone(
                self._rejection
                or f"no scheduler answers at {self.address.url} (tried for {timeout:g} s). "
                f"Is it running? Start one with: dscheduler --port {self.address.port}"
            )

    @property
    def epoch(self) -> str:
        """Names the scheduler that has welcomed us; empty before one has."""
        return self.core.epoch

    @property
    def closed(self) -> bool:
        return self._closing

    # For callers in any thread

    def handle(self, event: Any) -> None:
        """Let the core take in an event."""
        with self._lock:
            self._decide(event)
        if self._outbox:
            self._poller.wake()

    def call(self, function: Function, options: Options, item: Item) -> Entry:
        """Submit one call."""
        self.check_open()
        with self._lock:
            if self._dropped and item[0] in self.core.entries:
                self._release(kept=item[2] or ())
            entry = self.core.call(function.id, function.blob, options, item)
        self._hand_over()
        return entry

    def submit(self, calls: Calls) -> list[Entry]:
        """Submit work; the entries of what is wanted, in order. Raises CancelledError if the parts of its
        graph that were submitted before have been called off."""
        self.check_open()
        with self._lock:
            if calls.graph in self.core.called_off:
                raise CancelledError(self.core.called_off[calls.graph])
            if self._dropped:
                self._release(kept=calls.inputs())
            self._decide(calls)
            entries = self.core.entries
            wanted = [group[3] for group in calls.groups if group[2]]
            found = [entries[item[0]] for items in wanted for item in items]
        self._hand_over()
        return found

    def _hand_over(self) -> None:
        """See that what there is to tell is sent, here or by the thread. That looks for it after it has
        armed the poller, and we wake the poller after it is there: the thread sees it or is woken."""
        since = time.perf_counter() - self._sent_at
        alone = since > LOOP_SECONDS or (since > ALONE_SECONDS and len(self.core.singles) <= 1)
        if alone and self._sockets.acquire(blocking=False):
            try:
                if not self._closing:
                    self._send_outbox()
                    # The socket may have taken note, while it sent, of what the thread now waits for.
                    alone = not self._dealer.has_input()
            finally:
                self._sockets.release()
        else:
            alone = False
        if not alone:
            self._poller.wake()

    def adopt(self, keys: list[str], announce: bool) -> list[Entry]:
        """Refer to keys that were not submitted here."""
        self.check_open()
        with self._lock:
            self._decide(Adopt(keys, announce))
            found = [self.core.entries[key] for key in keys]
        self._poller.wake()
        return found

    def names(self) -> dict[Any, list[str]]:
        """The keys on the wire of all futures of this client, by what they are called here."""
        found: dict[Any, list[str]] = {}
        with self._lock:
            self._release()
            for wire, entry in self.core.entries.items():
                if entry.handles:
                    found.setdefault(shown_key(wire), []).append(wire)
        return found

    def entries(self) -> list[Entry]:
        """All that this client knows of, whether it has futures for it or only needs it for others."""
        with self._lock:
            self._release()
            return list(self.core.entries.values())

    @property
    def alone_seconds(self) -> float | None:
        """How long there has been no connection to the scheduler; None if there is one."""
        since = self._lost_since
        return None if since is None else time.monotonic() - since

    def drop(self, entry: Entry) -> None:
        """One future less. Takes no lock: garbage is collected at any moment.

        The scheduler is told soon, and before the same key is submitted again: what nobody holds must not
        be taken for the result."""
        self._dropped.append(entry)
        # Woken once for so many; if that should be missed, the next release is soon anyway.
        if len(self._dropped) == MAX_DROPPED and not self._closing:
            self._poller.wake()

    def release(self) -> None:
        """Tell the scheduler now of all futures that have been dropped."""
        with self._lock:
            self._release()
        self._hand_over()

    def handle_later(self, event: Any) -> None:
        """As `handle`, but takes no lock."""
        if not self._closing:
            self._jobs.append(lambda: self.handle(event))
            self._poller.wake()

    def wait(
        self, entries: Iterable[Entry], deadline: Deadline | None, eager: bool = False
    ) -> None:
        """Until all have ended at the same time, or with `eager` one has failed. Raises TimeoutError."""
        awaited = list(entries)
        if all(entry.status != "pending" for entry in awaited):
            return
        # All of them: one may have failed since the caller has looked.
        waiting = Waiting(eager=eager)
        self.handle(Await(waiting, awaited))
        try:
            ended = waiting.sleep(None if deadline is None else deadline.left())
        finally:
            if waiting.remaining:
                self.handle(Desist(waiting, awaited))
        if not ended and deadline is not None:
            left = [entry.key for entry in awaited if entry.status == "pending"]
            named = (
                f" ({shown_key(left[0])}{' and others' if len(left) > 1 else ''})" if left else ""
            )
            what = f"{len(left)} of {len(awaited)} tasks{named} have not ended"
            raise deadline.missed(what, reason_for(self, left[0]) if left else "")

    def call_back(self, entry: Entry, run: Callable[[], object]) -> None:
        """Run the function once the entry has ended, in a thread of its own."""
        with self._lock:
            self._decide(Await(self._callbacks.waiter(run), [entry]))

    def ask(self, message: Callable[[int], Message], timeout: float | None = None) -> Any:
        """Send a request and return the value of the answer.

        Raises DistributedError with the scheduler's words if it refuses, SchedulerGone if there is no
        scheduler for too long or the connection breaks under a request that cannot be repeated,
        TimeoutError.
        """
        self.check_open()
        with self._lock:
            self._requests += 1
            request = self._requests
            asked = message(request)
            if self._lost_since is not None and not isinstance(asked, REPEATABLE):
                raise SchedulerGone(f"there is no connection to {self.address.url} at the moment")
            encode([asked])  # raises here, where the caller stands, if it is too large
            question = self._questions[request] = Question(asked)
            self._say(self.core.current(asked))
        self._poller.wake()
        if not question.answered.wait(timeout):
            self._questions.pop(request, None)
            raise TimeoutError(f"the scheduler has not answered within {timeout:g} s")
        if question.failure is not None:
            raise question.failure
        if not question.ok:
            raise DistributedError(str(question.value))
        return question.value

    def contend(self, name: str, waits: bool, timeout: float | None) -> Contender:
        """Ask for a lock, and wait until that is decided or the time is over: the contender's status
        says how it ended."""
        waiting = Waiting()
        contender = Contender(name, waits, waiting)
        try:
            with self._lock:
                # Here, so that whatever ends us (see `close`) has either ended or will end the contender.
                self.check_open()
                self._decide(Contending(contender))
            self._hand_over()
            waiting.sleep(timeout)
        except BaseException:
            self.handle(Conceding(contender))
            raise
        if contender.status is WAITING:
            self.handle(Conceding(contender))
        return contender

    def send(self, message: Message) -> None:
        with self._lock:
            self._say(message)
        self._poller.wake()

    def fetch(
        self, places: dict[str, list[str]], deadline: Deadline | None = None
    ) -> tuple[dict[str, list[Frame] | str | None], dict[str, str]]:
        """Get data from workers, {address: keys}, from all at once.

        For each key its frames; or None if the worker does not have it or cannot be reached, or the
        text of why it cannot be sent. And {address: what went wrong} with the connection. Raises
        TimeoutError, OSError if this process has too many open files.
        """
        found: dict[str, list[Frame] | str | None] = {}
        failures: dict[str, str] = {}

        def take(items: list[Any]) -> None:
            found.update((key, frames) for key, _, frames in items)

        def get(address: str, keys: list[str], end: Callable[[str | None], object]) -> None:
            self._fetcher.get(address, keys, take, noting(failures, address, end))

        transfers = [(get, address, keys) for address, keys in places.items()]
        self._transfer(transfers, deadline)
        shortage = next((why for why in failures.values() if isinstance(why, Shortage)), None)
        if shortage is not None:
            raise OSError(errno.EMFILE, f"{shortage}: close some of the files of this process")
        return found, failures

    def put(self, places: dict[str, list[tuple[str, int, list[Frame]]]]) -> dict[str, str]:
        """Send data to workers, {address: [(key, assignment, frames)]}; {address: what went wrong}."""
        failures: dict[str, str] = {}

        def put(address: str, items: Any, end: Callable[[str | None], object]) -> None:
            self._fetcher.put(address, items, noting(failures, address, end))

        self._transfer([(put, address, items) for address, items in places.items()])
        return failures

    def _transfer(
        self,
        transfers: list[tuple[Callable[..., None], str, Any]],
        deadline: Deadline | None = None,
    ) -> None:
        """Start all in the thread that owns the sockets, and wait until all have ended."""
        if not transfers:
            return
        self.check_open()
        ended = threading.Event()
        left = len(transfers)

        def end(error: str | None) -> None:
            nonlocal left
            left -= 1
            if not left:
                ended.set()

        for begin, address, what in transfers:
            self._jobs.append(lambda b=begin, a=address, w=what: b(a, w, end))  # type: ignore[misc]
        self._poller.wake()
        while not ended.wait(TURN_SECONDS):
            if not self._at_exit:
                self.check_open()
            if deadline is not None and deadline.left() < 0:
                others = f" and {len(transfers) - 1} others" if len(transfers) > 1 else ""
                raise deadline.missed(f"the data has not come from {transfers[0][1]}{others}")

    def check_open(self) -> None:
        """Raises SchedulerGone if nothing can be submitted any more."""
        if os.getpid() != self._process:
            raise SchedulerGone(
                f"this Executor belongs to process {self._process}, and this is a fork of it: make another"
            )
        if self._closing:
            raise SchedulerGone(f"the connection to {self.address.url} is closed")
        if self._rejection:
            raise SchedulerGone(self._rejection)

    def close(self, reason: str = "the executor was closed", at_exit: bool = False) -> None:
        """Leave. Futures that are pending end as cancelled.

        With `at_exit` they stay pending: the interpreter ends, and threads that still wait are daemons,
        which end with it. Woken by an error, each would print that.
        """
        if self._closing:
            return
        with self._lock:
            self._at_exit = at_exit
            if self._lost_since is not None and self._welcomed.is_set():
                self._warn_of_fired()
            if not at_exit:
                self._fail_questions(reason)
                self._decide(Abandon(CANCELLED, reason))
            self._outbox.append(Goodbye())
            self._closing = True
        self._poller.wake()
        if threading.current_thread() is not self._thread:
            self._thread.join()
        self._callbacks.close()

    # In the thread that owns the sockets

    def _run(self) -> None:
        try:
            while not self._closing:
                self._turn()
            with self._sockets:
                self._send_outbox()
        except Exception as error:
            logger.exception("the client's thread ends")
            self._rejection = f"the client's thread has failed: {error!r}"
            self._welcomed.set()
            with self._lock:
                self._end_all(self._rejection)
        finally:
            with self._sockets:
                self._closing = True
                self._fetcher.close()
                self._dealer.close()
                self._poller.close()
            self._context.term()

    def _turn(self) -> None:
        self._poller.arm()
        busy = self._outbox or self.core.singles or self._jobs or self._closing
        ready = self._poller.wait(0 if busy else TURN_SECONDS)
        with self._sockets:
            self._send_outbox()
            if self._dealer in ready:
                self._hear()
            for channel in ready:
                if channel is not self._dealer and self._fetcher.owns(channel):
                    self._fetcher.handle(channel)
            while self._jobs:
                self._jobs.popleft()()
            if self._fetcher.short:
                self._fetcher.retry()
            if self._dropped:
                self._release_if_due()
            if self._lost_since is not None:
                self._check_connection()
            elif time.monotonic() >= self._next_heartbeat:
                self._next_heartbeat = time.monotonic() + HEARTBEAT_SECONDS
                self._fetcher.tidy()
                with self._lock:
                    self._say(Heartbeat(0))
            self._send_outbox()

    def _hear(self) -> None:
        for event in self._dealer.events():
            if event == CONNECTED:
                self._on_connected()
            elif event == DISCONNECTED:
                self._on_disconnected()
            elif event == REFUSED and self._may_complain():
                logger.warning("what answers at %s is not a scheduler", self.address.url)
        for frames in self._dealer.receive():
            try:
                messages = decode(frames[0])
            except ProtocolError as error:
                logger.error("%s sent nonsense: %s", self.address.url, error)
                continue
            with self._lock:
                for message in messages:
                    self._decide(message)

    def _on_connected(self) -> None:
        with self._lock:
            # What was said before the break is said again by the core, as far as it matters.
            self._decide(Sending())
            self._outbox = []
            self._lost_since = None
            if self._has_worried:
                self._has_worried = False
                logger.warning("a scheduler answers again at %s", self.address.url)
            self._decide(Connected())

    def _ask_again(self) -> None:
        """The scheduler did not know us, and so has not heard what we have asked, or has forgotten it."""
        self._fail_questions(f"{self.address.url} had given us up", but=REPEATABLE)
        questions = self._questions.values()
        self._outbox += [self.core.current(question.message) for question in questions]

    def _on_disconnected(self) -> None:
        with self._lock:
            # An attempt to connect that comes to nothing is none that begins the time anew.
            if self._lost_since is None:
                self._lost_since = time.monotonic()
            reason = f"the connection to the scheduler at {self.address.url} broke"
            self._fail_questions(reason, but=REPEATABLE)

    def _check_connection(self) -> None:
        if self._lost_since is None or not self._welcomed.is_set():
            return
        seconds = time.monotonic() - self._lost_since
        if seconds > WORRY_SECONDS and not self._has_worried and self.core.entries:
            self._has_worried = True
            logger.warning(
                "no scheduler has answered at %s for %.0f s; waiting for it for %g s in all",
                self.address.url, seconds, self._scheduler_timeout,
            )  # fmt: skip
        if seconds > self._scheduler_timeout:
            reason = f"no scheduler has answered at {self.address.url} for {seconds:.0f} s"
            with self._lock:
                self._end_all(reason)

    def _send_outbox(self) -> None:
        if not self._outbox and not self.core.singles:
            return
        with self._lock:
            self._decide(Sending())
            batch, self._outbox = self._outbox, []
        self._sent_at = time.perf_counter()
        for frame in encode_parts(batch):
            # False means that there is no connection; see `_on_connected`.
            self._dealer.send((frame,))

    def _release_if_due(self) -> None:
        now = time.monotonic()
        if now >= self._next_release or len(self._dropped) >= MAX_DROPPED:
            self._next_release = now + RELEASE_SECONDS
            with self._lock:
                self._release()

    # Under the lock

    def _warn_of_fired(self) -> None:
        """It may never have reached a scheduler."""
        fired = [shown_key(entry.key) for entry in self.core.fired.unended()]
        if fired:
            logger.warning(
                "closed without a scheduler at %s: %d fired task(s) may be lost, the first is %s",
                self.address.url, len(fired), fired[0],
            )  # fmt: skip

    def _release(self, kept: Collection[str] = ()) -> None:
        """Let go of what has been dropped, but for these keys."""
        dropped = [self._dropped.popleft() for _ in range(len(self._dropped))]
        if kept:
            self._dropped.extend(entry for entry in dropped if entry.key in kept)
            dropped = [entry for entry in dropped if entry.key not in kept]
        if dropped:
            self._decide(Dropped(dropped))

    def _say(self, message: Message) -> None:
        self._decide(Sending())  # calls that came before it
        self._outbox.append(message)

    def _decide(self, event: Any) -> None:
        for effect in self.core.handle(event):
            self._carry_out(effect)

    def _carry_out(self, effect: Effect) -> None:
        if isinstance(effect, Tell):
            self._outbox += effect.batch
        elif isinstance(effect, Wake):
            for waiter in effect.waiters:
                waiter.wake()  # type: ignore[attr-defined]
        elif isinstance(effect, Answered):
            question = self._questions.pop(effect.request, None)
            if question is not None:
                question.ok, question.value = effect.ok, effect.value
                question.answered.set()
            elif keys := data_in(effect.value):
                # Whoever asked does not wait any more, and will not fetch it.
                self._decide(Adopt(keys, announce=False))
                self._decide(Dropped([self.core.entries[key] for key in keys]))
        elif isinstance(effect, Introduced):
            self._ask_again()
        elif isinstance(effect, Welcomed):
            self._welcomed.set()
        elif isinstance(effect, Rejected):
            self._rejection = effect.reason
            self._welcomed.set()
            self._end_all(effect.reason)
        elif isinstance(effect, Caution):
            logger.warning("%s", shown_text(effect.text))

    def _end_all(self, reason: str) -> None:
        self._fail_questions(reason)
        self._decide(Abandon(LOST, reason))

    def _fail_questions(self, reason: str, but: tuple[Any, ...] = ()) -> None:
        for request, question in tuple(self._questions.items()):
            if not isinstance(question.message, but):
                del self._questions[request]
                question.failure = SchedulerGone(reason)
                question.answered.set()
