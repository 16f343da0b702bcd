"""Functions whose only state is in lists, dicts and the like: a copy for each call, made without pickle.

Most functions of a session that have state are of this kind: they look something up in a table.
"""

from __future__ import annotations

import copy
import sys
import types
from typing import Any

from distributed.function_state import IMMUTABLE, Stateful, attributes_of, contents_of, is_imported
from distributed.references import names_in

# Larger arrays are cheaper to map than to copy.
MAX_ARRAY_BYTES = 64 << 10
_CONTAINERS = (list, dict, set, bytearray, tuple)


class FunctionCopies:
    """Copies of a function, which itself must not be called.

    Raises Stateful if it holds something else that could be changed; or a function or a class of its
    session, which would see what the copies are made from.
    """

    def __init__(self, func: Any) -> None:
        if type(func) is not types.FunctionType or is_imported(func):
            raise Stateful
        self._func = func
        self._copied: set[int] = set()  # what has to be copied, by id
        self._flat: set[int] = set()  # ... of which the items need not be
        known = func.__globals__
        used = {name: known[name] for name in names_in(func.__code__) if name in known}
        others = (func.__defaults__, func.__kwdefaults__, vars(func))
        for value in (*used.values(), *contents_of(func).values(), *others):
            self._check(value)
        self._globals = [name for name, value in used.items() if id(value) in self._copied]

    def _check(self, value: Any) -> bool:
        """Note whether the value has to be copied."""
        kind = type(value)
        if kind in IMMUTABLE or id(value) in self._copied:
            return id(value) in self._copied
        if kind is not tuple and (kind in _CONTAINERS or _is_small_array(value)):
            self._copied.add(id(value))  # before its items, for it may contain itself
        if kind in _CONTAINERS:
            items = (*value, *value.values()) if kind is dict else value
            if IMMUTABLE.issuperset(map(type, items)):
                self._flat.add(id(value))
            elif any([self._check(item) for item in items]):
                self._copied.add(id(value))
        elif id(value) in self._copied:
            self._flat.add(id(value))
        elif attributes_of(value, reachable=True) != []:
            raise Stateful
        return id(value) in self._copied

    def make(self) -> Any:
        """A function that finds everything as it was."""
        func = self._func
        memo: dict[int, Any] = {}  # what is in two places is one object in the copy too
        known = func.__globals__.copy()
        for name in self._globals:
            known[name] = self._copy(known[name], memo)
        made = types.FunctionType(
            func.__code__,
            known,
            func.__name__,
            self._copy(func.__defaults__, memo),
            self._copy_closure(func, memo),
        )
        made.__kwdefaults__ = self._copy(func.__kwdefaults__, memo)
        made.__qualname__ = func.__qualname__
        made.__doc__ = func.__doc__
        if func.__dict__:
            made.__dict__.update(self._copy(func.__dict__, memo))
        return made

    def _copy_closure(
        self, func: types.FunctionType, memo: dict[int, Any]
    ) -> tuple[types.CellType, ...] | None:
        if func.__closure__ is None:
            return None
        contents = contents_of(func)
        return tuple(
            [
                types.CellType(self._copy(contents[name], memo))
                if name in contents
                else types.CellType()
                for name in func.__code__.co_freevars
            ]
        )

    def _copy(self, value: Any, memo: dict[int, Any]) -> Any:
        if id(value) not in self._copied:
            return value
        if id(value) not in memo:
            self._copy_new(value, memo)
        return memo[id(value)]

    def _copy_new(self, value: Any, memo: dict[int, Any]) -> None:
        if id(value) in self._flat:
            memo[id(value)] = copy.copy(value)
        elif type(value) is tuple:
            memo[id(value)] = tuple([self._copy(item, memo) for item in value])
        else:
            made = memo[id(value)] = type(value)()
            if type(value) is dict:
                made.update({self._copy(k, memo): self._copy(v, memo) for k, v in value.items()})
            elif type(value) is list:
                made += [self._copy(item, memo) for item in value]
            else:
                made.update([self._copy(item, memo) for item in value])


def _is_small_array(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    if numpy is None or type(value) is not numpy.ndarray:
        return False
    return bool(value.nbytes < MAX_ARRAY_BYTES and not value.dtype.hasobject)
