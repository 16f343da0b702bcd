"""Calls to bytes, and the keys that name them."""

from __future__ import annotations

import operator
import os
import pickle
import subprocess
import sys
import threading
import types
from collections import OrderedDict
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distributed.errors import SerializationError
from distributed.packing import (
    holds_handles,
)
from distributed.recipes import (
    MAX_CACHED_BYTES,
    call_key,
    fold_kwargs,
    fresh_key,
    function_of,
    name_of,
    unbind,
)
from tests.test_packing import Box, Point, Promise, tangle


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


@pytest.fixture
def module() -> Iterator[types.ModuleType]:
    """One that can be imported, and whose source is edited by `define`."""
    found = types.ModuleType("edited_by_test")
    sys.modules[found.__name__] = found
    yield found
    del sys.modules[found.__name__]


def define(module: types.ModuleType, source: str) -> Any:
    exec(source, module.__dict__)
    return module.__dict__["f"]


DECORATED = """
import functools
def plain(func):
    @functools.wraps(func)
    def wrapper(*args): return func(*args)
    return wrapper
@plain
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("def f(): return 1", "def f(): return 2"),
        ("def f(): return (1, (2,))", "def f(): return (1, (3,))"),
        ("def f(x): return x in {1, 2}", "def f(x): return x in {1, 3}"),
        ("def f(x=1): return x", "def f(x=2): return x"),
        ("def f(*, x=1): return x", "def f(*, x=2): return x"),
        ("def f(a, b): return a - b", "def f(b, a): return b - a"),
        ("def f(): return [y + 1 for y in z]", "def f(): return [y + 2 for y in z]"),
        (DECORATED + "def f(): return 1", DECORATED + "def f(): return 2"),
    ],
)
def test_an_edited_function_of_a_module_is_another_one(
    module: types.ModuleType, before: str, after: str
) -> None:
    old = function_of(define(module, before)).id
    assert function_of(define(module, before)).id == old
    assert function_of(define(module, after)).id != old


def in_main(source: str) -> Any:
    """As if typed in a notebook."""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(source, names)
    return names


@pytest.mark.parametrize(
    ("source", "change"),
    [
        ("x = 1\ndef f(): return x", "x = 2"),
        ("x = [1]\ndef f(): return x", "x.append(2)"),
        ("def g(): return 1\ndef f(): return g()", "def g(): return 2"),
        ("x = 1\ndef g(): return x\ndef f(): return g()", "x = 2"),
        ("x = 1\ndef f(): return [x for _ in 'a']", "x = 2"),
        ("def f(x=[1]): return x", "f.__defaults__[0].append(2)"),
        ("def f(*, x=1): return x", "f.__kwdefaults__['x'] = 2"),
        ("def f(): return 1", "f.y = 1"),
        ("def f(): return f.y\nf.y = 1", "f.y = 2"),
        ("def f(n): return f(n - 1) + x", "x = 1"),
        ("class A: y = 1\ndef f(): return A().y", "A.y = 2"),
        ("x = True\ndef f(): return x", "x = 1"),
    ],
)
def test_a_function_in_a_notebook_is_another_one_after_a_change(source: str, change: str) -> None:
    names = in_main(source)
    before = function_of(names["f"])
    assert function_of(names["f"]).id == before.id
    exec(change, names)
    assert function_of(names["f"]).id != before.id
    assert pickle.loads(function_of(names["f"]).blob) is not names["f"]


@pytest.mark.parametrize(
    "source",
    [
        "def f(n): return n if n < 2 else f(n - 1) + f(n - 2)",
        "def f(n): return g(n)\ndef g(n): return f(n)",
        "from math import sqrt\nfrom pathlib import Path\nfrom glob import glob\n"
        "def f(n): return sqrt(n), Path(n), glob('*')",
    ],
)
def test_a_function_that_uses_functions_is_pickled_once(source: str) -> None:
    func = in_main(source)["f"]
    assert function_of(func) is function_of(func)


def test_a_cell_that_is_filled_later_is_noticed() -> None:
    def outer() -> Any:
        def inner() -> Any:
            return value

        before = function_of(inner).id
        value = 1
        return before, function_of(inner).id

    before, after = outer()
    assert before != after


def test_a_function_with_much_data_is_not_remembered() -> None:
    data = b"x" * (MAX_CACHED_BYTES + 1)
    func = lambda: data  # noqa: E731
    assert function_of(func) is not function_of(func)
    assert function_of(func) == function_of(func)


def test_callables_that_are_not_functions_can_be_sent() -> None:
    for func in (Box, Box(1).read, partial(inc, 1), "x".join, operator.itemgetter(1)):
        assert function_of(func) == function_of(func)
        assert callable(pickle.loads(function_of(func).blob))
    assert function_of(Box(1).read).id != function_of(Box(2).read).id
    assert function_of(partial(inc, 1)).id != function_of(partial(inc, 1.0)).id


class Proxy:
    def __call__(self) -> None: ...

    def __getattr__(self, name: str) -> int:
        if name.startswith("__") and name not in ("__code__", "__func__", "__wrapped__"):
            raise AttributeError(name)
        return 5


def test_an_object_that_has_every_attribute_can_be_sent() -> None:
    assert function_of(Proxy()).name == "Proxy"


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
        (Box(1).read, "read"),
        (partial(lambda: 1), "lambda"),
        (Proxy(), "Proxy"),
    ],
)
def test_names(func: Any, name: str) -> None:
    assert name_of(func) == name


def test_names_are_safe_and_short() -> None:
    inner = types.FunctionType(inc.__code__, {}, "a-b c\x1f" + "d" * 100)
    assert name_of(inner) == "a_b_c_" + "d" * 44


SCRIPT = """
import sys, distributed.recipes as r
offset = 5
def g(x): return x in {"a", "b", "c"}
def f(x, y={1, "a", "b"}, *, z=frozenset("abc")): return g(x), offset, {"a", "b", "c"}, f
function = r.function_of(f)
print(r.call_key(function, (1, "a", None, (2.5, [b"x"]), {"k": {1, 2, 3}}), {"z": 1, "a": 2}))
print(r.call_key(r.function_of(r.partial(f, x={"a", "b"})), (), {}))
print(r.call_key(r.function_of(lambda x: x in {"a", "b", "c"}), (f, {"a", ("b", "c")}), {}))
print(r.call_key(r.function_of(len), ("abc",), {}))
print(r.call_key(r.function_of(r.os.path.join), ("abc",), {}))
"""


def test_keys_are_the_same_in_every_process() -> None:
    """Whatever the seed of string hashes."""
    printed = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
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
    ("list", 1, [2]),
    (["list"], 1, 2),
    ("future", "x", [1]),
    (frozenset({1}),),
    ({1, "1"},),
    ({1: 2, 3: 4},),
    ({3: 4, 1: 2},),
    (Point(1, 2),),
    ((1, 2),),
    (Point(Promise("x"), 2),),
    ((Promise("x"), 2),),
    (OrderedDict(a=Promise("x")),),
    ({"a": Promise("x")},),
    ({Promise("x")},),
    (inc,),
    (partial(inc, 1),),
    (...,),
    (float("nan"),),
    (1j,),
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


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary()
ARGUMENTS = st.recursive(
    PLAIN | st.sampled_from(["list", "tuple", "future", "builtins"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.lists(ARGUMENTS, max_size=3), st.lists(ARGUMENTS, max_size=3))
def test_keys_are_equal_exactly_for_equal_arguments(one: list[Any], other: list[Any]) -> None:
    """`repr` tells these apart as a key should: by type and by value."""
    function = function_of(inc)
    same = call_key(function, tuple(one), {}) == call_key(function, tuple(other), {})
    assert same is (repr(one) == repr(other))
    # Whatever is one object in it, and what is equal only.
    copy = pickle.loads(pickle.dumps(tuple(one)))
    assert call_key(function, tuple(one), {}) == call_key(function, copy, {})


class Untokenizable:
    def __dask_tokenize__(self) -> Any:
        raise RuntimeError("no token")


def test_what_has_no_token_has_a_key_of_its_own() -> None:
    function, value = function_of(inc), Untokenizable()
    assert call_key(function, (value,), {}) != call_key(function, (value,), {})


def test_shared_and_cyclic_arguments_have_keys_soon() -> None:
    function = function_of(inc)
    assert call_key(function, (tangle(60),), {}) == call_key(function, (tangle(60),), {})
    assert call_key(function, (tangle(60),), {}) != call_key(function, (tangle(59),), {})
    loop: list[Any] = []
    loop += [loop, loop]
    assert call_key(function, (loop,), {}) == call_key(function, (loop,), {})
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    assert call_key(function, (deep,), {})


def test_the_function_is_part_of_the_key() -> None:
    assert call_key(function_of(abs), (1,), {}) != call_key(function_of(hash), (1,), {})


def test_fresh_keys_never_come_twice() -> None:
    assert len({fresh_key("f") for _ in range(1000)}) == 1000
    name, digest = fresh_key("f").split("-")
    assert (name, len(digest)) == ("f", 32)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_fresh_keys_of_a_forked_process_are_others() -> None:
    """In a process without threads: forking one with threads is not safe."""
    script = """
