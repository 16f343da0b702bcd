"""Dask's collections to graphs."""

from __future__ import annotations

import time
from operator import add
from typing import Any

import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from dask import delayed
from dask.delayed import Delayed

from distributed.core.entries import Entry
from distributed.expressions import is_mixed, plan, plan_compute, plan_persist, wrap_nested
from distributed.futures import Future
from tests.test_graphs import graph_calls, inc, values_of


def future(key: str, wire: str = "") -> Future:
    made = Future(Entry(wire or key), None)  # type: ignore[arg-type]
    assert made.key == key
    return made


def computed(*collections: Any, optimize_graph: bool = True, **data: Any) -> list[Any]:
    found, keys = plan_compute(list(collections), optimize_graph)
    calls = graph_calls(found.graph, keys, find=found.futures.get)
    return values_of(calls, keys, **data)


def array() -> Any:
    return da.arange(60, chunks=7).reshape(6, 10)


def frame() -> Any:
    data = pd.DataFrame({"a": np.arange(40) % 7, "b": np.arange(40.0), "c": list("abcd") * 10})
    return dd.from_pandas(data, npartitions=5)


def bag() -> Any:
    return db.from_sequence(range(50), npartitions=6)


def pairs(items: Any) -> Any:
    return ((item, item * 2) for item in items)


COLLECTIONS: dict[str, Any] = {
    "array": array,
    "array, sum": lambda: array().sum(),
    "array, blockwise": lambda: (array() + 1) * 2 - array().mean(axis=0),
    "array, slices": lambda: array()[1:4, ::2] @ array().T[::2],
    "array, from numpy": lambda: da.from_array(np.arange(30), chunks=4).std(),
    "array, other chunks": lambda: array().rechunk((2, 3)).cumsum(axis=1),
    "array, neighbours": lambda: array().map_overlap(lambda x: x * 2, depth=1, boundary="reflect"),
    "array, map_blocks": lambda: array().map_blocks(lambda x, block_info=None: x + 1),
    "array, stacked": lambda: da.stack([array(), array() + 1]).max(axis=0),
    "array, delayed": lambda: da.from_delayed(delayed(np.arange)(5), (5,), dtype=int) + 1,
    "bag": lambda: bag().map(inc).filter(lambda x: x % 2),
    "bag, sum": lambda: bag().map(inc).sum(),
    "bag, generators": lambda: bag().map_partitions(pairs).map_partitions(list),
    "bag, generators used twice": lambda: bag().map_partitions(iter).map(inc).mean(),
    "bag, fold": lambda: bag().fold(add),
    "bag, frequencies": lambda: bag().map(lambda x: x % 3).frequencies(sort=True),
    "bag, keyword": lambda: bag().map(lambda x, y: x + y, y=bag().max()),
    "bag, product": lambda: bag().product(bag()).count(),
    "dataframe": frame,
    "dataframe, groupby": lambda: frame().groupby("a").b.agg(["sum", "mean"]),
    "dataframe, rolling": lambda: frame().b.rolling(3).mean(),
    "dataframe, apply": lambda: frame().map_partitions(lambda d: d.assign(e=d.a + d.b)),
    "dataframe, shuffle": lambda: frame().shuffle("a").b.sum(),
    "dataframe, merge": lambda: (
        frame().merge(frame().groupby("a").b.sum().reset_index(), on="a").a.sum()
    ),
    "dataframe, strings": lambda: frame().c.str.upper().value_counts().nlargest(2),
    "delayed": lambda: delayed(sum)([delayed(inc)(n) for n in range(5)]),
    "delayed, dict": lambda: delayed(dict)({"a": delayed(inc)(1), "b": [delayed(inc)(2)]}),
    "delayed, keyword": lambda: delayed(dict)(a=delayed(inc)(1), b=3),
    "delayed, attribute": lambda: delayed(complex)(1, 2).imag + 1,
    "delayed, method": lambda: delayed("a,b").split(","),
    "delayed, several": lambda: list(delayed(divmod, nout=2)(7, 3))[1],
    "delayed, value": lambda: delayed([1, 2]),
    "delayed, array": lambda: delayed(np.sum)(array()),
}


