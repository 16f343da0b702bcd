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

from distributed.keys import PLAIN
from distributed.packing import Ref

# What dask takes for a name, if a node is called so.
_NAMES = frozenset({int, float, bool, str, tuple})


class PlainCall(NamedTuple):
    """`refs` are in the arguments for the names of other nodes, each for all uses of its name, without
    the keys on the wire: those are not known yet. `changed` are the arguments that have some."""

    func: Callable[..., Any]
    args: list[Any]
    kwargs: dict[str, Any]
    changed: list[int | str]
    refs: dict[Any, Ref]


class _NotPlain(Exception):
    pass


def plain_call(value: Any, names: Container[Any]) -> PlainCall | None:
    """The call that stands for a node of a graph whose nodes have these names; None if it is not plain.

    >>> plain_call((pow, "x", 2), {"x"}).args[1:]
    [2]
    >>> plain_call((pow, (pow, 2, 3), 2), {"x"})
    """
    try:
        if type(value) is tuple and value and callable(value[0]):
            return _written_call(value, names)
        if type(value) is Task and not (
            value.func is _identity_cast or value.func is _execute_subgraph
        ):
            return _made_call(value)
    except (_NotPlain, TypeError, RecursionError):  # TypeError: what cannot be hashed is no name
        pass
    return None


def _written_call(value: tuple[Any, ...], names: Container[Any]) -> PlainCall:
    func, *args = value
    refs: dict[Any, Ref] = {}
    changed: list[int | str] = []
    for place, arg in enumerate(args):
        kind = type(arg)
        # Most are plain values: looked at here, for a call costs as much as all else that is done for one.
        if kind in PLAIN and not (kind in _NAMES and arg in names):
            continue
        found = _written(arg, names, refs)
        if found is not arg:
            args[place] = found
            changed.append(place)
    return PlainCall(func, args, {}, changed, refs)


def _made_call(task: Task) -> PlainCall:
    refs: dict[Any, Ref] = {}
    args = [_made(arg, refs) for arg in task.args]
    kwargs = {name: _made(arg, refs) for name, arg in task.kwargs.items()}
    changed: list[int | str] = []
    if refs:
        changed += [place for place, arg in enumerate(task.args) if args[place] is not arg]
        changed += [name for name, arg in task.kwargs.items() if kwargs[name] is not arg]
    return PlainCall(task.func, args, kwargs, changed, refs)


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
