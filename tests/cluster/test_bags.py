"""Dask bags on a cluster: the same values as on dask's own threads."""

from __future__ import annotations

import operator
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import dask
import dask.bag as db
import pytest

from distributed import Executor, Future, futures_of, wait
from tests.support import on_threads, wait_until

TEXT = """It was the best of times, it was the worst of times, it was the age of wisdom,
it was the age of foolishness, it was the epoch of belief, it was the epoch of incredulity,
it was the season of light, it was the season of darkness, it was the spring of hope"""
WORDS = TEXT.lower().replace(",", "").split()
PEOPLE = [{"name": name, "age": age} for age, name in enumerate(WORDS)]


def words() -> Any:
    return db.from_sequence(WORDS, npartitions=4)


def numbers() -> Any:
    return db.range(100, npartitions=5)


def even(n: int) -> bool:
    return n % 2 == 0


def total(parts: Iterable[int]) -> int:
    return sum(parts)


def doubled(part: Iterable[int]) -> Iterator[int]:
    """A generator: what it makes can be read once."""
    for n in part:
        yield 2 * n


BAGS: dict[str, Callable[[], Any]] = {
    "all": words,
    "count of words": lambda: words().foldby(
        lambda word: word, lambda n, _: n + 1, 0, operator.add, 0
    ),
    "frequencies": lambda: words().frequencies(),
    "topk": lambda: words().frequencies().topk(3, key=lambda pair: (pair[1], pair[0])),
    "map": lambda: numbers().map(lambda n, by: n * by, by=3),
    "map over two": lambda: numbers().map(operator.add, numbers()),
    "map with a lazy value": lambda: numbers().map(operator.add, numbers().max()),
    "starmap": lambda: db.zip(numbers(), numbers()).starmap(operator.mul),
    "filter": lambda: numbers().filter(even).remove(lambda n: n > 50),
    "flatten": lambda: db.from_sequence(TEXT.split("\n"), npartitions=2).map(str.split).flatten(),
    "pluck": lambda: db.from_sequence(PEOPLE, npartitions=3).pluck("age").sum(),
    "groupby": lambda: numbers().groupby(lambda n: n % 7).map(lambda p: (p[0], sorted(p[1]))),
    "groupby of words": lambda: words().groupby(len).map(lambda p: (p[0], sorted(p[1]))),
    "fold": lambda: numbers().fold(operator.add, initial=0),
    "fold of sets": lambda: words().fold(lambda s, w: s | {w}, set.union, initial=set()),
    "reduction": lambda: numbers().reduction(total, total, split_every=2),
    "accumulate": lambda: numbers().accumulate(operator.add),
    "distinct": lambda: words().distinct(),
    "statistics": lambda: numbers().var(),
    "mean": lambda: numbers().filter(even).mean(),
    "any": lambda: numbers().any(),
    "zip": lambda: db.zip(words(), words().map(len)),
    "concat": lambda: db.concat([numbers(), numbers().map(str)]),
    "product": lambda: numbers().filter(lambda n: n < 4).product(db.range(3, 2)),
    "join": lambda: numbers().join([4, 5, 5], even, even).count(),
    "take": lambda: numbers().take(7, npartitions=2, compute=False),
    "repartition": lambda: numbers().repartition(npartitions=2).map_partitions(sum),
    "generators": lambda: numbers().map_partitions(doubled).map_partitions(doubled),
    "generators of an iterator": lambda: numbers().map(abs).map_partitions(doubled).filter(even),
    "strings": lambda: words().str.upper().str.strip("E"),
    "random_sample": lambda: numbers().random_sample(0.5, random_state=3),
    "one item": lambda: words().to_delayed()[0],
}
UNORDERED = {"count of words", "frequencies", "groupby", "groupby of words", "distinct", "product"}


@pytest.mark.parametrize("name", BAGS)
def test_values(executor: Executor, name: str) -> None:
    bag = BAGS[name]()
    expected = on_threads(bag)
    for value in (
        bag.compute(scheduler=executor),
        executor.compute(bag).result(),
        executor.compute(bag, optimize_graph=False, sync=True),
    ):
        if name in UNORDERED:
            assert sorted(value) == sorted(expected)
        else:
            assert value == expected


def test_words_are_counted(executor: Executor) -> None:
    counted = words().foldby(str, lambda n, _: n + 1, 0, operator.add, 0)
    assert dict(counted.compute(scheduler=executor)) == Counter(WORDS)


def test_text_files_there_and_back(executor: Executor, tmp_path: Path) -> None:
    written = words().to_textfiles(str(tmp_path / "part-*.txt.gz"))  # with the default
    assert len(written) == len(list(tmp_path.glob("part-*.txt.gz"))) == 4
    back = db.read_text(str(tmp_path / "part-*.txt.gz"))
    assert back.str.strip().compute(scheduler=executor) == WORDS
    named = db.read_text(str(tmp_path / "part-*.txt.gz"), include_path=True)
    assert len(named.pluck(1).distinct().compute(scheduler=executor)) == 4
    (tmp_path / "text").write_text(TEXT)
    parts = db.read_text(str(tmp_path / "text"), blocksize=40)
    assert parts.npartitions > 2
    assert "".join(parts) == TEXT


