"""Dask graphs to tasks."""

from __future__ import annotations

import gc
import weakref
from operator import add
from typing import Any

import pytest

from distributed.core.client import Calls
from distributed.graphs import graph_calls
from distributed.recipes import Handle, shown_key, unpack_call
from distributed.serialize import unpickle


class Promise(Handle):
    __slots__ = ("__weakref__", "wire")

    def __init__(self, wire: str) -> None:
        self.wire = wire


def inc(x: int) -> int:
    return x + 1


def execute(parts: list[Calls], data: dict[str, Any]) -> dict[str, Any]:
    """What workers would make of it."""
    for calls in parts:
        for function, _, _, items in calls.groups:
            for key, arguments, dependencies, _ in items:
                assert set(dependencies or ()) <= data.keys(), "dependencies come first"
                args, kwargs = unpack_call(arguments, data)
                data[key] = unpickle(calls.functions[function])(*args, **kwargs)
    return data


def compute(dsk: dict[Any, Any], keys: Any, **data: Any) -> list[Any]:
    found = graph_calls(dsk, keys)
    values = execute(found.calls, dict(data))
    return [values[found.wires[key]] for key in (keys if isinstance(keys, list) else [keys])]


def submitted(dsk: dict[Any, Any], keys: Any) -> list[tuple[Any, bool]]:
    """The keys that are submitted, and whether each is wanted."""
    (calls,) = graph_calls(dsk, keys).calls
    return [(shown_key(i[0]), wanted) for _, _, wanted, items in calls.groups for i in items]


def test_tasks_values_aliases_and_nested_arguments() -> None:
    dsk = {
        "x": 1,
        "y": (inc, "x"),
        "z": (sum, ["x", "y", (add, "x", 10)]),
        "same": "z",
        ("t", 0): (dict, [["a", "y"]]),
    }
    assert compute(dsk, ["x", "y", "z", "same", ("t", 0)]) == [1, 2, 14, 14, {"a": 2}]


def test_only_what_is_needed_is_submitted_and_only_what_is_asked_for_wanted() -> None:
    dsk = {"x": (inc, 1), "y": (add, "x", "x2"), "x2": (inc, "x"), "z": (inc, "x")}
    assert submitted(dsk, "y") == [("x", False), ("x2", False), ("y", True)]


def test_one_key_with_other_work_is_other_work() -> None:
    one, two, same = (graph_calls({"x": (inc, n)}, "x").wires for n in (1, 2, 1))
    assert one["x"] != two["x"]
    assert one["x"] == same["x"]


def test_what_depends_on_other_work_is_other_work() -> None:
    one, two = (graph_calls({"x": (inc, n), "y": (inc, "x")}, "y").wires for n in (1, 2))
    assert one["y"] != two["y"]


def test_futures_are_inputs() -> None:
    dsk = {"x": (inc, Promise("f")), "y": (sum, [Promise("f"), "x"]), "z": Promise("f")}
    assert compute(dsk, ["x", "y", "z"], f=5) == [6, 11, 5]


def test_kinds_of_tasks_are_told_apart() -> None:
    """So that the scheduler learns how long each takes."""
    (calls,) = graph_calls({"x": (inc, 1), "y": (add, 1, 2)}, ["x", "y"]).calls
    assert len(calls.functions) == 2


def test_mistakes_are_named() -> None:
    with pytest.raises(KeyError, match="'q' is not in the graph"):
        graph_calls({"x": 1}, ["x", ["q"]])
    with pytest.raises(KeyError, match="'y' needs 'x', which is not in the graph"):
        graph_calls({"x": "x", "y": (inc, "x")}, "y")
    with pytest.raises(RuntimeError, match=r"[Cc]ycle"):
        graph_calls({"x": (inc, "y"), "y": (inc, "x")}, "x")


def test_deep_graphs_are_no_problem() -> None:
    dsk: dict[Any, Any] = {0: (int,)} | {n: (inc, n - 1) for n in range(1, 5000)}
    assert compute(dsk, 4999) == [4999]


@pytest.mark.parametrize("ship", [False, True])
def test_futures_of_a_graph_do_not_wait_for_the_garbage_collector(ship: bool) -> None:
    promise = Promise("f")
    gone = weakref.ref(promise)
    gc.disable()
    try:
        graph_calls({"x": (inc, promise), "y": (sum, ["x", 1, (inc, "x")])}, "y", ship=ship)
        del promise
        assert gone() is None
    finally:
        gc.enable()
