"""Stands for `distributed.worker`: a WorkerCore, its sockets, its values, and threads that only pretend."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from distributed.codec import decode, encode_parts
from distributed.core.jobs import Job
from distributed.core.resources import TOLERANCE, added_up, needs_of
from distributed.core.states import Worker as Known
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
from distributed.messages import (
    PROTOCOL,
    PYTHON,
    Answer,
    Audit,
    Files,
    Goodbye,
    Heartbeat,
    HelloAgain,
    Message,
    PutFile,
    StartAgain,
    Unload,
    Welcome,
    WorkerHello,
)
from distributed.transfer import Server
from distributed.transport import CONNECTED, DISCONNECTED
from tests.sim import scheduler
from tests.sim.fetcher import SimFetcher
from tests.sim.net import Net, SimDealer, SimRouter
from tests.sim.tasks import BLOBS, KIND, MAX_SECONDS, Book, Play, Spec, packed, unpacked
from tests.sim.world import Process

HEARTBEAT_SECONDS = 2.0
# The most that a call beside the tasks takes: some last longer than their connection.
CALL_SECONDS = (0.001, 5.0)
# A function has to be unpickled before its first call, with all that it imports: up to so long.
LOAD_SECONDS = (0.001, 0.1, 2.0)
# Why it ended, if the scheduler wants a new process in its place.
START_AGAIN = "start again"
# Told why it died, and the assignments that were running, unless its end was ordered.
OnDeath = Callable[[str, list[int]], object]


class Threads:
    """As `tasks.TaskThreads`. A task takes virtual time; at its end its value is there."""

    def __init__(self, worker: Worker, count: int) -> None:
        self.results: list[tuple[int, int | None, Any]] = []
        self.running: dict[int, Job] = {}
        self.blobs: dict[str, bytes] = {}
        self.loaded: set[str] = set()  # functions that have been called here
        self._worker = worker
        self._idle = count
        self._pending: dict[int, Job] = {}
        self._queue: deque[int] = deque()

    def give(self, jobs: list[Job]) -> None:
        for job in jobs:
            self._pending[job.assignment] = job
            self._queue.append(job.assignment)
        self._rouse()

    def take_back(self, assignment: int) -> bool:
        return self._pending.pop(assignment, None) is not None

    def _rouse(self) -> None:
        for _ in range(min(self._idle, len(self._queue))):
            self._idle -= 1
            self._worker.soon(self._next)

    def _next(self) -> None:
        """A thread that is free takes the next task that has not been taken back."""
        while self._queue:
            job = self._pending.pop(self._queue.popleft(), None)
            if job is not None:
                self._begin(job)
                return
        self._idle += 1

    def _begin(self, job: Job) -> None:
        self.running[job.assignment] = job
        worker = self._worker
        assert self.blobs.get(job.function) == BLOBS[job.function], (worker.name, job.assignment)
        self._check_resources()
        if job.function in self.loaded:
            self._call(job)
        else:
            self.loaded.add(job.function)
            random = worker.world.random
            worker.later(random.random() * random.choice(LOAD_SECONDS), partial(self._call, job))

    def _call(self, job: Job) -> None:
        worker = self._worker
        spec = worker.book.specs[job.key]
        assert job.arguments == spec.arguments, job.key
        inputs = [worker.values[key] for key in spec.inputs]  # they have to be here
        play = worker.book.begin(spec, worker)
        seconds = min(play.seconds * worker.slowness, MAX_SECONDS)
        if job.timed:
            worker.post(lambda: worker.events.append(Starting(job.assignment)))
        if play.secedes:
            worker.later(seconds * 0.5, lambda: self._secede(job.assignment))
        label = (worker, job.assignment)
        worker.due(label, seconds, lambda: self._end(job, spec, play, inputs))

    def _check_resources(self) -> None:
        """No more than the worker has is in use by all that runs."""
        specs, totals = self._worker.book.specs, self._worker.resources
        found = [specs[job.key].resources for job in self.running.values()]
        for name, used in added_up(needs_of(needs) for needs in found if needs).items():
            assert used <= totals.get(name, 0.0) * TOLERANCE, (self._worker.name, name, used)

    def _secede(self, assignment: int) -> None:
        if assignment in self.running:
            self._worker.post(lambda: self._worker.events.append(Seceding(assignment)))
            self._idle += 1
            self._rouse()

    def _end(self, job: Job, spec: Spec, play: Play, inputs: list[int]) -> None:
        worker = self._worker
        if play.kills:
            worker.die(f"poison: {spec.key}")
            return
        del self.running[job.assignment]
        if play.error is not None:
            self.results.append((job.assignment, None, play.error))
        else:
            value = spec.value(inputs)
            worker.book.ended[spec.key] = worker.world.now
            inline = packed(value) if job.wanted and spec.small else None
            kind = KIND if job.wanted and not spec.small else None
            report = (job.assignment, spec.nbytes, int(play.seconds * 1e6), inline, kind)
            self.results.append((job.assignment, value, report))
        worker.wake()
        if not play.secedes:
            self._idle += 1
        self._rouse()


class Worker(Process):
    """`nanny` is the id of the nanny that keeps it alive, or empty. `on_death` is called then."""

    def __init__(
        self,
        net: Net,
        book: Book,
        name: str,
        address: str,
        nthreads: int,
        resources: dict[str, float],
        nanny: str = "",
        on_death: OnDeath = lambda reason, running: None,
    ) -> None:
        super().__init__(net.world, name)
        self.book = book
        self.nthreads = nthreads
        self.resources = resources
        self.files: dict[str, bytes] = {}
        self._called: set[int] = set()  # none of these may come again
        self.nanny = nanny
        self.values: dict[str, int] = {}
        self.events: list[Any] = []
        self.address = address
        self._epoch = ""
        self.introduced = False
        self.hellos = 0  # that it has said
        self._hello_is_due = False
        self.registered = False
        self._on_death = on_death
        self._posted: deque[Callable[[], object]] = deque()
        self._arrived: dict[Source, int] = {}
        self._router = SimRouter(net, self, self.address)
        self._dealer = SimDealer(net, self, scheduler.ADDRESS)
        self.fetcher = SimFetcher(net, self)
        self._server = Server(self._router, self._collect, self._accept)  # type: ignore[arg-type]
        self.threads = Threads(self, nthreads)
        self.core = WorkerCore(self.address, self.threads.take_back)
        self.after(HEARTBEAT_SECONDS, self._heartbeat)

    def post(self, act: Callable[[], object]) -> None:
        self._posted.append(act)
        self.wake()

    def die(self, reason: str, ordered: bool = False) -> None:
        if self.alive:
            super().die(reason)
            self._on_death(reason, [] if ordered else list(self.threads.running))

    def leave(self, reason: str = "goodbye") -> None:
        """Ended in an orderly way by whoever started it."""
        if self.registered:
            self._dealer.send(encode_parts([Goodbye()]))
        self.die(reason, ordered=True)

    # The loop

    def turn(self) -> None:
        self._hear()
        self._server.handle()
        self.fetcher.turn()
        while self._posted:
            self._posted.popleft()()
        self._take_results()
        events, self.events = self.events, []
        if events:
            self.world.events += len(events)
            for effect in self.core.handle(events):
                _CARRY_OUT[type(effect)](self, effect)
            self._arrived.clear()
        if self._hello_is_due:
            self._hello()
        if self.events:
            self.wake()

    def _hear(self) -> None:
        for event in self._dealer.events():
            if event == CONNECTED:
                self._hello_is_due = True
            elif event == DISCONNECTED:
                self.introduced = self.registered = self._hello_is_due = False
        for frames in self._dealer.receive():
            for message in decode(frames[0]):
                if isinstance(message, Welcome):
                    self._on_welcome(message)
                elif isinstance(message, HelloAgain):
                    self._hello_is_due = self._hello_is_due or self.registered
                elif isinstance(message, Audit):
                    self.events.append(Asked(message, [(a, 0) for a in self.threads.running]))
                elif isinstance(message, StartAgain):
                    self.soon(lambda: self.leave(START_AGAIN))
                else:
                    assert not isinstance(message, Goodbye), message
                    self.events.append(message)

    def _on_welcome(self, message: Welcome) -> None:
        ours = {name: c for name, c in self.files.items() if name not in message.files}
        if ours and message.epoch != self._epoch:
            self._tell([Files(ours)])
        for name, content in message.files.items():
            self._install(name, content)
        self.registered = True
        self._epoch = message.epoch

    def _install(self, name: str, content: bytes) -> None:
        self.files.pop(name, None)  # in the order of uploads: the last one counts
        self.files[name] = content

    def _hello(self) -> None:
        hello = WorkerHello(
            worker=self.name,
            epoch=self._epoch,
            name=self.name,
            address=self.address,
            nthreads=self.nthreads,
            memory_limit=0,
            resources=self.resources,
            pid=1,
            nanny=self.nanny,
            protocol=PROTOCOL,
            python=PYTHON,
            holds=tuple(self.core.holds()),
            assigned=tuple(self.core.assigned()),
        )
        self.introduced, self.registered, self._hello_is_due = True, False, False
        self.hellos += 1
        self._tell([hello, *self.core.reminders()])

    def _heartbeat(self) -> None:
        if self.registered:
            self._tell([Heartbeat(1)])
        self.after(HEARTBEAT_SECONDS, self._heartbeat)

    def _tell(self, batch: list[Message]) -> None:
        if not self.introduced:
            return  # the next hello tells all that matters; what ends after it has to be told
        for frame in encode_parts(batch):
            self._dealer.send((frame,))

    # What the core has decided

    def _carry_out_tell(self, effect: Tell) -> None:
        self._tell(effect.batch)

    def _execute(self, effect: Execute) -> None:
        self.threads.give(effect.jobs)

    def _keep(self, effect: Keep) -> None:
        for source, key in effect.items:
            self.values[key] = self._arrived.pop(source)

    def _delete(self, effect: Delete) -> None:
        for key in effect.keys:
            del self.values[key]

    def _learn(self, effect: Learn) -> None:
        self.threads.blobs[effect.function] = effect.blob

    def _unload(self, effect: Unload) -> None:
        for function in effect.functions:
            self.threads.blobs.pop(function, None)
            self.threads.loaded.discard(function)

    def _serve(self, effect: Serve) -> None:
        message = effect.message
        if isinstance(message, PutFile):
            self._install(message.name, message.content)
            self.events.append(Answered(Answer(message.request, True, b"")))
            return
        assert message.request not in self._called, (self.name, message)
        self._called.add(message.request)
        ok = self.world.random.random() < 0.9
        value = self.name.encode() + b" has answered " if ok else b"cannot answer "
        answer = Answer(message.request, ok, value + message.call)
        if ok and self.world.random.random() < 0.5:  # it is large
            answer = Answer(message.request, ok, (f"answer-{self.name}-{message.request}", 8))
        seconds = self.world.random.random() * self.world.random.choice(CALL_SECONDS)
        self.later(seconds, lambda: self.post(lambda: self._answered(answer)))

    def _answered(self, answer: Answer) -> None:
        if type(answer.value) is tuple:
            self._arrived[answer.value[0], answer.request] = answer.request
        self.events.append(Answered(answer))

    def _take_results(self) -> None:
        results, self.threads.results = self.threads.results, []
        items = []
        for assignment, value, what in results:
            if value is None:
                self.events.append(Raised(assignment, what))
            else:
                self._arrived[assignment] = value
                items.append(what)
        if items:
            self.events.append(Completed(items))

    # Data

    def _fetch(self, effect: Fetch) -> None:
        request, address = effect.request, effect.address
        left = 1  # parts that are being unpickled, and the end of the transfer

        def one_less() -> None:
            nonlocal left
            left -= 1
            if not left:
                self.events.append(FetchEnded(request))

        def on_items(items: list[Item]) -> None:
            nonlocal left
            values = {}
            for key, version, frames in items:
                if isinstance(frames, list):
                    values[key, version] = unpacked(frames[0])
                elif isinstance(frames, str):
                    self.events.append(Unsendable(request, key, frames))
            if values:
                left += 1
                self.soon(lambda: self.post(lambda: arrive(values)))

        def arrive(values: dict[tuple[str, int], int]) -> None:
            self._arrived.update(values)
            came = [(key, self.book.specs[key].nbytes, version) for key, version in values]
            self.events.append(Fetched(request, came))
            one_less()

        def on_end(error: str | None) -> None:
            one_less()
            self.wake()

        self.fetcher.get(address, effect.keys, on_items, on_end)

    def _collect(self, keys: Sequence[str], reply: Callable[[list[Item]], None]) -> None:
        version = self.core.version
        items: list[Item] = [
            (key, version(key), self._frames(key, self.values.get(key))) for key in keys
        ]
        self.soon(lambda: self.post(lambda: reply(items)))

    def _is_stuck(self, key: str) -> bool:
        return key in self.book.specs and self.book.specs[key].stuck

    def _frames(self, key: str, value: int | None) -> list[bytes] | str | None:
        if value is None:
            return None
        return f"{key} cannot be pickled" if self._is_stuck(key) else [packed(value)]

    def _accept(self, key: str, assignment: int, frames: Sequence[Any]) -> None:
        def arrive() -> None:
            self._arrived[assignment] = unpacked(frames[0])
            self.book.brought[key] = (self, self.hellos, self.world.now)
            self.events.append(Received(key, assignment, self.book.specs[key].nbytes, KIND))

        self.soon(lambda: self.post(arrive))

    def disagreements(self, known: Known) -> list[Any]:
        """Where the scheduler believes other things of us than we do."""
        mine = {key: version for key, _, version in self.core.holds()}
        theirs = {task.key: task.since for task in known.holds}
        found: list[Any] = [(self.name, "holds", key) for key in mine.keys() ^ theirs.keys()]
        both = mine.keys() & theirs.keys()
        found += [(self.name, "holds an old", key) for key in both if mine[key] < theirs[key]]
        runs = dict(self.core.assigned()).keys() ^ known.assigned.keys()
        return found + [(self.name, "runs", number) for number in runs]

    def leftovers(self) -> list[Any]:
        """What should not be there once nobody wants anything."""
        core, threads = self.core, self.threads
        tables = (
            core.jobs, core.held, core.inputs, core.peers, core.requests, core._users, core._freed,
            self.values, threads.running, threads._pending, core.entrusted,
        )  # fmt: skip
        return [(self.name, table) for table in tables if table]


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
