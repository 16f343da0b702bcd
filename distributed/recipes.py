"""Calls to bytes, and the keys that name them.

The arguments of a call are pickled with a `Ref` in place of every future in them; the worker puts the
data in. Two calls have one key exactly if they are calls of one function with equal arguments, in
whatever process they are made. This is the client's share of the hot path.
"""

from __future__ import annotations

import itertools
import marshal
import os
import pickle
import re
import threading
import types
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import blake2b
from typing import Any, NamedTuple

import cloudpickle
from dask.base import tokenize

from distributed.errors import SerializationError
from distributed.serialize import pickle_bytes, pickle_function

# In names of functions, as part of a key: a hash follows after a dash.
_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9_.]+")
MAX_NAME = 50
# Functions whose pickles are remembered.
MAX_CACHED_FUNCTIONS = 1000
# Between a key that a user has chosen and the digest of its recipe.
_MARK = "\x1f"
# Types whose values are small, cannot hold a future, and are told apart by `marshal`. (Not by their
# pickles, which depend on whether two equal strings are one object.)
_PLAIN = frozenset({int, float, complex, bool, str, bytes, type(None)})
# Nesting beyond this is a cycle, or nothing that pickle could do.
MAX_DEPTH = 200


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


# Functions -------------------------------------------------------------------------------------


class Function(NamedTuple):
    id: str
    name: str
    blob: bytes


_functions: dict[Any, tuple[Any, Function]] = {}


def function_of(func: Callable[..., Any]) -> Function:
    """The function pickled, with its name and the digest that identifies it.

    Raises TypeError if it cannot be called, SerializationError if it cannot be pickled.

    >>> function_of(len).name
    'len'
    """
    state = _state_of(func)
    if state is not None:
        known = _functions.get(func)
        # By `is`: equal is not enough, 1 == True.
        if known is not None and _same(known[0], state):
            return known[1]
    if not callable(func):
        raise TypeError(f"{func!r:.100} is not callable: the first argument is the function to run")
    function = _pickle_function(func)
    if state is not None:
        if len(_functions) >= MAX_CACHED_FUNCTIONS:
            _functions.clear()
        _functions[func] = (state, function)
    return function


def _pickle_function(func: Callable[..., Any]) -> Function:
    name = name_of(func)
    try:
        digest = blake2b(pickle_bytes(func), digest_size=16)
        blob = pickle_function(func)
    except SerializationError as error:
        raise SerializationError(f"the function {name} cannot be sent: {error}") from error
    code = getattr(func, "__code__", None)
    if code is not None:
        # A function that travels by its name: one that was edited since is another one.
        for part in _code_parts(code):
            digest.update(part)
    return Function(digest.hexdigest(), name, blob)


def _code_parts(code: types.CodeType) -> list[bytes]:
    parts = [code.co_code, repr(code.co_names).encode()]
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            parts += _code_parts(constant)
        elif type(constant) in _PLAIN:
            parts.append(marshal.dumps(constant, 0))
    return parts


def _state_of(func: Any) -> tuple[Any, ...] | None:
    """All that the pickle of the function depends on; None if that could change unseen."""
    if isinstance(func, types.BuiltinFunctionType):
        return () if isinstance(func.__self__, (types.ModuleType, type(None))) else None
    if type(func) is not types.FunctionType:
        return None
    by_name = func.__module__ != "__main__" and _found_by_name(func)
    if by_name:
        return (func.__code__,)
    if func.__dict__:
        return None
    values = list(func.__defaults__ or ())
    values += (func.__kwdefaults__ or {}).values()
    for cell in func.__closure__ or ():
        try:
            values.append(cell.cell_contents)
        except ValueError:
            return None
    names = _names_in(func.__code__)
    values += [func.__globals__[name] for name in names if name in func.__globals__]
    if not all(type(value) in _PLAIN or isinstance(value, types.ModuleType) for value in values):
        return None
    return (func.__code__, *values)


def _names_in(code: types.CodeType) -> list[str]:
    names = list(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names += _names_in(constant)
    return names


def _found_by_name(func: types.FunctionType) -> bool:
    """Whether pickle stores it as a mere reference."""
    import sys

    found: Any = sys.modules.get(func.__module__)
    if found is None or found in cloudpickle.list_registry_pickle_by_value():
        return False
    for part in func.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is func


def _same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))


