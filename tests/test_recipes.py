"""Calls to bytes, and the keys that name them."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import namedtuple
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distributed.errors import SerializationError
from distributed.recipes import (
    Handle,
    call_key,
    fold_kwargs,
    fresh_key,
    function_of,
    holds_handles,
    name_of,
    note_hidden_handle,
    pack_call,
    shown_key,
    unpack_call,
    wire_key,
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


def inc(x: int) -> int:
    return x + 1


# Functions


def test_a_function_is_pickled_once() -> None:
    assert function_of(inc) is function_of(inc)
    assert function_of(inc).name == "inc"


def test_a_function_whose_surroundings_change_is_another_one() -> None:
    box = [1]
    number = 1

    def with_list() -> list[int]:
        return box

    def with_number() -> int:
        return number

    before = function_of(with_list).id, function_of(with_number).id
    box.append(2)
    number = 2
    assert function_of(with_list).id != before[0]
    assert function_of(with_number).id != before[1]


def test_a_function_that_was_edited_is_another_one() -> None:
    before = function_of(inc).id
    code = inc.__code__
    try:
        inc.__code__ = (lambda x: x + 2).__code__
        assert function_of(inc).id != before
    finally:
        inc.__code__ = code
    assert function_of(inc).id == before


def test_what_cannot_be_called_or_pickled_is_named() -> None:
    with pytest.raises(TypeError, match="3 is not callable"):
        function_of(3)  # type: ignore[arg-type]
    lock = threading.Lock()
    with pytest.raises(SerializationError, match="the function lambda cannot be sent"):
        function_of(lambda: lock)


@pytest.mark.parametrize(
    ("func", "name"),
    [
        (inc, "inc"),
        (lambda: 1, "lambda"),
        (partial(inc, 1), "inc"),
        (Box, "Box"),
        ("x".join, "join"),
    ],
)
def test_names(func: Any, name: str) -> None:
    assert name_of(func) == name


SCRIPT = """
import sys, distributed.recipes as r
offset = 5
def f(x, y={1, 2}): return x + offset, {"a", "b", "c"}
function = r.function_of(f)
print(r.call_key(function, (1, "a", None, (2.5, [b"x"]), {"k": {1, 2, 3}}), {"z": 1, "a": 2}))
print(r.call_key(r.function_of(len), ("abc",), {}))
"""


def test_keys_are_the_same_in_every_process() -> None:
    """Whatever the seed of string hashes."""
    printed = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert printed[0] == printed[1]


# Keys

DISTINCT = [
    (1,),
    (1.0,),
    (True,),
    ("1",),
    (b"1",),
    (None,),
    (0.0,),
    (-0.0,),
    ([1],),
    ((1,),),
    ({1},),
    ([[1], 2],),
    ([1, [2]],),
    ({"a": 1},),
    ({"a": True},),
    (),
    (1, 1),
    (np.zeros(3),),
    (np.zeros(3, "i4"),),
    (Promise("x"),),
    (["future", "x"],),
    ("x",),
]


def test_different_arguments_have_different_keys() -> None:
    function = function_of(inc)
    keys = {call_key(function, args, {}) for args in DISTINCT}
    keys |= {call_key(function, (), {"x": args}) for args in DISTINCT}
    assert len(keys) == 2 * len(DISTINCT)


def test_equal_arguments_have_equal_keys() -> None:
    function = function_of(inc)
    for args in DISTINCT:
        assert call_key(function, args, {}) == call_key(function, args, {})
    one, other = "".join(["a", "b"]), "ab"
    assert call_key(function, (one, other), {}) == call_key(function, (other, other), {})
    assert call_key(function, (), {"a": 1, "b": 2}) == call_key(function, (), {"b": 2, "a": 1})


def test_the_function_is_part_of_the_key() -> None:
    assert call_key(function_of(abs), (1,), {}) != call_key(function_of(hash), (1,), {})


def test_fresh_keys_never_come_twice() -> None:
    assert len({fresh_key("f") for _ in range(1000)}) == 1000


KEYS = st.recursive(
    st.text() | st.integers() | st.floats(allow_nan=False), lambda k: st.tuples(k, k), max_leaves=5
)


@given(KEYS)
def test_users_get_their_keys_back(key: Any) -> None:
    shown = shown_key(wire_key(key, "0" * 32))
    assert shown == key
    assert type(shown) is type(key)


def test_a_key_with_other_work_is_another_key() -> None:
    assert wire_key("x", "1" * 32) != wire_key("x", "2" * 32)
    with pytest.raises(TypeError, match="a key is a string"):
        wire_key(["x"], "")


# Arguments

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


def test_a_future_hidden_in_an_object_is_a_dependency() -> None:
    blob, dependencies = pack_call((Box(Promise("a")),), {})
    assert dependencies == ("a",)
    ((box,), _) = unpack_call(blob, {})
    assert isinstance(box.content, Promise)


def test_the_data_of_futures_is_not_searched() -> None:
    blob, _ = pack_call((Promise("a"),), {})
    data = {"a": [Promise("b")]}
    assert unpack_call(blob, data)[0][0] is data["a"]


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


def test_keyword_arguments_are_folded_unless_they_hold_futures() -> None:
    assert fold_kwargs(inc, {}) is inc
    assert fold_kwargs(inc, {"x": [Promise("a")]}) is inc
    assert fold_kwargs(inc, {"x": 2})() == 3
    assert holds_handles({"a": [(Promise("x"),)]})
    assert not holds_handles({"a": [(1,)]})
