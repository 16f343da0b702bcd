"""Messages to frames and back, and the checks that every frame passes before a core sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from typing import Any, get_args, get_origin, get_type_hints

import msgpack

from distributed.errors import ProtocolError
from distributed.messages import (
    CODES,
    MESSAGES,
    Abandoned,
    Alive,
    Answer,
    Ask,
    Audit,
    Audited,
    Broadcast,
    Cancel,
    ClientHello,
    Died,
    Discharge,
    Done,
    Entrust,
    Errors,
    Files,
    Fire,
    Forget,
    Get,
    Holds,
    Kill,
    Message,
    Missing,
    Release,
    Replicate,
    Reply,
    Returned,
    Scatter,
    Seceded,
    Started,
    Stuck,
    Submit,
    Unfetchable,
    Unknown,
    Want,
    WorkerHello,
)

# One batch: beyond this the sender is told to scatter the data. It must stay below what the sockets
# accept (transport.MAX_FRAME), or the connection is cut instead of the caller being told why.
MAX_BATCH_BYTES = 1 << 30
# What a frame may hold, so that none stands in the way of others for long, or takes much more memory than
# its bytes: messages; and, in a frame of more than `SMALL_FRAME`, objects. A task with its input is ten. A
# map counts for ten, as it takes ten times the memory of others.
MAX_MESSAGES = 10_000
MAX_OBJECTS = 8_000_000
SMALL_FRAME = 1 << 20
MAP_OBJECTS = 10
# Items of one message that we send: above that it is cut into several.
MAX_ITEMS = 200_000
# Of input, in an error about it.
MAX_QUOTED = 100
PLAIN = frozenset({str, bytes, int, float, bool, type(None)})
# Of a worker: more than any machine has cores, little enough that a list of them all is no burden.
MAX_THREADS = 10_000


def encode(batch: Iterable[Message]) -> bytes:
    """One frame that holds the messages in order.

    >>> from distributed.messages import Goodbye
    >>> decode(encode([Release(("x",), 1), Goodbye()]))
    [Release(keys=('x',), number=1), Goodbye()]
    """
    frame: bytes = msgpack.Packer().pack([_HEADS[type(message)] + message for message in batch])
    if len(frame) > MAX_BATCH_BYTES:
        raise ProtocolError(
            f"a message of {len(frame):,} bytes is over the limit of {MAX_BATCH_BYTES:,}: "
            "send large data with scatter() and pass the futures"
        )
    return frame


def _is_too_much(batch: list[Message]) -> bool:
    """Whether there are more messages or items than one frame should have."""
    return len(batch) > MAX_MESSAGES or sum(map(_count_items, batch)) > MAX_ITEMS


def _count_items(message: Any) -> int:
    if type(message) is Submit:
        return sum(len(group[3]) for group in message.groups)
    return max((len(field) for field in message if type(field) is list), default=0)


def encode_parts(batch: list[Message]) -> list[bytes]:
    """As many frames as it takes to keep each below the limit. A single message is cut between its
    items if it has a list of them. In place of a reply that is too large goes one that says so.

    Raises ProtocolError if one item alone is too large.
    """
    try:
        frame = encode(batch)
        if len(batch) <= MAX_MESSAGES and (len(frame) <= SMALL_FRAME or not _is_too_much(batch)):
            return [frame]
        if len(batch) == 1 and len(batch := _halves(batch[0])) == 1:
            return [frame]
    except ProtocolError as error:
        if len(batch) == 1 and type(batch[0]) is Reply:
            return [encode([Reply(batch[0].request, False, f"the answer is too large: {error}")])]
        if len(batch) == 1:
            batch = _halves(batch[0])
        if len(batch) == 1:
            raise
    middle = len(batch) // 2
    return encode_parts(batch[:middle]) + encode_parts(batch[middle:])


def _halves(message: Any) -> list[Message]:
    if type(message) is Submit:
        return _halves_of_submit(message)
    lists = [name for name in message._fields if type(getattr(message, name)) is list]
    items = getattr(message, lists[-1]) if lists else ()
    if len(items) < 2:
        return [message]
    middle = len(items) // 2
    return [message._replace(**{lists[-1]: part}) for part in (items[:middle], items[middle:])]


def _halves_of_submit(message: Submit) -> list[Message]:
    groups = message.groups
    if len(groups) == 1:
        ((function, options, wanted, items),) = groups
        middle = len(items) // 2
        parts = (items[:middle], items[middle:])
        groups = tuple((function, options, wanted, part) for part in parts if part)
    if len(groups) < 2:
        return [message]
    middle = len(groups) // 2
    first = message._replace(groups=groups[:middle], more=True, ahead=(), complete=())
    return [first, message._replace(functions={}, groups=groups[middle:])]


def decode(frame: bytes | memoryview) -> list[Message]:
    """The messages of one frame, every field checked: what passes here can be trusted to have the
    shape that its class describes.

    Raises ProtocolError, and nothing else, whatever the bytes are.
    """
    try:
        if len(frame) <= SMALL_FRAME:
            batch = msgpack.unpackb(frame, use_list=False)
        else:
            count = _Count()
            batch = msgpack.unpackb(
                frame, use_list=False, list_hook=count.array, object_hook=count.map
            )
        if len(batch) > MAX_MESSAGES:
            raise ProtocolError(f"{len(batch):,} messages in one frame, {MAX_MESSAGES:,} at most")
        return [_message(item) for item in batch]
    except ProtocolError:
        raise
    except Exception as error:
        # By its name only: its text may quote all that has come, or be made by its objects.
        name = type(error).__name__
        raise ProtocolError(f"{len(frame):,} bytes that are not messages ({name})") from None


class _Count:
    """Of the objects of one frame, while they are made."""

    def __init__(self) -> None:
        self.left = MAX_OBJECTS

    def array(self, found: tuple[Any, ...]) -> tuple[Any, ...]:
        self.left -= 1 + len(found)
        if self.left < 0:
            raise ProtocolError(f"more than {MAX_OBJECTS:,} objects in one frame")
        return found

    def map(self, found: dict[Any, Any]) -> dict[Any, Any]:
        self.left -= MAP_OBJECTS + 2 * len(found)
        if self.left < 0:
            raise ProtocolError(f"more than {MAX_OBJECTS:,} objects in one frame")
        return found


def _message(item: tuple[Any, ...]) -> Message:
    code, fields = item[0], item[1:]
    kind, check, accepted = _KINDS[code]
    types = tuple(map(type, fields))
    if types not in accepted:
        _check_fields(code, types)
        accepted.add(types)
    # As `kind(*fields)`, which would only count them again.
    message: Message = tuple.__new__(kind, fields)
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
# What stands before the fields of a message.
_HEADS: dict[Any, tuple[int]] = {kind: (code,) for kind, code in CODES.items()}


# The shapes of items. These loops run once for every task, so they are spelled out.


def _check_submit(message: Submit) -> None:
    _strings(message.ahead)
    _strings(message.complete)
    if type(message.call) is not int:
        raise ProtocolError("Submit with a call that is not a number")
    _check_recipes(message)


def _check_entrust(message: Entrust) -> None:
    _strings(message.keys)
    _check_recipes(message)


def _check_recipes(message: Submit | Entrust) -> None:
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
                if key in dependencies:
                    raise ProtocolError("Submit with a task that needs itself")


def check_options(options: dict[str, Any]) -> None:
    """Options of a group of tasks: all are optional.

    `priority` (larger runs earlier), `retries`, `workers` (names, addresses or hosts that may run
    it), `loose` (they are a wish, not a condition), `resources` ({name: amount} of what a worker must
    have free to run it), `time_limit` (seconds that each attempt may take).
    """
    for name, value in options.items():
        if name not in _OPTION_TYPES:
            raise ProtocolError(f"unknown option {quoted(name)}")
        if not isinstance(value, _OPTION_TYPES[name]):
            raise ProtocolError(f"option {name} with a {type(value).__name__}")
    if not abs(options.get("priority", 0)) < inf:
        raise ProtocolError("a priority that is not a finite number")
    if not 0 < options.get("time_limit", 1) < inf:
        raise ProtocolError("a time limit that is not a positive number")
    _strings(options.get("workers", ()))
    _amounts(options.get("resources", {}))


_OPTION_TYPES: dict[str, Any] = {
    "priority": (int, float),
    "retries": int,
    "workers": (tuple, list),
    "loose": bool,
    "resources": dict,
    "time_limit": (int, float),
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


def _amounts(resources: dict[Any, Any]) -> None:
    _strings(resources)
    for amount in resources.values():
        if type(amount) not in (int, float) or not 0 < amount < inf:
            raise ProtocolError(f"{quoted(amount)} where an amount of a resource belongs")


def quoted(value: Any) -> str:
    """What somebody has sent, for an error: briefly, and without looking into what it holds.

    >>> quoted("x" * 1000)[-5:], quoted(((1, 2), 3))
    ('xx...', 'a tuple')
    """
    if type(value) in (str, bytes) and len(value) > MAX_QUOTED:
        return f"{value[:MAX_QUOTED]!r}"[:-1] + "..."
    return f"{value!r}" if type(value) in PLAIN else f"a {type(value).__name__}"


def _integers(values: Iterable[Any]) -> None:
    for value in values:
        if type(value) is not int:
            raise ProtocolError(f"a {type(value).__name__} where an assignment belongs")


def _shaped(*types: type) -> Callable[[Any], None]:
    """A check that each of a message's items has exactly these classes."""

    def check(message: Any) -> None:
        _items(message, message.items, *types)

    return check


