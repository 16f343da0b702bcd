"""Dask keeps expressions by the tokens of what is in them, futures among these."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import pandas as pd
import pytest
import xarray
from dask.base import tokenize

from distributed import Executor, Future, LocalCluster, wait


def inc(x: int) -> int:
    return x + 1


class Collection(NamedTuple):
    make: Callable[[], Any]
    use: Callable[[Any], Any]
    value: Any


def frame() -> Any:
    return dd.from_pandas(pd.DataFrame({"a": range(10)}), npartitions=2) + 1


COLLECTIONS = {
    "dataframe": Collection(frame, lambda df: df.a.sum(), 55),
    "array": Collection(lambda: da.ones(10, chunks=5) + 1, lambda x: x.sum(), 20),
    "bag": Collection(
        lambda: db.from_sequence(range(10), npartitions=2).map(inc), lambda b: b.sum(), 55
    ),
    "delayed": Collection(
        lambda: dask.delayed(inc, pure=True)(1), lambda d: dask.delayed(inc, pure=True)(d), 3
    ),
    "xarray": Collection(
        lambda: xarray.DataArray(da.ones(10, chunks=5), dims="x") + 1, lambda x: x.sum(), 20
    ),
}


@pytest.mark.parametrize("ending", ["restart", "cancel", "a new client"])
def test_an_expression_on_dead_futures_does_not_come_back(ending: str) -> None:
    kept = []
    with LocalCluster(n_workers=1) as cluster:
        executor = Executor(cluster)
        for make, use, _ in COLLECTIONS.values():
            persisted = make().persist()
            kept.append(use(persisted))  # as a notebook keeps what a cell shows
            wait(persisted)
            if ending == "cancel":
                executor.cancel(persisted)
        if ending == "restart":
            executor.restart()
        elif ending == "a new client":
            executor.close()
            executor = Executor(cluster)
        with executor:
            found = [use(make().persist()).compute() for make, use, _ in COLLECTIONS.values()]
    assert found == [value for *_, value in COLLECTIONS.values()]


def test_two_futures_of_one_task_have_one_token(executor: Executor) -> None:
    one, same, other = executor.map(inc, [1, 1, 2])
    assert one is not same
    assert tokenize(one) == tokenize(same) != tokenize(other)


def test_the_next_life_of_a_key_has_another_token(executor: Executor) -> None:
    first = executor.submit(inc, 1)
    before = tokenize(first)
    executor.cancel(first)
    second = executor.submit(inc, 1)
    assert (first.key, first.status) == (second.key, "cancelled")
    assert tokenize(second) != before
    assert second.result() == 2


class Box:
    def __init__(self, future: Future) -> None:
        self.future = future


def look(box: Box) -> tuple[str, Box]:
    return tokenize(box.future), box


def test_a_copy_that_has_travelled_has_the_same_token(executor: Executor) -> None:
    future = executor.submit(inc, 1)
    there, box = executor.submit(look, Box(future)).result()
    assert there == tokenize(box.future) == tokenize(future)
    assert box.future.result() == 2
