"""Arguments to bytes, and back with data."""

from __future__ import annotations

import pickle
import threading
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distributed.errors import SerializationError
from distributed.iterators import repeatable
from distributed.packing import (
    MIN_SHIPPED_BYTES,
    Handle,
    Ref,
    handles_in,
    note_hidden_handle,
    pack_call,
    pack_plain,
    unpack_call,
)

Point = namedtuple("Point", "x y")


class Promise(Handle):
    """A future as far as this module is concerned."""

    __slots__ = ("wire",)

    def __init__(self, wire: str) -> None:
        self.wire = wire

    def __reduce__(self) -> Any:
        note_hidden_handle(self.wire)
        return Promise, (self.wire,)


class Box:
    def __init__(self, content: Any) -> None:
        self.content = content

    def read(self) -> Any:
        return self.content


def tangle(depth: int) -> list[Any]:
    """A list that is small, and would be huge without shared parts."""
    found: list[Any] = []
    for _ in range(depth):
        found = [found, found]
    return found


LEAVES = st.none() | st.booleans() | st.integers() | st.text() | st.binary()
FUTURES = st.sampled_from("abc").map(Promise)
NESTED = st.recursive(
    LEAVES | FUTURES,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text(), inner)
        | st.builds(Point, inner, inner)
    ),
    max_leaves=20,
)


