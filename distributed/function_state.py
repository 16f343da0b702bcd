"""Whether a function can carry anything from one call to the next.

A worker unpickles a function once and keeps it, if no call can change what the next one finds. What is not
known to be so counts as state, and is unpickled anew for each call.
"""

from __future__ import annotations

import datetime
import dis
import enum
import functools
import operator
import pathlib
import re
import sys
import types
import uuid
from collections.abc import Iterable, Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

from distributed.keys import PLAIN
from distributed.references import codes_in, found_by_name, names_in

# Nothing can be changed in values of these types.
IMMUTABLE = PLAIN | {
    type(NotImplemented),
    range,
    datetime.date,
    datetime.datetime,
    datetime.time,
    datetime.timedelta,
    datetime.timezone,
    Decimal,
    Fraction,
    uuid.UUID,
    re.Pattern,
    pathlib.PurePosixPath,
    pathlib.PureWindowsPath,
    pathlib.PosixPath,
    types.CodeType,
    # Descriptors of classes in C, and the slots of a class.
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.ClassMethodDescriptorType,
}
# With these a function can change its surroundings in ways that its code does not show.
_REFLECTION = frozenset(
    {
        "globals",
        "vars",
        "exec",
        "eval",
        "setattr",
        "delattr",
        "__setattr__",
        "__delattr__",
        "__dict__",
        "__globals__",
        "__closure__",
        "cell_contents",
        "__defaults__",
        "__kwdefaults__",
    }
)
# What one of these gets and its arguments make a new one of.
_MADE_OF_ARGUMENTS = (operator.itemgetter, operator.attrgetter, operator.methodcaller, slice)
_CACHED = type(functools.lru_cache(len))

Contents = dict[str, Any]


class Composed:
    """A function that is made of others, and has no state of its own."""

    __slots__ = ()

    def held(self) -> Iterable[Any]:
        """The functions and the constants in it."""
        raise NotImplementedError


class Stateful(Exception):
    """Something in a function might be changed by a call of it."""


def attributes_of(func: Any, reachable: bool = False) -> list[tuple[Any, Contents]] | None:
    """None if a call of the function might change what it holds. Otherwise the classes and functions in it
    that came by value, each with its attributes as they are now: only those could be changed. Code of the
    function itself may come by it if it is `reachable`.

    >>> attributes_of(len), attributes_of(lambda x: x + 1), attributes_of([].append)
    ([], [], None)
    """
    found = _Search()
    try:
        found.visit(func, reachable or isinstance(func, type))
    except (Stateful, RecursionError):
        return None
    return found.attributes


def is_unchanged(attributes: Iterable[tuple[Any, Contents]]) -> bool:
    """Whether these classes and functions have the attributes that they had."""
    return all(before == vars(owner) or _renewed(owner, before) for owner, before in attributes)


def _renewed(owner: Any, before: Contents) -> bool:
    """Whether the attributes have only been unpickled once more."""
    now = vars(owner)
    for name in before.keys() | now.keys():
        if name not in before or name not in now:
            if not _is_pythons(name):
                return False
        elif not _alike(before[name], now[name]):
            return False
    before.clear()
    before.update(now)
    return True


def _is_pythons(name: str) -> bool:
    """Whether Python keeps data of its own in a class under this name. Methods have such names too."""
    return name == "_abc_impl" or (name.startswith("_") and name.endswith("_"))


