"""Every message on the wire, in one place.

A *message* is one of the named tuples below. What crosses a socket is a *batch*: one frame that holds
a msgpack array of messages, each an array of its code and its fields. Codes are the positions in
`MESSAGES`, so both ends must speak the same `PROTOCOL`; the hellos carry it.

Words used throughout:

key         names a piece of work, and its result. A string made by `recipes.py`.
assignment  the number that the scheduler gives to one attempt at running a task on one worker.
            It is never used again, so a report that names an old one is recognised as stale.
version     of data: the number of the assignment that made it, or under which it was scattered. All
            copies have it. Of two versions of a key the one with the larger number is the newer.
function    the hex digest of a pickled function. The function itself travels once to each worker.
request     a number drawn by whoever asks, returned with the answer.
contender   a number that a client draws for one attempt to get a lock. It is never used again, so a
            message about an attempt that is over is recognised.

The scheduler never unpickles: functions, arguments, results, exceptions are bytes to it. (The first line of
an exception is its type and text, for people; see `tracebacks.py`.)
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

PROTOCOL = 1
# Functions are pickled by one interpreter and run by another: bytecode differs between minor versions.
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
# Keys that an audit asks about, and that an answer tells of its own accord: a list that costs nobody more
# than some hundred microseconds. The next audit has the next ones.
AUDIT_KEYS = 1000


# Client to scheduler ---------------------------------------------------------------------------


class ClientHello(NamedTuple):
    """If the client was known before, `wants` lists the keys that it still has futures for, and `locks`
    those that it holds and then those that it contends for: `(name, contender, holds, waits)`. `epoch` is
    that of the last `Welcome`, or empty; `worker` the id of the worker whose tasks it serves, or empty."""

    client: str
    epoch: str
    protocol: int
    python: str
    wants: tuple[Any, ...]
    locks: tuple[Any, ...]
    worker: str


class Submit(NamedTuple):
    """Work. An item is `(key, arguments, dependencies or None, order)`, dependencies before dependents.

    `functions` brings those that this client has not sent before, as {function: blob}. A group is
    `(function, options or None, wanted, items)`; options are those of `codec.check_options`. Whatever is
    not wanted by the client itself runs only if something wanted depends on it. `more`: what depends on
    it may come with the next Submit. `ahead` are keys in this message that something to come surely
    depends on: they may run before that is here. `complete` are those of them, in messages before, for
    which all has come now. `again`: all of it was submitted before, perhaps to an earlier scheduler, and
    has not been let go of. `call` is the client's number of the call that these tasks belong to: smaller
    ones come first, and the parts of one graph have one number.
    """

    functions: dict[str, bytes]
    groups: tuple[Any, ...]
    more: bool
    ahead: tuple[Any, ...] = ()
    complete: tuple[Any, ...] = ()
    again: bool = False
    call: int = 0


class Want(NamedTuple):
    """Futures that reached this client from elsewhere."""

    keys: tuple[Any, ...]


class Fire(NamedTuple):
    """Do these whatever becomes of the client and its futures, and log how they fail."""

    keys: tuple[Any, ...]


class Release(NamedTuple):
    """The client dropped its last future to each of these. Answered by `Heard` with the number."""

    keys: tuple[Any, ...]
    number: int = 0


class Forget(NamedTuple):
    """Functions that this client no longer has any use for."""

    functions: tuple[Any, ...]


class Cancel(NamedTuple):
    """Call the work off, and what waits for it. `force`: also what runs, with the process of its worker.
    Answered by `Heard` with the number."""

    keys: tuple[Any, ...]
    force: bool
    number: int = 0


class Missing(NamedTuple):
    """The client could not get these from where they should be: `(key, address)`."""

    items: tuple[Any, ...]


class Scatter(NamedTuple):
    """Data that the client is about to send to workers: `(key, nbytes)`. Answered by `Reply` with
    `(key, address, assignment)` for each that is not there yet."""

    request: int
    items: tuple[Any, ...]
    workers: tuple[Any, ...] | None


class Replicate(NamedTuple):
    """Answered once every worker among `workers` (None: all) holds every key."""

    request: int
    keys: tuple[Any, ...]
    workers: tuple[Any, ...] | None


class Ask(NamedTuple):
    """A question about the state of the cluster, one of `core.queries.QUERIES` or of
    `core.insight.QUESTIONS`."""

    request: int
    question: str
    keys: tuple[Any, ...] | None


class Broadcast(NamedTuple):
    """A pickled call for every worker, run beside its tasks. Answered when all have answered."""

    request: int
    call: bytes
    workers: tuple[Any, ...] | None


class Upload(NamedTuple):
    """A file for every worker, also for those that join later."""

    request: int
    name: str
    content: bytes


class Restart(NamedTuple):
    request: int


class Contend(NamedTuple):
    """The client would like to have the lock of this name. Answered by `Granted`, at once or when its
    turn comes; or, if it does not want to wait for that, by `Denied`."""

    name: str
    contender: int
    waits: bool


class Concede(NamedTuple):
    """The contender lets go of the lock, or does not wait for it any more."""

    name: str
    contender: int


class IsLocked(NamedTuple):
    request: int
    name: str


class Stop(NamedTuple):
    """End the whole cluster."""


class Goodbye(NamedTuple):
    """The sender leaves in an orderly way."""


# Scheduler to client ---------------------------------------------------------------------------


class Welcome(NamedTuple):
    """Answer to any hello. `epoch` names this life of the scheduler; `files` are past uploads."""

    epoch: str
    files: dict[str, bytes]


class Refused(NamedTuple):
    reason: str


class HelloAgain(NamedTuple):
    """The scheduler does not know the sender: say hello, with all you hold."""


class Finished(NamedTuple):
    """Results held by the worker at `address`: `(key, nbytes, value or None, type or None)`."""

    address: str
    items: tuple[Any, ...] | list[Any]


class Failed(NamedTuple):
    """`(key, exception)`, the exception as its worker pickled it."""

    items: tuple[Any, ...] | list[Any]


class Ended(NamedTuple):
    """`(key, ending, reason)`, ending one of 'cancelled', 'lost', 'killed', 'timeout', 'memory' (it does
    not fit), 'stuck' (it has inputs that cannot be brought together)."""

    items: tuple[Any, ...] | list[Any]


class Heard(NamedTuple):
    """The `Release` or the `Cancel` of that number has been taken in, and all before it: what was said of
    their keys before this is about work that the client has let go of."""

    number: int


class Cleared(NamedTuple):
    """All work has been cancelled, everybody's, and all data deleted. A client says it in return: what it
    submitted before that is cancelled as well."""

    reason: str


class Pending(NamedTuple):
    """These were finished; their data died with a worker and is being computed again."""

    keys: tuple[Any, ...] | list[Any]


class Granted(NamedTuple):
    """The contender holds the lock until it concedes."""

    name: str
    contender: int


class Denied(NamedTuple):
    """Another has the lock: also said to a client that says hello as its holder and comes too late. Or
    there is another reason, a text."""

    name: str
    contender: int
    reason: str


class Reply(NamedTuple):
    request: int
    ok: bool
    value: Any


class Warn(NamedTuple):
    text: str


class Heartbeat(NamedTuple):
    """The sender, a worker or a client, lives. `memory` is what the process of a worker uses, in bytes."""

    memory: int


# Worker to scheduler ---------------------------------------------------------------------------


class WorkerHello(NamedTuple):
    """`holds` is `(key, nbytes, version)` of all it stores, `assigned` the `(assignment, key)` of what it
    was given and has not reported, `resources` what it has for tasks that ask for it, as {name: amount}.
    `epoch` is that of the last `Welcome`, or empty."""

    worker: str
    epoch: str
    name: str
    address: str
    nthreads: int
    memory_limit: int
    resources: dict[str, float]
    pid: int
    nanny: str
    protocol: int
    python: str
    holds: tuple[Any, ...]
    assigned: tuple[Any, ...]


class Done(NamedTuple):
    """`(assignment, nbytes, microseconds, value or None, type or None)`; a small result rides along."""

    items: tuple[Any, ...] | list[Any]


class Errors(NamedTuple):
    """`(assignment, exception)`."""

    items: tuple[Any, ...] | list[Any]


class Holds(NamedTuple):
    """Copies of others' results that are now here too: `(key, nbytes, version)`."""

    items: tuple[Any, ...] | list[Any]


