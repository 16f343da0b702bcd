"""Every message on the wire, in one place.

A *message* is one of the named tuples below. What crosses a socket is a *batch*: one frame that holds
a msgpack array of messages, each an array of its code and its fields. Codes are the positions in
`MESSAGES`, so both ends must speak the same `PROTOCOL`; the hellos carry it.

Words used throughout:

key         names a piece of work, and its result. A string made by `recipes.py`.
assignment  the number that the scheduler gives to one attempt at running a task on one worker.
            It is never used again, so a report that names an old one is recognised as stale.
function    the hex digest of a pickled function. The function itself travels once to each worker.
request     a number drawn by whoever asks, returned with the answer.

The scheduler never unpickles: functions, arguments, results, exceptions are bytes to it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

import msgpack

from distributed.errors import ProtocolError

PROTOCOL = 1
# Functions are pickled by one interpreter and run by another: bytecode differs between minor versions.
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

# One batch: beyond this the sender is told to scatter the data. It must stay below what the sockets
# accept (transport.MAX_FRAME), or the connection is cut instead of the caller being told why.
MAX_BATCH_BYTES = 1 << 30


# Client to scheduler ---------------------------------------------------------------------------


class ClientHello(NamedTuple):
    """`wants` lists the keys that the client still has futures for, if it was known before."""

    client: str
    protocol: int
    python: str
    wants: tuple[Any, ...]


class Submit(NamedTuple):
    """Work. An item is `(key, arguments, dependencies or None, order)`, dependencies before dependents.

    `functions` brings those that this client has not sent before, as {function: blob}. A group is
    `(function, options or None, wanted, items)`; options are those of `check_options`. Whatever is
    not wanted by the client itself runs only if something wanted depends on it.
    """

    functions: dict[str, bytes]
    groups: tuple[Any, ...]


class Want(NamedTuple):
    """Futures that reached this client from elsewhere."""

    keys: tuple[Any, ...]


class Release(NamedTuple):
    """The client dropped its last future to each of these."""

    keys: tuple[Any, ...]


class Forget(NamedTuple):
    """Functions that this client no longer has any use for."""

    functions: tuple[Any, ...]


class Cancel(NamedTuple):
    keys: tuple[Any, ...]


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
    """A question about the state of the cluster, one of `core.queries.QUERIES`."""

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
    """`(key, ending, reason)`, ending one of 'cancelled', 'lost', 'killed'."""

    items: tuple[Any, ...] | list[Any]


class Cleared(NamedTuple):
    """All work has been cancelled, everybody's, and all data deleted."""

    reason: str


class Pending(NamedTuple):
    """These were finished; their data died with a worker and is being computed again."""

    keys: tuple[Any, ...] | list[Any]


class Reply(NamedTuple):
    request: int
    ok: bool
    value: Any


class Warn(NamedTuple):
    text: str


# Worker to scheduler ---------------------------------------------------------------------------


class WorkerHello(NamedTuple):
    """`holds` is `(key, nbytes)` of all it stores, `assigned` what it was given and has not reported."""

    worker: str
    name: str
    address: str
    nthreads: int
    memory_limit: int
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
    """Copies of others' results that are now here too: `(key, nbytes)`."""

    items: tuple[Any, ...] | list[Any]


class Unfetchable(NamedTuple):
    """Assignments given up because inputs could not be had: `(assignment, [(key, address), ...])`."""

    items: tuple[Any, ...] | list[Any]


class Returned(NamedTuple):
    """Answer to `Retract`: those that had not started."""

    assignments: tuple[Any, ...] | list[Any]


class Abandoned(NamedTuple):
    """Cancelled assignments that will not end in a report any more: their threads are free."""

    assignments: tuple[Any, ...] | list[Any]


class Seceded(NamedTuple):
    """These tasks wait for others inside and have given their thread back."""

    assignments: tuple[Any, ...] | list[Any]


class Answer(NamedTuple):
    """Answer to `Call` and `PutFile`: a pickled result, or (not ok) a pickled exception."""

    request: int
    ok: bool
    value: bytes


class Heartbeat(NamedTuple):
    """Bytes of resident memory of the sending process."""

    memory: int


# Scheduler to worker ---------------------------------------------------------------------------


class Run(NamedTuple):
    """Work for one function; `blob` comes the first time. An item is
    `(assignment, key, arguments, inputs or None, wanted)`, an input `(key, nbytes, addresses)`."""

    function: str
    blob: bytes | None
    items: tuple[Any, ...] | list[Any]


class Drop(NamedTuple):
    """Give these assignments up: forget those not started, ignore what the running ones return."""

    assignments: tuple[Any, ...] | list[Any]


class Retract(NamedTuple):
    """Hand back what has not started of these: another worker is idle."""

    assignments: tuple[Any, ...] | list[Any]


