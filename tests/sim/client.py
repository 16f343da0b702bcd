"""Stands for `distributed.connection` and what is above it: a ClientCore, its sockets, and futures."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection
from typing import Any

from distributed.codec import decode, encode_parts
from distributed.core.answers import data_in
from distributed.core.client import ClientCore
from distributed.core.client_events import (
    Abandon,
    Adopt,
    Answered,
    Await,
    CallOff,
    Calls,
    Caution,
    Connected,
    Dropped,
    Effect,
    Firing,
    Introduced,
    Sending,
    Tell,
    Unreachable,
    Wake,
    Welcomed,
)
from distributed.core.entries import CANCELLED, ERROR, FINISHED, LOST, PENDING, Entry, Waiter
from distributed.messages import Goodbye, Heartbeat, Message, Scatter
from distributed.questions import REPEATABLE
from distributed.transport import CONNECTED, DISCONNECTED
from tests.sim import scheduler
from tests.sim.fetcher import SimFetcher
from tests.sim.net import Net, SimDealer
from tests.sim.tasks import Book, packed, unpacked
from tests.sim.world import Process

SCHEDULER_GONE_SECONDS = 60.0
HEARTBEAT_SECONDS = 2.0
RELEASE_SECONDS = 0.1
SCATTER_ATTEMPTS = 3


class Watch(Waiter):
    """A waiter with a function in place of a thread."""

    __slots__ = ("wake",)

    def __init__(self, wake: Callable[[], object]) -> None:
        super().__init__()
        self.wake = wake


class Future:
    """What a user has in hand. `tell(future, how, what)` is called with each outcome that a look at it
    ends in: 'value' and the value, 'raised' and the exception, 'cancelled', or how else it ended and
    the reason."""

    def __init__(self, client: Client, entry: Entry, tell: Callable[..., object]) -> None:
        self.client = client
        self.entry = entry
        self.dropped = False
        client.living[entry.key] += 1
        self.looks = 0  # that have not ended
        self._tell = tell

    @property
    def key(self) -> str:
        return self.entry.key

    def look(self) -> None:
        """Wait for the result and fetch it."""
        self.looks += 1
        self._wait()

    def _wait(self) -> None:
        if self.entry.status == PENDING:
            watch = Watch(lambda: self.client.soon(self._ended))
            self.client.handle(Await(watch, [self.entry]))
        else:
            self._ended()

    def _ended(self) -> None:
        entry = self.entry
        if self.dropped:
            self.looks -= 1
        elif entry.status == PENDING:
            self._wait()  # it was lost again before we looked
        elif entry.status == FINISHED and entry.inline is None:
            self.client.get(entry.address, entry.key, self._fetched)
        else:
            self._end(*_outcome(entry))

    def _fetched(self, address: str, frames: Any) -> None:
        if self.dropped:
            self.looks -= 1
        elif self.entry.status == CANCELLED:
            self._end(*_outcome(self.entry))  # called off while the data was on its way
        elif isinstance(frames, list):
            self._end("value", unpacked(frames[0]))
        elif isinstance(frames, str):
            self._end("unsendable", frames)
        else:
            assert frames is None, frames
            self.client.handle(Unreachable([(self.key, address)]))
            self._wait()

    def _end(self, how: str, what: Any) -> None:
        self.looks -= 1
        self._tell(self, how, what)

    def drop(self) -> None:
        if not self.dropped:
            self.dropped = True
            self.client.living[self.key] -= 1
            self.client.drop(self.entry)


def _outcome(entry: Entry) -> tuple[str, Any]:
    if entry.status == FINISHED:
        assert entry.inline is not None
        return "value", unpacked(entry.inline)
    if entry.status == ERROR:
        return ("raised", entry.ending) if isinstance(entry.ending, bytes) else entry.ending  # type: ignore[return-value]
    assert entry.status in (CANCELLED, LOST), entry
    return entry.status, entry.ending


def _is_single(calls: Calls) -> bool:
    """Whether it is what `Executor.submit` makes."""
    return calls.graph is None and len(calls.groups) == 1 and len(calls.groups[0][3]) == 1


class Client(Process):
    def __init__(self, net: Net, book: Book, name: str) -> None:
        super().__init__(net.world, name)
        self.core = ClientCore(name)
        self.living: Counter[str] = Counter()  # futures that have not been dropped, by key
        self.book = book
        # Since when the scheduler has not heard of us, and which one: its life, and the time on its clock.
        self.away_since: tuple[int, float] | None = None
        self.welcomed_at = 0.0
        self.was_alone = False  # for so long that what was pending has been given up
        self._outbox: list[Message] = []
        self._dropped: list[Entry] = []
        self._release_is_due = False
        self._jobs: deque[Callable[[], object]] = deque()
        self._questions: dict[int, tuple[Message, Callable[[bool, Any], object]]] = {}
        self._requests = 0
        self._lost_since: float | None = self.clock.now()
        self._welcomed = False
        self._dealer = SimDealer(net, self, scheduler.ADDRESS)
        self._fetcher = SimFetcher(net, self)
        self.after(1.0, self._check_connection)
        self.after(HEARTBEAT_SECONDS, self._beat)

    # For the user

    def handle(self, event: Any) -> None:
        self._decide(event)
        if self._outbox:
            if self.world.random.random() < 0.3:
                self._send_outbox()  # a call that comes alone sends for itself
            else:
                self.wake()

    def submit(self, calls: Calls, tell: Callable[..., object]) -> list[Future]:
        if _is_single(calls):
            ((function, options, _, (item,)),) = calls.groups
            if item[0] in self.core.entries:
                self._release(kept=item[2] or ())
            found = [self.core.call(function, calls.functions[function], options, item)]
        else:
            self._release(kept=calls.inputs())
            self._decide(calls)
            keys = [item[0] for group in calls.groups if group[2] for item in group[3]]
            found = [self.core.entries[key] for key in keys]
        self.wake()
        return [Future(self, entry, tell) for entry in found]

    def adopt(self, key: str, announce: bool, tell: Callable[..., object]) -> Future:
        self.handle(Adopt([key], announce))
        return Future(self, self.core.entries[key], tell)

    def wait(self, futures: list[Future], tell: Callable[[list[Entry]], object]) -> None:
        """`tell` what is not there at the moment at which all have ended."""
        entries = list(dict.fromkeys(future.entry for future in futures))
        watch = Watch(lambda: tell([entry for entry in entries if entry.status == PENDING]))
        self.handle(Await(watch, entries))

    def fire(self, futures: list[Future]) -> None:
        self.handle(Firing([future.entry for future in futures]))

    def cancel(self, futures: list[Future], force: bool) -> None:
        self.handle(CallOff([future.entry for future in futures], force))

    def drop(self, entry: Entry) -> None:
        self._dropped.append(entry)
        if not self._release_is_due:
            self._release_is_due = True
            self.later(self.world.random.random() * RELEASE_SECONDS, self.release)

    def release(self) -> None:
        self._release_is_due = False
        self._release()

    def _release(self, kept: Collection[str] = ()) -> None:
        dropped = [entry for entry in self._dropped if entry.key not in kept]
        self._dropped = [entry for entry in self._dropped if entry.key in kept]
        if self._dropped and not self._release_is_due:
            self._release_is_due = True
            self.later(RELEASE_SECONDS, self.release)
        if dropped:
            self.handle(Dropped(dropped))

    def get(self, address: str, key: str, end: Callable[[str, Any], object]) -> None:
        """`end(address, frames)`: None if they could not be had."""
        found: dict[str, Any] = {}
        self._in_loop(
            lambda: self._fetcher.get(
                address,
                [key],
                lambda items: found.update((name, frames) for name, _, frames in items),
                lambda error: self.soon(lambda: end(address, found.get(key))),
            )
        )

    def _in_loop(self, act: Callable[[], object]) -> None:
        self._jobs.append(act)
        self.wake()

    def scatter(self, key: str, end: Callable[[bool], object], attempts: int = 1) -> None:
        """Bring the data of a key that has been adopted. `end` is told whether a worker has it."""
        if attempts > SCATTER_ATTEMPTS:
            end(False)
            return

        def on_targets(ok: bool, targets: Any) -> None:
            if not ok or not targets:
                end(ok)
                return
            ((_, address, assignment),) = targets
            frames = [packed(self.book.values[key])]
            item = (key, assignment, frames)
            self._in_loop(lambda: self._fetcher.put(address, [item], on_end))  # type: ignore[list-item]

        def on_end(error: str | None) -> None:
            if error is None:
                self.soon(lambda: end(True))
            else:
                self.soon(lambda: self.scatter(key, end, attempts + 1))

        self.ask(lambda request: Scatter(request, ((key, 8),), None), on_targets)

    def ask(self, message: Callable[[int], Message], end: Callable[[bool, Any], object]) -> None:
        """A request. `end(ok, value)` is called with the answer; with a text if there is none."""
        asked = message(self._requests + 1)
        if self._lost_since is not None and not isinstance(asked, REPEATABLE):
            end(False, "there is no connection")
            return
        self._requests += 1
        self._questions[self._requests] = (asked, end)
        self._say(self.core.current(asked))
        self.wake()

    def close(self) -> None:
        """Leave in an orderly way."""
        self._decide(Abandon(CANCELLED, "closed"))
        self._outbox.append(Goodbye())
        self._send_outbox()
        # What has been sent still arrives.
        self.world.at(1.0, lambda: self.die("closed"))

    def cut_off(self, other: Process) -> None:
        if isinstance(other, scheduler.Scheduler) and self.away_since is None:
            self.away_since = (other.life, other.clock.now())

    # The loop

    def turn(self) -> None:
        self._send_outbox()
        self._hear()
        self._fetcher.turn()
        while self._jobs:
            self._jobs.popleft()()
        self._send_outbox()

    def _hear(self) -> None:
        for event in self._dealer.events():
            if event == CONNECTED:
                # What was said before the break is said again by the core, as far as it matters.
                self._decide(Sending())
                self._outbox = []
                self._lost_since = None
                self._decide(Connected())
            elif event == DISCONNECTED:
                self._lost_since = self.clock.now()
                self._fail_questions("the connection broke", but=REPEATABLE)
        for frames in self._dealer.receive():
            for message in decode(frames[0]):
                self._decide(message)

    def _ask_again(self) -> None:
        self._fail_questions("the scheduler had given us up", but=REPEATABLE)
        self._outbox += [self.core.current(asked) for asked, _ in self._questions.values()]

    def _check_connection(self) -> None:
        if self._welcomed and self._lost_since is not None:
            seconds = self.clock.now() - self._lost_since
            if seconds > SCHEDULER_GONE_SECONDS:
                self.was_alone = True
                self._fail_questions("there is no scheduler")
                self._decide(Abandon(LOST, f"no scheduler has answered for {seconds:.0f} s"))
        self.after(1.0, self._check_connection)

    def _beat(self) -> None:
        if self._lost_since is None:
            self._say(Heartbeat(0))
            self.wake()
        self.after(HEARTBEAT_SECONDS, self._beat)

    def _send_outbox(self) -> None:
        if self._outbox or self.core.singles:
            self._decide(Sending())
            batch, self._outbox = self._outbox, []
            for frame in encode_parts(batch):
                self._dealer.send((frame,))

    def _say(self, message: Message) -> None:
        self._decide(Sending())  # calls that came before it
        self._outbox.append(message)

    def _decide(self, event: Any) -> None:
        self.world.events += 1
        for effect in self.core.handle(event):
            self._carry_out(effect)

    def _carry_out(self, effect: Effect) -> None:
        if isinstance(effect, Tell):
            self._outbox += effect.batch
        elif isinstance(effect, Wake):
            for waiter in effect.waiters:
                waiter.wake()  # type: ignore[attr-defined]
        elif isinstance(effect, Answered):
            _, answered = self._questions.pop(effect.request, (None, None))
            if answered is not None:
                answered(effect.ok, effect.value)
            elif keys := data_in(effect.value):
                self._decide(Adopt(keys, announce=False))
                self._decide(Dropped([self.core.entries[key] for key in keys]))
        elif isinstance(effect, Introduced):
            self._ask_again()
        elif isinstance(effect, Welcomed):
            self._welcomed = True
            self.away_since = None
            self.welcomed_at = self.world.now
        else:
            assert isinstance(effect, Caution), effect

    def _fail_questions(self, reason: str, but: tuple[Any, ...] = ()) -> None:
        for request, (asked, answered) in tuple(self._questions.items()):
            if not isinstance(asked, but):
                del self._questions[request]
                answered(False, reason)

    def leftovers(self) -> list[Any]:
        """What should not be there once all futures are dropped."""
        core = self.core
        tables = (
            core.entries, core._unsettled, core._unfinished, core.called_off, core.contenders.table,
            self._dropped, self.core.fired.unended(),
        )  # fmt: skip
        found: list[Any] = [(self.name, table) for table in tables if table]
        found += [(self.name, "has not been answered")] if self._questions else []
        return found + ([core.inline_bytes] if core.inline_bytes else [])
