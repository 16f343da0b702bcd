"""Nodes of a graph that are plain calls, read straight from what the user or dask has written.

Most nodes are: a function, and for arguments numbers, texts, names of other nodes, and lists of these. For
them neither dask's objects nor the compiler in `programs.py` are needed, which take several times as long.
What counts as a plain call here means to dask what it means here; all that is in doubt is none.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dask._task_spec import Alias, List, Task, TaskRef, _execute_subgraph, _identity_cast

from distributed.keys import PLAIN
from distributed.packing import Ref, binds_futures, holds_handles, pack_plain

# What dask takes for a name, if a node is called so.
_NAMES = frozenset({int, float, bool, str, tuple})
# What stands for a name in a dask Task.
_MARKS = frozenset({TaskRef, Alias})

Place = int | str
# Of a million calls most have none of these. Nobody changes them.
_NO_KWARGS: dict[str, Any] = {}
_NO_REFS: dict[Any, Ref] = {}


class PlainCall:
    """It needs the nodes of these `names`. They stand in its arguments in place of data: as an argument
    itself (those in the places `ones`), or as the items of one that is a list (`lists`). Where there is
    something else beside them (`mixed`) one of the `refs` stands for each, the same for all its uses there.
    """

    __slots__ = ("args", "func", "kwargs", "lists", "mixed", "names", "ones", "refs")

    def __init__(
        self,
        func: Callable[..., Any],
        args: list[Any],
        kwargs: dict[str, Any],
        names: tuple[Any, ...] = (),
        ones: Sequence[Place] = (),
        lists: Sequence[Place] = (),
        mixed: Sequence[Place] = (),
        refs: dict[Any, Ref] = _NO_REFS,
    ) -> None:
        self.func = func
        self.args = args
        self.kwargs = kwargs
        self.names = names
        self.ones = ones
        self.lists = lists
        self.mixed = mixed
        self.refs = refs

    def pack(self, wires: Mapping[Any, str]) -> bytes:
        """The arguments as by `pack_call`, with these keys in place of names. To be called once: they are
        changed in place."""
        args, kwargs = self.args, self.kwargs
        if not self.names:
            return pack_plain(args, kwargs)
        for place in self.ones:
            group: Any = kwargs if type(place) is str else args
            group[place] = wires[group[place]]
        for place in self.lists:
            group = kwargs if type(place) is str else args
            group[place] = [wires[name] for name in group[place]]
        for name, ref in self.refs.items():
            ref.wire = wires[name]
        return pack_plain(args, kwargs, self.ones, self.lists, self.mixed)


class _NotPlain(Exception):
    pass


def plain_call(value: Any, names: set[Any]) -> PlainCall | None:
    """The call that stands for a node of a graph whose nodes have these names; None if it is not plain.

    >>> plain_call((pow, "x", 2), {"x"}).names
    ('x',)
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


def _written_call(value: tuple[Any, ...], names: set[Any]) -> PlainCall:
    func, *args = value
    if binds_futures(func):
        raise _NotPlain
    found: list[Any] = []
    ones: list[Place] = []
    lists: list[Place] = []
    mixed: list[Place] = []
    refs: dict[Any, Ref] = {}
    for place, arg in enumerate(args):
        kind = type(arg)
        if kind in _NAMES and arg in names:
            ones.append(place)
            found.append(arg)
        elif kind in PLAIN:
            continue
        elif kind is list and _are_names(arg, names):
            lists.append(place)
            found += arg
        else:
            args[place] = _written(arg, names, refs)
            if args[place] is not arg:
                mixed.append(place)
    if not (found or refs):
        return PlainCall(func, args, _NO_KWARGS)
    return PlainCall(func, args, _NO_KWARGS, _each_once(found, refs), ones, lists, mixed, refs)


def _each_once(found: list[Any], refs: Mapping[Any, Ref]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys([*found, *refs]))


def _are_names(items: list[Any], names: set[Any]) -> bool:
    """Whether they are nothing but names, and there are some."""
    if not items or not _NAMES.issuperset(map(type, items)):
        return False
    try:
        return names.issuperset(items)
    except TypeError:
        return False  # as above


def _written(value: Any, names: set[Any], refs: dict[Any, Ref]) -> Any:
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


def _made_call(task: Task) -> PlainCall:
    if binds_futures(task.func):
        raise _NotPlain
    args, kwargs = list(task.args), dict(task.kwargs)
    found: list[Any] = []
    ones: list[Place] = []
    lists: list[Place] = []
    mixed: list[Place] = []
    refs: dict[Any, Ref] = {}
    for group, items in ((args, enumerate(task.args)), (kwargs, task.kwargs.items())):
        for place, arg in items:
            kind = type(arg)
            if kind in PLAIN:
                continue
            if kind in _MARKS:
                group[place] = _marked(arg)
                found.append(group[place])
                ones.append(place)
            elif kind is List and arg.args and _MARKS.issuperset(map(type, arg.args)):
                group[place] = list(map(_marked, arg.args))
                found += group[place]
                lists.append(place)
            else:
                group[place] = _made(arg, refs)
                if holds_handles(group[place]):
                    mixed.append(place)
    return PlainCall(task.func, args, kwargs, _each_once(found, refs), ones, lists, mixed, refs)


def _marked(value: Any) -> Any:
    return value.key if type(value) is TaskRef else value.target


def _made(value: Any, refs: dict[Any, Ref]) -> Any:
    """An argument of a dask Task. Only what is marked is a name."""
    kind = type(value)
    if kind in PLAIN:
        return value
    if kind in _MARKS:
        name = _marked(value)
        return refs.get(name) or _refer(name, refs)
    if kind is List:
        return [_made(item, refs) for item in value.args]
    if (kind is list or kind is tuple) and PLAIN.issuperset(map(type, value)):
        return value
    raise _NotPlain


def _refer(name: Any, refs: dict[Any, Ref]) -> Ref:
    ref = refs[name] = Ref("")
    return ref