def name_of(func: Any) -> str:
    """A word for the function, to begin a key with.

    >>> name_of(partial(partial(pow, 2)))
    'pow'
    """
    while isinstance(func, partial):
        func = func.func
    name = getattr(func, "__name__", None)
    if not isinstance(name, str):
        name = type(func).__name__
    return _NOT_IN_NAME.sub("_", name.replace("<lambda>", "lambda"))[:MAX_NAME] or "task"


def fold_kwargs(func: Callable[..., Any], kwargs: Mapping[str, Any]) -> Callable[..., Any]:
    """The function with its keyword arguments bound, so that they travel once with it; the function
    itself if there are none, or futures among them."""
    if not kwargs or holds_handles(kwargs) or not callable(func):
        return func
    return partial(func, **kwargs)


# Keys ------------------------------------------------------------------------------------------


def call_key(function: Function, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """The key of a pure call: the function's name and 32 hex digits.

    >>> f = function_of(abs)
    >>> call_key(f, (1,), {}) == call_key(f, (1,), {})
    True
    >>> len({call_key(f, (x,), {}) for x in (1, 1.0, True, "1", b"1", None)})
    6
    """
    for arg in args:
        if type(arg) not in _PLAIN:
            break
    else:
        if not kwargs:
            encoded = marshal.dumps((function.id, args), 0)
            return f"{function.name}-{blake2b(encoded, digest_size=16).hexdigest()}"
    parts: list[Any] = [function.id]
    _encode(args, parts, 0)
    _encode(sorted(kwargs.items()), parts, 0)
    encoded = marshal.dumps(parts, 0)
    return f"{function.name}-{blake2b(encoded, digest_size=16).hexdigest()}"


def _encode(value: Any, parts: list[Any], depth: int) -> None:
    """Append plain values that are equal for equal values and different for different ones."""
    kind = type(value)
    if kind in _PLAIN:
        parts.append(value)
    elif isinstance(value, Handle):
        parts += ("future", value.wire)
    elif depth > MAX_DEPTH:
        parts.append(_token(value))
    elif kind is list or kind is tuple:
        parts += (kind.__name__, len(value))
        for item in value:
            _encode(item, parts, depth + 1)
    elif kind is dict:
        parts += ("dict", len(value))
        for key, item in value.items():
            _encode(key, parts, depth + 1)
            _encode(item, parts, depth + 1)
    elif isinstance(value, (set, frozenset, tuple, list)) and holds_handles(value):
        parts += (kind.__qualname__, len(value))
        encoded: list[list[Any]] = []
        for item in value:
            encoded.append([])
            _encode(item, encoded[-1], depth + 1)
        if isinstance(value, (set, frozenset)):
            encoded.sort(key=repr)
        for item_parts in encoded:
            parts += item_parts
    else:
        parts += ("token", _token(value))


def _token(value: Any) -> str:
    try:
        return str(tokenize(value))
    except Exception:
        return _fresh_digest()  # equal to nothing, so the work is done once more


def fresh_key(name: str) -> str:
    """A key like no other: of work that must not be shared."""
    return f"{name}-{_fresh_digest()}"


_counter = itertools.count()
_prefix = uuid.uuid4().hex[:20]


def _renew_prefix() -> None:
    global _prefix
    _prefix = uuid.uuid4().hex[:20]


os.register_at_fork(after_in_child=_renew_prefix)


def _fresh_digest() -> str:
    return f"{_prefix}{next(_counter):012x}"


def wire_key(key: Any, digest: str) -> str:
    """What a key that a user has chosen is called on the wire: with the digest of its recipe, because
    the same key with other work is other work.

    >>> shown_key(wire_key(("x", 0, 1), "abc"))
    ('x', 0, 1)
    """
    if type(key) is str:
        return f"{key}{_MARK}{digest}"
    return f"{_MARK}{marshal.dumps(_plain_key(key), 0).hex()}{_MARK}{digest}"


def _plain_key(key: Any) -> Any:
    if type(key) in _PLAIN:
        return key
    if isinstance(key, tuple):
        return tuple(_plain_key(part) for part in key)
    raise TypeError(f"a key is a string, a number, or a tuple of them, not {key!r:.100}")


def shown_key(wire: str) -> Any:
    """The key as the user knows it."""
    if _MARK not in wire:
        return wire
    key, _, _ = wire.rpartition(_MARK)
    if key.startswith(_MARK):
        return marshal.loads(bytes.fromhex(key[1:]))
    return key


# Arguments -------------------------------------------------------------------------------------

_hidden = threading.local()


def note_hidden_handle(wire: str) -> None:
    """Called when a future is pickled: if that happens while arguments are packed, it was hidden in
    an object, and its data has to live until the call has run."""
    found = getattr(_hidden, "wires", None)
    if found is not None:
        found[wire] = None


def holds_handles(value: Any, depth: int = 0) -> bool:
    """Whether there is a future anywhere in nested lists, tuples, dicts and sets."""
    if isinstance(value, Handle):
        return True
    if depth > MAX_DEPTH:
        return False
    if isinstance(value, Mapping):
        return any(holds_handles(item, depth + 1) for item in value.values())
    if isinstance(value, (list, tuple, set, frozenset)):
        return any(holds_handles(item, depth + 1) for item in value)
    return False


def pack_call(
    args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[bytes, tuple[str, ...] | None]:
    """The arguments as bytes, and the keys of the futures in them (None if there are none).

    Raises SerializationError that names the argument.
    """
    for arg in args:
        if type(arg) not in _PLAIN:
            break
    else:
        if not kwargs:
            return pickle.dumps(args, 5), None
    found: dict[str, None] = {}
    packed: Any = args
    if holds_handles(args) or holds_handles(kwargs):
        packed = _Call(_replace(args, found, 0), _replace(dict(kwargs), found, 0), True)
    elif kwargs:
        packed = _Call(args, dict(kwargs), False)
    outer = getattr(_hidden, "wires", None)
    _hidden.wires = found
    try:
        blob = pickle_bytes(packed)
    except SerializationError as error:
        raise _blame(args, kwargs) or error from error
    finally:
        _hidden.wires = outer
    return blob, tuple(found) or None


class _Call:
    """Arguments that are more than a tuple of values. `refs`: there are some to be replaced."""

    __slots__ = ("args", "kwargs", "refs")

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any], refs: bool) -> None:
        self.args = args
        self.kwargs = kwargs
        self.refs = refs

    def __reduce__(self) -> tuple[type[_Call], tuple[Any, ...]]:
        return _Call, (self.args, self.kwargs, self.refs)


