"""Dask's collections and expressions to graphs: what `Executor.get`, `compute` and `persist` submit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from dask import config
from dask._expr import Expr, FinalizeCompute, HLGExpr, _HLGExprSequence
from dask.base import collections_to_expr, unpack_collections
from dask.core import flatten
from dask.delayed import Delayed, delayed
from dask.delayed import optimize as optimize_delayed
from dask.highlevelgraph import HighLevelGraph, Layer, MaterializedLayer

from distributed.futures import Future

Annotations = dict[str, dict[Any, Any]]  # name -> key -> value


class Plan(NamedTuple):
    """A graph with what was said about it: annotations, and the futures that were in it before dask's
    optimizations put their names in their place."""

    graph: dict[Any, Any]
    annotations: Annotations
    futures: dict[Any, Future]  # by their keys


def plan(dsk: Any) -> Plan:
    """What a graph of any kind comes down to: a dict, a HighLevelGraph, an expression, or a collection.

    Raises TypeError for anything else.
    """
    found = Plan({}, {}, {})
    _add(found, dsk)
    return found


def _add(found: Plan, dsk: Any) -> None:
    if isinstance(dsk, _HLGExprSequence):
        for part in dsk.operands:
            _add(found, part)
    elif isinstance(dsk, HLGExpr):
        _note_futures(found, dsk.hlg.layers.values())
        _add_layers(found, _optimized(dsk).layers.values())
    elif isinstance(dsk, Expr):
        _merge(found.annotations, dsk.__dask_annotations__())
        found.graph.update(dsk.__dask_graph__())
    elif isinstance(dsk, HighLevelGraph):
        _add_layers(found, dsk.layers.values())
    elif isinstance(dsk, Mapping):
        found.graph.update(dsk)
    elif hasattr(dsk, "__dask_graph__"):
        _add(found, dsk.__dask_graph__())
    else:
        raise TypeError(f"a graph is a dict or comes from dask, not {type(dsk).__name__}")


def _optimized(expr: HLGExpr) -> HighLevelGraph:
    return expr.hlg if _is_simple(expr.low_level_optimizer) else expr._optimized_dsk


def _is_simple(optimizer: Any) -> bool:
    """Whether it only leaves out what is not asked for, which `graphs.py` does. For many Delayeds dask's
    own way takes time that grows with the square of their number."""
    return optimizer is optimize_delayed and not config.get("optimization.fuse.delayed")


def _add_layers(found: Plan, layers: Iterable[Layer]) -> None:
    for layer in layers:
        found.graph.update(layer)
        if layer.annotations:
            _merge(found.annotations, _by_key(layer, layer.annotations))


def _by_key(keys: Iterable[Any], annotations: Mapping[str, Any]) -> Annotations:
    return {
        name: {key: value(key) if callable(value) else value for key in keys}
        for name, value in annotations.items()
    }


def _merge(annotations: Annotations, more: Annotations) -> None:
    for name, values in more.items():
        annotations.setdefault(name, {}).update(values)


# Futures ---------------------------------------------------------------------------------------


def _note_futures(found: Plan, layers: Iterable[Layer]) -> None:
    for future in _futures_of_layers(layers):
        known = found.futures.setdefault(future.key, future)
        if known.wire != future.wire:
            raise ValueError(
                f"there are two different futures of the key {future.key!r} in the graph"
            )


def _futures_of_layers(layers: Iterable[Layer]) -> Iterator[Future]:
    """Only graphs that were written out have futures in them; others are made of functions."""
    for layer in layers:
        if isinstance(layer, MaterializedLayer):
            yield from (value for value in layer.mapping.values() if isinstance(value, Future))


# Collections -----------------------------------------------------------------------------------


def wrap_nested(value: Any) -> Any:
    """A list, tuple, set or dict with collections in it as one collection; other values as they are."""
    if type(value) in (list, tuple, set, dict) and unpack_collections(value)[0]:
        return delayed(value)
    return value


def plan_compute(collections: list[Any], optimize_graph: bool) -> tuple[Plan, list[Any]]:
    """The work for the values of the collections, and the key of each value."""
    found = Plan({}, {}, {})
    keys: list[Any] = [None] * len(collections)
    for places in _buckets(collections):
        bucket = [collections[place] for place in places]
        if _is_simple(_kind(bucket[0])):
            _add_delayeds(found, bucket)
            for place in places:
                (keys[place],) = collections[place].__dask_keys__()
            continue
        expr = FinalizeCompute(collections_to_expr(bucket, optimize_graph)).optimize()
        _add(found, expr)
        for place, key in zip(places, flatten(expr.__dask_keys__()), strict=True):
            keys[place] = key
    return found, keys


def _add_delayeds(found: Plan, delayeds: list[Delayed]) -> None:
    """Without making an expression of each, which takes ten times as long."""
    layers: dict[str, Layer] = {}
    for value in delayeds:
        graph = value.__dask_graph__()
        if isinstance(graph, HighLevelGraph):
            layers.update(graph.layers)
        else:
            _add(found, graph)
    _note_futures(found, layers.values())
    _add_layers(found, layers.values())


class Persisted(NamedTuple):
    """One collection: the keys of its parts, and how to make it anew from their futures."""

    keys: list[Any]
    rebuild: Callable[[dict[Any, Future]], Any]


def plan_persist(collections: list[Any], optimize_graph: bool) -> tuple[Plan, list[Persisted]]:
    """The work for all parts of the collections, and what becomes of each."""
    found = Plan({}, {}, {})
    persisted: dict[int, Persisted] = {}
    for places in _buckets(collections):
        bucket = [collections[place] for place in places]
        if _is_simple(_kind(bucket[0])):
            _add_delayeds(found, bucket)
            keys_of_all = [collection.__dask_keys__() for collection in bucket]
        else:
            expr = collections_to_expr(bucket, optimize_graph).optimize()
            _add(found, expr)
            keys_of_all = expr.__dask_keys__()
        for place, keys in zip(places, keys_of_all, strict=True):
            persisted[place] = Persisted(list(flatten(keys)), _rebuilder(collections[place]))
    return found, [persisted[place] for place in range(len(collections))]


def _rebuilder(collection: Any) -> Callable[[dict[Any, Future]], Any]:
    rebuild, state = collection.__dask_postpersist__()
    return lambda futures: rebuild(futures, *state)


def _buckets(collections: list[Any]) -> list[list[int]]:
    """The places of those that dask can optimize together.

    All in one go would be simpler, but then dask sorts them by kind and forgets the order in which
    they came.
    """
    buckets: dict[Any, list[int]] = {}
    for place, collection in enumerate(collections):
        buckets.setdefault(_kind(collection), []).append(place)
    return list(buckets.values())


def is_mixed(collections: Iterable[Any]) -> bool:
    """Whether some of them cannot be optimized together with others."""
    return len(set(map(_kind, collections))) > 1


def _kind(collection: Any) -> Any:
    if isinstance(getattr(collection, "expr", None), Expr) and not isinstance(collection, Delayed):
        return Expr
    return getattr(collection, "__dask_optimize__", None)
