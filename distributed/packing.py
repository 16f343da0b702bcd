"""The arguments of calls to bytes, and back, with data in place of futures.

A future travels as its key: the worker puts the data in. Where a key could not be told from the user's own
values a `Ref` stands for it. This is a part of the hot path, the client's and the worker's.
"""

from __future__ import annotations

import operator
import pickle
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from distributed.composites import Composite, is_builtin, items_of, may_hold
from distributed.errors import SerializationError
from distributed.file_handles import by_path
from distributed.iterators import fresh
from distributed.keys import PLAIN
from distributed.serialize import dumps, pickle_bytes
from distributed.transport import Frame
from distributed.unpickling import NAMES_SOMETHING, unpickle, unpickle_frames

# Arguments travel through the scheduler, to which they are a burden. Data that may travel by itself does
# so from this size on; for less the two more messages would cost more than they save.
MIN_SHIPPED_BYTES = 1 << 20
MAX_ARGUMENT_BYTES = 256 << 20


class Handle:
    """What a future is to this module: something that stands for the result of a key."""

    __slots__ = ()
    wire: str


class Ref(Handle):
    """Stands for the result of a key in pickled arguments."""

    __slots__ = ("wire",)

    def __init__(self, wire: str) -> None:
        self.wire = wire

    def __reduce__(self) -> tuple[type[Ref], tuple[str]]:
        return Ref, (self.wire,)


_hidden = threading.local()


def note_hidden_handle(wire: str) -> None:
    """Called when a future is pickled: if that happens while arguments are packed, it was hidden in
    an object, and its data has to live until the call has run."""
    found = getattr(_hidden, "wires", None)
    if found is not None:
        found[wire] = None


def holds_handles(value: Any) -> bool:
    """Whether there is a future anywhere in it, see `composites.py`."""
    return next(handles_in(value), None) is not None


def binds_futures(func: Any) -> bool:
    """Whether it is a `partial` with futures among its arguments."""
    return type(func) is partial and holds_handles(func)


def handles_in(value: Any) -> Iterator[Handle]:
    """The futures in it, and in what is nested in it: lists, tuples, dicts, sets, dataclasses, partials."""
    stack = [value]
    seen: dict[int, Any] = {}  # with the objects, so that no other gets the id of one
    while stack:
        item = stack.pop()
        if isinstance(item, Handle):
            yield item
        elif may_hold(item) and id(item) not in seen:
            seen[id(item)] = item
            items = items_of(item)
            if items is not None and not PLAIN.issuperset(map(type, items)):
                stack.extend(items)


