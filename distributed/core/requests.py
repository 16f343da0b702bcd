"""Requests of clients: each is answered by one `Reply`.

Some can be answered at once. Others wait for a set of workers, take their answers in any order, and count
a worker that dies as an answer.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import Any

from distributed.core.lifecycle import Lifecycle
from distributed.core.outgoing import append, drop_assignment, free
from distributed.core.queries import QUERIES
from distributed.core.states import (
    DEFAULT_OPTIONS,
    MEMORY,
    NO_OWNER,
    PROCESSING,
    Client,
    Task,
    Worker,
)
from distributed.messages import (
    Acquire,
    Ask,
    Broadcast,
    Call,
    Files,
    PutFile,
    Replicate,
    Reply,
    Scatter,
    Upload,
)

# A restart that has not brought the workers back by then is reported as failed.
RESTART_SECONDS = 30.0
# Uploads may take this much in all: each worker that joins gets them in one message, and the scheduler and
# each worker have them in memory.
MAX_FILES_BYTES = 512 << 20
# The number of a request whose answer nobody waits for.
NOBODY = 0


Value = bytes | str | tuple[Any, ...]


class Collect:
    """The answers to a `Call` or a `PutFile`: {address: (ok, value)}, values as in `Answer`."""

    def __init__(
        self, client: Client, request: int, workers: list[Worker], message: Call | PutFile
    ) -> None:
        self.client = client
        self.request = request
        self.message = message
        self.waiting = dict.fromkeys(workers)
        self.answers: dict[str, tuple[bool, Value]] = {}

    def answer(self, worker: Worker, ok: bool, value: Value) -> None:
        if worker in self.waiting:
            del self.waiting[worker]
            self.answers[worker.address] = (ok, value)

    def reply(self) -> Reply | None:
        return None if self.waiting else Reply(self.request, True, self.answers)


class Replication:
    """Waits until workers hold copies of tasks' data."""

    def __init__(self, client: Client, request: int) -> None:
        self.client = client
        self.request = request
        self.waiting: dict[tuple[Worker, Task], None] = {}
        self.failure = ""

    def look(self) -> None:
        """Whether the data to be copied is still there."""
        for _, task in self.waiting:
            if task.state is not MEMORY:
                self.failure = f"the data of {task.key} was lost while it was being copied"

    def reply(self) -> Reply | None:
        if self.failure:
            return Reply(self.request, False, self.failure)
        return None if self.waiting else Reply(self.request, True, None)


class Restarting:
    """Waits until as many workers have registered as there were before."""

    def __init__(self, client: Client, request: int, workers: int, now: float) -> None:
        self.client = client
        self.request = request
        self.expected = workers
        self.deadline = now + RESTART_SECONDS

    def reply(self, workers: int, now: float) -> Reply | None:
        if workers >= self.expected:
            return Reply(self.request, True, None)
        if now < self.deadline:
            return None
        text = (
            f"only {workers} of {self.expected} workers have come back within {RESTART_SECONDS:g} s"
        )
        return Reply(self.request, False, text)


