"""Functions to bytes, and the keys that name calls.

Two calls have one key exactly if they are calls of one function with equal arguments, in whatever process
they are made. This is a part of the client's share of the hot path.
"""

from __future__ import annotations

import itertools
import marshal
import operator
import os
import re
import sys
import types
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import blake2b
from typing import Any, NamedTuple

from dask.base import tokenize
from dask.hashing import hash_buffer_hex

from distributed.composites import Composite, is_builtin, may_hold
from distributed.errors import SerializationError
from distributed.keys import PLAIN
from distributed.packing import MAX_ARGUMENT_BYTES, Handle, are_plain, binds_futures, holds_handles
from distributed.references import found_by_name, names_in
from distributed.serialize import pickle_bytes, pickle_function

# In names of functions, as part of a key: a hash follows after a dash.
_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9_.]+")
MAX_NAME = 50
# Functions whose pickles are remembered.
MAX_CACHED_FUNCTIONS = 1000
# Larger ones are not: a function that carries data along would keep it alive.
MAX_CACHED_BYTES = 1 << 20


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
        if known is not None and _same(known[0], state):
            return known[1]
    if not callable(func):
        raise TypeError(f"{func!r:.100} is not callable: the first argument is the function to run")
    function = _pickle_function(func)
    if state is not None and len(function.blob) <= MAX_CACHED_BYTES:
        if len(_functions) >= MAX_CACHED_FUNCTIONS:
            _functions.clear()
        _functions[func] = (state, function)
    return function


def _pickle_function(func: Callable[..., Any]) -> Function:
    name = name_of(func)
    try:
        blob = pickle_function(func)
    except SerializationError as error:
        raise SerializationError(f"the function {name} cannot be sent: {error}") from error
    if len(blob) > MAX_ARGUMENT_BYTES:
        raise ValueError(
            f"the function {name} takes {len(blob):,} bytes with what it refers to, more than the limit of "
            f"{MAX_ARGUMENT_BYTES:,}: send large data with scatter() and pass the future"
        )
    return Function(_identify(func), name, blob)


def _identify(func: Callable[..., Any]) -> str:
    if type(func) in (types.FunctionType, types.MethodType, partial):
        # Not the digest of the pickle, which has sets in an order that is new in each process.
        try:
            return _digest((_canonical(func, {}),)).hex()
        except RecursionError:
            pass  # too deep for that; the pickle is as good in this process
    return _digest(pickle_bytes(func)).hex()


def _state_of(func: Any) -> tuple[Any, ...] | None:
    """All that the pickle of the function depends on; None if that could change unseen."""
    if type(func) is types.FunctionType and found_by_name(func):
        return func.__code__, func.__defaults__  # as `_add_state` would say, for most functions
    if type(func) not in (types.FunctionType, types.BuiltinFunctionType, type):
        return None
    state: list[Any] = []
    return tuple(state) if _add_state(func, state, set()) else None


def _add_state(value: Any, state: list[Any], seen: set[int]) -> bool:
    """Append what to compare, by identity; false if that would not show every change."""
    if type(value) is not types.FunctionType:
        return _is_constant(value)
    if id(value) in seen:
        return True
    seen.add(id(value))
    state += (value.__code__, value.__defaults__)
    if found_by_name(value):
        return True
    if value.__dict__:
        return False
    for name, captured in _captured(value):
        state += (name, captured)
        if not _add_state(captured, state, seen):
            return False
    return True


def _is_constant(value: Any) -> bool:
    """Whether the pickle of one and the same object never changes."""
    kind = type(value)
    if kind is types.BuiltinFunctionType:
        return value.__self__ is None or type(value.__self__) is types.ModuleType
    return kind in PLAIN or kind is types.ModuleType or (kind is type and found_by_name(value))