def test_futures_are_partitions(executor: Executor) -> None:
    futures = executor.map(list, ["abc", "de"])
    futures += executor.scatter([["f"], ["g", "h"]], hash=False)
    bag = db.from_delayed(futures)
    assert "".join(bag.compute(scheduler=executor)) == "abcdefgh"
    assert bag.map(str.upper).count().compute() == 8
    persisted = executor.persist(bag.map(ord))
    del bag, futures
    assert persisted.max().compute() == ord("h")


def test_persisted_bags_stay_and_can_be_used(executor: Executor) -> None:
    bag = executor.persist(numbers().map(lambda n: n + 1))
    futures = futures_of(bag)
    assert len(futures) == bag.npartitions == 5
    wait(futures)
    assert bag.sum().compute() == 5050
    assert bag.compute() == list(range(1, 101))
    assert dask.compute(bag.min(), bag.count()) == (1, 100)
    assert bag.filter(even).persist().count().compute() == 50
    keys = {future.key for future in futures}
    del bag, futures
    wait_until(lambda: not keys & executor.who_has().keys(), what="the parts are freed")


def test_lazy_values_of_bags(executor: Executor) -> None:
    items = executor.compute(numbers().sum(), numbers().max())
    assert all(isinstance(item, Future) for item in items)
    assert executor.gather(items) == [4950, 99]
    assert (numbers().sum() + numbers().max().to_delayed()).compute(scheduler=executor) == 5049


def test_errors_are_the_users(executor: Executor) -> None:
    with pytest.raises(ZeroDivisionError):
        numbers().map(lambda n: 1 // n).compute(scheduler=executor)

    def stops_at_three(part: Iterable[int]) -> Iterator[int]:
        for n in part:
            if n == 3:
                raise KeyError("three")
            yield n

    with pytest.raises(KeyError, match="three"):
        numbers().map_partitions(stops_at_three).sum().compute(scheduler=executor)


# Results that can be read once


@pytest.mark.parametrize("optimize", [True, False], ids=["optimized", "as written"])
def test_a_generator_is_read_by_two(executor: Executor, optimize: bool) -> None:
    bag = numbers().map_partitions(doubled)
    results = executor.compute(
        bag.sum(), bag.max(), bag.count(), sync=True, optimize_graph=optimize
    )
    assert results == [9900, 198, 100]


def test_a_generator_is_read_on_another_worker(executor: Executor) -> None:
    """By one where it was made, and by two elsewhere."""
    here, there = executor.ncores()
    lazy = executor.submit(doubled, range(1000), workers=here, pure=False)
    sums = [executor.submit(sum, lazy, workers=w) for w in (here, there)]
    assert executor.gather(sums) == [999_000] * 2
    assert executor.submit(max, lazy, workers=there).result() == 1998
    assert sorted(executor.who_has(lazy)[lazy.key]) == sorted([here, there])
    assert list(lazy.result())[:2] == [0, 2]
    assert next(lazy.result()) == next(lazy.result()) == 0


def test_a_generator_of_a_graph_is_read_on_another_worker(executor: Executor) -> None:
    def where(part: Iterable[int]) -> tuple[int, int]:
        return os.getpid(), sum(part)

    here, there = executor.ncores()
    pids = executor.run(os.getpid)
    with dask.annotate(workers=[here]):
        made = dask.delayed(doubled)(range(10))
    with dask.annotate(workers=[here]):
        near = dask.delayed(where)(made)
    with dask.annotate(workers=[there]):
        far = dask.delayed(where)(made)
    assert dask.compute(near, far, scheduler=executor) == ((pids[here], 90), (pids[there], 90))


def test_persisted_generators_are_read_many_times(executor: Executor) -> None:
    bag = executor.persist(numbers().map_partitions(doubled))
    assert [bag.sum().compute() for _ in range(3)] == [9900] * 3
    assert bag.compute() == bag.compute() == list(range(0, 200, 2))
    assert bag.map_partitions(doubled).sum().compute() == 19_800


def test_an_error_of_a_generator_comes_back(executor: Executor) -> None:
    def breaks(part: Iterable[int]) -> Iterator[int]:
        yield from part
        raise LookupError("no more")

    bag = numbers().map_partitions(breaks)
    with pytest.raises(LookupError, match="no more"):
        executor.compute(bag.sum(), bag.max(), sync=True)
    with pytest.raises(LookupError, match="no more"):
        bag.compute(scheduler=executor)
    assert numbers().sum().compute(scheduler=executor) == 4950