class Free(NamedTuple):
    """Delete the data of these keys."""

    keys: tuple[Any, ...] | list[Any]


class Unload(NamedTuple):
    """No task uses these functions any more."""

    functions: tuple[Any, ...] | list[Any]


class Acquire(NamedTuple):
    """Get copies of these from their holders: `(key, nbytes, addresses)`."""

    items: tuple[Any, ...] | list[Any]


class Call(NamedTuple):
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
    """From a nanny: the process of `worker` has ended, and why."""

    worker: str
    reason: str


class Kill(NamedTuple):
    """To a nanny: end the processes of these workers and start new ones."""

    workers: tuple[Any, ...] | list[Any]


# Data channel: worker to worker, client to worker ----------------------------------------------


class Get(NamedTuple):
    """Asks for the data of `keys`. Answered by `Part`s, at most `transfer.WINDOW` ahead of `More`."""

    request: int
    keys: tuple[Any, ...] | list[Any]


class Part(NamedTuple):
    """A piece of the stream of frames of a request, followed by its pieces as frames.

    The first part has the layout: `(key, assignment, [frame sizes] or None)`, None when the sender
    does not have the key, or the text of why it cannot be sent. `put` tells data that the sender
    brings of its own accord (scatter) from the answer to a `Get`.
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
    ClientHello, Submit, Want, Release, Forget, Cancel, Missing, Scatter, Replicate, Ask, Broadcast,
    Upload, Restart, Stop, Goodbye,
    Welcome, Refused, HelloAgain, Finished, Failed, Ended, Cleared, Pending, Reply, Warn,
    WorkerHello, Done, Errors, Holds, Unfetchable, Returned, Abandoned, Seceded, Answer, Heartbeat,
    Run, Drop, Retract, Free, Unload, Acquire, Call, PutFile, StartAgain,
    NannyHello, Alive, Died, Kill,
    Get, Part, More,
)  # fmt: skip
CODES = {kind: code for code, kind in enumerate(MESSAGES)}

Message = tuple[Any, ...]

# Packing ---------------------------------------------------------------------------------------


def encode(batch: Iterable[Message]) -> bytes:
    """One frame that holds the messages in order.

    >>> decode(encode([Release(("x",)), Goodbye()]))
    [Release(keys=('x',)), Goodbye()]
    """
    frame: bytes = msgpack.packb([(CODES[type(message)], *message) for message in batch])
    if len(frame) > MAX_BATCH_BYTES:
        raise ProtocolError(
            f"a message of {len(frame):,} bytes is over the limit of {MAX_BATCH_BYTES:,}: "
            "send large data with scatter() and pass the futures"
        )
    return frame


def encode_parts(batch: list[Message]) -> list[bytes]:
    """As many frames as it takes to keep each below the limit. A single message is cut between its
    items if it has a list of them.

    Raises ProtocolError if one item alone is too large.
    """
    try:
        return [encode(batch)]
    except ProtocolError:
        if len(batch) == 1:
            batch = _halves(batch[0])
        if len(batch) == 1:
            raise
    middle = len(batch) // 2
    return encode_parts(batch[:middle]) + encode_parts(batch[middle:])


def _halves(message: Any) -> list[Message]:
    items = message[-1]
    if type(items) is not list or len(items) < 2:
        return [message]
    middle = len(items) // 2
    return [
        message._replace(**{message._fields[-1]: part}) for part in (items[:middle], items[middle:])
    ]


def decode(frame: bytes | memoryview) -> list[Message]:
    """The messages of one frame, every field checked: what passes here can be trusted to have the
    shape that its class describes.

    Raises ProtocolError, whatever the bytes are.
    """
    try:
        batch = msgpack.unpackb(frame, use_list=False)
        return [_message(*item) for item in batch]
    except ProtocolError:
        raise
    except Exception as error:
        raise ProtocolError(f"{len(frame):,} bytes that are not messages: {error!r}") from error


def _message(code: int, *fields: Any) -> Message:
    kind = MESSAGES[code]
    types = tuple(map(type, fields))
    if types not in _ACCEPTED[code]:
        _check_fields(code, types)
        _ACCEPTED[code].add(types)
    message: Message = kind(*fields)
    check = _CHECKS.get(kind)
    if check is not None:
        check(message)
    return message


def _check_fields(code: int, types: tuple[type, ...]) -> None:
    for found, allowed in zip(types, _FIELD_TYPES[code], strict=True):
        if not issubclass(found, allowed):
            raise ProtocolError(f"{MESSAGES[code].__name__} with a {found.__name__} for a field")


def _field_types(kind: Any) -> tuple[tuple[type, ...], ...]:
    """For each field the classes that a decoded value may have."""
    return tuple(_classes(hint) for hint in get_type_hints(kind).values())


def _classes(hint: Any) -> tuple[type, ...]:
    if hint is Any:
        return (object,)
    origin = get_origin(hint)
    if origin in (tuple, list, dict):
        return (origin,)
    if origin is None:
        return (hint,)
    return tuple(found for part in get_args(hint) for found in _classes(part))


_FIELD_TYPES = [_field_types(kind) for kind in MESSAGES]
# The types of fields that have been found in order, so that they need not be looked at one by one again.
# Msgpack makes few, so there are few combinations.
_ACCEPTED: list[set[tuple[type, ...]]] = [set() for _ in MESSAGES]


# The shapes of items. These loops run once for every task, so they are spelled out.


def _check_submit(message: Submit) -> None:
    for function, blob in message.functions.items():
        if type(function) is not str or type(blob) is not bytes:
            raise ProtocolError("Submit with a function that is not bytes")
    for function, options, wanted, items in message.groups:
        if type(function) is not str or type(wanted) is not bool:
            raise ProtocolError("Submit with a malformed group")
        if options is not None:
            check_options(options)
        for key, arguments, dependencies, order in items:
            if type(key) is not str or type(arguments) is not bytes or type(order) is not int:
                raise ProtocolError("Submit with a malformed task")
            if dependencies is not None:
                _strings(dependencies)


def check_options(options: dict[str, Any]) -> None:
    """Options of a group of tasks: all are optional.

    `priority` (larger runs earlier), `retries`, `workers` (names, addresses or hosts that may run
    it), `loose` (they are a wish, not a condition).
    """
    for name, value in options.items():
        if name not in _OPTION_TYPES:
            raise ProtocolError(f"unknown option {name!r}")
        if not isinstance(value, _OPTION_TYPES[name]):
            raise ProtocolError(f"option {name} with a {type(value).__name__}")
    _strings(options.get("workers", ()))


_OPTION_TYPES: dict[str, Any] = {
    "priority": (int, float),
    "retries": int,
    "workers": (tuple, list),
    "loose": bool,
}


def _check_done(message: Done) -> None:
    for assignment, nbytes, microseconds, value, kind in message.items:
        if type(assignment) is not int or type(nbytes) is not int or type(microseconds) is not int:
            raise ProtocolError("Done with a malformed item")
        if not (value is None or type(value) is bytes) or not (kind is None or type(kind) is bytes):
            raise ProtocolError("Done with a malformed result")


def _strings(values: Iterable[Any]) -> None:
    for value in values:
        if type(value) is not str:
            raise ProtocolError(f"a {type(value).__name__} where a key or a name belongs")


def _integers(values: Iterable[Any]) -> None:
    for value in values:
        if type(value) is not int:
            raise ProtocolError(f"a {type(value).__name__} where an assignment belongs")


def _shaped(*types: type) -> Callable[[Any], None]:
    """A check that each of a message's items has exactly these classes."""

    def check(message: Any) -> None:
        for item in message.items:
            if tuple(map(type, item)) != types:
                raise ProtocolError(f"{type(message).__name__} with a malformed item")

    return check


