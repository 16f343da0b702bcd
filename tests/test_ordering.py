"""Orders of tasks that hold few results at a time."""

from __future__ import annotations

import time
from random import Random
from typing import Any

import dask.array as da
import pytest
from dask._task_spec import Task, TaskRef
from dask.order import order as order_of_dask
from hypothesis import given, settings
from hypothesis import strategies as st

from distributed.expressions import plan_compute
from distributed.ordering import Cycle, Inputs, order


def held(sequence: list[Any], inputs: Inputs, wanted: list[Any]) -> int:
    """The most results that are held at a time, besides those that are wanted."""
    assert sorted(sequence, key=str) == sorted(inputs, key=str)
    uses = {name: 0 for name in inputs}
    for needed in inputs.values():
        for name in needed:
            uses[name] += 1
    most = 0
    there: set[Any] = set()
    for name in sequence:
        assert there.issuperset(set(inputs[name]) - set(wanted)), "dependencies come first"
        if name not in wanted:
            there.add(name)
        most = max(most, len(there))
        for other in inputs[name]:
            uses[other] -= 1
            if not uses[other]:
                there.discard(other)
    return most


def random_inputs(seed: int) -> tuple[dict[Any, list[Any]], list[Any]]:
    random = Random(seed)
    span = random.choice([2, 10, 100])
    most = random.choice([1, 2, 5])
    size = random.randint(1, 100)
    inputs: dict[Any, list[Any]] = {}
    for n in range(size):
        earlier = range(max(0, n - span), n)
        inputs[n] = random.sample(earlier, min(len(earlier), random.randint(0, most)))
    used = {other for needed in inputs.values() for other in needed}
    wanted = [n for n in inputs if n not in used or random.random() < 0.1]
    names = random.sample(range(size), size)
    return {n: inputs[n] for n in names}, wanted


@given(st.integers(0, 2**32))
@settings(deadline=None)
def test_what_is_needed_comes_first(seed: int) -> None:
    inputs, wanted = random_inputs(seed)
    assert held(order(inputs, wanted), inputs, wanted) <= len(inputs)


def test_random_graphs_hold_no_more_than_in_the_order_of_dask() -> None:
    ours = theirs = 0
    for seed in range(200):
        inputs, wanted = random_inputs(seed)
        ours += held(order(inputs, wanted), inputs, wanted)
        theirs += held(by_dask(inputs), inputs, wanted)
    assert ours <= theirs


def by_dask(inputs: Inputs) -> list[Any]:
    nodes = {name: Task(name, max, *map(TaskRef, needed)) for name, needed in inputs.items()}
    places = order_of_dask(nodes)
    return sorted(nodes, key=places.__getitem__)


def array() -> Any:
    return da.ones((100, 100), chunks=(10, 10))


ARRAYS = {
    "sum": lambda x: [x.sum()],
    "anomalies": lambda x: [(x - x.mean(axis=0)).std()],
    "transposed": lambda x: [(x + x.T).sum()],
    "several": lambda x: [x.sum(), x.std(axis=0), x.max()],
    "chunks of another shape": lambda x: [x.rechunk((100, 2)).std(axis=1)],
    "running sums": lambda x: [x.cumsum(axis=0).sum()],
    "neighbours": lambda x: [x.map_overlap(lambda a: a, depth=1, boundary="reflect").sum()],
}


@pytest.mark.parametrize("make", ARRAYS.values(), ids=ARRAYS)
def test_arrays_hold_no_more_than_in_the_order_of_dask(make: Any) -> None:
    found, wanted = plan_compute(make(array()), optimize_graph=True)
    inputs = {name: list(node.dependencies) for name, node in found.graph.items()}
    ours = held(order(inputs, wanted), inputs, wanted)
    assert ours <= 1.1 * held(by_dask(inputs), inputs, wanted) + 1


def stencil(width: int, steps: int) -> dict[Any, list[Any]]:
    inputs: dict[Any, list[Any]] = {(0, i): [] for i in range(width)}
    for t in range(1, steps):
        for i in range(width):
            inputs[t, i] = [(t - 1, j) for j in (i - 1, i, i + 1) if 0 <= j < width]
    return inputs


def accumulation(n: int) -> dict[Any, list[Any]]:
    inputs: dict[Any, list[Any]] = {("a", 0): []}
    for i in range(1, n):
        inputs["x", i] = []
        inputs["a", i] = [("x", i), ("a", i - 1)]
    return inputs


def tree(n: int) -> dict[Any, list[Any]]:
    return {i: [2 * i, 2 * i + 1] if 2 * i + 1 < n else [] for i in range(1, n)}


def test_well_known_shapes() -> None:
    assert held(order(tree(1024), [1]), tree(1024), [1]) <= 11
    sums = accumulation(100)
    assert held(order(sums, [("a", 99)]), sums, [("a", 99)]) == 3
    steps = stencil(20, 20)
    wanted = [(19, i) for i in range(20)]
    assert held(order(steps, wanted), steps, wanted) <= 45


def test_what_uses_up_a_result_comes_soon() -> None:
    """Else all of x would be held until the first sum is there."""
    inputs: dict[Any, list[Any]] = {}
    for i in range(100):
        inputs["x", i] = []
        inputs["f", i] = inputs["g", i] = [("x", i)]
        inputs["a", i] = [("f", i), *([("a", i - 1)] if i else [])]
        inputs["b", i] = [("g", i), *([("b", i - 1)] if i else [])]
    wanted = [("a", 99), ("b", 99)]
    assert held(order(inputs, wanted), inputs, wanted) <= 6


def test_names_of_all_kinds() -> None:
    inputs: dict[Any, list[Any]] = {"sum": [("x", 1), "y", 3, None], ("x", 1): ["y"]}
    inputs |= {"y": [], 3: [], None: []}
    assert order(inputs, ["sum"])[-1] == "sum"


def test_a_cycle_is_found() -> None:
    inputs = {"a": ["b"], "b": ["c", "d"], "c": ["a"], "d": [], "e": ["a"], "f": ["d"]}
    with pytest.raises(Cycle) as caught:
        order(inputs, ["e", "f"])
    assert caught.value.names in (["a", "b", "c", "a"], ["b", "c", "a", "b"], ["c", "a", "b", "c"])
    with pytest.raises(Cycle):
        order({"a": ["a"]}, ["a"])


@pytest.mark.parametrize(
    "small, large",
    [
        (stencil(20, 100), stencil(200, 100)),
        (accumulation(2_000), accumulation(20_000)),
        (tree(4_000), tree(40_000)),
        ({"sum": range(10_000)}, {"sum": range(100_000)}),
        ({n: ["x"] for n in range(10_000)}, {n: ["x"] for n in range(100_000)}),
    ],
    ids=["stencil", "accumulation", "tree", "all in one", "one for all"],
)
def test_time_is_proportional_to_size(small: Inputs, large: Inputs) -> None:
    def seconds(inputs: Inputs) -> float:
        needed = [name for others in inputs.values() for name in others]
        inputs = {**inputs, **{name: inputs.get(name, []) for name in needed}}
        wanted = list(inputs.keys() - set(needed))
        start = time.process_time()
        assert len(order(inputs, wanted)) == len(inputs)
        return time.process_time() - start

    assert seconds(large) < 40 * min(seconds(small) for _ in range(3))
