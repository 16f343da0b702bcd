"""Dask graphs to tasks: which work a graph asks for, under which keys, in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from graphlib import TopologicalSorter
from hashlib import blake2b
from typing import Any

from dask._task_spec import Alias, GraphNode, convert_legacy_graph
from dask.order import order
from dask.utils import key_split

from distributed.core.client import Calls, Item
from distributed.recipes import Function, Handle, Ref, function_of, pack_call, wire_key

Group = tuple[str, "dict[str, Any] | None", bool, list[Item]]

# Stands before the wire key of a future inside a graph. No key that a user writes begins like this.
_FUTURE = "\x1ffuture "


def graph_calls(dsk: Mapping[Any, Any], keys: Any) -> tuple[Calls, dict[Any, str]]:
    """The tasks that compute `keys`, nested lists of keys of the graph, and the wire key of each.

    Raises KeyError for a key that the graph does not have, RuntimeError for a graph that is cyclic.
    """
    futures: dict[str, str] = {}
    legacy = {key: _replace_futures(value, futures) for key, value in dsk.items()}
    graph = convert_legacy_graph(legacy, set(legacy) | set(futures))
    wanted = list(dict.fromkeys(_flatten(keys)))
    for key in wanted:
        if key not in graph:
            raise KeyError(f"{key!r} is not in the graph")
    needed = _reachable(graph, wanted)
    priorities = order(needed)
    wires: dict[Any, str] = dict(futures)
    functions: dict[str, bytes] = {}
    groups: list[Group] = []
    # By dependencies, not by priority: dask's order places values where it likes.
    inputs = {key: [k for k in node.dependencies if k in needed] for key, node in needed.items()}
    for key in TopologicalSorter(inputs).static_order():
        node = needed[key]
        if isinstance(node, Alias):
            wires[key] = wires[node.target]
            continue
        function = _kind(key)
        functions[function.id] = function.blob
        item = _task(key, node, wires, priorities[key])
        wires[key] = item[0]
        _append(groups, function.id, key in wanted, item)
    return Calls(functions, groups), wires


def run_node(node: Callable[[Mapping[Any, Any]], Any], data: Mapping[Any, Any]) -> Any:
    """What a worker does for each task of a graph: `data` has the value of each dependency."""
    return node(data)


def _replace_futures(value: Any, found: dict[str, str]) -> Any:
    """The same with keys in place of futures; `found` has the wire key of each of those."""
    if isinstance(value, Handle):
        key = _FUTURE + value.wire
        found[key] = value.wire
        return key
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(_replace_futures(item, found) for item in value)
    if type(value) is dict:
        return {key: _replace_futures(item, found) for key, item in value.items()}
    return value


def _flatten(keys: Any) -> Iterator[Any]:
    stack = [keys]
    while stack:
        found = stack.pop()
        if isinstance(found, list):
            stack.extend(reversed(found))
        else:
            yield found


def _reachable(graph: Mapping[Any, GraphNode], keys: Iterable[Any]) -> dict[Any, GraphNode]:
    needed: dict[Any, GraphNode] = {}
    stack = list(keys)
    while stack:
        key = stack.pop()
        if key not in needed and key in graph:
            needed[key] = graph[key]
            stack.extend(graph[key].dependencies)
    return needed


def _kind(key: Any) -> Function:
    """All nodes are run by one function; but the scheduler learns how long each kind takes, so each has
    an id of its own."""
    function = function_of(run_node)
    name = key_split(key)
    digest = blake2b(f"{function.id} {name}".encode(), digest_size=16)
    return Function(digest.hexdigest(), name, function.blob)


def _task(key: Any, node: GraphNode, wires: Mapping[Any, str], priority: int) -> Item:
    for name in node.dependencies:
        if name not in wires:
            raise KeyError(f"{key!r} needs {name!r}, which is not in the graph")
    data = {name: Ref(wires[name]) for name in node.dependencies}
    arguments, inputs = pack_call((node, data), {})
    # The same key with other work is other work: the digest of the recipe belongs to the name.
    digest = blake2b(arguments, digest_size=16).hexdigest()
    return wire_key(key, digest), arguments, inputs, priority


def _append(groups: list[Group], function: str, wanted: bool, item: Item) -> None:
    """Dependencies come before dependents, so only neighbours can share a group."""
    if not groups or groups[-1][0] != function or groups[-1][2] is not wanted:
        groups.append((function, None, wanted, []))
    groups[-1][3].append(item)