def _items(message: Any, items: Iterable[Any], *types: type) -> None:
    for item in items:
        if tuple(map(type, item)) != types:
            raise ProtocolError(f"{type(message).__name__} with a malformed item")


def _check_unfetchable(message: Unfetchable) -> None:
    for assignment, missing in message.items:
        _integers((assignment,))
        for key, address in missing:
            _strings((key, address))


def _check_worker_hello(message: WorkerHello) -> None:
    _items(message, message.holds, str, int, int)
    for assignment, key in message.assigned:
        _integers((assignment,))
        _strings((key,))
    _amounts(message.resources)
    if not 1 <= message.nthreads <= MAX_THREADS:
        raise ProtocolError(f"WorkerHello with {message.nthreads} threads")


def _check_client_hello(message: ClientHello) -> None:
    _strings(message.wants)
    for item in message.locks:
        if tuple(map(type, item)) != (str, int, bool, bool):
            raise ProtocolError("ClientHello with a malformed lock")


def _check_audited(message: Audited) -> None:
    _items(message, message.jobs, int, str, bool, bool)
    _items(message, message.running, int, int)
    _items(message, message.fetching, str, str)
    _strings(message.absent)
    _items(message, message.holds, str, int, int)


def _check_keys(message: Any) -> None:
    _strings(message.keys)