class Requests:
    """Answers them, and keeps those that are open. What workers are asked for is numbered like assignments,
    for an answer may be data, whose version is that number."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self.files: dict[str, bytes] = {}  # that were uploaded, for workers that join later
        self._lifecycle = lifecycle
        self.collects: dict[int, Collect] = {}
        self.replications: list[Replication] = []
        self.restarts: list[Restarting] = []
        self._postponed: list[tuple[Client, Any]] = []

    def take(self, client: Client, message: Any) -> None:
        """Handle a request for workers; later, if workers of an earlier life are only just arriving."""
        queues = self._lifecycle.queues
        if queues.now >= queues.recovery.paused_until:
            _HANDLERS[type(message)](self, client, message)
            return
        self._postponed.append((client, message))
        if isinstance(message, Scatter):
            # From now on: it may be released again before its turn comes.
            for key, _ in message.items:
                self._lifecycle.want_key(client, key)

    def _take_postponed(self) -> None:
        postponed, self._postponed = self._postponed, []
        for client, message in postponed:
            if isinstance(message, Scatter):
                wanted = {task.key for task in client.wants}
                message = message._replace(items=tuple(i for i in message.items if i[0] in wanted))
            _HANDLERS[type(message)](self, client, message)

    def on_scatter(self, client: Client, message: Scatter) -> None:
        workers = self._choose(client, message.request, message.workers)
        if not workers:
            return
        slots = cycle([worker for worker in workers for _ in range(worker.nthreads)])
        targets = []
        for key, _ in message.items:
            task = self._lifecycle.tasks.get(key)
            if task is None:
                task = self._lifecycle.add(
                    Task(key, None, b"", (0, 0, 0), DEFAULT_OPTIONS, NO_OWNER)
                )
            if task.function is None and task.state is PROCESSING:
                drop_assignment(task)  # whoever was to send it may have failed to
            self._lifecycle.recovery.expected.pop(task, None)
            self._lifecycle.disclaim(key)
            if task.function is None and task.state is not MEMORY:
                worker = next(slots)
                targets.append((key, worker.address, self._expect(task, worker)))
            self._lifecycle.want(client, task)
        client.out.append(Reply(message.request, True, targets))

    def _expect(self, task: Task, worker: Worker) -> int:
        """The task's data is about to be sent to the worker by a client."""
        assignment = self._lifecycle.queues.new_assignment()
        task.state, task.error = PROCESSING, None
        task.worker, task.assignment = worker, assignment
        worker.incoming[assignment] = task
        return assignment

    def on_replicate(self, client: Client, message: Replicate) -> None:
        workers = self._choose(client, message.request, message.workers)
        if not workers:
            return
        replication = Replication(client, message.request)
        for task in self._lifecycle.known(message.keys):
            if task.state is not MEMORY:
                replication.failure = f"{task.key} cannot be copied: it is {task.state}"
                break
            for worker in workers:
                if worker not in task.holders:
                    replication.waiting[(worker, task)] = None
                    _acquire(worker, task)
        self.replications.append(replication)

    def on_ask(self, client: Client, message: Ask) -> None:
        query = QUERIES.get(message.question)
        if query is None:
            text = f"there is no question {message.question!r}, only {', '.join(QUERIES)}"
            client.out.append(Reply(message.request, False, text))
        else:
            value = query(self._lifecycle, message.keys)
            client.out.append(Reply(message.request, True, value))

    def on_broadcast(self, client: Client, message: Broadcast) -> None:
        workers = self._choose(client, message.request, message.workers)
        if workers:
            self._collect(
                client,
                message.request,
                workers,
                Call(self._lifecycle.queues.new_assignment(), message.call),
            )

    def on_upload(self, client: Client, message: Upload) -> None:
        if not self._has_room(message.name, message.content):
            text = (
                f"{message.name} does not fit: uploads may take {MAX_FILES_BYTES:,} bytes in all; put "
                "large files where all workers can read them, or scatter their content"
            )
            client.out.append(Reply(message.request, False, text))
            return
        self.files.pop(message.name, None)  # in the order of uploads: the last one counts
        self.files[message.name] = message.content
        workers = list(self._lifecycle.queues.workers.values())
        put = PutFile(self._lifecycle.queues.new_assignment(), message.name, message.content)
        self._collect(client, message.request, workers, put)

    def on_files(self, worker: Worker, message: Files) -> None:
        """A worker brings uploads from an earlier life of the scheduler: for those that are new."""
        for name, content in message.files.items():
            if name not in self.files and self._has_room(name, content):
                self.files[name] = content
                others = [w for w in self._lifecycle.queues.workers.values() if w is not worker]
                for other in others:
                    other.out.append(PutFile(NOBODY, name, content))

    def _has_room(self, name: str, content: bytes) -> bool:
        others = sum(len(held) for other, held in self.files.items() if other != name)
        return others + len(content) <= MAX_FILES_BYTES

    def _choose(self, client: Client, request: int, names: tuple[str, ...] | None) -> list[Worker]:
        """The workers that the names mean (None: all). If there are none, the client is told."""
        workers = [
            worker
            for worker in self._lifecycle.queues.workers.values()
            if worker.gone_since is None
        ]
        if names is not None:
            workers = [worker for worker in workers if not worker.aliases.isdisjoint(names)]
        if not workers:
            text = "there are no workers" if names is None else f"no worker is among {names}"
            client.out.append(Reply(request, False, text))
        return workers

    def _collect(
        self, client: Client, request: int, workers: list[Worker], message: Call | PutFile
    ) -> None:
        """Ask the workers, and answer the client when all have answered."""
        self.collects[message.request] = Collect(client, request, workers, message)
        for worker in workers:
            worker.out.append(message)
        self._settle_collect(message.request)

    def ask_again(self, worker: Worker) -> None:
        """The worker has a new connection: what we asked on the last one, or what it answered, may be
        lost. It knows by the number what it has done before."""
        for collect in self.collects.values():
            if worker in collect.waiting:
                worker.out.append(collect.message)
        for replication in self.replications:
            for place, task in replication.waiting:
                if place is worker:
                    _acquire(worker, task)

    def answered(self, worker: Worker, number: int, ok: bool, value: Value) -> None:
        collect = self.collects.get(number)
        if type(value) is tuple:
            self._take_data(collect, worker, number, *value)
        if collect is not None:
            collect.answer(worker, ok, value)
            self._settle_collect(number)

    def _take_data(
        self, collect: Collect | None, worker: Worker, number: int, key: str, nbytes: int
    ) -> None:
        """An answer is data, which its client fetches and lets go of."""
        if key in self._lifecycle.tasks:
            return  # it has been said before
        if collect is None or worker not in collect.waiting:
            free(worker, key, number)
            return
        task = self._lifecycle.add(Task(key, None, b"", (0, 0, 0), DEFAULT_OPTIONS, NO_OWNER))
        task.state, task.since, task.nbytes = MEMORY, number, nbytes
        task.holders = worker.alone
        worker.holds[task] = None
        self._lifecycle.want(collect.client, task)

    def _settle_collect(self, number: int) -> None:
        reply = self.collects[number].reply()
        if reply is not None:
            self.collects.pop(number).client.out.append(reply)

    def copied(self, worker: Worker, task: Task) -> None:
        for replication in self.replications:
            replication.waiting.pop((worker, task), None)

    def not_copied(self, worker: Worker, key: str) -> None:
        """The worker could not get the data from anywhere it knew of."""
        for replication in self.replications:
            for place, task in replication.waiting:
                if place is worker and task.key == key and task.state is MEMORY:
                    _acquire(worker, task)

    def settle(self, workers: int, now: float) -> None:
        """Answer whatever does not wait for anything any more. Called after every batch."""
        if self._postponed and now >= self._lifecycle.queues.recovery.paused_until:
            self._take_postponed()
        if self.replications:
            open_: list[Any] = []
            for replication in self.replications:
                replication.look()
                _answer(replication, replication.reply(), open_)
            self.replications = open_
        if self.restarts:
            open_ = []
            for restart in self.restarts:
                _answer(restart, restart.reply(workers, now), open_)
            self.restarts = open_

    def worker_lost(self, worker: Worker, reason: str) -> None:
        for number in tuple(self.collects):
            self.collects[number].answer(worker, False, f"the worker died ({reason})")
            self._settle_collect(number)
        for replication in self.replications:
            for pair in tuple(replication.waiting):
                if pair[0] is worker:
                    del replication.waiting[pair]

    def task_stuck(self, task: Task, reason: str) -> None:
        """The data to be copied cannot leave its worker."""
        for replication in self.replications:
            if any(pair[1] is task for pair in replication.waiting):
                replication.failure = f"{task.key} cannot be copied: {reason}"

    def caller_lost(self, client: Client) -> None:
        """Its connection broke: who waited there for answers to a call has been told, and waits no more."""
        for number, collect in tuple(self.collects.items()):
            if collect.client is client and type(collect.message) is Call:
                del self.collects[number]

    def client_lost(self, client: Client) -> None:
        self._postponed = [item for item in self._postponed if item[0] is not client]
        self.collects = {n: c for n, c in self.collects.items() if c.client is not client}
        self.replications = [r for r in self.replications if r.client is not client]
        self.restarts = [r for r in self.restarts if r.client is not client]


def _acquire(worker: Worker, task: Task) -> None:
    addresses = [holder.address for holder in task.holders]
    append(worker, Acquire, (task.key, task.nbytes, addresses, task.since))


def _answer(request: Any, reply: Reply | None, open_: list[Any]) -> None:
    if reply is None:
        open_.append(request)
    else:
        request.client.out.append(reply)


_HANDLERS: dict[Any, Callable[[Requests, Client, Any], None]] = {
    Scatter: Requests.on_scatter,
    Replicate: Requests.on_replicate,
    Broadcast: Requests.on_broadcast,
    Upload: Requests.on_upload,
}