def _blame(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> SerializationError | None:
    """Find the argument that cannot be pickled."""
    named = [(f"argument {number}", arg) for number, arg in enumerate(args, 1)]
    named += [(f"argument {name!r}", arg) for name, arg in kwargs.items()]
    for name, arg in named:
        try:
            pickle_bytes(_replace(arg, {}, 0))
        except SerializationError as error:
            return SerializationError(f"{name} cannot be sent to a worker: {error}")
    return None


def _replace(value: Any, found: dict[str, None], depth: int) -> Any:
    """The value with a Ref in place of each future; containers without any are left as they are."""
    if isinstance(value, Handle):
        found[value.wire] = None
        return Ref(value.wire)
    return _rebuilt(value, lambda item: _replace(item, found, depth + 1), depth)


def unpack_call(blob: bytes, data: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments, positional and by keyword, with data in place of futures.

    >>> blob, _ = pack_call((1, [2]), {"x": 3})
    >>> unpack_call(blob, {})
    ((1, [2]), {'x': 3})
    """
    packed = pickle.loads(blob)
    if type(packed) is tuple:
        return packed, {}
    if not packed.refs:
        return packed.args, packed.kwargs
    return _fill(packed.args, data, 0), _fill(packed.kwargs, data, 0)


def _fill(value: Any, data: Mapping[str, Any], depth: int) -> Any:
    if type(value) is Ref:
        return data[value.wire]
    return _rebuilt(value, lambda item: _fill(item, data, depth + 1), depth)


def _rebuilt(value: Any, change: Callable[[Any], Any], depth: int) -> Any:
    """A container with all its items changed; itself if no item is."""
    if depth > MAX_DEPTH:
        raise SerializationError(f"arguments are nested more than {MAX_DEPTH} deep")
    if isinstance(value, dict):
        items = [change(item) for item in value.values()]
        if all(map(_is, items, value.values())):
            return value
        copy = dict(zip(value, items, strict=True))
        return copy if type(value) is dict else _like(value, copy)
    if isinstance(value, (list, tuple, set, frozenset)):
        items = [change(item) for item in value]
        if all(map(_is, items, value)):
            return value
        if hasattr(value, "_fields"):
            return type(value)(*items)
        return type(value)(items)
    return value


def _is(one: Any, other: Any) -> bool:
    return one is other


def _like(value: dict[Any, Any], items: dict[Any, Any]) -> Any:
    copy = value.copy()
    copy.update(items)
    return copy