class Stuck(NamedTuple):
    """`(key, reason)`: those who have this data cannot send it, and the reason is theirs."""

    items: tuple[Any, ...] | list[Any]


class Unfetchable(NamedTuple):
    """Assignments given up because inputs could not be had: `(assignment, [(key, address), ...])`, the
    places that turned out not to have them; no place for an input that is there and `Stuck`. Assignment
    0 is for what was to be copied."""

    items: tuple[Any, ...] | list[Any]


class Unknown(NamedTuple):
    """These functions are not here, although work came that uses them; it has been given up."""

    functions: tuple[Any, ...] | list[Any]


class Returned(NamedTuple):
    """Answer to `Retract`: those that had not started."""

    assignments: tuple[Any, ...] | list[Any]


class Abandoned(NamedTuple):
    """Cancelled assignments that will not end in a report any more: their threads are free."""

    assignments: tuple[Any, ...] | list[Any]


class Seceded(NamedTuple):
    """These tasks wait for others inside and have given their thread back."""

    assignments: tuple[Any, ...] | list[Any]


class Started(NamedTuple):
    """These have a time limit, and are about to start. Said again on a new connection."""

    assignments: tuple[Any, ...] | list[Any]


class Answer(NamedTuple):
    """Answer to `Call` and `PutFile`: a pickled result, or (not ok) a pickled exception or a text. A large
    result stays on the worker as data, `(key, nbytes)`, whose version is the number of the request."""

    request: int
    ok: bool
    value: bytes | str | tuple[Any, ...]