def _captured(func: types.FunctionType) -> list[tuple[str, Any]]:
    """The values that travel with a function that is pickled by value, and their names."""
    values: list[tuple[str, Any]] = []
    if func.__defaults__:
        values += [("", value) for value in func.__defaults__]
    if func.__kwdefaults__:
        values += func.__kwdefaults__.items()
    if func.__closure__:
        values += map(_content, func.__code__.co_freevars, func.__closure__)
    known = func.__globals__
    values += [(name, known[name]) for name in names_in(func.__code__) if name in known]
    return values


def _content(name: str, cell: types.CellType) -> tuple[str, Any]:
    try:
        return name, cell.cell_contents
    except ValueError:
        return f"no {name}", None  # assigned later


def _same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """By `is`: equal is not enough, 1 == True."""
    if len(one) == len(other) == 2:  # of most functions, and `all` takes longer
        return one[0] is other[0] and one[1] is other[1]
    return len(one) == len(other) and all(map(operator.is_, one, other))


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


def unbind(
    func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Any, tuple[Any, ...], Mapping[str, Any]]:
    """The same call without a `partial` that has futures bound: among the arguments they are found."""
    while binds_futures(func):
        args, kwargs = (*func.args, *args), {**func.keywords, **kwargs}
        func = func.func
    return func, args, kwargs


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
    if are_plain(args, kwargs):
        return plain_key(function, args, kwargs)
    try:
        memo: dict[Any, Any] = {}
        named = [(name, _canonical(kwargs[name], memo)) for name in sorted(kwargs)]
        digest = _digest((function.id, [_canonical(arg, memo) for arg in args], named)).hex()
    except RecursionError:
        digest = _fresh_digest()
    return f"{function.name}-{digest}"


