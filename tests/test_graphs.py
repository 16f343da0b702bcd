"""Dask graphs to tasks."""

from __future__ import annotations

import gc
import math
import time
import weakref
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from functools import partial
from itertools import islice
from operator import add
from random import Random
from typing import Any, NamedTuple

import dask
import numpy as np
import pytest
from dask._task_spec import Alias, DataNode, Dict, List, Set, Task, TaskRef, Tuple
from hypothesis import given, settings
from hypothesis import strategies as st

from distributed import graphs
from distributed.core.client_events import Calls
from distributed.core.entries import Item
from distributed.errors import SerializationError
from distributed.graphs import GraphCalls
from distributed.iterators import repeatable
from distributed.keys import shown_key
from distributed.packing import Handle, unpack_call
from distributed.transport import Frame
from distributed.unpickling import unpickle


class Promise(Handle):
    __slots__ = ("__weakref__", "wire")

    def __init__(self, wire: str) -> None:
        self.wire = wire


class Named(Handle, TaskRef):  # type: ignore[misc]
    """As a future: with a key, by which dask knows it."""

    __slots__ = ("wire",)
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __init__(self, key: Any, wire: str) -> None:
        TaskRef.__init__(self, key)
        self.wire = wire


def inc(x: int) -> int:
    return x + 1


def total(*args: Any) -> int:
    return sum(args)


def same(x: Any) -> Any:
    return x


