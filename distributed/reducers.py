"""How to pickle what neither pickle nor cloudpickle can, or what they would change on the way."""

from __future__ import annotations

import functools
import io
import types
import typing
from collections.abc import Callable
from pickle import PickleBuffer
from typing import Any

import cloudpickle

from distributed.file_handles import reduce_handle
from distributed.references import found_by_name
from distributed.traceback_lines import Line, lines_of, traceback_of

Reduced = Any  # as `__reduce__` returns it, or NotImplemented


def reduce(value: Any) -> Reduced:
    """NotImplemented for what others know better."""
    known = _REDUCERS.get(type(value))
    return reduce_handle(value) if known is None else known(value)


# Functions that the library makes of functions. Those of modules are pickled by name.


def _reduce_cached(func: Any) -> Reduced:
    if _has_name(func):
        return NotImplemented
    state = {name: own for name, own in vars(func).items() if name not in _MADE_ANEW}
    return _cached, (func.__wrapped__, func.cache_parameters()), state or None


# What the decorator gives to a function that is cached.
_MADE_ANEW = ("__wrapped__", "cache_parameters")


def _cached(func: Callable[..., Any], parameters: dict[str, Any]) -> Any:
    """With an empty cache of its own."""
    return functools.lru_cache(**parameters)(func)


def _reduce_function(func: types.FunctionType) -> Reduced:
    registry = getattr(func, "registry", None)
    if type(registry) is not types.MappingProxyType or func.__code__ is not _DISPATCHER:
        return NotImplemented
    if _has_name(func):
        return NotImplemented
    others = [(kind, made) for kind, made in registry.items() if kind is not object]
    return _single_dispatch, (registry[object], others)


def _single_dispatch(func: Callable[..., Any], others: list[tuple[type, Any]]) -> Any:
    dispatcher = functools.singledispatch(func)
    for kind, other in others:
        dispatcher.register(kind, other)
    return dispatcher


_DISPATCHER = functools.singledispatch(lambda value: value).__code__


def _reduce_cached_property(value: functools.cached_property[Any]) -> Reduced:
    # Until Python 3.11 there is a lock in it.
    return _cached_property, (value.func, value.attrname)


def _cached_property(func: Callable[[Any], Any], name: str | None) -> Any:
    made = functools.cached_property(func)
    made.attrname = name
    return made


def _has_name(func: Any) -> bool:
    try:
        return found_by_name(func)
    except AttributeError:
        return False


# Classes that travel by value.


def with_slots(cls: type, reduced: Reduced) -> Reduced:
    """What cloudpickle says of a class, with its slots. It leaves these out, so that objects of the class
    have a dict on a worker, and cannot be unpickled where the class has slots."""
    slots = vars(cls).get("__slots__")
    if slots is None or type(reduced) is not tuple or reduced[0] is not _MAKE_CLASS:
        return reduced
    make, (metaclass, name, bases, namespace, *others), *state = reduced
    if typing.NamedTuple not in bases:  # which allows no slots to be named
        namespace = {**namespace, "__slots__": slots}
    return make, (metaclass, name, bases, namespace, *others), *state


class _Example:
    pass


_Example.__module__ = "__main__"
_MAKE_CLASS = cloudpickle.Pickler(io.BytesIO()).reducer_override(_Example)[0]


# Objects of Python itself.


def _reduce_view(view: memoryview) -> Reduced:
    form, shape, readonly = view.format, view.shape, view.readonly
    flat = view.cast("B") if view.c_contiguous else bytearray(view.tobytes())
    return _view, (PickleBuffer(flat), form, shape if view.ndim != 1 else None, readonly)


def _view(buffer: Any, form: str, shape: tuple[int, ...] | None, readonly: bool) -> memoryview:
    view = memoryview(buffer)
    view = view.cast("B").cast(form) if shape is None else view.cast("B").cast(form, shape)
    return view.toreadonly() if readonly else view


def _reduce_traceback(traceback: types.TracebackType) -> Reduced:
    return _traceback, (lines_of(traceback),)


def _traceback(lines: list[Line]) -> types.TracebackType | None:
    return traceback_of(lines)


_REDUCERS: dict[type, Callable[[Any], Reduced]] = {
    type(functools.lru_cache(len)): _reduce_cached,
    types.FunctionType: _reduce_function,
    functools.cached_property: _reduce_cached_property,
    memoryview: _reduce_view,
    types.TracebackType: _reduce_traceback,
}
