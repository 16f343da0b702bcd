"""Nodes of a graph that are plain calls, read straight from what the user or dask has written.

Most nodes are: a function, and for arguments numbers, texts, names of other nodes, and lists of these. For
them neither dask's objects nor the compiler in `programs.py` are needed, which take several times as long.
What counts as a plain call here means to dask what it means here; all that is in doubt is none.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Container
from typing import Any, NamedTuple

from dask._task_spec import Alias, List, Task, TaskRef, _execute_subgraph, _identity_cast

from distributed.recipes import PLAIN, Ref

# What dask takes for a name, if a node is called so.
_NAMES = frozenset({int, float, bool, str, tuple})


class PlainCall(NamedTuple):
    """`refs` are in the arguments for the names of other nodes, each for all uses of its name, without
    the keys on the wire: those are not known yet. `changed` are the arguments that may have some."""

    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    changed: list[int | str]
    refs: dict[Any, Ref]


class _NotPlain(Exception):
    pass


def plain_call(value: Any, names: Container[Any]) -> PlainCall | None:
    """The call that stands for a node of a graph whose nodes have these names; None if it is not plain.

    >>> plain_call((pow, "x", 2), {"x"}).args[1:]
    (2,)
    >>> plain_call((pow, (pow, 2, 3), 2), {"x"})
    """
    refs: dict[Any, Ref] = {}
    try:
        if type(value) is tuple and value and callable(value[0]):
            return _call(value[0], value[1:], {}, refs, lambda arg: _written(arg, names, refs))
        if type(value) is Task and not (
            value.func is _identity_cast or value.func is _execute_subgraph
        ):
            return _call(value.func, value.args, value.kwargs, refs, lambda arg: _made(arg, refs))
    except (_NotPlain, TypeError, RecursionError):  # TypeError: what cannot be hashed is no name
        pass
    return None


def _call(
    func: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    refs: dict[Any, Ref],
    read: Callable[[Any], Any],
) -> PlainCall:
    found = tuple(map(read, args))
    named = {name: read(arg) for name, arg in kwargs.items()} if kwargs else kwargs
    changed: list[int | str] = []
    if refs:
        changed += [place for place, arg in enumerate(args) if found[place] is not arg]
        changed += [name for name, arg in kwargs.items() if named[name] is not arg]
    return PlainCall(func, found, named, changed, refs)


def _written(value: Any, names: Container[Any], refs: dict[Any, Ref]) -> Any:
    """An argument of a call that is written as a tuple. Lists are looked into; a tuple, too, that is
    neither a name nor a call itself."""
    kind = type(value)
    if kind in _NAMES and value in names:
        return refs.get(value) or _refer(value, refs)
    if kind in PLAIN:
        return value
    if kind is list or (kind is tuple and not (value and callable(value[0]))):
        items = [_written(item, names, refs) for item in value]
        return value if all(map(operator.is_, items, value)) else kind(items)
    raise _NotPlain


def _made(value: Any, refs: dict[Any, Ref]) -> Any:
    """An argument of a dask Task. Only what is marked is a name."""
    kind = type(value)
    if kind in PLAIN:
        return value
    if kind is TaskRef:
        return refs.get(value.key) or _refer(value.key, refs)
    if kind is Alias:
        return refs.get(value.target) or _refer(value.target, refs)
    if kind is List:
        return [_made(item, refs) for item in value.args]
    if (kind is list or kind is tuple) and PLAIN.issuperset(map(type, value)):
        return value
    raise _NotPlain


def _refer(name: Any, refs: dict[Any, Ref]) -> Ref:
    ref = refs[name] = Ref("")
    return ref