def filled(value: Any) -> Any:
    """What a worker should see."""
    if isinstance(value, Promise):
        return f"data of {value.wire}"
    if isinstance(value, Point):
        return Point(filled(value.x), filled(value.y))
    if isinstance(value, dict):
        return {key: filled(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(filled, value))
    return value


def wires(value: Any) -> set[str]:
    if isinstance(value, Promise):
        return {value.wire}
    items = value.values() if isinstance(value, dict) else value
    if isinstance(value, (list, tuple, dict)):
        return set().union(*map(wires, items))
    return set()


@given(st.lists(NESTED), st.dictionaries(st.text(min_size=1), NESTED))
def test_workers_see_data_where_futures_were(args: list[Any], kwargs: dict[str, Any]) -> None:
    blob, dependencies = pack_call(tuple(args), kwargs)
    assert set(dependencies or ()) == wires(args) | wires(kwargs)
    data = {wire: f"data of {wire}" for wire in "abc"}
    assert unpack_call(blob, data) == (filled(tuple(args)), filled(kwargs))


def test_futures_in_sets_are_replaced() -> None:
    blob, dependencies = pack_call(({Promise("a"), 1}, frozenset([Promise("b")])), {})
    assert set(dependencies or ()) == {"a", "b"}
    assert unpack_call(blob, {"a": 7, "b": 8}) == (({7, 1}, frozenset([8])), {})


def test_futures_as_arguments_and_in_one_list_travel_as_their_keys() -> None:
    futures = [Promise("a"), Promise("b")]
    data = {wire: f"data of {wire}" for wire in "ab"}
    for args, kwargs in (((futures, 1), {"x": futures[0]}), ((futures[0],), {"x": futures})):
        blob, _ = pack_call(args, kwargs)
        assert b"Ref" not in blob
        assert unpack_call(blob, data) == (filled(args), filled(kwargs))


def test_what_two_arguments_share_they_share_on_the_worker() -> None:
    futures = [Promise("a"), Promise("b")]
    blob, _ = pack_call((futures, futures), {"x": {"y": futures}})
    ((one, other), kwargs) = unpack_call(blob, {"a": 7, "b": 8})
    assert one == [7, 8]
    assert one is other is kwargs["x"]["y"]


def test_a_future_hidden_in_an_object_is_a_dependency() -> None:
    blob, dependencies = pack_call((Box(Promise("a")),), {})
    assert dependencies == ("a",)
    ((box,), _) = unpack_call(blob, {})
    assert isinstance(box.content, Promise)


def test_the_data_of_futures_is_not_searched() -> None:
    blob, _ = pack_call((Promise("a"),), {})
    data = {"a": [Promise("b")]}
    assert unpack_call(blob, data)[0][0] is data["a"]


def test_each_place_gets_its_own_of_what_can_be_read_only_once() -> None:
    ref = Ref("a")
    blob = pack_plain(["a", [ref], 3], {"x": (ref,)}, [0], (), [1, "x"])
    data = {"a": repeatable(iter([1, 2]))}
    (one, (two,), three), kwargs = unpack_call(blob, data)
    assert list(one) == list(two) == list(kwargs["x"][0]) == [1, 2]
    assert three == 3


def test_an_argument_that_cannot_be_pickled_is_named() -> None:
    with pytest.raises(SerializationError, match="argument 2 cannot be sent"):
        pack_call((1, threading.Lock()), {})
    with pytest.raises(SerializationError, match="argument 'lock' cannot be sent"):
        pack_call((Promise("a"),), {"lock": threading.Lock()})
    assert pack_call((1,), {})[1] is None


def test_containers_that_hold_themselves_travel_or_are_refused() -> None:
    loop: list[Any] = [1]
    loop.append(loop)
    ((restored,), _) = unpack_call(pack_call((loop,), {})[0], {})
    assert restored[1] is restored
    loop.append(Promise("a"))
    with pytest.raises(SerializationError, match="deep"):
        pack_call((loop,), {})


def test_an_argument_that_holds_itself_may_stand_beside_a_future() -> None:
    loop: list[Any] = []
    loop.append(loop)
    blob, dependencies = pack_call((loop, Promise("a")), {})
    assert dependencies == ("a",)
    restored, value = unpack_call(blob, {"a": 1})[0]
    assert restored[0] is restored
    assert value == 1


def test_what_arguments_share_they_share_on_the_worker() -> None:
    shared = [Promise("a")]
    blob, _ = pack_call((shared, {"x": shared}), {"y": shared})
    (one, two), kwargs = unpack_call(blob, {"a": 1})
    assert one is two["x"] is kwargs["y"]
    assert one == [1]
    assert isinstance(shared[0], Promise)
    many = tangle(60)
    many.append(Promise("a"))
    assert unpack_call(pack_call((many,), {})[0], {"a": 1})[0][0][2] == 1


def test_futures_are_found_at_any_depth() -> None:
    nested: Any = Promise("a")
    for _ in range(150):
        nested = [nested]
    ((found,), _) = unpack_call(pack_call((nested,), {})[0], {"a": 7})
    for _ in range(150):
        (found,) = found
    assert found == 7


def test_containers_keep_their_type() -> None:
    ordered = OrderedDict(x=Promise("a"))
    ((restored, point), _) = unpack_call(
        pack_call((ordered, Point(1, Promise("a"))), {})[0], {"a": 7}
    )
    assert restored == OrderedDict(x=7)
    assert type(restored) is OrderedDict
    assert point == Point(1, 7)
    assert type(point) is Point


class Picky(list):  # type: ignore[type-arg]
    def __init__(self) -> None:
        super().__init__()

    def append(self, item: Any) -> None:
        super().append(item + 0)  # no future can do that

    def extend(self, items: Any) -> None:
        for item in items:
            self.append(item)


class Double(Point):
    """Not made of its items."""

    def __new__(cls, x: Any) -> Double:
        return super().__new__(cls, x, x)

    def __getnewargs__(self) -> tuple[Any]:
        return (self.x,)


@dataclass
class Data:
    x: Any
    y: Any = None


@dataclass(frozen=True, slots=True)
class Frozen:
    x: Any


class Marked(list):  # type: ignore[type-arg]
    mark = ""


class Table(dict):  # type: ignore[type-arg]
    mark = ""


class Group(set):  # type: ignore[type-arg]
    pass


def marked(kind: Any, *items: Any) -> Any:
    """A list with these items, and an attribute; whatever its class thinks of them."""
    made = kind()
    list.extend(made, items)
    made.mark = "kept"
    return made


def table(item: Any) -> Table:
    made = Table(a=item)
    made.mark = "kept"
    return made


HOLDERS: dict[str, Any] = {
    "named tuple": lambda x: Point(x, [x]),
    "named tuple with a constructor": lambda x: tuple.__new__(Double, (x, x)),
    "list": lambda x: marked(Marked, x, 1),
    "strict list": lambda x: marked(Picky, x, 1),
    "dict": table,
    "ordered dict": lambda x: OrderedDict(b=1, a=x),
    "dict with a default": lambda x: defaultdict(list, a=x),
    "counter": lambda x: Counter({"a": x}),
    "set": lambda x: Group([x]),
    "deque": lambda x: deque([x], maxlen=2),
    "slice": lambda x: slice(x, None),
    "dataclass": lambda x: Data(x, [Data(1, x)]),
    "frozen dataclass": Frozen,
    "nested": lambda x: [{"a": Frozen(Point(x, 1))}],
}


@pytest.mark.parametrize("hold", HOLDERS.values(), ids=HOLDERS)
def test_an_object_with_a_future_is_made_of_the_data(hold: Any) -> None:
    holder = hold(Promise("a"))
    blob, wires = pack_call((holder,), {"k": [holder]})
    assert wires == ("a",)
    (made,), named = unpack_call(blob, {"a": 7})
    expected = hold(7)
    assert type(made) is type(expected) and named["k"][0] is made
    assert made == expected
    assert getattr(made, "__dict__", None) == getattr(expected, "__dict__", None)
    assert next(handles_in(holder)).wire == "a"  # it was not changed itself


def test_a_partial_with_futures_arrives_with_data() -> None:
    bound = partial(partial(max, Promise("a")), key=partial(pow, Promise("b")))
    ((made,), _) = unpack_call(pack_call((bound,), {})[0], {"a": 1, "b": 2})
    assert (made.func, made.args, made.keywords["key"].args) == (max, (1,), (2,))


class Stubborn(list):  # type: ignore[type-arg]
    def __reduce_ex__(self, protocol: Any) -> Any:
        raise ValueError("not me")


def test_an_object_that_cannot_be_taken_apart_is_named() -> None:
    with pytest.raises(
        SerializationError, match=r"argument 1 cannot be sent.*a Stubborn has futures"
    ):
        pack_call((Stubborn([Promise("a")]),), {})


@given(st.lists(NESTED), st.dictionaries(st.text(), NESTED))
def test_all_futures_are_found(args: list[Any], kwargs: dict[str, Any]) -> None:
    found = {handle.wire for handle in handles_in((args, kwargs))}
    assert found == set().union(*map(wires, [*args, *kwargs.values()]))
    assert found == set(pack_call(tuple(args), kwargs)[1] or ())


def test_dependencies_are_named_once_and_in_order() -> None:
    a, b, c = map(Promise, "abc")
    assert pack_call((b, [a, b], Box(c)), {"x": a})[1] == ("b", "a", "c")


def test_futures_as_keys_stay_and_are_dependencies() -> None:
    blob, dependencies = pack_call(({Promise("a"): Promise("b")},), {})
    assert set(dependencies or ()) == {"a", "b"}
    (((key, value),), _) = (list(unpack_call(blob, {"b": 1})[0][0].items()), None)
    assert isinstance(key, Promise)
    assert value == 1


def test_a_future_pickled_elsewhere_is_no_dependency() -> None:
    pack_call((Box(Promise("a")),), {})
    pickle.dumps(Promise("b"))
    assert pack_call((Box(1),), {})[1] is None


def test_a_ref_travels_as_its_key() -> None:
    assert pickle.loads(pickle.dumps(Ref("a"))).wire == "a"


def test_large_data_travels_by_itself_if_it_may() -> None:
    array = np.arange(2 * MIN_SHIPPED_BYTES, dtype="u1").reshape(2, -1)
    view = array[:, :-1]  # no buffer of its own
    sent: dict[str, Any] = {}

    def ship(buffer: Any) -> str:
        sent[f"data {len(sent)}"] = buffer
        return f"data {len(sent) - 1}"

    blob, dependencies = pack_call((array, Promise("a"), view), {"x": b"small"}, ship)
    assert dependencies == ("a", "data 0", "data 1")
    assert len(blob) < 2000
    args, kwargs = unpack_call(blob, {"a": 1, **sent})
    assert np.array_equal(args[0], array)
    assert np.array_equal(args[2], view)
    assert (args[1], kwargs) == (1, {"x": b"small"})
    assert pack_call((array,), {})[1] is None
    small, none = pack_call((array[:1, :9],), {}, ship)
    assert none is None
    assert np.array_equal(unpack_call(small, {})[0][0], array[:1, :9])
