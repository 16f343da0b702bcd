"""Containers of futures: finding the futures, and making the same with values in their place."""

from __future__ import annotations

import copy
import operator
import sys
from collections import UserDict, UserList, deque
from collections.abc import (
    Callable,
    ItemsView,
    Iterable,
    Iterator,
    Mapping,
    MappingView,
    Sequence,
    Set,
)
from typing import TYPE_CHECKING, Any

from dask.base import is_dask_collection

from distributed.keys import PLAIN
from distributed.packing import Handle

if TYPE_CHECKING:
    from distributed.core.entries import Entry
    from distributed.futures import Future

# Sequences whose items are never futures.
_VALUES = (str, bytes, bytearray, memoryview, range)


def items_in(nested: Any) -> Iterable[Any] | None:
    """The items of a container that may be futures; None for what is no container.

    Containers are all sequences, sets, mappings, views of mappings and iterators, and the arrays, Series
    and DataFrames of numpy and pandas.
    """
    if isinstance(nested, Mapping):
        return nested.values()
    if isinstance(nested, ItemsView):
        return [value for _, value in nested]
    if isinstance(nested, (Sequence, Set, MappingView, Iterator)):
        return None if isinstance(nested, _VALUES) else nested
    if isinstance(nested, _kinds("pandas", "DataFrame")):
        return [nested.iloc[:, place] for place in range(nested.shape[1])]
    if isinstance(nested, _kinds("numpy", "ndarray") + _kinds("pandas", "Series", "Index")):
        may_hold = nested.dtype == object and nested.ndim
        return list(getattr(nested, "flat", nested)) if may_hold else ()
    return None


def is_named_tuple(value: Any) -> bool:
    return isinstance(value, tuple) and hasattr(value, "_make")


def _kinds(module: str, *names: str) -> tuple[type, ...]:
    """Classes of a module that is not a requirement: where it is not loaded there are no instances."""
    loaded = sys.modules.get(module)
    return tuple([getattr(loaded, name) for name in names if hasattr(loaded, name)])


# Before they are gathered ----------------------------------------------------------------------


def find_futures(nested: Any, found: dict[Future, None]) -> None:
    """Add the futures in it to `found`."""
    if isinstance(nested, Handle):
        found[nested] = None  # type: ignore[index]
    elif isinstance(nested, Iterator):
        raise TypeError("an iterator can be read only once: give a list of the futures")
    elif type(nested) not in PLAIN:
        for item in items_in(nested) or ():
            find_futures(item, found)


def check_gathered(given: Any) -> None:
    """Raises TypeError for what may hold futures where `gather` does not look for them."""
    if is_dask_collection(given):
        raise TypeError(
            f"gather() takes futures, and this is a collection of dask, a {type(given).__name__}: "
            "its compute() returns the value"
        )
    if isinstance(given, Iterable) and not isinstance(given, _VALUES) and items_in(given) is None:
        raise TypeError(
            "gather() takes a future, or nested lists, tuples, sets, dicts, iterators, object arrays or "
            f"Series of futures, and cannot look into a {type(given).__name__}: give a list of the futures"
        )


# With values -----------------------------------------------------------------------------------

_BUILTIN = (list, tuple, set, frozenset, dict)
_SKIPPED = object()


def rebuild(nested: Any, values: dict[Entry, Any]) -> Any:
    """The same container with values for futures, without those that have none.

    What is neither a future nor a container with futures in it is returned as it is. Views, and sequences
    and sets that are not Python's own or derived from these, become lists; such mappings become dicts.
    """
    if isinstance(nested, Handle):
        return values.get(nested._entry, _SKIPPED)  # type: ignore[attr-defined]
    if type(nested) in PLAIN:
        return nested
    if isinstance(nested, ItemsView):
        return list(rebuild(dict(nested), values).items())
    items = items_in(nested)
    if items is None:
        return nested
    old = list(items)
    new = [rebuild(item, values) for item in old]
    if type(nested) not in _BUILTIN and not any(map(operator.is_not, old, new)):
        return nested
    if isinstance(nested, Mapping):
        return _remake_mapping(nested, new)
    if isinstance(nested, (Sequence, Set, MappingView)):
        return _remake_sequence(nested, [item for item in new if item is not _SKIPPED])
    if isinstance(nested, _kinds("pandas", "DataFrame")):
        return _remake_frame(nested, new)
    return _remake_array(nested, new)


def _remake_mapping(nested: Mapping[Any, Any], new: list[Any]) -> Any:
    kept = {key: value for key, value in zip(nested, new, strict=True) if value is not _SKIPPED}
    if type(nested) is dict or not isinstance(nested, (dict, UserDict)):
        return kept
    remade = copy.copy(nested)  # with all that it is beside its items
    remade.clear()
    for key, value in kept.items():
        remade[key] = value
    return remade


def _remake_sequence(nested: Any, new: list[Any]) -> Any:
    if isinstance(nested, tuple):
        # A class that is derived from it may be made from other arguments.
        return nested._make(new) if is_named_tuple(nested) else tuple.__new__(type(nested), new)
    if isinstance(nested, (set, frozenset)):
        return type(nested)(new)
    if type(nested) is list or not isinstance(nested, (list, deque, UserList)):
        return new
    remade = copy.copy(nested)
    remade.clear()
    remade.extend(new)
    return remade


def _remake_array(nested: Any, new: list[Any]) -> Any:
    """An array of the same shape, or a Series with the same index; a list in place of an Index."""
    import numpy

    cells = numpy.empty(len(new), dtype=object)
    for place, item in enumerate(new):
        cells[place] = item  # all at once, numpy would take items apart that are sequences
    there = [item is not _SKIPPED for item in new]
    if isinstance(nested, _kinds("pandas", "Series")):
        remade = type(nested)(cells, index=nested.index, name=nested.name)
        return remade[there].infer_objects()
    if not isinstance(nested, numpy.ndarray):
        return cells[there].tolist()
    if nested.ndim == 1:
        return cells[there]
    if not all(there):
        raise ValueError(
            f"nothing can be left out of an array of {nested.ndim} dimensions: use "
            "gather(x.ravel(), errors='skip')"
        )
    return cells.reshape(nested.shape)


def _remake_frame(nested: Any, columns: list[Any]) -> Any:
    remade = nested.copy(deep=False)
    for place, column in enumerate(columns):
        remade.isetitem(place, column)
    return remade


def shape(keys: Any, value: Callable[[Any], Any]) -> Any:
    """Values in the nested lists that dask uses for keys."""
    if isinstance(keys, list):
        return [shape(key, value) for key in keys]
    return value(keys)