import os
from distributed.recipes import fresh_key
fresh_key("f")
if os.fork():
    os.wait()
print(fresh_key("f"), flush=True)
"""
    printed = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert len(set(printed)) == 2


def test_keyword_arguments_are_folded_unless_they_hold_futures() -> None:
    assert fold_kwargs(inc, {}) is inc
    assert fold_kwargs(inc, {"x": [Promise("a")]}) is inc
    assert fold_kwargs(inc, {"x": 2})() == 3
    assert holds_handles({"a": [(Promise("x"),)]})
    assert not holds_handles({"a": [(1,)]})


def square() -> Any:
    return np.arange(4).reshape(2, 2)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (square(), square().T),
        (np.array(["a-b", "c"], object), np.array(["a", "b-c"], object)),
        (np.zeros(2, [("a", "i4"), ("b", "i4")]), np.zeros(2, [("c", "i4"), ("d", "i4")])),
        (np.zeros(2, "i4"), np.zeros(2, ">i4")),
        (np.zeros(2, "i4"), np.zeros((2, 1), "i4")),
        (np.array([0]), np.array([0], "M8[D]")),
        (np.array(1), np.array(True)),
        (np.zeros(3), np.zeros(3, object)),
    ],
)
def test_arrays_that_are_not_the_same_make_calls_that_are_not(one: Any, other: Any) -> None:
    function = function_of(len)
    keys = [call_key(function, (array,), {}) for array in (one, other, one.copy(order="K"))]
    assert keys[0] == keys[2] != keys[1]


def test_maps_of_files_of_one_content_make_other_calls(tmp_path: Any) -> None:
    np.arange(4.0).tofile(tmp_path / "file")
    maps = [
        np.memmap(tmp_path / "file", kind, "r", shape=shape)
        for kind, shape in [(float, (4,)), (float, (2, 2)), ("i8", (4,))]
    ]
    assert len({call_key(function_of(len), (array,), {}) for array in maps}) == 3


class Tagged(list):  # type: ignore[type-arg]
    tag = ""


def tagged(tag: str, item: Any) -> Tagged:
    made = Tagged([item])
    made.tag = tag
    return made


def test_objects_with_futures_that_are_not_equal_make_calls_that_are_not() -> None:
    a, b = Promise("a"), Promise("b")
    given = [tagged("1", a), tagged("2", a), tagged("1", b), [a], Point(a, 1), Point(a, 2)]
    given += [Point(b, 1), partial(max, a), partial(max, b), slice(a), slice(b), slice(a, None)]
    keys = [call_key(function_of(len), (value,), {}) for value in given]
    assert len(set(keys)) == len(keys)
    assert keys[0] == call_key(function_of(len), (tagged("1", a),), {})


def test_futures_that_a_partial_binds_become_arguments() -> None:
    a = Promise("a")
    bound = partial(partial(max, a, key=a), 1, default=2)
    assert unbind(bound, (3,), {"key": 4}) == (max, (a, 1, 3), {"key": 4, "default": 2})
    plain = partial(max, 1)
    assert unbind(plain, (3,), {}) == (plain, (3,), {})
