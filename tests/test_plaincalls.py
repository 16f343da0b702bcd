"""Plain calls read straight from a graph: which nodes are some, and that they say what dask says."""

from __future__ import annotations

import enum
import re
from typing import Any

import numpy as np
import pytest
from dask._task_spec import Alias, DataNode, List, Task, TaskRef, Tuple

from distributed.packing import Ref, pack_call, unpack_call
from distributed.plaincalls import PlainCall, plain_call

NAMES = {"x", ("y", 0), 7}


def call_of(value: Any) -> PlainCall:
    call = plain_call(value, NAMES)
    assert call is not None
    return call


def shown(value: Any) -> Any:
    """With `<wire>` for a reference."""
    if isinstance(value, Ref):
        return f"<{value.wire}>"
    if isinstance(value, (list, tuple)):
        return type(value)(shown(item) for item in value)
    return value


WIRES = {"x": "wire-x", ("y", 0): "wire-y", 7: "wire-7"}
X, Y = WIRES["x"], WIRES["y", 0]

# The arguments with keys on the wire in place of names, and the places of those that are a key, of those
# that are a list of keys, and of those that have some beside something else.
PLAIN_CALLS: dict[str, tuple[Any, Any, list[int], list[int], list[int]]] = {
    "plain values": ((max, 1, 2.5, "z", b"x", None), (1, 2.5, "z", b"x", None), [], [], []),
    "names": ((max, "x", ("y", 0)), (X, Y), [0, 1], [], []),
    "a number that is a name": ((max, 7, 8), (WIRES[7], 8), [0], [], []),
    "bytes are no name": ((len, b"x"), (b"x",), [], [], []),
    "lists of names": ((sum, 1, ["x", ("y", 0)], ["x"]), (1, [X, Y], [X]), [], [1, 2], []),
    "an empty list": ((sum, []), ([],), [], [], []),
    "other lists": ((sum, 1, ["x", [("y", 0), 2]]), (1, [f"<{X}>", [f"<{Y}>", 2]]), [], [], [1]),
    "lists without names": ((sum, [1, [2, "z"]]), ([1, [2, "z"]],), [], [], []),
    "tuples": ((max, ("x", 1), (1, 2)), ((f"<{X}>", 1), (1, 2)), [], [], [0]),
    "a node": (Task("t", max, TaskRef("x"), 1), (X, 1), [0], [], []),
    "texts in a node are no names": (Task("t", len, "x"), ("x",), [], [], []),
    "an alias in a node": (Task("t", max, Alias("a", "x"), 1), (X, 1), [0], [], []),
    "lists of names in a node": (
        Task("t", sum, List(TaskRef("x"), Alias("a", ("y", 0))), [1]),
        ([X, Y], [1]),
        [],
        [0],
        [],
    ),
    "other lists in a node": (
        Task("t", sum, List(TaskRef("x"), List(1)), List(1, 2)),
        ([f"<{X}>", [1]], [1, 2]),
        [],
        [],
        [0],
    ),
}


@pytest.mark.parametrize("value, args, ones, lists, mixed", PLAIN_CALLS.values(), ids=PLAIN_CALLS)
def test_plain_calls(
    value: Any, args: Any, ones: list[int], lists: list[int], mixed: list[int]
) -> None:
    call = call_of(value)
    blob = call.pack(WIRES)
    assert shown(tuple(call.args)) == args
    assert [*map(list, (call.ones, call.lists, call.mixed))] == [ones, lists, mixed]
    assert {WIRES[name] for name in call.names} == set(re.findall(r"wire-\w", repr(args)))
    data = {wire: f"data of {wire}" for wire in WIRES.values()}
    assert repr(unpack_call(blob, data)[0]) == re.sub(r"<?(wire-\w)>?", r"data of \1", repr(args))


def test_keywords_of_a_node() -> None:
    call = call_of(Task("t", dict, a=TaskRef("x"), b=1))
    assert call.kwargs == {"a": "x", "b": 1}
    assert (call.ones, call.names) == (["a"], ("x",))


def test_a_name_that_is_used_twice_in_one_argument_has_one_reference() -> None:
    call = call_of((max, "x", ["x", ["x"]]))
    assert call.names == ("x",)
    assert call.args[1][0] is call.args[1][1][0]


class Number(enum.IntEnum):
    SEVEN = 7


OTHERS: dict[str, Any] = {
    "no call": "x",
    "an empty tuple": (),
    "a call in a call": (max, (max, 1, 2), 3),
    "a call in a list": (sum, [(max, 1, 2)]),
    "functions": (map, len, ["x"]),
    "dicts": (len, {"a": "x"}),
    "sets": (len, {"x"}),
    "objects": (len, object()),
    "arrays": (sum, np.arange(3)),
    "subclasses that may be names": (max, Number.SEVEN, 1),
    "futures": (max, Ref("wire"), 1),
    "what cannot be hashed in a tuple": (max, ([1], 2)),
    "no task": DataNode("d", 1),
    "a task in a task": Task("t", max, Task(None, max, 1, 2), 3),
    "a function in a task": Task("t", map, len, List(1)),
    "other containers in a task": Task("t", len, Tuple(TaskRef("x"))),
    "objects in a list in a task": Task("t", len, [object()]),
    "fused tasks": Task.fuse(Task("a", max, 1, 2), Task("b", max, TaskRef("a"), 2)),
}


@pytest.mark.parametrize("value", OTHERS.values(), ids=OTHERS)
def test_others(value: Any) -> None:
    assert plain_call(value, NAMES) is None


def test_lists_too_deep_to_look_into_are_left_to_others() -> None:
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    assert plain_call((len, deep), NAMES) is None


@pytest.mark.parametrize(
    "value, args",
    [
        ((max, "x", 2), (Ref(X), 2)),
        ((sum, ["x", ("y", 0)], 1), ([Ref(X), Ref(Y)], 1)),
        ((sum, ["x", [1]]), ([Ref(X), [1]],)),
        ((max, 1, 2), (1, 2)),
    ],
)
def test_arguments_are_packed_as_those_of_other_calls(value: Any, args: Any) -> None:
    assert call_of(value).pack(WIRES) == pack_call(args, {})[0]