class Files(NamedTuple):
    """Uploads that were made in an earlier life of the scheduler, and that the `Welcome` did not bring."""

    files: dict[str, bytes]


class Entrust(NamedTuple):
    """The recipes of fired work, functions and groups as in `Submit`: a worker keeps them for the next
    scheduler, to which it says them after its hello. `keys` is what was fired of it and has not ended,
    `epoch` the life of the scheduler that entrusted it. (Both ways.)"""

    epoch: str
    functions: dict[str, bytes]
    groups: tuple[Any, ...]
    keys: tuple[Any, ...]


class Audited(NamedTuple):
    """Answer to `Audit`. `jobs` is `(assignment, key, dropped, seceded)` of all that the worker was given
    and has not reported, `running` `(assignment, milliseconds)` of what its threads are at, `fetching`
    `(key, address)` of some inputs that are on their way. `absent` are those of the question's keys that
    it does not hold, `holds` `(key, nbytes, version)` of some that it does."""

    number: int
    jobs: tuple[Any, ...] | list[Any]
    running: tuple[Any, ...] | list[Any]
    fetching: tuple[Any, ...] | list[Any]
    absent: tuple[Any, ...] | list[Any]
    holds: tuple[Any, ...] | list[Any]


# Scheduler to worker ---------------------------------------------------------------------------


class Run(NamedTuple):
    """Work for one function; `blob` comes the first time. An item is
    `(assignment, key, arguments, inputs or None, wanted)`, an input `(key, nbytes, addresses, since)`: no
    version before `since` will do. `timed`: these have a time limit, and start only once `Started` has been
    said."""

    function: str
    blob: bytes | None
    timed: bool
    items: tuple[Any, ...] | list[Any]


class Drop(NamedTuple):
    """Give these assignments up: forget those not started, ignore what the running ones return."""

    assignments: tuple[Any, ...] | list[Any]


