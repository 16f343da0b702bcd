"""Plain calls read straight from a graph: which nodes are some, and that they say what dask says."""

from __future__ import annotations

import enum
from typing import Any

import numpy as np
import pytest
from dask._task_spec import Alias, DataNode, List, Task, TaskRef, Tuple

from distributed.packing import Ref, pack_call, pack_plain
from distributed.plaincalls import PlainCall, plain_call

NAMES = {"x", ("y", 0), 7}


def call_of(value: Any) -> PlainCall:
    call = plain_call(value, NAMES)
    assert call is not None
    return call


def shown(value: Any, refs: dict[Any, Ref]) -> Any:
    """With `<name>` for a reference."""
    if isinstance(value, Ref):
        (name,) = [name for name, ref in refs.items() if ref is value]
        return f"<{name}>"
    if isinstance(value, (list, tuple)):
        return type(value)(shown(item, refs) for item in value)
    return value


PLAIN_CALLS: dict[str, tuple[Any, Any, list[int | str]]] = {
    "plain values": ((max, 1, 2.5, "text", b"x", None), (1, 2.5, "text", b"x", None), []),
    "names": ((max, "x", ("y", 0)), ("<x>", "<('y', 0)>"), [0, 1]),
    "a number that is a name": ((max, 7, 8), ("<7>", 8), [0]),
    "bytes are no name": ((len, b"x"), (b"x",), []),
    "lists": ((sum, 1, ["x", [("y", 0), 2]]), (1, ["<x>", ["<('y', 0)>", 2]]), [1]),
    "lists without names": ((sum, [1, [2, "z"]]), ([1, [2, "z"]],), []),
    "tuples": ((max, ("x", 1), (1, 2)), (("<x>", 1), (1, 2)), [0]),
    "a node": (Task("t", max, TaskRef("x"), 1), ("<x>", 1), [0]),
    "texts in a node are no names": (Task("t", len, "x"), ("x",), []),
    "an alias in a node": (Task("t", max, Alias("a", "x"), 1), ("<x>", 1), [0]),
    "lists in a node": (
        Task("t", sum, List(TaskRef("x"), List(1)), [1]),
        (["<x>", [1]], [1]),
        [0],
    ),
}


@pytest.mark.parametrize("value, args, changed", PLAIN_CALLS.values(), ids=PLAIN_CALLS)
def test_plain_calls(value: Any, args: Any, changed: list[Any]) -> None:
    call = call_of(value)
    assert shown(tuple(call.args), call.refs) == args
    assert call.changed == changed


def test_keywords_of_a_node() -> None:
    call = call_of(Task("t", dict, a=TaskRef("x"), b=1))
    assert shown(call.kwargs["a"], call.refs) == "<x>"
    assert call.kwargs["b"] == 1
    assert call.changed == ["a"]


def test_a_name_that_is_used_twice_has_one_reference() -> None:
    call = call_of((max, "x", ["x"]))
    assert list(call.refs) == ["x"]
    assert call.args[1][0] is call.args[0]


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


def test_arguments_are_packed_as_those_of_other_calls() -> None:
    call = call_of((max, "x", 2))
    call.refs["x"].wire = "wire"
    packed, inputs = pack_call((Ref("wire"), 2), {})
    assert pack_plain(call.args, call.kwargs, call.changed) == packed
    assert inputs == ("wire",)
    assert pack_plain([1, 2], {}, []) == pack_call((1, 2), {})[0]