def assert_same(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(one, (pd.DataFrame, pd.Series)):
        one, other = one.sort_index(), other.sort_index()
        assert one.equals(other)
    else:
        np.testing.assert_equal(one, other)


@pytest.fixture(autouse=True)
def tasks() -> Any:
    """As `distributed` sets it for every user."""
    with dask.config.set({"dataframe.shuffle.method": "tasks", "array.rechunk.method": "tasks"}):
        yield


@pytest.mark.parametrize("optimize_graph", [True, False])
@pytest.mark.parametrize("make", COLLECTIONS.values(), ids=COLLECTIONS)
def test_collections_have_the_values_that_they_have_in_dask(
    make: Any, optimize_graph: bool
) -> None:
    collection = make()
    (value,) = computed(collection, optimize_graph=optimize_graph)
    assert_same(value, collection.compute(scheduler="sync"))


@pytest.mark.parametrize("make", COLLECTIONS.values(), ids=COLLECTIONS)
def test_parts_of_collections_are_what_they_are_in_dask(make: Any) -> None:
    collection = make()
    found, (persisted,) = plan_persist([collection], True)
    calls = graph_calls(found.graph, persisted.keys)
    values = dict(zip(persisted.keys, values_of(calls, persisted.keys), strict=True))
    again = persisted.rebuild({key: future(f"f{n}") for n, key in enumerate(persisted.keys)})
    data = {f"f{n}": values[key] for n, key in enumerate(persisted.keys)}
    (value,) = computed(again, **data)
    assert_same(value, collection.compute(scheduler="sync"))


def test_values_come_in_the_order_of_their_collections() -> None:
    x, y, z, b, d = array(), delayed(inc)(1), array() + 1, bag().sum(), frame().b.sum()
    found = computed(x, y, z, b, d, x.sum(), y)
    for one, other in zip(found, (x, y, z, b, d, x.sum(), y), strict=True):
        assert_same(one, other.compute(scheduler="sync"))


def test_what_collections_share_is_computed_once() -> None:
    calls: list[int] = []
    x = delayed(calls.append)(1)
    found, keys = plan_compute([delayed(str)(x), delayed(repr)(x)], True)
    (part,) = graph_calls(found.graph, keys).calls
    assert sum(len(group[3]) for group in part.groups) == 3


def test_graphs_of_all_kinds() -> None:
    for dsk in (
        {"x": (inc, 1)},
        delayed(inc)(1, dask_key_name="x"),
        delayed(inc)(1, dask_key_name="x").__dask_graph__(),
    ):
        assert values_of(graph_calls(plan(dsk).graph, "x"), ["x"]) == [2]
    with pytest.raises(TypeError, match="a graph is a dict or comes from dask, not int"):
        plan(5)


def test_annotations_are_kept_by_key() -> None:
    with dask.annotate(priority=3):
        x = delayed(inc)(1, dask_key_name="x")
    with dask.annotate(retries=lambda key: len(key)):
        y = delayed(inc)(x, dask_key_name="yy")
    found, _ = plan_compute([y], True)
    assert found.annotations == {"priority": {"x": 3}, "retries": {"yy": 2}}


def test_delayeds_of_plain_graphs() -> None:
    x = Delayed("x", {"x": (inc, 1)})
    assert computed(x, delayed(inc)(x)) == [2, 3]


def test_optimizations_of_delayeds_that_the_user_asked_for_are_done() -> None:
    value = delayed(inc)(delayed(inc)(delayed(inc)(1)))
    with dask.config.set({"optimization.fuse.delayed": True}):
        assert computed(value) == [4]

    def optimize(dsk: Any, keys: Any, **kwargs: Any) -> Any:
        asked.append(list(keys))
        return dsk

    asked: list[Any] = []
    with dask.config.set(delayed_optimize=optimize):
        assert computed(value) == [4]
    assert asked == [[value.key]]


def test_annotations_of_delayeds_are_those_of_their_own_layers() -> None:
    with dask.annotate(retries=2):
        values = [delayed(inc)(n, dask_key_name=f"x{n}") for n in range(3)]
    found, persisted = plan_persist([*values, delayed(inc)(1, dask_key_name="y")], True)
    assert found.annotations == {"retries": {"x0": 2, "x1": 2, "x2": 2}}
    assert [each.keys for each in persisted] == [["x0"], ["x1"], ["x2"], ["y"]]


def test_futures_in_delayeds() -> None:
    f, g = future("f"), future("g")
    value = delayed(list)([delayed(add)(f, g), [f], delayed(dict)(a=g)])
    assert computed(value, f=1, g=2) == [[3, [1], {"a": 2}]]
    assert computed(delayed(f), f=1) == [1]


def test_two_futures_of_one_key_are_not_mixed_up() -> None:
    mark = "\x1f" + "0" * 32
    f, g = future("f", "f" + mark), future("f", "f" + mark[:-1] + "1")
    value = delayed(add)(f, g)
    assert computed(value, **{f.wire: 1, g.wire: 2}) == [3]


def test_a_key_may_be_used_again_for_what_is_made_of_its_future() -> None:
    """As in a loop that makes x of x."""
    x = future("x")
    y = delayed(inc)(x, dask_key_name="y")
    assert computed(delayed(inc)(y, dask_key_name="x"), x=5) == [7]


def test_nested_collections() -> None:
    assert isinstance(wrap_nested([delayed(inc)(1)]), Delayed)
    assert computed(wrap_nested({"a": delayed(inc)(1)})) == [{"a": 2}]
    assert wrap_nested([1, 2]) == [1, 2]
    assert is_mixed([array(), bag()])
    assert not is_mixed([array(), array()])


@pytest.mark.parametrize("shared", [False, True])
def test_time_for_delayeds_is_proportional_to_their_number(shared: bool) -> None:
    def seconds(n: int) -> float:
        first = [delayed(inc)(i) for i in range(10)]
        values = [delayed(add)(first[i % 10], i) if shared else delayed(inc)(i) for i in range(n)]
        start = time.process_time()
        plan_compute(values, True)
        return time.process_time() - start

    assert seconds(4000) < 30 * min(seconds(400) for _ in range(3))
