"""The garbage collector while a lot is made."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from distributed.collecting import YOUNG_OBJECTS, SeldomCollected


@pytest.fixture(autouse=True)
def usual() -> Iterator[tuple[int, int, int]]:
    before = gc.get_threshold()
    yield before
    gc.set_threshold(*before)


def test_garbage_is_collected_seldom_until_the_last_has_left(usual: tuple[int, int, int]) -> None:
    with SeldomCollected():
        with SeldomCollected():
            assert gc.get_threshold() == (YOUNG_OBJECTS, *usual[1:])
        assert gc.get_threshold() == (YOUNG_OBJECTS, *usual[1:])
    assert gc.get_threshold() == usual


def test_the_one_that_wants_it_most_seldom_counts(usual: tuple[int, int, int]) -> None:
    with SeldomCollected():
        with SeldomCollected(2 * YOUNG_OBJECTS), SeldomCollected():
            assert gc.get_threshold() == (2 * YOUNG_OBJECTS, *usual[1:])
        assert gc.get_threshold() == (YOUNG_OBJECTS, *usual[1:])
    assert gc.get_threshold() == usual


def test_it_is_as_before_after_an_error(usual: tuple[int, int, int]) -> None:
    with pytest.raises(ZeroDivisionError), SeldomCollected():
        raise ZeroDivisionError
    assert gc.get_threshold() == usual


def test_a_collector_that_is_off_stays_off() -> None:
    gc.set_threshold(0, 10, 10)
    with SeldomCollected():
        assert gc.get_threshold() == (0, 10, 10)
    assert gc.get_threshold() == (0, 10, 10)


def test_what_its_user_has_made_rarer_still_stays_so() -> None:
    gc.set_threshold(10 * YOUNG_OBJECTS, 5, 5)
    with SeldomCollected():
        assert gc.get_threshold() == (10 * YOUNG_OBJECTS, 5, 5)