def plain_key(function: Function, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """`call_key` for plain arguments."""
    parts: Any = (function.id, args)
    if kwargs:
        parts = (function.id, list(args), [(name, kwargs[name]) for name in sorted(kwargs)])
    return f"{function.name}-{blake2b(marshal.dumps(parts, 0), digest_size=16).hexdigest()}"


def _digest(parts: Any) -> bytes:
    """Of what `marshal` can write. Version 0 writes equal values alike, whatever objects they are."""
    return blake2b(marshal.dumps(parts, 0), digest_size=16).digest()


def _canonical(value: Any, memo: dict[Any, Any]) -> Any:
    """A plain value as it is; a tuple that begins with its kind for everything else. Equal for equal
    values, different for different ones.

    `memo` has what was met before, by id: no structure takes longer for having shared parts.
    """
    kind = type(value)
    if kind in PLAIN:
        return value
    if isinstance(value, Handle):
        return "future", value.wire
    known = memo.get(id(value))
    if known is None:
        # In a cycle, the place of the whole stands for it.
        memo[id(value)] = "again", len(memo)
        known = memo[id(value)] = _canonical_parts(kind, value, memo)
    return known


def _canonical_parts(kind: type, value: Any, memo: dict[Any, Any]) -> Any:
    special = _SPECIAL.get(kind)
    if special is not None:
        return special(value, memo)
    if is_builtin(value):
        return kind.__module__, kind.__qualname__, _digest_container(value, memo)
    if may_hold(value) and holds_handles(value):
        whole = memo[id(value), "whole"] = Composite.of(value)  # kept, as the ids of its parts are
        parts = [_canonical(part, memo) for part in whole.parts]
        return "composite", kind.__module__, kind.__qualname__, _digest(parts)
    numpy = sys.modules.get("numpy")
    if numpy is not None and kind in (numpy.ndarray, numpy.memmap, numpy.matrix):
        return _array_parts(value, memo)
    return "token", _token(value)


def _array_parts(array: Any, memo: dict[Any, Any]) -> tuple[Any, ...]:
    """Not dask's token, which is the same for a square array and its transpose, for records whose fields
    have other names, for texts that are parted elsewhere, and for mapped files of one content."""
    if array.dtype.hasobject:
        order, content = "C", _digest(_canonical_items(array.ravel().tolist(), memo)).hex()
    else:
        order = "C" if array.flags.c_contiguous or not array.flags.f_contiguous else "F"
        plain = array.T if order == "F" else array
        content = hash_buffer_hex(plain.ravel().view("u1"))
    kind = type(array).__qualname__
    return "array", kind, repr(array.dtype), array.shape, order, content


def _digest_container(value: Any, memo: dict[Any, Any]) -> bytes:
    items = _canonical_items(value, memo)
    if isinstance(value, dict):
        # In their order, which a function can see.
        return _digest((items, _canonical_items(value.values(), memo)))
    if isinstance(value, (set, frozenset)):
        return _digest(sorted(_digest((item,)) for item in items))
    return _digest(items)


def _canonical_items(items: Any, memo: dict[Any, Any]) -> list[Any]:
    if PLAIN.issuperset(map(type, items)):
        return list(items)
    return [_canonical(item, memo) for item in items]


def _function_parts(func: types.FunctionType, memo: dict[Any, Any]) -> tuple[Any, ...]:
    if found_by_name(func):
        # Its code too: a function that was edited since is another one.
        return "name", func.__module__, func.__qualname__, _digest(_code_parts(func))
    parts = [(name, _canonical(value, memo)) for name, value in _captured(func)]
    own = _canonical(func.__dict__, memo)
    # Its line too, for tracebacks: the code that a worker has is that of the first such function.
    line = func.__code__.co_firstlineno
    return "function", func.__name__, line, _digest((_code_parts(func), parts, own))


def _method_parts(method: types.MethodType, memo: dict[Any, Any]) -> tuple[Any, ...]:
    return "method", _canonical(method.__func__, memo), _canonical(method.__self__, memo)


def _partial_parts(func: partial[Any], memo: dict[Any, Any]) -> tuple[Any, ...]:
    # Not `func.__dict__`: to look at it makes it, and then the pickle is another one.
    state: Any = func.__reduce__()[2]
    inner, args, keywords, own = state
    parts = [_canonical(part, memo) for part in (inner, args, own)]
    return "partial", parts, [(n, _canonical(keywords[n], memo)) for n in sorted(keywords)]


def _module_parts(module: types.ModuleType, memo: dict[Any, Any]) -> tuple[Any, ...]:
    if sys.modules.get(module.__name__) is module:
        return "module", module.__name__
    return "token", _token(module)


_SPECIAL: dict[type, Callable[[Any, dict[int, Any]], tuple[Any, ...]]] = {
    types.FunctionType: _function_parts,
    types.MethodType: _method_parts,
    types.ModuleType: _module_parts,
    partial: _partial_parts,
}


def _code_parts(func: Any) -> list[Any]:
    """The code of a function, and of those that it wraps."""
    parts: list[Any] = []
    seen: set[int] = set()
    while type(func) is types.FunctionType and id(func) not in seen:
        seen.add(id(func))
        defaults = (*(func.__defaults__ or ()), *(func.__kwdefaults__ or {}).items())
        parts += (_canonical_code(func.__code__), [_canonical_constant(d) for d in defaults])
        func = getattr(func, "__wrapped__", None)
    return parts


def _canonical_code(code: types.CodeType) -> tuple[Any, ...]:
    """What the code does; not the file and the lines where it stands."""
    return (
        "code",
        code.co_name,
        code.co_code,
        getattr(code, "co_exceptiontable", b""),  # since Python 3.11
        (code.co_flags, code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount),
        (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars),
        [_canonical_constant(constant) for constant in code.co_consts],
    )


def _canonical_constant(value: Any) -> Any:
    if type(value) in PLAIN:
        return value
    if type(value) is types.CodeType:
        return _canonical_code(value)
    if type(value) is tuple:
        return "tuple", [_canonical_constant(item) for item in value]
    if type(value) is frozenset:
        return "frozenset", sorted(_digest((_canonical_constant(item),)) for item in value)
    # Defaults that are objects: of a function that travels by name, they do not come from here.
    return "object", type(value).__qualname__


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
