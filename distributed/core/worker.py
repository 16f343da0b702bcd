"""WorkerCore: what a worker decides. Events in, effects out.

Theory of operation
-------------------
A `Job` is one assignment of the scheduler. Its inputs are here, on their way, or have to be asked for;
when all are here it goes to the threads. There it waits, is claimed by a thread, and ends. Until a
thread has claimed it, it can be taken back: `claim` (given by the shell) tries that, and whoever gets it
has it, so that it never runs after it was given up nor is given up while it runs.

An `Input` is a key that some job waits for. It is fetched from one of the workers that hold it; if that
fails from another, and when none is left all jobs that wait for it are given back to the scheduler, which
knows more. A peer may have it and be unable to send it; that is told too, lest it be computed again. To
each peer two requests may be open, so that one is answered there while what has come of the other is taken
in here; what is wanted meanwhile goes with the next. A request has a number, and ends for itself: what has
not come by the end of its own request does not come, whatever another may still bring.

A job with a time limit says so before it starts: its thread waits until the scheduler has been told, for
once the task runs it may keep the interpreter lock, and nothing more is said here.

Data that a job here needs stays until the job has ended, even if the scheduler frees it earlier.

What comes by different connections comes in any order: data that a client or a neighbour brings, and the
word to delete what was there before. So data has a version (see `messages.py`). A newer one takes the place
of an older, the word to delete an older does not touch it, and a job takes no version from before the time
that it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from distributed.core.answers import Answers, lost
from distributed.core.entrusted import Entrusted
from distributed.core.jobs import Input, Job, Peer, Request
from distributed.core.loaded import Loaded
from distributed.core.worker_events import (
    Answered,
    Asked,
    Completed,
    Delete,
    Effect,
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
from distributed.messages import (
    AUDIT_KEYS,
    Abandoned,
    Acquire,
    Audited,
    Call,
    Discharge,
    Done,
    Drop,
    Entrust,
    Errors,
    Free,
    Holds,
    Message,
    PutFile,
    Retract,
    Returned,
    Run,
    Seceded,
    Started,
    Stuck,
    Unfetchable,
    Unknown,
    Unload,
)

# What may be on its way from a peer: enough to keep the connection busy, little enough that it can be held
# beside all else. Only what is larger by itself comes all the same, alone.
UNDER_WAY_BYTES = 64 << 20
MAX_REQUESTS = 2
# What one request may ask for: little enough that the tasks whose inputs come first can start while others
# are still on their way.
REQUEST_BYTES = UNDER_WAY_BYTES // MAX_REQUESTS
REQUEST_KEYS = 1000
# In a report on data that was wanted here for no assignment.
NO_ASSIGNMENT = 0


class WorkerCore:
    """All that a worker knows of its work and its data.

    `address` is its own; `claim(assignment)` takes a job back from the threads, false if one has it.
    """

    def __init__(self, address: str, claim: Callable[[int], bool]) -> None:
        self.address = address
        self.jobs: dict[int, Job] = {}
        self.held: dict[str, tuple[int, int]] = {}  # key -> nbytes, version
        self._loaded = Loaded()
        self.entrusted = Entrusted()
        self.inputs: dict[str, Input] = {}
        self.peers: dict[str, Peer] = {}
        self.requests: dict[int, Request] = {}  # that are open
        self._last_request = 0
        self.answers = Answers()
        self._claim = claim
        self._users: dict[str, int] = {}  # jobs that need the key here
        self._freed: set[str] = set()  # by the scheduler, but still in use here
        # What was here already when the scheduler asked for it: the word to delete it may be on its way.
        self._vouched_for: set[str] = set()
        self._fresh: dict[int, Job] = {}  # about to be given to the threads
        self._audited = 0  # so many of what is held have been told in answers to audits
        self._out: list[Message] = []
        self._effects: list[Any] = []

    def handle(self, events: Iterable[Any]) -> list[Effect]:
        """Take in a batch of events, decide, and say what to do, in order."""
        for event in events:
            handler = _HANDLERS.get(type(event))
            if handler is not None:
                handler(self, event)
        if self._fresh:
            self._effects.append(Execute(list(self._fresh.values())))
            self._fresh = {}
        for peer in tuple(self.peers.values()):
            self._ask(peer)
        if self._loaded.dispensable and (unused := self._loaded.unload(self.jobs.values())):
            self._effects.append(Unload(unused))
        if self._out:
            self._effects.append(Tell(self._out))
            self._out = []
        # Not kept until the next event: arguments of jobs may be large.
        effects, self._effects = self._effects, []
        return effects

    def holds(self) -> list[tuple[str, int, int]]:
        """What the scheduler should know of when it hears of us again."""
        return [(key, *found) for key, found in self.held.items() if self._holds(key)]

    def _holds(self, key: str) -> bool:
        return key in self.held and key not in self._freed

    def version(self, key: str) -> int:
        """Of the data that is here."""
        return self.held[key][1] if key in self.held else 0

    def assigned(self) -> list[tuple[int, str]]:
        return [(job.assignment, job.key) for job in self.jobs.values()]

    def waiting_for(self, key: str) -> int:
        """The assignment, the oldest, that needs this data from elsewhere; 0 if none does."""
        wanted = self.inputs.get(key)
        oldest = 0
        for job in wanted.jobs if wanted is not None else ():
            if not oldest or job.assignment < oldest:
                oldest = job.assignment
        return oldest

    def reminders(self) -> list[Message]:
        """What follows a hello: a message that said it before may have been lost, or was said to another
        life of the scheduler."""
        seceded = [job.assignment for job in self.jobs.values() if job.seceded]
        started = [job.assignment for job in self.jobs.values() if job.started]
        said = [(Seceded, seceded), (Started, started)]
        reminders = [kind(assignments) for kind, assignments in said if assignments]
        return [*reminders, *self.entrusted.said()]

    # Work comes

    def _on_run(self, message: Run) -> None:
        function, timed = message.function, message.timed
        if message.blob is not None:
            self._loaded.learn(function)
            self._effects.append(Learn(function, message.blob))
        elif function not in self._loaded.functions:
            self._tell(Unknown, function)
            self._out.append(Abandoned([item[0] for item in message.items]))
            return
        jobs, fresh = self.jobs, self._fresh
        for assignment, key, arguments, inputs, wanted in message.items:
            job = jobs[assignment] = Job(assignment, key, function, arguments, wanted, timed)
            if inputs is None or self._gather(job, inputs):
                fresh[assignment] = job

    def _gather(self, job: Job, inputs: Iterable[Any]) -> bool:
        """Make sure that the inputs come; true if all are here."""
        job.inputs = tuple([item[0] for item in inputs])
        users, held, on_the_way = self._users, self.held, self.inputs
        for key in job.inputs:
            users[key] = users.get(key, 0) + 1
        missing = 0
        for key, nbytes, addresses, since in inputs:
            found = held.get(key)
            if found is not None and found[1] >= since:
                continue
            wanted = on_the_way.get(key)
            if wanted is None or wanted.since < since:
                wanted = self._want(key, nbytes, addresses, since)
            if wanted is None:
                self._give_back(job, [(key, self.address)])
                return False
            wanted.jobs[job] = None
            missing += 1
        job.missing = missing
        return not missing

    def _want(self, key: str, nbytes: int, addresses: tuple[str, ...], since: int) -> Input | None:
        """Ask for the data from one of the addresses; None if there is none."""
        if not addresses:
            return None
        former = self.inputs.get(key)
        wanted = self.inputs[key] = Input(key, nbytes, addresses, since)
        if former is not None:
            wanted.jobs, wanted.acquired = former.jobs, former.acquired
            self._take_from_queue(former)
        self._choose_peer(wanted)
        return wanted

    def _take_from_queue(self, wanted: Input) -> bool:
        """Do not ask for it, if its peer has not been asked yet."""
        peer = wanted.peer
        if peer is None or peer.queue.pop(wanted.key, None) is None:
            return False
        peer.nbytes -= wanted.nbytes
        return True

    def _choose_peer(self, wanted: Input) -> None:
        addresses = wanted.addresses
        address = addresses[0] if len(addresses) == 1 else min(addresses, key=self._load)
        wanted.addresses = tuple([other for other in addresses if other != address])
        wanted.tried = (*wanted.tried, address)
        peer = self.peers.get(address)
        if peer is None:
            peer = self.peers[address] = Peer(address)
        peer.queue[wanted.key] = wanted
        peer.nbytes += wanted.nbytes
        wanted.peer = peer

    def _load(self, address: str) -> int:
        peer = self.peers.get(address)
        return 0 if peer is None else peer.nbytes

    def _ask(self, peer: Peer) -> None:
        """Send the peer as many requests as may be open."""
        while peer.queue and len(peer.requests) < MAX_REQUESTS:
            inputs, nbytes = _next_inputs(peer)
            if not inputs:
                return
            self._last_request += 1
            request = Request(self._last_request, peer, inputs, nbytes)
            self.requests[request.number] = request
            peer.requests.append(request)
            self._effects.append(Fetch(request.number, peer.address, list(inputs)))
        if not peer.requests:
            del self.peers[peer.address]

    def _on_acquire(self, message: Acquire) -> None:
        for key, nbytes, addresses, since in message.items:
            if self.version(key) >= since and key in self.held:
                self._freed.discard(key)
                self._vouched_for.add(key)
                self._tell(Holds, (key, *self.held[key]))
                continue
            found = self.inputs.get(key)
            if found is None or found.since < since:
                found = self._want(key, nbytes, addresses, since)
            if found is not None:
                found.acquired = True

    # Data comes

    def _on_fetched(self, event: Fetched) -> None:
        request = self.requests.get(event.request)
        if request is None:
            return
        inputs, coming, came = self.inputs, request.inputs, 0
        kept: list[tuple[str, int, int]] = []
        for item in event.items:
            key = item[0]
            wanted = coming.get(key)
            if wanted is None or item[2] < wanted.since:
                continue  # what does not come is looked for elsewhere when the request ends
            del coming[key]
            came += wanted.nbytes
            if inputs.get(key) is not wanted:
                continue
            del inputs[key]
            if wanted.jobs or wanted.acquired:  # or nobody waits for it any more
                kept.append(item)
            for job in wanted.jobs:
                job.missing -= 1
                if not job.missing:
                    self._fresh[job.assignment] = job
        request.peer.nbytes -= came
        self._keep([((key, version), key, nbytes, version) for key, nbytes, version in kept])
        self._tell_all(Holds, kept)

    def _on_unsendable(self, event: Unsendable) -> None:
        request = self.requests.get(event.request)
        wanted = request.inputs.get(event.key) if request is not None else None
        if request is not None and wanted is not None:
            address = request.peer.address
            wanted.tried = tuple([other for other in wanted.tried if other != address])
            wanted.reason = event.reason

    def _on_fetch_ended(self, event: FetchEnded) -> None:
        request = self.requests.pop(event.request, None)
        if request is None:
            return
        peer = request.peer
        peer.requests.remove(request)
        for key, wanted in request.inputs.items():
            peer.nbytes -= wanted.nbytes
            if self.inputs.get(key) is not wanted:
                continue
            if wanted.addresses:
                self._choose_peer(wanted)
                continue
            del self.inputs[key]
            if wanted.reason is not None:
                self._tell(Stuck, (key, wanted.reason))
            missing = [(key, address) for address in wanted.tried]
            if missing and wanted.acquired and not wanted.jobs:
                self._tell(Unfetchable, (NO_ASSIGNMENT, missing))
            for job in tuple(wanted.jobs):
                self._give_back(job, missing)

    def _on_received(self, event: Received) -> None:
        # By its number: the same data may come twice at once, if its client has asked again where to.
        item = (event.key, event.nbytes, event.assignment)
        self._keep([(event.assignment, *item)])
        self._tell(Done, (event.assignment, event.nbytes, 0, None, event.kind))
        # If nobody knows that assignment any more: what it is that lies here.
        self._tell(Holds, item)

    def _keep(self, items: list[tuple[Source, str, int, int]]) -> None:
        held, freed = self.held, self._freed
        kept = []
        for source, key, nbytes, version in items:
            if key in held:
                if held[key][1] > version:
                    continue  # there is a newer one
                freed.discard(key)
            held[key] = (nbytes, version)
            kept.append((source, key))
        last = self._effects[-1] if self._effects else None
        if type(last) is Keep:
            last.items.extend(kept)
        elif kept:
            self._effects.append(Keep(kept))

    # Work ends

    def _on_completed(self, event: Completed) -> None:
        jobs = self.jobs
        kept: list[tuple[Source, str, int, int]] = []
        done = []
        for item in event.items:
            job = jobs.pop(item[0], None)
            if job is None:
                continue
            if job.dropped:
                self._tell(Abandoned, item[0])
            else:
                kept.append((item[0], job.key, item[1], item[0]))
                done.append(item)
            if job.inputs:
                self._let_go(job)
        self._keep(kept)
        self._tell_all(Done, done)

    def _on_raised(self, event: Raised) -> None:
        job = self.jobs.pop(event.assignment, None)
        if job is None:
            return
        if job.dropped:
            self._tell(Abandoned, event.assignment)
        else:
            self._tell(Errors, (event.assignment, event.exception))
        self._let_go(job)

    def _on_given_up(self, event: GivenUp) -> None:
        job = self.jobs.pop(event.assignment, None)
        if job is not None:
            self._tell(Abandoned, event.assignment)
            self._let_go(job)

    def _on_starting(self, event: Starting) -> None:
        job = self.jobs.get(event.assignment)
        if job is not None:
            job.started = True
            self._tell(Started, event.assignment)

    def _on_seceding(self, event: Seceding) -> None:
        job = self.jobs.get(event.assignment)
        if job is not None:
            job.seceded = True
            self._tell(Seceded, event.assignment)

    def _give_back(self, job: Job, missing: list[tuple[str, str]]) -> None:
        """Its inputs cannot be had."""
        self._remove(job)
        self._tell(Unfetchable, (job.assignment, missing))

    def _on_drop(self, message: Drop) -> None:
        for assignment in message.assignments:
            job = self.jobs.get(assignment)
            if job is None or job.dropped:
                continue
            if self._take_back(job):
                self._tell(Abandoned, assignment)
            else:
                job.dropped = True

    def _on_retract(self, message: Retract) -> None:
        back = []
        for assignment in message.assignments:
            job = self.jobs.get(assignment)
            if job is not None and not job.dropped and self._take_back(job):
                back.append(assignment)
        # Answered even if there is nothing: the scheduler asks nothing more before.
        self._out.append(Returned(back))

    def _take_back(self, job: Job) -> bool:
        """Remove the job, unless it runs or has run."""
        fresh = self._fresh.pop(job.assignment, None) is not None
        if not (job.missing or fresh or self._claim(job.assignment)):
            return False
        self._remove(job)
        return True

    def _remove(self, job: Job) -> None:
        del self.jobs[job.assignment]
        for key in job.inputs:
            wanted = self.inputs.get(key)
            if wanted is None or wanted.jobs.pop(job, self) is not None:
                continue
            self._cease(wanted)
        self._let_go(job)

    def _cease(self, wanted: Input) -> None:
        """A job less waits for it: do not ask for what nobody waits for."""
        if not (wanted.jobs or wanted.acquired) and self._take_from_queue(wanted):
            del self.inputs[wanted.key]

    def _let_go(self, job: Job) -> None:
        """The job does not need its inputs any more."""
        users = self._users
        for key in job.inputs:
            count = users.pop(key) - 1
            if count:
                users[key] = count
            elif key in self._freed:
                self._freed.discard(key)
                self._delete(key)

    def _on_free(self, message: Free) -> None:
        held, version = self.held, message.version
        for key in message.keys:
            if key not in held or held[key][1] > version:
                continue
            if key in self._vouched_for:
                self._vouched_for.discard(key)
                self._tell(Unfetchable, (NO_ASSIGNMENT, [(key, self.address)]))
            if key in self._users:
                self._freed.add(key)
            else:
                self._delete(key)

    def _delete(self, key: str) -> None:
        del self.held[key]
        self._vouched_for.discard(key)
        last = self._effects[-1] if self._effects else None
        if type(last) is Delete:
            last.keys.append(key)
        else:
            self._effects.append(Delete([key]))

    def _on_asked(self, event: Asked) -> None:
        """Tell what is here at this point of the conversation: after all that came before the question,
        and after all that has been reported."""
        keys, jobs, held = event.audit.keys, self.jobs, self.held
        start = self._audited if self._audited < len(held) else 0
        self._audited = start + AUDIT_KEYS
        some = islice(held.items(), start, self._audited)
        self._out.append(
            Audited(
                number=event.audit.number,
                jobs=[(j.assignment, j.key, j.dropped, j.seceded) for j in jobs.values()],
                running=[item for item in event.running if item[0] in jobs],
                fetching=list(islice(self._under_way(), AUDIT_KEYS)),
                absent=[key for key in keys if key not in held or key in self._freed],
                holds=[(key, *found) for key, found in some if key not in self._freed],
            )
        )

    def _under_way(self) -> Iterator[tuple[str, str]]:
        for peer in self.peers.values():
            for table in (*(request.inputs for request in peer.requests), peer.queue):
                for key in table:
                    yield key, peer.address

    def _on_entrust(self, message: Entrust) -> None:
        self.entrusted.take(message)

    def _on_discharge(self, message: Discharge) -> None:
        self.entrusted.discharge(message.keys)

    def _on_unload(self, message: Unload) -> None:
        self._loaded.dispensable.update(dict.fromkeys(message.functions))

    # Beside the tasks

    def _on_request(self, message: Call | PutFile) -> None:
        if self.answers.is_new(message.request):
            self._effects.append(Serve(message))
        elif (answer := self.answers.again(message.request)) is not None:
            is_here = type(answer.value) is not tuple or self._holds(answer.value[0])
            self._out.append(answer if is_here else lost(answer.request))

    def _on_answered(self, event: Answered) -> None:
        answer = event.answer
        if not answer.request:
            return
        if type(answer.value) is tuple:
            key, nbytes = answer.value
            self._keep([((key, answer.request), key, nbytes, answer.request)])
        self.answers.note(answer)
        self._out.append(answer)

    def _tell(self, kind: Any, item: Any) -> None:
        self._tell_all(kind, [item])

    def _tell_all(self, kind: Any, items: list[Any]) -> None:
        last = self._out[-1] if self._out else None
        if type(last) is kind:
            last[0].extend(items)  # type: ignore[index]
        elif items:
            self._out.append(kind(items))


def _next_inputs(peer: Peer) -> tuple[dict[str, Input], int]:
    """Take from the queue what the next request asks for, and say how much that is. None while there is no
    room for the first; if nothing is under way there is room for anything."""
    room = UNDER_WAY_BYTES - sum(request.nbytes for request in peer.requests)
    room = min(REQUEST_BYTES, room)
    size = 0
    inputs: dict[str, Input] = {}
    for key, wanted in islice(peer.queue.items(), REQUEST_KEYS):
        if size + wanted.nbytes > room and (inputs or peer.requests):
            break
        size += wanted.nbytes
        inputs[key] = wanted
    for key in inputs:
        del peer.queue[key]
    return inputs, size


_HANDLERS: dict[Any, Callable[[WorkerCore, Any], None]] = {
    Run: WorkerCore._on_run,
    Acquire: WorkerCore._on_acquire,
    Drop: WorkerCore._on_drop,
    Retract: WorkerCore._on_retract,
    Free: WorkerCore._on_free,
    Unload: WorkerCore._on_unload,
    Entrust: WorkerCore._on_entrust,
    Discharge: WorkerCore._on_discharge,
    Asked: WorkerCore._on_asked,
    Call: WorkerCore._on_request,
    PutFile: WorkerCore._on_request,
    Answered: WorkerCore._on_answered,
    Completed: WorkerCore._on_completed,
    Raised: WorkerCore._on_raised,
    GivenUp: WorkerCore._on_given_up,
    Starting: WorkerCore._on_starting,
    Seceding: WorkerCore._on_seceding,
    Fetched: WorkerCore._on_fetched,
    Unsendable: WorkerCore._on_unsendable,
    FetchEnded: WorkerCore._on_fetch_ended,
    Received: WorkerCore._on_received,
}
