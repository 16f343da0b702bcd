"""What of a call reaches the function, and what is ours."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import operator
from typing import Any

import dask
import pytest

from distributed import Executor

# The names that the parameters of a function in some library have, and that `submit` once kept.
NAMES = ("timeout", "self", "func", "fn", "function", "args", "kwargs", "item", "options", "name")


def named(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, kwargs


@pytest.mark.parametrize("name", NAMES)
def test_an_argument_of_any_name_reaches_the_function(executor: Executor, name: str) -> None:
    expected = ((1,), {name: 30})
    assert executor.submit(named, 1, **{name: 30}).result() == expected
    assert executor.gather(executor.map(named, [1, 1], **{name: 30})) == [expected, expected]
    assert set(map(str, executor.run(named, 1, **{name: 30}).values())) == {str(expected)}
    future = executor.submit(int, 30)
    assert executor.submit(named, 1, **{name: future}).result() == expected
    assert executor.gather(executor.map(named, [1], **{name: future})) == [expected]


def test_a_timeout_of_the_function_is_no_limit_of_the_task(executor: Executor) -> None:
    slept = executor.submit(sleep_for, 0.5, timeout=0.01)
    assert slept.result(timeout=20) == 0.01


def sleep_for(seconds: float, timeout: float) -> float:
    from time import sleep

    sleep(seconds)  # on a worker
    return timeout


def test_submit_and_map_keep_no_names_but_those_of_dask_and_one() -> None:
    ours = {
        "key",
        "pure",
        "workers",
        "allow_other_workers",
        "retries",
        "priority",
        "resources",
        "time_limit",
        "actor",
        "actors",
        "fifo_timeout",
    }
    cases: list[tuple[Any, set[str]]] = [(Executor.submit, set()), (Executor.map, {"batch_size"})]
    for method, others in cases:
        parameters = inspect.signature(method).parameters.values()
        assert {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} == ours | others


@pytest.mark.parametrize("option", [{"actor": True}, {"actors": True}, {"fifo_timeout": "1s"}])
def test_options_that_are_not_here_are_refused(executor: Executor, option: dict[str, Any]) -> None:
    with pytest.raises(NotImplementedError, match=r"there (are|is) no (actors|fifo_timeout): "):
        executor.submit(named, **option)
    with pytest.raises(NotImplementedError, match=r"there (are|is) no (actors|fifo_timeout): "):
        executor.map(named, [1], **option)


def test_map_in_batches(executor: Executor) -> None:
    futures = executor.map(abs, range(-7, 0), batch_size=3, actor=False)
    assert executor.gather(futures) == [7, 6, 5, 4, 3, 2, 1]
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="a batch_size is at least 1"):
            executor.map(abs, [1], batch_size=wrong)
    with pytest.raises(TypeError):
        executor.map(abs, [1], batch_size="many")


def test_futures_that_a_partial_binds_are_resolved(executor: Executor) -> None:
    one = executor.submit(int, 1)
    bound = functools.partial(pow, 2, one)
    assert executor.submit(bound).result() == 2
    assert executor.gather(executor.map(functools.partial(max, one), [0, 3])) == [1, 3]
    assert executor.gather(executor.map(functools.partial(max, one, key=operator.neg), [0])) == [0]
    assert executor.submit(call, bound).result() == 2
    assert dask.delayed(bound)().compute(scheduler=executor.get) == 2
    assert dask.delayed(call)(bound).compute(scheduler=executor.get) == 2
    graph = {
        "a": (bound,),
        "b": (operator.add, "a", (functools.partial(max, one), 5)),
        "c": (call, bound),
    }
    assert executor.get(graph, ["a", "b", "c"]) == [2, 7, 2]


def call(func: Any) -> Any:
    return func()


@dataclasses.dataclass
class Pair:
    x: Any
    y: Any = None


def test_futures_in_a_dataclass_are_resolved(executor: Executor) -> None:
    pair = Pair(executor.submit(int, 1), [executor.submit(int, 2)])
    assert executor.submit(dataclasses.asdict, pair).result() == {"x": 1, "y": [2]}
    assert dask.delayed(dataclasses.asdict)(pair).compute(scheduler=executor.get) == {
        "x": 1,
        "y": [2],
    }
    assert executor.get({"a": (dataclasses.asdict, pair)}, "a") == {"x": 1, "y": [2]}