def _check_assignments(message: Any) -> None:
    _integers(message.assignments)


def _check_files(message: Files) -> None:
    if not all(type(name) is str and type(c) is bytes for name, c in message.files.items()):
        raise ProtocolError("Files with a malformed file")


def _check_answer(message: Answer) -> None:
    value = message.value
    if type(value) is tuple and tuple(map(type, value)) != (str, int):
        raise ProtocolError("Answer with malformed data")


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
    ClientHello: _check_client_hello,
    Submit: _check_submit,
    Want: _check_keys,
    Fire: _check_keys,
    Discharge: _check_keys,
    Entrust: _check_entrust,
    Release: _check_keys,
    Cancel: _check_keys,
    Get: _check_keys,
    Forget: lambda message: _strings(message.functions),
    Missing: _shaped(str, str),
    Scatter: _check_scatter,
    Replicate: _check_replicate,
    Answer: _check_answer,
    Ask: _check_ask,
    Broadcast: _check_workers,
    WorkerHello: _check_worker_hello,
    Audit: _check_keys,
    Audited: _check_audited,
    Done: _check_done,
    Errors: _shaped(int, bytes),
    Holds: _shaped(str, int, int),
    Stuck: _shaped(str, str),
    Unfetchable: _check_unfetchable,
    Unknown: lambda message: _strings(message.functions),
    Returned: _check_assignments,
    Abandoned: _check_assignments,
    Seceded: _check_assignments,
    Started: _check_assignments,
    Files: _check_files,
    Alive: _check_workers,
    Died: lambda message: _integers(message.running),
    Kill: _check_workers,
}

# For each code: the class, the check of its items, and the types of fields that have been found in order,
# so that they need not be looked at one by one again. (Msgpack makes few, so there are few combinations.)
_KINDS: list[tuple[Any, Callable[[Any], None] | None, set[tuple[type, ...]]]] = [
    (kind, _CHECKS.get(kind), set()) for kind in MESSAGES
]