def gather(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


def mapped(func: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    return list(map(func, items))


class Packed(NamedTuple):
    """All parts of a graph."""

    calls: list[Calls]
    wires: dict[Any, str]
    futures: dict[str, Handle]
    data: dict[str, Frame]


def graph_calls(dsk: Any, keys: Any, *options: Any, **others: Any) -> Packed:
    graph = GraphCalls(dsk, keys, *options, **others)
    packed = Packed([], {}, {}, {})
    for part in graph:
        packed.calls.append(part.calls)
        packed.futures.update(part.futures)
        packed.data.update(part.data)
    return packed._replace(wires=graph.wires)


def items_of(parts: list[Calls]) -> list[Item]:
    return [item for calls in parts for group in calls.groups for item in group[3]]


def execute(parts: list[Calls], data: dict[str, Any]) -> dict[str, Any]:
    """What workers would make of it."""
    for calls in parts:
        for function, _, _, items in calls.groups:
            for key, arguments, dependencies, _ in items:
                assert set(dependencies or ()) <= data.keys(), "dependencies come first"
                args, kwargs = unpack_call(arguments, data)
                data[key] = repeatable(unpickle(calls.functions[function])(*args, **kwargs))
    return data


def values_of(found: Packed, keys: list[Any], **data: Any) -> list[Any]:
    # Nothing but the futures that it names.
    values = execute(found.calls, {wire: data[wire] for wire in found.futures})
    return [values[found.wires[key]] for key in keys]


def compute(dsk: dict[Any, Any], keys: Any, **data: Any) -> list[Any]:
    keys = keys if isinstance(keys, list) else [keys]
    return values_of(graph_calls(dsk, keys), keys, **data)


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


# The same as dask ------------------------------------------------------------------------------

Point = namedtuple("Point", "x y")


class Words(list):  # type: ignore[type-arg]
    pass


def outer() -> Any:
    class Words(list):  # type: ignore[type-arg]
        """Another one of that name."""

    return Words


class Odd(type):
    """Its classes cannot be hashed."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(cls, other: object) -> bool:
        return True


class Loner(metaclass=Odd):
    def __new__(cls, x: Any) -> Any:
        return x


LEGACY: dict[str, dict[Any, Any]] = {
    "values": {"x": 1, "z": "text", "y": [1, 2], "n": None},
    "tasks": {"x": (inc, 1), "z": (add, "x", (inc, "x"))},
    "lists": {"x": 1, "z": (sum, ["x", "x", (inc, "x")]), "y": ["x", ["x", ("x", 1)]]},
    "a list is a value": {"x": 1, "z": ["x", (inc, "x")]},
    "tuples": {("x", 0): 1, ("x", 1): (inc, ("x", 0)), "z": (same, (("x", 0), ("x", 1), 2))},
    "a tuple that begins with a function": {"x": 1, "z": (same, (same, (add, "x", 2)))},
    "sets": {"x": 1, "z": (same, {"x", 2}), "y": (same, frozenset(["x"]))},
    "dicts": {"x": 1, "z": (same, {"a": "x", "b": (inc, 1)})},
    "ordered dicts": {"z": (same, OrderedDict(a=1))},
    "named tuples": {"x": 1, "z": (same, Point("x", (inc, "x"))), "y": Point("x", 3)},
    "subclasses": {"x": 1, "z": (same, Words(["x", 2])), "y": Words(["x"])},
    "aliases": {"a": "b", "b": "c", "c": (inc, 1), "z": (add, "a", "b"), "y": "a"},
    "functions": {"f": inc, "z": (mapped, inc, [1, 2]), "x": (same, len)},
    "functions in lists": {"z": (same, [inc, len, int])},
    "partials": {
        "z": (partial(add, 1), 2),
        "y": (same, (partial(add, 1), 3)),
        "x": (callable, len),
    },
    "types": {"z": (isinstance, 1, int), "y": (same, Point), "t": dict},
    "keys of all kinds": {
        1: (len, "abc"),
        1.5: (inc, 1),
        b"b": (inc, 2),
        ("t", ("u", 2.5), 3): (add, 1, 1.5),
        ("t", np.int64(4)): (inc, ("t", ("u", 2.5), 3)),
        "z": (total, 1, ("t", 4)),
    },
    "data": {"a": np.arange(3), "z": (sum, "a"), "y": (max, "a")},
    "a number that is a key": {1: 5, "z": (add, 1, 1)},
    "nothing to do": {"z": ()},
    "long texts": {"s": "s" * 1000, "z": (len, "s"), "y": (add, "s", "t")},
    "classes that cannot be hashed": {"z": (Loner, (Loner, 1)), "y": (mapped, Loner, [1])},
}


def check(dsk: dict[Any, Any], keys: list[Any]) -> None:
    for one, other in zip(compute(dsk, keys), dask.get(dsk, keys), strict=True):
        assert type(one) is type(other)
        np.testing.assert_equal(one, other)


@pytest.mark.parametrize("dsk", LEGACY.values(), ids=LEGACY)
def test_written_out_graphs_mean_what_they_mean_to_dask(dsk: dict[Any, Any]) -> None:
    check(dsk, list(dsk))
    for key in dsk:
        check(dsk, [key])


def T(key: Any, *args: Any, **kwargs: Any) -> dict[Any, Task]:
    return {key: Task(key, *args, **kwargs)}


X, Y = TaskRef("x"), TaskRef("y")
XY: dict[Any, Any] = {**T("x", inc, 1), **T("y", inc, X)}
FUSED = Task.fuse(
    Task("q", inc, TaskRef("p")), Task("p", add, X, Y), Task("r", add, TaskRef("q"), TaskRef("p"))
)
NODES: dict[str, dict[Any, Any]] = {
    "tasks": XY,
    "keywords": {**XY, **T("z", gather, 1, a=X, b=Y, c=3)},
    "lists": {**XY, **T("z", same, List(X, List(Y, 1), 2))},
    "tuples": {**XY, **T("z", same, Tuple(X, 1))},
    "sets": {**XY, **T("z", same, Set(X, Y))},
    "dicts": {**XY, **T("z", same, Dict({"a": X, "b": List(Y)}))},
    "dicts with results as keys": {**XY, **T("z", same, Dict([(X, 1), (Y, X)]))},
    "containers as nodes": {**XY, "z": List(X, Y), "v": Dict({"a": X})},
    "tasks in tasks": {
        **XY,
        **T("z", add, Task(None, inc, X), Task(None, inc, Task(None, inc, Y))),
    },
    "aliases in tasks": {**XY, **T("z", add, Alias("x"), Alias("y"))},
    "data in tasks": {**XY, **T("z", add, DataNode(None, 5), X)},
    "data": {"x": DataNode("x", [1, 2]), "z": Task("z", add, X, X), "u": Task("u", sum, X)},
    "functions": {**T("z", same, inc), **T("y", mapped, inc, List(1, 2)), **T("k", gather, f=len)},
    "partials": {**XY, **T("z", partial(gather, a=1), X), **T("v", partial(gather, a=2), X)},
    "aliases": {**XY, "z": Alias("z", "a"), "a": Alias("a", "y"), **T("v", inc, TaskRef("z"))},
    "fused": {**XY, "z": FUSED, **T("v", inc, TaskRef("z"))},
    "fused twice": {
        **XY,
        "z": Task.fuse(FUSED.substitute({}, key="f"), Task("s", inc, TaskRef("f")), key="z"),
    },
    "fused and renamed": {
        **XY,
        "z": Task.fuse(Task("a", inc, X), Task("b", inc, TaskRef("a")), key="z"),
    },
    "casts": {
        "x": (inc, 1),
        "z": (same, Words(["x"])),
        "y": (same, outer()(["x"])),
    },
}


@pytest.mark.parametrize("dsk", NODES.values(), ids=NODES)
def test_nodes_mean_what_they_mean_to_dask(dsk: dict[Any, Any]) -> None:
    if dsk is not NODES["casts"]:
        check(dsk, list(dsk))
        for key in dsk:
            check(dsk, [key])


def test_classes_of_the_same_name_are_told_apart() -> None:
    dsk = NODES["casts"]
    z, y = compute(dsk, ["z", "y"])
    assert type(z) is Words
    assert type(y) is not Words


def test_equal_functions_do_not_take_the_place_of_each_other() -> None:
    """Each has lived where the one before it did."""
    dsk = {("x", n): (mapped, partial(add, n), [0]) for n in range(50)}
    assert compute(dsk, list(dsk)) == [[n] for n in range(50)]


def test_nested_tasks_may_be_as_deep_as_for_dask() -> None:
    task: Any = 0
    depth = 0
    with pytest.raises(RecursionError):
        while depth < 2000:
            dask.get({"x": task}, "x")
            for _ in range(10):
                task = (inc, task)
            depth += 10
    for _ in range(20):
        task = task[1]
    assert compute({"x": task}, "x") == [depth - 20]


def test_deep_aliases_are_followed_once() -> None:
    n = 20_000
    dsk: dict[Any, Any] = {0: Task(0, inc, 0)}
    dsk |= {i: Alias(i, i - 1) for i in range(1, n)}
    dsk |= {("t", i): Task(("t", i), inc, TaskRef(i)) for i in range(0, n, 2)}
    keys = [("t", i) for i in range(0, n, 2)]
    assert set(compute(dsk, keys)) == {2}


# Futures ---------------------------------------------------------------------------------------

F, G = Named("f", "wire-f"), Named(("g", 0), "wire-g")
FUTURES = {
    "directly": ({"z": (add, F, G)}, 3),
    "alone": ({"z": F}, 1),
    "in a list": ({"z": (same, [F, [G, 5]])}, [1, [2, 5]]),
    "in a tuple": ({"z": (same, (F, (G, 5)))}, (1, (2, 5))),
    "in a set": ({"z": (same, {F, 5})}, {1, 5}),
    "in a dict": ({"z": (same, {"a": F, "b": G})}, {"a": 1, "b": 2}),
    "in a list in a dict": ({"z": (same, {"a": [F, {"b": G}]})}, {"a": [1, {"b": 2}]}),
    "in a named tuple": ({"z": (same, Point(F, [G]))}, Point(1, [2])),
    "in a list of a subclass": ({"z": (same, Words([F, 3]))}, Words([1, 3])),
    "in a nested task": ({"z": (inc, (inc, F))}, 3),
    "in a list that is a value": ({"z": [F, G]}, [1, 2]),
    "in a dict that is a value": ({"z": {"a": F}}, {"a": 1}),
    "in a list for two": ({"d": [F], "z": (add, "d", "d"), "y": (len, "d"), "w": "z"}, [1, 1]),
    "in a node": (T("z", add, F, G), 3),
    "in a keyword": (T("z", gather, 0, a=F), ((0,), {"a": 1})),
    "in a list node": (T("z", same, List(F, G)), [1, 2]),
    "in a dict node": (T("z", same, Dict({"a": List(F)})), {"a": [1]}),
    "as a key of a dict node": (T("z", same, Dict([(F, "a")])), {1: "a"}),
    "in data": ({"z": DataNode("z", [F])}, [1]),
    "as data": ({"d": DataNode("d", F), **T("z", add, TaskRef("d"), TaskRef("d"))}, 2),
    "in fused tasks": (
        {"z": Task.fuse(Task("a", inc, F), Task("b", add, TaskRef("a"), G), key="z")},
        4,
    ),
    "in a fused task of its own name": (
        {"z": Task.fuse(Task("f", inc, F), Task("b", inc, TaskRef("f")), key="z")},
        3,
    ),
    "for a name": ({"z": (add, "p", "p"), "p": F}, 2),
    "through aliases": ({"p": F, "q": "p", "z": Alias("z", "q")}, 1),
    "of the task's own key": (T("f", inc, F) | {"z": Alias("z", "f")}, 2),
    "of the task's own key, written out": ({"f": (inc, F), "z": "f"}, 2),
    "of the task's own key, in a dict": ({"f": (same, {"a": F}), "z": "f"}, {"a": 1}),
    "of the key of another task": (T("y", inc, F) | T("f", inc, Y) | T("z", inc, TaskRef("f")), 4),
    "and a task of that key": ({**T("f", inc, 9), **T("z", add, F, TaskRef("f"))}, 11),
    "two of one key": (T("z", add, F, Named("f", "wire-g")), 3),
    "two of one key in a list": (T("z", same, List(F, Named("f", "wire-g"))), [1, 2]),
    "two of one key, written out": ({"z": (add, F, Named("f", "wire-g"))}, 3),
    "two of one key in two tasks": (
        {**T("y", inc, F), **T("x", inc, Named("f", "wire-g")), **T("z", gather, X, Y)},
        ((3, 2), {}),
    ),
    "two of one key, fused": (
        {
            "y": Task.fuse(Task("a", inc, F), Task("b", inc, TaskRef("a")), key="y"),
            "x": Task.fuse(
                Task("a", inc, Named("f", "wire-g")), Task("b", inc, TaskRef("a")), key="x"
            ),
            **T("z", gather, X, Y),
        },
        ((4, 3), {}),
    ),
    "without a key": ({"z": (add, Promise("wire-f"), Promise("wire-g"))}, 3),
}


@pytest.mark.parametrize("dsk, value", FUTURES.values(), ids=FUTURES)
def test_futures_are_inputs_wherever_they_are(dsk: dict[Any, Any], value: Any) -> None:
    found = compute(dsk, "z", **{"wire-f": 1, "wire-g": 2})
    assert found == [value]
    assert type(found[0]) is type(value)


def test_a_task_of_the_key_of_a_future_is_not_needed_for_it() -> None:
    dsk = {**T("f", inc, 9), **T("z", same, List(F))}
    assert submitted(dsk, "z") == [("z", True)]


def test_names_that_the_graph_does_not_have_are_looked_up() -> None:
    asked = []

    def find(key: Any) -> Handle | None:
        asked.append(key)
        return {"f": F}.get(key)

    dsk = {"z": Task("z", add, TaskRef("f"), 1), "y": Task("y", inc, TaskRef("f"))}
    found = graph_calls(dsk, ["z", "y", "f"], find=find)
    assert values_of(found, ["z", "y", "f"], **{"wire-f": 1}) == [2, 2, 1]
    assert asked == ["f"]


def test_a_name_does_not_mean_the_future_of_another_task() -> None:
    other = Named("f", "wire-g")
    fused = Task.fuse(Task("a", inc, other), Task("b", inc, TaskRef("a")), key="x")
    dsk = {"x": fused, **T("y", inc, TaskRef("f")), **T("z", gather, X, Y)}
    for keys in (["x", "y"], ["y", "x"]):
        found = graph_calls(dsk, ["z", *keys], find={"f": F}.get)
        assert values_of(found, ["z"], **{"wire-f": 1, "wire-g": 2}) == [((4, 2), {})]


# Random graphs ---------------------------------------------------------------------------------


class Dag:
    """Node n needs some of those before it; its value is known beforehand."""

    def __init__(self, random: Random) -> None:
        self.dsk: dict[Any, Any] = {}
        self.values: dict[Any, Any] = {}
        names: list[Any] = []
        span = random.choice([1, 3, 100])
        for n in range(random.randint(1, 60)):
            earlier = names[-span:]
            inputs = random.sample(earlier, min(len(earlier), random.randint(0, 4)))
            name = random.choice([f"key-{n}", ("key", n), ("key", (n, 0.5)), float(n)])
            self.dsk[name], self.values[name] = self._node(random, n, name, inputs)
            names.append(name)
        random.shuffle(names)
        self.dsk = {name: self.dsk[name] for name in names}
        self.wanted = random.sample(names, random.randint(1, len(names)))

    def _node(self, random: Random, n: int, name: Any, inputs: list[Any]) -> tuple[Any, Any]:
        given = [self.values[other] for other in inputs]
        value = (f"no {n}", *given)
        refs = map(TaskRef, inputs)
        kind = random.choice(["task", "node", "alias", "list", "data", "fused"])
        if kind == "alias" and inputs:
            return random.choice([inputs[0], Alias(name, inputs[0])]), given[0]
        if kind == "node":
            return Task(name, collect, f"no {n}", *refs), value
        if kind == "list":
            return (collect_list, f"no {n}", inputs), value
        if kind == "data":
            return [f"no {n}"], [f"no {n}"]
        if kind == "fused":
            inner = Task(("in", n), collect, f"no {n}", *refs)
            return Task.fuse(inner, Task("out", same, TaskRef(("in", n))), key=name), value
        return (collect, f"no {n}", *inputs), value


def collect(*args: Any) -> Any:
    return args


def collect_list(n: Any, args: list[Any]) -> Any:
    return (n, *args)


@given(st.integers(0, 2**32))
@settings(deadline=None)
def test_random_graphs_mean_what_they_mean_to_dask(seed: int) -> None:
    dag = Dag(Random(seed))
    found = graph_calls(dag.dsk, dag.wanted)
    assert list(found.wires) == dag.wanted
    assert values_of(found, dag.wanted) == [dag.values[key] for key in dag.wanted]
    assert dask.get(dag.dsk, dag.wanted) == tuple(dag.values[key] for key in dag.wanted)


# Keys ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        "x",
        1,
        1.5,
        b"x",
        ("x", 0),
        ("x", ("y", 1.5), 2),
        "k" * 100_000,
        "\x1fodd",
        "",
        (),
        True,
        None,
    ],
)
def test_keys_come_back_as_they_were(key: Any) -> None:
    ((shown, _),) = submitted({key: (len, "abc")}, [key])
    assert shown == key
    assert type(shown) is type(key)
    assert list(graph_calls({key: (len, "abc")}, [key]).wires) == [key]


def test_a_key_may_be_no_number() -> None:
    nan = math.nan
    assert compute({nan: (inc, 1), "y": (inc, nan)}, ["y", nan]) == [3, 2]


def test_tasks_have_the_name_by_which_they_were_asked_for() -> None:
    dsk = {"x-renamed": (inc, 1), "x": "x-renamed", "y": (inc, "x")}
    assert submitted(dsk, ["y", "x"]) == [("x", True), ("y", True)]
    assert submitted(dsk, ["x", "x-renamed"]) == [("x-renamed", True)]


# Mistakes --------------------------------------------------------------------------------------


def test_unknown_keys_are_named() -> None:
    with pytest.raises(KeyError, match="'q' is not in the graph"):
        graph_calls({"x": 1}, ["x", ["q"]])
    with pytest.raises(KeyError, match="'y' needs 'x', which is not in the graph"):
        graph_calls({"x": "x", "y": (inc, "x")}, "y")
    with pytest.raises(KeyError, match="'y' needs 'x', which is not in the graph"):
        graph_calls(T("y", inc, Alias("x")), "y")
    with pytest.raises(KeyError, match="'b' needs 'q', which is not in the graph"):
        graph_calls({**T("y", inc, TaskRef("b")), "b": Alias("b", "q")}, "y")


CYCLES: dict[str, tuple[dict[Any, Any], Any]] = {
    "itself": (T("x", inc, X), "x"),
    "itself, needed": ({**T("x", inc, X), **T("y", inc, X)}, "y"),
    "itself by another name": ({**T("x", inc, Y), "y": Alias("y", "x")}, "x"),
    "two": ({"x": (inc, "y"), "y": (inc, "x")}, "x"),
    "a ring off a wanted key": (
        {"w": (inc, "x"), "x": (add, "y", 1), "y": (inc, "z"), "z": (inc, "x")},
        "w",
    ),
    "a ring of which one more is needed": (
        {"x": (inc, "y"), "y": (inc, "z"), "z": (inc, "x"), "w": (add, "x", "y")},
        "w",
    ),
    "a ring through a wanted key": (
        {"x": (inc, "y"), "y": (inc, "z"), "z": (inc, "x")},
        ["z", "x"],
    ),
    "aliases": ({"x": "y", "y": "z", "z": "x"}, "x"),
    "aliases that a task needs": ({"x": "y", "y": "x", "w": (inc, "x")}, "w"),
    "aliases off aliases": ({"x": "y", "y": "z", "z": "y"}, "x"),
    "in a list": ({"x": (sum, ["y", 1]), "y": (sum, [["x"]])}, "x"),
    "fused": (
        {
            "x": Task.fuse(Task("a", inc, Y), Task("b", inc, TaskRef("a")), key="x"),
            **T("y", inc, X),
        },
        "y",
    ),
    "long": ({n: (inc, (n + 1) % 1000) for n in range(1000)}, 5),
    "long, with others": (
        {n: (add, (n + 1) % 1000, ("o", n)) for n in range(1000)}
        | {("o", n): (inc, n) for n in range(1000)},
        5,
    ),
    "far away": ({n: (inc, n + 1) for n in range(1000)} | {1000: (inc, 999)}, 0),
}


@pytest.mark.parametrize("dsk, keys", CYCLES.values(), ids=CYCLES)
def test_cycles_are_shown(dsk: dict[Any, Any], keys: Any) -> None:
    with pytest.raises(RuntimeError, match="the graph has a cycle: ") as caught:
        graph_calls(dsk, keys)
    names = str(caught.value).partition(": ")[2].split(" needs ")
    if "another name" not in names[0]:
        assert names[0] == names[-1]
        known = {repr(key) for key in dsk} | {"..."}
        assert known.issuperset(names)
        assert 2 <= len(names) <= 22


def test_cycles_show_who_needs_whom() -> None:
    dsk = {"x": (inc, "y"), "y": (inc, "z"), "z": (inc, "x"), "w": (add, "x", "y")}
    with pytest.raises(
        RuntimeError, match=r"'x' needs 'y' needs 'z' needs 'x'|'y' needs 'z' needs 'x' needs 'y'"
    ):
        graph_calls(dsk, "w")


def test_a_cycle_that_nobody_needs_is_no_mistake() -> None:
    assert compute({"x": (inc, "y"), "y": (inc, "x"), "z": (inc, 1)}, "z") == [2]


def test_tasks_that_cannot_be_sent_are_named() -> None:
    with pytest.raises(SerializationError, match="'x' cannot be sent"):
        graph_calls({"x": (same, (n for n in range(3)))}, "x")


# Large graphs ----------------------------------------------------------------------------------


def test_long_chains_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "MAX_FUSED", 7)
    dsk: dict[Any, Any] = {0: (int,)} | {n: (inc, n - 1) for n in range(1, 100)}
    assert len(submitted(dsk, [99])) == 15
    assert compute(dsk, [99, 50]) == [99, 50]


def test_chains_with_much_data_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "MAX_ARGUMENT_BYTES", 1000)
    dsk: dict[Any, Any] = {("d", n): b"%d" % n * 500 for n in range(1, 6)}
    dsk |= {0: (int,)} | {n: (max, n - 1, (len, ("d", n))) for n in range(1, 6)}
    assert len(submitted(dsk, [5])) == 6
    assert compute(dsk, [5]) == [500]
    with pytest.raises(ValueError, match=r"'x' holds .* bytes of data, more than the limit"):
        graph_calls({"x": (len, b"x" * 1001), "y": (inc, "x")}, "y")


def test_large_graphs_are_sent_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "MESSAGE_TASKS", 10)
    dsk: dict[Any, Any] = {("x", n): (inc, n) for n in range(95)}
    dsk["sum"] = (sum, list(dsk))
    found = graph_calls(dsk, "sum")
    assert [calls.more for calls in found.calls] == [True] * 9 + [False]
    keys = [item[0] for item in items_of(found.calls[:-1])]
    assert [key for calls in found.calls for key in calls.ahead] == keys
    assert len({calls.graph for calls in found.calls}) == 1
    assert values_of(found, ["sum"]) == [sum(range(1, 96))]


def test_tasks_of_one_function_that_do_not_need_each_other_share_a_group() -> None:
    """However they alternate with those of others."""
    dsk: dict[Any, Any] = {("x", n): (inc, n) for n in range(32)}
    for height in range(1, 6):
        for n in range(32 >> height):
            below = "x" if height == 1 else height - 1
            dsk[height, n] = (add, (below, 2 * n), (below, 2 * n + 1))
    found = graph_calls(dsk, (5, 0), lambda key: {"priority": 1} if key == (1, 3) else None)
    (calls,) = found.calls
    assert [len(items) for *_, items in calls.groups] == [32, 15, 1, 8, 4, 2, 1]
    assert [options for _, options, *_ in calls.groups].count({"priority": 1}) == 1
    assert values_of(found, [(5, 0)]) == [sum(range(1, 33))]
    in_order = sorted(items_of(found.calls), key=lambda item: item[3])
    assert [shown_key(item[0]) for item in in_order[:3]] == [("x", 0), ("x", 1), (1, 0)]


def test_what_needs_nothing_more_than_has_been_sent_is_said_to_be_complete(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(graphs, "MESSAGE_TASKS", 3)
    dsk: dict[Any, Any] = {("x", n): (inc, n) for n in range(8)}
    dsk |= {("y", n): (add, ("x", n), ("x", n + 1)) for n in range(0, 8, 2)}
    dsk |= {("z", n): (add, ("y", n), ("y", n + 2)) for n in (0, 4)}
    dsk["w"] = (add, ("z", 0), ("z", 4))
    parts = graph_calls(dsk, "w").calls
    open_keys: set[str] = set()
    for place, calls in enumerate(parts[:-1]):
        needed = {key for item in items_of(parts[place + 1 :]) for key in item[2] or ()}
        open_keys = (open_keys | set(calls.ahead)) - set(calls.complete)
        assert open_keys == {item[0] for item in items_of(parts[: place + 1])} & needed


def test_what_may_be_there_already_is_not_begun_before_all_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(graphs, "MESSAGE_TASKS", 2)
    dsk: dict[Any, Any] = {f"x{n}": (inc, n) for n in range(5)}
    dsk["sum"] = (sum, list(dsk))
    for kept, ahead in ((["other"], True), (["x3"], False), (["sum"], False)):
        found = graph_calls(dsk, "sum", kept=kept)
        assert [len(calls.ahead) for calls in found.calls] == ([2, 2, 0] if ahead else [0, 0, 0])


def test_what_comes_before_what_cannot_be_packed_has_been_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(graphs, "MESSAGE_TASKS", 2)
    dsk: dict[Any, Any] = {f"x{n}": (inc, n) for n in range(3)}
    dsk["y"] = (same, (n for n in range(3)))
    dsk["sum"] = (sum, list(dsk))
    parts = iter(GraphCalls(dsk, "sum"))
    assert next(parts).calls.more
    with pytest.raises(SerializationError, match="'y' cannot be sent"):
        list(parts)


def test_options_keep_tasks_of_a_chain_apart() -> None:
    dsk = {0: (int,), 1: (inc, 0), 2: (inc, 1), 3: (inc, 2), 4: (inc, 3)}

    def options(key: Any) -> dict[str, Any] | None:
        return {"priority": 1} if key in (2, 3) else None

    (calls,) = graph_calls(dsk, [4], options).calls
    found = [(shown_key(i[0]), given) for _, given, _, items in calls.groups for i in items]
    assert found == [(1, None), (3, {"priority": 1}), (4, None)]


def test_deep_graphs_are_no_problem() -> None:
    dsk: dict[Any, Any] = {0: (int,)} | {n: (inc, n - 1) for n in range(1, 5000)}
    assert compute(dsk, 4999) == [4999]
    assert compute(dsk, list(range(5000))) == list(range(5000))


def triangle(n: int) -> dict[Any, Any]:
    """Each needs the two before it."""
    dsk: dict[Any, Any] = {0: Task(0, int), 1: Task(1, int)}
    return dsk | {i: Task(i, add, TaskRef(i - 1), TaskRef(i - 2)) for i in range(2, n)}


def star(n: int) -> dict[Any, Any]:
    return {i: Task(i, int) for i in range(1, n)} | T(0, total, *map(TaskRef, range(1, n)))


def tree(n: int) -> dict[Any, Any]:
    return {
        i: Task(i, add, TaskRef(2 * i), TaskRef(2 * i + 1)) if 2 * i + 1 < n else Task(i, int)
        for i in range(n)
    }


def chain(n: int) -> dict[Any, Any]:
    return {0: Task(0, int)} | {i: Task(i, inc, TaskRef(i - 1)) for i in range(1, n)}


@pytest.mark.parametrize(
    "shape, key, size",
    [(chain, -1, 200_000), (triangle, -1, 20_000), (star, 0, 20_000), (tree, 1, 20_000)],
)
def test_time_is_proportional_to_size(
    shape: Callable[[int], dict[Any, Any]], key: int, size: int
) -> None:
    def seconds(n: int) -> float:
        dsk = shape(n)
        start = time.process_time()
        graph_calls(dsk, key % n)
        return time.process_time() - start

    assert seconds(size) < 40 * min(seconds(size // 10) for _ in range(3))


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


def test_what_is_kept_is_not_fused_with_its_user() -> None:
    dsk = {"x": (inc, 1), "y": (inc, "x"), "z": (inc, "y")}
    alone = graph_calls(dsk, "y")
    later = graph_calls(dsk, "z", kept={"y"})
    keys = [item[0] for calls in later.calls for *_, items in calls.groups for item in items]
    assert keys == [alone.wires["y"], later.wires["z"]]


def test_tasks_with_a_time_limit_stay_apart() -> None:
    dsk = {"x": (inc, 1), "y": (inc, "x"), "z": (inc, "y")}
    for options, count in (({"retries": 1}, 1), ({"retries": 1, "time_limit": 2.0}, 3)):
        found = graph_calls(dsk, "z", options=lambda key, o=options: o)  # type: ignore[misc]
        assert sum(len(group[3]) for calls in found.calls for group in calls.groups) == count


def test_an_iterator_that_is_used_twice_is_read_twice() -> None:
    dsk = {"x": (iter, [1, 2, 3]), "y": (list, (zip, "x", "x"))}
    assert compute(dsk, "y") == [[(1, 1), (2, 2), (3, 3)]]
    # As an input, that two arguments of a fused task have.
    dsk = {
        "x": (iter, [1, 2, 3]),
        "n": (len, [0, 0]),
        "y": (list, (zip, "x", (islice, "x", "n", None))),
    }
    assert compute(dsk, ["x", "n", "y"])[2] == [(1, 3)]
