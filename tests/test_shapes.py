"""Containers of futures: what is found in them, and what they become."""

from __future__ import annotations

import types
from collections import Counter, OrderedDict, UserDict, UserList, defaultdict, deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
import pandas as pd
import pytest

from distributed.core.entries import Entry
from distributed.futures import Future, flat_futures
from distributed.shapes import check_gathered, find_futures, rebuild


class Point(NamedTuple):
    x: Any
    y: Any


class Items(list[Any]):
    note = "none"


class Named(dict[Any, Any]):
    note = "none"


class Pair(tuple[Any, ...]):
    def __new__(cls, first: Any, second: Any) -> Pair:
        return super().__new__(cls, (first, second))


class Batch:
    """Can be iterated, and is no container that anybody has heard of."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)


def future(key: str) -> Future:
    return Future(Entry(key), None)


ONE, TWO = future("one"), future("two")
VALUES: dict[Entry, Any] = {ONE._entry: 1, TWO._entry: [2, 2]}
D = {"a": ONE, "b": TWO}

# What a container becomes if nothing is left out, and if there is no value for TWO.
CASES: list[tuple[Callable[[], Any], Any, Any]] = [
    (lambda: [ONE, 5, TWO], [1, 5, [2, 2]], [1, 5]),
    (lambda: (ONE, TWO), (1, [2, 2]), (1,)),
    (lambda: {"a": [ONE, (TWO,)]}, {"a": [1, ([2, 2],)]}, {"a": [1, ()]}),
    (lambda: D.values(), [1, [2, 2]], [1]),
    (lambda: D.items(), [("a", 1), ("b", [2, 2])], [("a", 1)]),
    (lambda: dict.fromkeys([ONE, TWO]).keys(), [1, [2, 2]], [1]),
    (lambda: deque([ONE, TWO], maxlen=7), deque([1, [2, 2]], maxlen=7), deque([1], maxlen=7)),
    (lambda: OrderedDict(D), OrderedDict(a=1, b=[2, 2]), OrderedDict(a=1)),
    (lambda: defaultdict(list, D), defaultdict(list, a=1, b=[2, 2]), defaultdict(list, a=1)),
    (lambda: Counter(D), Counter({"a": 1, "b": [2, 2]}), Counter(a=1)),
    (lambda: UserDict(D), UserDict(a=1, b=[2, 2]), UserDict(a=1)),
    (lambda: UserList([ONE, TWO]), UserList([1, [2, 2]]), UserList([1])),
    (lambda: types.MappingProxyType(D), {"a": 1, "b": [2, 2]}, {"a": 1}),
    (lambda: Items([ONE, TWO]), Items([1, [2, 2]]), Items([1])),
    (lambda: Named(D), Named(a=1, b=[2, 2]), Named(a=1)),
]


@pytest.mark.parametrize(("make", "full", "rest"), CASES)
def test_futures_in_it_become_values(make: Callable[[], Any], full: Any, rest: Any) -> None:
    found: dict[Future, None] = {}
    find_futures(make(), found)
    assert list(found) == [ONE, TWO]
    for values, expected in ((VALUES, full), ({ONE._entry: 1}, rest)):
        remade = rebuild(make(), values)
        assert type(remade) is type(expected)
        assert remade == expected
    assert D == {"a": ONE, "b": TWO}
    check_gathered(make())


def test_what_else_an_object_has_stays_with_it() -> None:
    items, named = Items([ONE]), Named(a=ONE)
    items.note = named.note = "mine"
    assert rebuild(items, VALUES).note == rebuild(named, VALUES).note == "mine"
    assert rebuild(defaultdict(list, D), VALUES).default_factory is list
    assert rebuild(deque([ONE], maxlen=7), VALUES).maxlen == 7
    assert rebuild(Point(ONE, 3), VALUES) == Point(1, 3)
    assert rebuild(Pair(ONE, 3), VALUES) == Pair(1, 3)
    assert type(rebuild(Pair(ONE, 3), VALUES)) is Pair


def test_arrays_and_series_of_futures() -> None:
    array = np.array([ONE, TWO], dtype=object)
    assert rebuild(array, VALUES).tolist() == [1, [2, 2]]
    assert rebuild(array, {ONE._entry: 1}).tolist() == [1]
    square = np.array([ONE, TWO, TWO, ONE], dtype=object).reshape(2, 2)
    assert rebuild(square, VALUES).tolist() == [[1, [2, 2]], [[2, 2], 1]]
    with pytest.raises(ValueError, match="left out of an array of 2 dimensions"):
        rebuild(square, {ONE._entry: 1})
    series = pd.Series([ONE, ONE], index=["p", "q"], name="s")
    pd.testing.assert_series_equal(
        rebuild(series, VALUES), pd.Series([1, 1], index=["p", "q"], name="s")
    )
    assert rebuild(pd.Series([ONE, TWO]), {ONE._entry: 1}).to_dict() == {0: 1}
    assert rebuild(pd.Index([ONE, TWO]), VALUES) == [1, [2, 2]]
    frame = pd.DataFrame({"n": [7, 8], "f": [ONE, ONE]})
    pd.testing.assert_frame_equal(rebuild(frame, VALUES), pd.DataFrame({"n": [7, 8], "f": [1, 1]}))
    assert frame.f.tolist() == [ONE, ONE]


@pytest.mark.parametrize(
    "value",
    [
        5,
        None,
        "text",
        b"bytes",
        range(3),
        Counter("aab"),
        UserDict(a=1),
        np.arange(3),
        np.array(["a", None], dtype=object),
        np.array(None, dtype=object),
        pd.Series([1.5]),
        pd.DataFrame({"a": ["x", "y"], "b": [1, 2]}),
        Point(1, 2),
        object(),
    ],
)
def test_what_has_no_futures_is_returned_as_it_is(value: Any) -> None:
    found: dict[Future, None] = {}
    check_gathered(value)
    find_futures(value, found)
    assert not found
    assert rebuild(value, {}) is value
    assert rebuild([value], {})[0] is value


def test_what_cannot_be_looked_into_is_refused() -> None:
    with pytest.raises(
        TypeError, match=r"gather\(\) takes a future, or .*cannot look into a Batch"
    ):
        check_gathered(Batch([ONE]))
    with pytest.raises(TypeError, match=r"a collection of dask, a Array: its compute\(\)"):
        check_gathered(da.ones(3))
    with pytest.raises(TypeError, match="an iterator can be read only once"):
        find_futures([iter([ONE])], {})


@pytest.mark.parametrize("make", [case[0] for case in CASES[1:]])
def test_wait_and_its_siblings_find_them_in_the_same_containers(make: Callable[[], Any]) -> None:
    assert flat_futures(make(), "wait") == [ONE, TWO]


def test_wait_and_its_siblings_take_iterables_of_all_kinds() -> None:
    square = np.array([ONE, TWO], dtype=object).reshape(1, 2)
    frame = pd.DataFrame({"a": [ONE], "b": [TWO]})
    generator = (future for future in (ONE, TWO))
    for given in (Batch([ONE, TWO]), square, frame, generator, pd.Series([ONE, TWO])):
        assert flat_futures(given, "wait") == [ONE, TWO]


@pytest.mark.parametrize("value", [5, None, "key", b"key", object(), [ONE, 5], {"a": None}])
def test_wait_and_its_siblings_refuse_what_is_no_future(value: Any) -> None:
    with pytest.raises(TypeError, match=r"wait\(\) takes futures, not "):
        flat_futures(value, "wait")