def are_plain(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether the arguments are nothing but plain values: most are, and need much less then."""
    for arg in args:
        if type(arg) not in PLAIN:
            return False
    return not kwargs or PLAIN.issuperset(map(type, kwargs.values()))


class WithData(NamedTuple):
    """A pickle whose large buffers travel by themselves, as the data of these keys."""

    head: bytes
    wires: tuple[str, ...]


def pack_call(
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    ship: Callable[[Frame], str] | None = None,
) -> tuple[bytes, tuple[str, ...] | None]:
    """The arguments as bytes, and the keys of the futures in them (None if there are none).

    With `ship` large buffers are left out: it takes one, and returns the key under which it will be there.

    Raises SerializationError that names the argument.
    """
    if are_plain(args, kwargs):
        return pack_plain(args, kwargs), None
    found: dict[str, None] = {}
    outer = getattr(_hidden, "wires", None)
    _hidden.wires = found
    try:
        if ship is not None:
            args = tuple(map(_compact, args))
        packed = _packed(args, kwargs, found)
        blob = pickle_bytes(packed) if ship is None else _with_data(packed, found, ship)
    except SerializationError as error:
        raise _blame(args, kwargs) or error from error
    finally:
        _hidden.wires = outer
    return blob, tuple(found) or None


def _compact(value: Any) -> Any:
    """A view of a part of a large array as an array of its own: only such have a buffer to leave out."""
    flags = getattr(value, "flags", None)
    if flags is None or getattr(flags, "forc", True) or value.nbytes < MIN_SHIPPED_BYTES:
        return value
    return value.copy()


def _with_data(packed: Any, found: dict[str, None], ship: Callable[[Frame], str]) -> bytes:
    head, *buffers = dumps(packed, MIN_SHIPPED_BYTES)
    if not buffers:
        return bytes(head)
    wires = tuple(map(ship, buffers))
    found.update(dict.fromkeys(wires))
    return pickle.dumps(WithData(bytes(head), wires), 5)


def _packed(args: tuple[Any, ...], kwargs: Mapping[str, Any], found: dict[str, None]) -> Any:
    """What `unpack_call` takes apart."""
    replace = Replacer(Handle, lambda handle: _ref(handle, found))
    changed: list[int | str] = []
    new_args = list(args)
    new_kwargs = dict(kwargs)
    groups: Any = ((new_args, enumerate(args)), (new_kwargs, kwargs.items()))
    for group, items in groups:
        for place, arg in items:
            if type(arg) in PLAIN:
                continue
            if isinstance(arg, Handle):
                group[place] = _ref(arg, found)
            elif may_hold(arg) and holds_handles(arg):
                group[place] = replace(arg)
            else:
                if type(arg).__name__ == "memmap":
                    group[place] = by_path(arg)
                continue
            changed.append(place)
    return _form(new_args, new_kwargs, changed)


def _form(args: Sequence[Any], kwargs: Mapping[str, Any], changed: Sequence[int | str]) -> Any:
    """A tuple of positional arguments. Or a list of those and the others, and then the places of what is to
    become data: of arguments that are a key, of those that are a list of keys, of those with a Ref within.

    A Ref in a pickle costs both sides ten times what a key costs. So it is used only where it takes
    something to be told from the user's own values, or where values may be shared by several arguments.
    """
    args, kwargs = list(args), dict(kwargs)
    ones: list[int | str] = []
    mixed: list[int | str] = []
    for place in changed:
        group: Any = kwargs if type(place) is str else args
        if type(group[place]) is Ref:
            group[place] = group[place].wire
            ones.append(place)
        else:
            mixed.append(place)
    if len(mixed) == 1:
        group = kwargs if type(mixed[0]) is str else args
        values = group[mixed[0]]
        if type(values) is list and set(map(type, values)) == {Ref}:
            group[mixed[0]] = [ref.wire for ref in values]
            return _laid_out(args, kwargs, ones, mixed, ())
    return _laid_out(args, kwargs, ones, (), mixed)


def _laid_out(
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    ones: Sequence[int | str],
    lists: Sequence[int | str],
    mixed: Sequence[int | str],
) -> Any:
    if kwargs or ones or lists or mixed:
        return [list(args), kwargs, tuple(ones), tuple(lists), tuple(mixed)]
    return tuple(args)


def pack_plain(
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    ones: Sequence[int | str] = (),
    lists: Sequence[int | str] = (),
    mixed: Sequence[int | str] = (),
) -> bytes:
    """The bytes of `pack_call` for arguments that are nothing but plain values and lists of them, and have
    keys and Refs in place of futures already, in the places that `_form` describes."""
    return pickle.dumps(_laid_out(args, kwargs, ones, lists, mixed), 5)


def _ref(handle: Handle, found: dict[str, None]) -> Ref:
    found[handle.wire] = None
    return handle if type(handle) is Ref else Ref(handle.wire)


def _blame(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> SerializationError | None:
    """Find the argument that cannot be pickled."""
    named = [(f"argument {number}", arg) for number, arg in enumerate(args, 1)]
    named += [(f"argument {name!r}", arg) for name, arg in kwargs.items()]
    replace = Replacer(Handle, lambda handle: Ref(handle.wire))
    for name, arg in named:
        try:
            pickle_bytes(replace(arg))
        except SerializationError as error:
            return SerializationError(f"{name} cannot be sent to a worker: {error}")
    return None


def unpack_call(blob: bytes, data: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments, positional and by keyword, with data in place of futures.

    >>> blob, _ = pack_call((1, [2]), {"x": 3})
    >>> unpack_call(blob, {})
    ((1, [2]), {'x': 3})
    """
    # Most arguments name nothing, and this is a part of every call.
    packed = unpickle(blob) if NAMES_SOMETHING in blob else pickle.loads(blob)
    if type(packed) is WithData:
        packed = unpickle_frames([packed.head, *[data[wire] for wire in packed.wires]])
    if type(packed) is tuple:
        return packed, {}
    args, kwargs, ones, lists, mixed = packed
    for place in ones:
        group = kwargs if type(place) is str else args
        group[place] = fresh(data[group[place]])
    for place in lists:
        group = kwargs if type(place) is str else args
        group[place] = [fresh(data[wire]) for wire in group[place]]
    if mixed:
        fill = Replacer(Ref, lambda ref: fresh(data[ref.wire]))
        for place in mixed:
            group = kwargs if type(place) is str else args
            group[place] = fill(group[place])
    return tuple(args), kwargs


class Replacer:
    """Puts something else in place of each future in a value. Containers without any are left as they
    are; what two of them share, their copies share."""

    def __init__(self, kind: type[Any], change: Callable[[Any], Any]) -> None:
        self._kind = kind
        self._change = change
        # By id, with the object itself, so that no other gets its id.
        self._done: dict[int, tuple[Any, Any]] = {}

    def __call__(self, value: Any) -> Any:
        if isinstance(value, self._kind):
            return self._change(value)
        try:
            return self._replaced(value)
        except RecursionError:
            raise SerializationError(
                "it has futures, and contains itself or is nested too deeply to replace them"
            ) from None

    def _replaced(self, value: Any) -> Any:
        if isinstance(value, self._kind):
            return self._change(value)
        if type(value) in PLAIN or not (type(value) is Composite or may_hold(value)):
            return value
        known = self._done.get(id(value))
        if known is None:
            known = self._done[id(value)] = value, self._rebuilt(value)
        return known[1]

    def _rebuilt(self, value: Any) -> Any:
        if type(value) is Composite:
            return Composite([self._replaced(part) for part in value.parts]).make()
        if not is_builtin(value):
            return self._taken_apart(value) if holds_handles(value) else value
        old = value.values() if isinstance(value, dict) else value
        if PLAIN.issuperset(map(type, old)):
            return value
        items = [self._replaced(item) for item in old]
        if all(map(operator.is_, items, old)):
            return value
        if isinstance(value, dict):
            return dict(zip(value, items, strict=True))
        return type(value)(items)

    def _taken_apart(self, value: Any) -> Any:
        whole = Composite.of(value)
        parts = [self._replaced(part) for part in whole.parts]
        return value if all(map(operator.is_, parts, whole.parts)) else Composite(parts)
