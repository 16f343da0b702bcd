"""SchedulerCore: what the scheduler decides. Events in, effects out; see `handle`.

This module turns messages into calls of its parts: `lifecycle.py` changes the states of tasks, `queues.py`
hands out work, `requests.py` collects answers of several workers, `members.py` knows who takes part.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from distributed.core.audit import Audits
from distributed.core.backlog import Backlog
from distributed.core.complaints import Complaints
from distributed.core.eviction import Evictions
from distributed.core.fired import Fired
from distributed.core.insight import Insight
from distributed.core.lifecycle import Lifecycle
from distributed.core.locks import Locks
from distributed.core.members import DOOMED, Members, says_hello_again
from distributed.core.outgoing import append, report_error, report_finished
from distributed.core.patience import (
    CLIENT_GRACE_SECONDS,
    LOCK_SECONDS,
    SILENCE_SECONDS,
    Patience,
    gone_for,
)
from distributed.core.queues import Queues
from distributed.core.recovery import Recovery
from distributed.core.reports import Reports, by_key
from distributed.core.requests import Requests, Restarting
from distributed.core.shortage import Shortage
from distributed.core.states import (
    ACTIVE,
    MEMORY,
    PROCESSING,
    READY,
    Client,
    Effect,
    Exit,
    Gone,
    Log,
    Member,
    Nanny,
    Nonsense,
    Peer,
    Send,
    Task,
    Tick,
    Worker,
)
from distributed.core.story import Story
from distributed.messages import (
    PROTOCOL,
    PYTHON,
    Abandoned,
    Alive,
    Answer,
    Ask,
    Audited,
    Broadcast,
    Cancel,
    Cleared,
    ClientHello,
    Concede,
    Contend,
    Died,
    Done,
    Drop,
    Ended,
    Entrust,
    Errors,
    Files,
    Fire,
    Forget,
    Goodbye,
    Heard,
    Heartbeat,
    HelloAgain,
    Holds,
    IsLocked,
    Message,
    Missing,
    NannyHello,
    Pending,
    Refused,
    Release,
    Replicate,
    Restart,
    Returned,
    Scatter,
    Seceded,
    Started,
    Stop,
    Stuck,
    Submit,
    Unfetchable,
    Unknown,
    Upload,
    Want,
    Warn,
    Welcome,
    WorkerHello,
)

# A worker whose connection broke is lost when its nanny has not said within this time why: then the
# nanny is cut off as well, or busy. Without a nanny it is lost at once.
DIED_SECONDS = 1.0
# The end waits so long for workers and nannies to say goodbye: what a connection has received and its
# owner has not read is lost when the other side closes it.
END_SECONDS = 2.0

Handler = Callable[["SchedulerCore", Any, Any], None]


class SchedulerCore:
    """Everything the scheduler knows, and the one way to change it.

    `epoch` names this life of the scheduler; `idle_timeout` (seconds) ends it when there has been
    neither a client nor unfinished work for so long. With `lock_grace` (seconds) there may have been an
    earlier life, whose clients hold locks; see `locks.py`. Assignments, and requests to workers, are
    numbered from `first_assignment`, which must be above the numbers of all earlier lives: workers may
    still be at those. `worker_timeout` and `client_timeout` (seconds): see `patience.py`.
    """

    def __init__(
        self,
        epoch: str,
        idle_timeout: float | None = None,
        lock_grace: float = 0.0,
        first_assignment: int = 1,
        worker_timeout: float = SILENCE_SECONDS,
        client_timeout: float = CLIENT_GRACE_SECONDS,
    ) -> None:
        self.epoch = epoch
        self.idle_timeout = idle_timeout
        self.now = 0.0
        recovery = Recovery(max(worker_timeout, client_timeout))
        self.queues = Queues(first_assignment, recovery)
        self.lifecycle = Lifecycle(self.queues)
        self.requests = Requests(self.lifecycle)
        self.reports = Reports(self.lifecycle, self.requests)
        self.locks = Locks(lock_grace)
        self.members = Members()
        self.patience = Patience(worker_timeout, client_timeout)
        self.complaints = Complaints()
        self.story = Story()
        self.audits = Audits(self.reports, self.story)
        self.fired = Fired(epoch, self.lifecycle)
        self.shortage = Shortage(self.lifecycle)
        self.insight = Insight(self)
        self._idle_since: float | None = None
        self._ending = ""  # why the cluster is about to end
        self._end_at = 0.0
        self._loose: list[Send] = []  # to peers that are not members
        self._asked: set[Peer] = set()  # in this turn, to say hello
        self.evictions = Evictions(self.members, self.lifecycle, self._lose_worker, self._loose)
        self._handlers = self._table()

    def handle(self, events: Iterable[tuple[Peer, Message]], now: float) -> list[Effect]:
        """Take in a batch of events, decide, and say what to do.

        An event is (peer, message): one of `messages.py`, or Gone, Nonsense, Tick. `now` is in
        seconds, on any clock that does not go back.
        """
        self.now = self.queues.now = self.story.now = now
        peers, heard, handlers = self.members.peers, self.story.heard, self._handlers
        keeper = self.fired.keeper
        for peer, message in events:
            member = peers.get(peer)
            handler = handlers.get((type(member), type(message)))
            if handler is not None:
                heard(member, message)
                handler(member, message)
            else:
                self._handle_rest(peer, member, message)
            if keeper.out:
                self.fired.read()
        if self.queues.stuck.homeless:
            self.lifecycle.fail_homeless()
        self.queues.assign(now)
        self.queues.retract(now)
        self.requests.settle(len(self.queues.workers), now)
        self.insight.settle()
        self.fired.settle()
        return self._effects()

    def _handle_rest(self, peer: Peer, member: Any, message: Message) -> None:
        """What is not the ordinary business of a member."""
        kind = type(message)
        if kind is Tick:
            self._on_tick()
        elif kind is Gone:
            self._on_gone(peer, member)
        elif member is DOOMED:
            return  # it has been told why
        elif kind in _HELLOS and (member is None or says_hello_again(member, message)):
            self._on_hello(peer, message)
        elif kind is Nonsense or member is not None:
            reason = message[0] if kind is Nonsense else f"{kind.__name__} does not come from such"
            self._refuse(peer, member, f"the scheduler does not understand: {reason}")
        elif peer not in self._asked:
            self._asked.add(peer)
            self._loose.append(Send(peer, [HelloAgain()]))

    def _effects(self) -> list[Effect]:
        effects: list[Effect] = []
        if self._loose:
            effects += self._loose
            self._loose.clear()
            self._asked.clear()
        for log in (self.audits.log, self.fired.log, self.shortage.log):
            if log:
                effects += [Log(text) for text in log]
                log.clear()
        self.audits.sent()
        said = self.story.said
        for member in self.members.all():
            if member.out:
                said(member)
                effects.append(Send(member.peer, member.out))
                member.out = []
        self.story.trim()
        if self._ending and self._may_exit():
            effects.append(Exit(self._ending))
        return effects

    @property
    def nearly_idle(self) -> bool:
        """Whether no more than one task is at the workers. Who waits for it waits for each of our turns."""
        busy = 0
        for worker in self.queues.workers.values():
            busy += worker.busy
            if busy > 1:
                return False
        return True

    def _may_exit(self) -> bool:
        return self.now >= self._end_at or not (self.members.workers or self.members.nannies)

    # Members come

    def _on_hello(self, peer: Peer, hello: Any) -> None:
        if hello.protocol != PROTOCOL or hello.python != PYTHON:
            self._refuse(
                peer,
                None,
                f"the scheduler runs Python {PYTHON} and speaks protocol {PROTOCOL}, "
                f"not Python {hello.python} and protocol {hello.protocol}: "
                "use the same versions of Python and of distributed everywhere",
            )
            return
        _HELLOS[type(hello)](self, peer, hello)

    def _on_client_hello(self, peer: Peer, hello: ClientHello) -> None:
        self._check_epoch(hello.epoch)
        client = self.members.clients.get(hello.client)
        if client is None:
            client = Client(hello.client, peer, self.now)
        client.worker = hello.worker
        if client.peer != peer:
            client.clearings = 0
            self.requests.caller_lost(client)
        self.members.enter(client, peer, self.now)
        client.out.append(Welcome(self.epoch, {}))
        wants = frozenset(hello.wants)
        self.lifecycle.release(client, [task for task in client.wants if task.key not in wants])
        self.lifecycle.settle(client)
        self.locks.greet(client, hello.locks)
        self._expect_functions(client)

    def _expect_functions(self, client: Client) -> None:
        """It starts anew and will send its functions again."""
        self.lifecycle.forget_functions(client, tuple(client.functions))

    def _on_nanny_hello(self, peer: Peer, hello: NannyHello) -> None:
        nanny = self.members.nannies.get(hello.nanny) or Nanny(hello.nanny, peer, self.now)
        self.members.enter(nanny, peer, self.now)
        nanny.out.append(Welcome(self.epoch, {}))
        self.evictions.remind(nanny)

    def _on_worker_hello(self, peer: Peer, hello: WorkerHello) -> None:
        """A new worker, or one that we know on a new connection: messages may have been lost, so
        compare what it has with what we believe."""
        if self.evictions.insist(hello.worker, peer):
            return
        self._check_epoch(hello.epoch)
        worker = self.members.workers.get(hello.worker)
        if worker is not None and worker.peer == peer:
            # Nothing was lost in between, and what we have said since the first it may not have heard yet.
            worker.out.append(Welcome(self.epoch, self.requests.files))
            return
        if worker is None:
            taken = self.members.name_is_taken(hello, self.now)
            if taken:
                return self._refuse(peer, None, taken)
            given = (hello.name, hello.address, hello.nthreads, Backlog())
            worker = Worker(hello.worker, peer, self.now, *given)
            worker.nanny = hello.nanny
            worker.pid = hello.pid
            worker.memory_limit = hello.memory_limit
            worker.stock.totals = dict(hello.resources)
        self.members.enter(worker, peer, self.now)
        worker.out.append(Welcome(self.epoch, self.requests.files))
        worker.functions = set()
        worker.thief, worker.begun = None, set()
        self.queues.recovery.let_go(worker)  # it says anew what it has
        self._compare_assigned(worker, dict(hello.assigned))
        self._compare_holds(worker, hello.holds)
        self.requests.ask_again(worker)
        self.queues.join(worker)
        self.fired.workers_change(worker)
        if self._ending:
            worker.out.append(Goodbye())

    def _check_epoch(self, epoch: str) -> None:
        if epoch and epoch != self.epoch:
            self.queues.recovery.arrival(self.now, not self.queues.has_assigned)

    def _compare_assigned(self, worker: Worker, has: dict[int, str]) -> None:
        for assignment, task in tuple(worker.assigned.items()):
            if assignment in has:
                continue
            del worker.assigned[assignment]
            worker.seceded.discard(assignment)
            worker.started.pop(assignment, None)
            worker.stock.give_back((assignment,))
            if isinstance(task, Task):
                self.lifecycle.requeue(task)
        for assignment, key in has.items():
            if assignment not in worker.assigned:
                worker.stock.strays.add(assignment)
            if not isinstance(worker.assigned.get(assignment), Task):
                worker.assigned[assignment] = key
                self._resume_or_drop(worker, assignment, key)

    def _resume_or_drop(self, worker: Worker, assignment: int, key: str) -> None:
        """The worker is at something that we did not give it, or have given up."""
        recovery = self.queues.recovery
        task = self.lifecycle.tasks.get(key)
        if not recovery.is_under_way or (task is not None and task.state in (MEMORY, PROCESSING)):
            append(worker, Drop, assignment)
            return
        superseded = recovery.go_on(worker, assignment, key)
        if superseded is not None:
            append(superseded[0], Drop, superseded[1])
        if task is not None and task.state is READY:
            self.queues.push(task)

    def _compare_holds(self, worker: Worker, holds: Iterable[tuple[str, int, int]]) -> None:
        versions = {key: version for key, _, version in holds}
        gone = [task for task in tuple(worker.holds) if versions.get(task.key, -1) < task.since]
        self.lifecycle.lose([t for t in gone if self.lifecycle.remove_holder(t, worker)])
        for key, size, version in holds:
            self.reports.adopt(worker, key, size, version)

    def _refuse(self, peer: Peer, member: Any, reason: str) -> None:
        self._loose.append(Send(peer, [Refused(reason)]))
        if isinstance(member, Member):
            self._remove(member, reason)
        self.members.doom(peer)

    # Members go

    def _on_gone(self, peer: Peer, member: Any) -> None:
        if isinstance(member, Worker) and not member.nanny:
            self._lose_worker(member, "its connection closed", _running(member))
        elif isinstance(member, Member):
            member.gone_since = self.now
            if isinstance(member, Worker):
                self.queues.suspend(member)
        self.members.peers.pop(peer, None)

    def _remove(self, member: Member, reason: str) -> None:
        if isinstance(member, Worker):
            self._lose_worker(member, reason)
        elif isinstance(member, Client):
            self._lose_client(member)
        else:
            self.members.leave(member)

    def _lose_client(self, client: Client) -> None:
        self.members.leave(client)
        self.requests.client_lost(client)
        self.insight.client_lost(client)
        self.locks.client_lost(client)
        self.lifecycle.release(client, tuple(client.wants))
        self.lifecycle.settle(client)
        self.lifecycle.forget_functions(client, tuple(client.functions))

    def _lose_worker(
        self, worker: Worker, reason: str, guilty: Collection[Task] = (), output: str = ""
    ) -> None:
        """Those that are `guilty` may be why it died; nobody is if its end was ordered."""
        self.members.leave(worker)
        self.requests.worker_lost(worker, reason)
        self._note_loss(worker, reason)
        self.lifecycle.lose_worker(worker, reason, guilty, output)
        self.fired.workers_change(worker)

    def _note_loss(self, worker: Worker, reason: str) -> None:
        given = [task.key for task in worker.assigned.values() if isinstance(task, Task)]
        name = f"worker {worker.name}"
        self.story.note(f"{name}, to which it was given, is lost: {reason}", given)
        self.story.note(f"{name}, which held it, is lost: {reason}", [t.key for t in worker.holds])

    def _lose_evicted(self, worker: Worker, reason: str) -> None:
        self._lose_worker(worker, reason)

    def _on_goodbye(self, member: Member, message: Goodbye) -> None:
        left = _running(member) if isinstance(member, Worker) else []
        self._remove(member, "it said goodbye")
        self.lifecycle.note_departures(left)

    def _on_alive(self, nanny: Nanny, message: Alive) -> None:
        for id in message.workers:
            worker = self.members.workers.get(id)
            if worker is not None:
                worker.last_seen = self.now

    def _on_died(self, nanny: Nanny, message: Died) -> None:
        self.evictions.ended(message.worker)
        for client in tuple(self.members.clients.values()):
            if client.worker == message.worker:
                self._lose_client(client)  # of that process: it cannot come back
        worker = self.members.workers.get(message.worker)
        if worker is not None:
            found = (worker.assigned.get(assignment) for assignment in message.running)
            guilty = [task for task in found if isinstance(task, Task)]
            # Whoever asked for it may have told us before that it cannot be had there.
            guilty += self.lifecycle.known([message.pickling])
            unkeepable = self.shortage.unkeepable(worker, message.memory)
            self._lose_worker(worker, message.reason, () if unkeepable else guilty, message.output)
            self.shortage.end(unkeepable)

    def _on_answer(self, worker: Worker, message: Answer) -> None:
        self.requests.answered(worker, message.request, message.ok, message.value)

    def _on_heartbeat(self, worker: Worker, message: Heartbeat) -> None:
        worker.last_seen = self.now
        worker.memory = message.memory

    def _on_client_heartbeat(self, client: Client, message: Heartbeat) -> None:
        client.last_seen = self.now

    # Time passes

    def _on_tick(self) -> None:
        self.patience.tick(self.members.all(), self.now)
        for worker in tuple(self.members.workers.values()):
            self._check_worker(worker)
        for client in tuple(self.members.clients.values()):
            if self.patience.has_ended(client, self.now):
                self._lose_client(client)
            elif gone_for(client, self.now) > LOCK_SECONDS:
                self.locks.client_lost(client)
        for nanny in tuple(self.members.nannies.values()):
            if nanny.gone_since is not None:
                self.members.leave(nanny)
        self.evictions.tick(self.now)
        if self.queues.recovery.is_over(self.now):
            self.lifecycle.end_recovery()
        self.locks.tick(self.now)
        self.audits.tick(self.members.workers.values(), self.now)
        for client, text in self.complaints.due(self.queues, self.now):
            client.out.append(Warn(text))
        self._check_idle()

    def _check_worker(self, worker: Worker) -> None:
        gone = gone_for(worker, self.now)
        if gone > DIED_SECONDS and not self._may_come_back(worker, gone):
            self._lose_cut_off(worker)
        elif self.patience.has_ended(worker, self.now):
            silence = self.now - worker.last_seen
            self._lose_worker(worker, f"nothing was heard of it for {silence:.0f} s")

    def _may_come_back(self, worker: Worker, gone: float) -> bool:
        """Whether it has only been cut off, with all that it has and runs: a nanny that is there would have
        said that it died."""
        nanny = self.members.nannies.get(worker.nanny)
        here = nanny is not None and nanny.gone_since is None
        return here and gone <= self.patience.worker_timeout

    def _lose_cut_off(self, worker: Worker) -> None:
        """A nanny that is there would have said that it died: then nobody is to blame. If that is gone as
        well, so may be the whole machine, and a task may be why."""
        nanny = self.members.nannies.get(worker.nanny)
        if nanny is not None and nanny.gone_since is None:
            self._lose_worker(worker, "its connection closed, and it has not come back")
        else:
            reason = "its connection closed, and so did its nanny's"
            self._lose_worker(worker, reason, _running(worker))

    def _check_idle(self) -> None:
        if self.members.clients or any(t.state in ACTIVE for t in self.lifecycle.tasks.values()):
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = self.now
        elif self.idle_timeout is not None and self.now - self._idle_since >= self.idle_timeout:
            self._stop(f"nothing to do for {self.idle_timeout:g} s")

    # Clients speak

    def _on_submit(self, client: Client, message: Submit) -> None:
        # Otherwise it was said before a restart was heard of, and has been cancelled over there.
        if not client.clearings and not self.lifecycle.submit(client, message):
            client.out.append(HelloAgain())

    def _on_cleared(self, client: Client, message: Cleared) -> None:
        client.clearings = max(0, client.clearings - 1)
        self._expect_functions(client)

    def _on_want(self, client: Client, message: Want) -> None:
        if client.clearings:
            return
        for key in message.keys:
            self.lifecycle.want_key(client, key)

    def _on_release(self, client: Client, message: Release) -> None:
        self.lifecycle.release(client, self.lifecycle.known(message.keys))
        client.out.append(Heard(message.number))

    def _on_forget(self, client: Client, message: Forget) -> None:
        functions = self.lifecycle.functions
        known = [functions[id] for id in message.functions if id in functions]
        self.lifecycle.forget_functions(client, known)

    def _on_cancel(self, client: Client, message: Cancel) -> None:
        called_off = frozenset(message.keys)
        if not message.force:
            self._call_off(client, called_off, message)
            client.out.append(Heard(message.number))
            return
        unknown = called_off.difference(self.lifecycle.tasks)
        dropped = self.lifecycle.dropped = []
        self._call_off(client, called_off, message)
        self.lifecycle.dropped = None
        client.out.append(Heard(message.number))
        self.evictions.force(dropped, unknown, self.now)

    def _call_off(self, client: Client, called_off: frozenset[str], message: Cancel) -> None:
        self.fired.call_off(message.keys)
        for task in self.lifecycle.known(message.keys):
            self.lifecycle.cancel(client, task, called_off)

    def _on_missing(self, client: Client, message: Missing) -> None:
        if client.clearings:
            return
        for key, addresses in by_key(message.items).items():
            self.reports.distrust(key, addresses)
            task = self.lifecycle.tasks.get(key)
            if task is None or task not in client.wants:
                append(client, Ended, (key, "lost", f"{key} is not known to the scheduler"))
            elif task.state is MEMORY:
                report_finished(client, task)
            elif task.state in ACTIVE:
                append(client, Pending, key)
            else:
                report_error(client, task)

    def _on_restart(self, client: Client, message: Restart) -> None:
        reason = "the cluster was restarted"
        workers = list(self.members.workers.values())
        for worker in workers:
            self.evictions.replace(worker, reason)
        self.fired.call_off_all()
        for other in self.members.clients.values():
            self.lifecycle.release(other, tuple(other.wants))
            self.lifecycle.settle(other)
            other.out.append(Cleared(reason))
            other.clearings += 1
        self.requests.restarts.append(Restarting(client, message.request, len(workers), self.now))

    def _on_stop(self, client: Client, message: Stop) -> None:
        self._stop("a client asked for it")

    def _stop(self, reason: str) -> None:
        if self._ending:
            return
        self._ending = reason
        self._end_at = self.now + END_SECONDS
        for member in self.members.all():
            if isinstance(member, Client):
                member.out.append(Refused(f"the scheduler ended: {reason}"))
            else:
                member.out.append(Goodbye())

    def _table(self) -> dict[tuple[Any, Any], Callable[[Any, Any], None]]:
        """Who handles which message of which kind of member."""
        return {
            (Client, Submit): self._on_submit,
            (Client, Want): self._on_want,
            (Client, Fire): self.fired.on_fire,
            (Client, Cleared): self._on_cleared,
            (Client, Release): self._on_release,
            (Client, Forget): self._on_forget,
            (Client, Cancel): self._on_cancel,
            (Client, Missing): self._on_missing,
            (Client, Scatter): self.requests.take,
            (Client, Replicate): self.requests.take,
            (Client, Ask): self.insight.on_ask,
            (Client, Broadcast): self.requests.take,
            (Client, Upload): self.requests.take,
            (Client, Restart): self._on_restart,
            (Client, Contend): self.locks.on_contend,
            (Client, Concede): self.locks.on_concede,
            (Client, IsLocked): self.locks.on_is_locked,
            (Client, Stop): self._on_stop,
            (Client, Heartbeat): self._on_client_heartbeat,
            (Client, Goodbye): self._on_goodbye,
            (Worker, Done): self.reports.on_done,
            (Worker, Errors): self.reports.on_errors,
            (Worker, Holds): self.reports.on_holds,
            (Worker, Stuck): self.reports.on_stuck,
            (Worker, Unfetchable): self.reports.on_unfetchable,
            (Worker, Unknown): self.reports.on_unknown,
            (Worker, Returned): self.reports.on_returned,
            (Worker, Abandoned): self.reports.on_abandoned,
            (Worker, Seceded): self.reports.on_seceded,
            (Worker, Audited): self.audits.on_audited,
            (Worker, Started): self.reports.on_started,
            (Worker, Entrust): self.fired.on_entrust,
            (Worker, Answer): self._on_answer,
            (Worker, Files): self.requests.on_files,
            (Worker, Heartbeat): self._on_heartbeat,
            (Worker, Goodbye): self._on_goodbye,
            (Nanny, Alive): self._on_alive,
            (Nanny, Died): self._on_died,
            (Nanny, Goodbye): self._on_goodbye,
        }


def _running(worker: Worker) -> list[Task]:
    """A guess at what its threads were at, for when no nanny tells. Assignments start in their order, so
    those are the oldest that have not been reported."""
    running: list[Task] = []
    for assignment, task in worker.assigned.items():
        if assignment not in worker.seceded and len(running) == worker.nthreads:
            break
        if isinstance(task, Task):
            running.append(task)
    return running


_HELLOS: dict[Any, Handler] = {
    ClientHello: SchedulerCore._on_client_hello,
    WorkerHello: SchedulerCore._on_worker_hello,
    NannyHello: SchedulerCore._on_nanny_hello,
}
