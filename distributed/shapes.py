"""Nested lists, tuples, dicts and sets with futures in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from distributed.core.entries import Entry
from distributed.futures import Future


def find_futures(nested: Any, found: dict[Future, None]) -> None:
    """Add the futures in it to `found`."""
    if isinstance(nested, Future):
        found[nested] = None
    elif isinstance(nested, Mapping):
        find_futures(list(nested.values()), found)
    elif isinstance(nested, (list, tuple, set, frozenset)):
        for item in nested:
            find_futures(item, found)
    elif isinstance(nested, Iterator):
        raise TypeError("an iterator can be read only once: give a list of the futures")


_SKIPPED = object()


def rebuild(nested: Any, values: dict[Entry, Any]) -> Any:
    """The same shape with values for futures, without those that have none."""
    if isinstance(nested, Future):
        return values.get(nested._entry, _SKIPPED)
    if isinstance(nested, Mapping):
        pairs = ((key, rebuild(value, values)) for key, value in nested.items())
        return {key: value for key, value in pairs if value is not _SKIPPED}
    if isinstance(nested, (list, tuple, set, frozenset)):
        items = [rebuild(item, values) for item in nested]
        kept = [item for item in items if item is not _SKIPPED]
        if hasattr(nested, "_fields"):
            return type(nested)(*kept)
        return type(nested)(kept)
    return nested


def shape(keys: Any, value: Callable[[Any], Any]) -> Any:
    """Values in the nested lists that dask uses for keys."""
    if isinstance(keys, list):
        return [shape(key, value) for key in keys]
    return value(keys)