class Retract(NamedTuple):
    """Hand back what has not started of these: another worker is idle."""

    assignments: tuple[Any, ...] | list[Any]


class Free(NamedTuple):
    """Delete the data of these keys, unless it is of a later version than this: that may have come by a
    connection of its own, before this."""

    keys: tuple[Any, ...] | list[Any]
    version: int


class Unload(NamedTuple):
    """No task uses these functions any more."""

    functions: tuple[Any, ...] | list[Any]


class Discharge(NamedTuple):
    """This fired work has ended: its recipes need not be kept."""

    keys: tuple[Any, ...] | list[Any]


class Acquire(NamedTuple):
    """Get copies of these from their holders: `(key, nbytes, addresses, since)`, as for `Run`."""

    items: tuple[Any, ...] | list[Any]


class Audit(NamedTuple):
    """What do you have, and do you hold these? The answer has the same number."""

    number: int
    keys: tuple[Any, ...] | list[Any]


class Call(NamedTuple):
    """A pickled call, to be run beside the tasks. On a new connection what has not been answered is asked
    again, under the same number, and is not run again. The same holds for `PutFile`."""

    request: int
    call: bytes


class PutFile(NamedTuple):
    request: int
    name: str
    content: bytes


class StartAgain(NamedTuple):
    """Replace yourself by a new process (a worker without a nanny)."""


# Nanny and scheduler ---------------------------------------------------------------------------


class NannyHello(NamedTuple):
    nanny: str
    protocol: int
    python: str


class Alive(NamedTuple):
    """From a nanny: these workers' processes exist and are not stopped."""

    workers: tuple[Any, ...] | list[Any]


class Died(NamedTuple):
    """From a nanny: the process of `worker` has ended, why, and what it said last. `running` are the
    assignments that its threads were at, `pickling` is the key of the result that it was about to send,
    unless somebody has ordered its end. `memory` is what it used, in bytes, if it was ended for that."""

    worker: str
    reason: str
    output: str
    running: tuple[Any, ...] | list[Any]
    pickling: str
    memory: int = 0


class Kill(NamedTuple):
    """To a nanny: end the processes of these workers and start new ones."""

    workers: tuple[Any, ...] | list[Any]
    reason: str


# Data channel: worker to worker, client to worker ----------------------------------------------


class Get(NamedTuple):
    """Asks for the data of `keys`. Answered by `Part`s, at most `transfer.WINDOW` ahead of `More`."""

    request: int
    keys: tuple[Any, ...] | list[Any]


class Part(NamedTuple):
    """A piece of the stream of frames of a request, followed by its pieces as frames.

    The first part has the layout: `(key, version, content)`. The content is the sizes of the frames;
    for a small object of one frame, that itself; None when the sender does not have the key; or the text
    of why it cannot be sent. `put` tells data that the sender brings of its own accord (scatter) from the
    answer to a `Get`.
    """

    request: int
    put: bool
    layout: tuple[Any, ...] | list[Any] | None
    last: bool


class More(NamedTuple):
    """One part has been taken: the sender may send another."""

    request: int
    put: bool


MESSAGES: tuple[Any, ...] = (
    ClientHello, Submit, Want, Fire, Release, Forget, Cancel, Missing, Scatter, Replicate, Ask, Broadcast,
    Upload, Restart, Contend, Concede, IsLocked, Stop, Goodbye,
    Welcome, Refused, HelloAgain, Finished, Failed, Ended, Heard, Cleared, Pending, Granted, Denied, Reply,
    Warn,
    WorkerHello, Done, Errors, Holds, Stuck, Unfetchable, Unknown, Returned, Abandoned, Seceded, Started,
    Answer, Files, Heartbeat, Entrust, Audited,
    Run, Drop, Retract, Free, Unload, Discharge, Acquire, Audit, Call, PutFile, StartAgain,
    NannyHello, Alive, Died, Kill,
    Get, Part, More,
)  # fmt: skip
CODES = {kind: code for code, kind in enumerate(MESSAGES)}

Message = tuple[Any, ...]