def _check_unfetchable(message: Unfetchable) -> None:
    for assignment, missing in message.items:
        _integers((assignment,))
        for key, address in missing:
            _strings((key, address))


def _check_worker_hello(message: WorkerHello) -> None:
    for key, nbytes in message.holds:
        _strings((key,))
        _integers((nbytes,))
    _integers(message.assigned)
    if message.nthreads < 1:
        raise ProtocolError("WorkerHello without threads")


def _check_keys(message: Any) -> None:
    _strings(message.keys)


def _check_assignments(message: Any) -> None:
    _integers(message.assignments)


def _check_ask(message: Ask) -> None:
    _strings(message.keys or ())


def _check_workers(message: Any) -> None:
    _strings(message.workers or ())


def _check_scatter(message: Scatter) -> None:
    _shaped(str, int)(message)
    _check_workers(message)


def _check_replicate(message: Replicate) -> None:
    _check_keys(message)
    _check_workers(message)


_CHECKS: dict[Any, Callable[[Any], None]] = {
    ClientHello: lambda message: _strings(message.wants),
    Submit: _check_submit,
    Want: _check_keys,
    Release: _check_keys,
    Cancel: _check_keys,
    Forget: lambda message: _strings(message.functions),
    Missing: _shaped(str, str),
    Scatter: _check_scatter,
    Replicate: _check_replicate,
    Ask: _check_ask,
    Broadcast: _check_workers,
    WorkerHello: _check_worker_hello,
    Done: _check_done,
    Errors: _shaped(int, bytes),
    Holds: _shaped(str, int),
    Unfetchable: _check_unfetchable,
    Returned: _check_assignments,
    Abandoned: _check_assignments,
    Seceded: _check_assignments,
    Alive: _check_workers,
}
