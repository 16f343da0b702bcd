"""Results that can be read only once."""

from __future__ import annotations

import io
import itertools
import pickle
import traceback
from collections.abc import Iterator

import pytest

from distributed.iterators import Replay, fresh, repeatable


def broken() -> Iterator[int]:
    yield 1
    raise KeyError("half way")


def test_every_reader_begins_at_the_beginning() -> None:
    kept = repeatable(n for n in range(3))
    one, other = fresh(kept), fresh(kept)
    assert [next(one), next(one)] == [0, 1]
    assert list(other) == [0, 1, 2]
    assert list(one) == [2]
    assert next(fresh(kept)) == 0


def test_nothing_is_read_before_it_is_asked_for() -> None:
    kept = repeatable(n for n in itertools.count())
    assert list(itertools.islice(fresh(kept), 3)) == [0, 1, 2]


def test_a_failure_is_not_taken_for_the_end() -> None:
    kept = repeatable(broken())
    lines = []
    for _ in range(3):
        reader = fresh(kept)
        assert next(reader) == 1
        with pytest.raises(KeyError, match="half way") as failure:
            next(reader)
        lines.append(len(traceback.extract_tb(failure.value.__traceback__)))
    assert len(set(lines)) == 1, "each reader adds its own lines to its own exception"


def test_it_travels_as_all_that_it_has() -> None:
    kept = repeatable(map(str, range(3)))
    assert next(fresh(kept)) == "0"
    assert list(pickle.loads(pickle.dumps(kept))) == ["0", "1", "2"]


def test_a_failure_travels_behind_what_came_before_it() -> None:
    reader = pickle.loads(pickle.dumps(repeatable(broken())))
    assert next(reader) == 1
    with pytest.raises(KeyError, match="half way"):
        next(reader)


@pytest.mark.parametrize(
    "iterator",
    [
        zip("ab", "cd", strict=True), filter(None, [1]), enumerate("a"), iter([1]), iter((1,)),
        iter({1: 2}), iter({1}), iter(range(3)), iter({1: 2}.items()), itertools.chain([1], [2]),
        reversed([1]),
    ],
    ids=lambda iterator: type(iterator).__name__,
)  # fmt: skip
def test_iterators_of_python(iterator: Iterator[object]) -> None:
    kept = repeatable(iterator)
    assert type(kept) is Replay
    assert list(fresh(kept)) == list(fresh(kept)) != []


def test_all_else_stays_as_it_is() -> None:
    for value in (
        itertools.count(),
        itertools.repeat(1),
        [1],
        "text",
        io.StringIO("lines"),
        range(3),
        {1: 2},
    ):
        assert repeatable(value) is value
        assert fresh(value) is value