def _alike(one: Any, other: Any) -> bool:
    """Whether an attribute of a class is the same as before. Where a class travels by value, each of its
    objects that arrives replaces the methods of the class by others of the same code."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if type(one) in (staticmethod, classmethod):
        return _alike(one.__func__, other.__func__)
    if type(one) is property:
        return all(
            map(_alike, (one.fget, one.fset, one.fdel), (other.fget, other.fset, other.fdel))
        )
    if type(one) is types.FunctionType:
        bound = set(one.__code__.co_freevars) - {"__class__"}
        return (
            one.__code__ == other.__code__ and not bound and one.__defaults__ == other.__defaults__
        )
    if type(one) in IMMUTABLE:
        return bool(one == other)
    return isinstance(one, (dict, tuple)) and one == other


class _Search:
    """Goes through all that a function holds. Raises Stateful when it meets what might be changed."""

    def __init__(self) -> None:
        self.attributes: list[tuple[Any, Contents]] = []
        self._seen: set[int] = set()
        self._noted: set[int] = set()

    def visit(self, value: Any, reachable: bool = False) -> None:
        """`reachable` if code of a function that was visited may come by the value. A function does not
        come by itself unless something in it refers to it."""
        kind = type(value)
        if kind in IMMUTABLE:
            return
        if id(value) not in self._seen and is_imported(value):
            return
        if reachable:
            self._note(value)
        if id(value) in self._seen:
            return
        self._seen.add(id(value))
        parts = self._parts(kind, value)
        if parts is None:
            raise Stateful
        reachable = reachable or kind is types.FunctionType or isinstance(value, type)
        for part in parts:
            # What a function gets as an argument, or as its `self`, its code comes by.
            self.visit(part, reachable or type(part) is not types.FunctionType)

    def _note(self, value: Any) -> None:
        may_change = isinstance(value, (types.FunctionType, type, enum.Enum))
        if may_change and id(value) not in self._noted:
            self._noted.add(id(value))
            self.attributes.append((value, dict(vars(value))))

    def _parts(self, kind: type, value: Any) -> Iterable[Any] | None:
        """What else must not change. None if the value might."""
        if kind is types.FunctionType:
            return self._parts_of_function(value)
        if isinstance(value, type):
            return self._parts_of_class(value)
        if kind is types.MethodType:
            return (value.__func__, value.__self__)
        if kind is types.BuiltinFunctionType or kind is types.MethodWrapperType:
            return (value.__self__,)
        if kind is functools.partial:
            _, _, keywords, own = value.__reduce__()[2]
            return None if own else (value.func, *value.args, *keywords.values())
        if isinstance(value, Composed):
            return value.held()
        if kind is _CACHED:
            # A cache is meant to be kept. What it calls must not keep anything else.
            return (value.__wrapped__,)
        if kind in (staticmethod, classmethod):
            return (value.__func__,)
        if kind is property:
            return (value.fget, value.fset, value.fdel)
        if isinstance(value, enum.Enum):
            return (kind, value.value)
        return _parts_of_value(kind, value)

    def _parts_of_function(self, func: types.FunctionType) -> Iterator[Any]:
        if changes_its_surroundings(func.__code__):
            raise Stateful
        yield from vars(func).values()
        yield from func.__defaults__ or ()
        yield from (func.__kwdefaults__ or {}).values()
        for content in contents_of(func).values():
            if not (type(content) is set and _guards_against_recursion(func.__code__)):
                yield content
        known = func.__globals__
        for name in set(names_in(func.__code__)):
            if name in known:
                yield known[name]

    def _parts_of_class(self, cls: type) -> Iterator[Any]:
        content = dict(vars(cls))
        yield type(cls)
        yield from cls.__bases__
        for name, value in content.items():
            if not _is_pythons(name) or callable(value):
                yield value


def contents_of(func: types.FunctionType) -> dict[str, Any]:
    """The variables of the functions around it that it uses, without those never assigned."""
    found = {}
    for name, cell in zip(func.__code__.co_freevars, func.__closure__ or (), strict=False):
        try:
            found[name] = cell.cell_contents
        except ValueError:
            pass
    return found


def _guards_against_recursion(code: types.CodeType) -> bool:
    """Whether it is the code around the `__repr__` of a dataclass, with its set of what is being shown."""
    file = pathlib.PurePath(code.co_filename).name
    return code.co_name == "wrapper" and file in ("dataclasses.py", "reprlib.py")


def _parts_of_value(kind: type, value: Any) -> Iterable[Any] | None:
    if kind is tuple or kind is frozenset:
        return value  # type: ignore[no-any-return]
    if isinstance(value, tuple) and hasattr(kind, "_fields") and not hasattr(value, "__dict__"):
        return (kind, *value)
    if kind in _MADE_OF_ARGUMENTS:
        made_by, given = value.__reduce__()[:2]
        return (made_by, *given)
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, (numpy.generic, numpy.dtype)):
        return None
    # A void is a record: its fields can be assigned to. So can the metadata of a type.
    if isinstance(value, numpy.void) or getattr(value, "metadata", None):
        return None
    return ()


def is_imported(value: Any) -> bool:
    """Whether it is the very object that a module has under its name: then it is the same for all that runs
    in this process, whatever happens to it."""
    if type(value) is types.ModuleType:
        return sys.modules.get(value.__name__) is value
    try:
        named = type(value.__module__) is str and type(value.__qualname__) is str
        return named and found_by_name(value)
    except Exception:
        # It has no name, or looks its attributes up in a way of its own.
        return False


def changes_its_surroundings(code: types.CodeType) -> bool:
    """Whether a function with this code may assign to what outlives its call: globals, variables of the
    function around it, and attributes of either; or do that in a way that cannot be seen.

    >>> changes_its_surroundings((lambda x: [x, len(x)]).__code__)
    False
    """
    if not _REFLECTION.isdisjoint(names_in(code)):
        return True
    outer = set(code.co_freevars)
    return any(_assigns(part, outer) for part in codes_in(code))


# Names of instructions, which differ between versions of Python.
_GLOBAL = frozenset({"STORE_GLOBAL", "DELETE_GLOBAL"})
_CELL = frozenset({"STORE_DEREF", "DELETE_DEREF"})
_ATTRIBUTE = frozenset({"STORE_ATTR", "DELETE_ATTR"})
# The first step of `x.y += 1`, once x is loaded.
_COPIED = frozenset({"COPY", "DUP_TOP"})
_LOADED = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF"})


def _assigns(code: types.CodeType, outer: set[str]) -> bool:
    before = ""
    for step in dis.get_instructions(code):
        name = step.opname
        if name in _GLOBAL or (name in _CELL and step.argval in outer):
            return True
        if before in _LOADED and (name in _ATTRIBUTE or name in _COPIED):
            return True
        before = name
    return False
