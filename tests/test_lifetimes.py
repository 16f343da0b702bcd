"""Where the data of a worker that leaves goes."""

from __future__ import annotations

from distributed.lifetimes import spread


def test_nothing_goes_where_there_is_no_room() -> None:
    assert spread({"a": 5, "b": 1}, {"x": -3.0}) == {}
    assert spread({"a": 5}, {}) == {}


def test_small_data_still_fits_where_large_does_not() -> None:
    assert spread({"a": 50, "b": 1}, {"x": 10.0, "y": 2.0}) == {"x": ["b"]}


def test_it_is_spread_by_size() -> None:
    sizes = {str(number): number for number in range(1, 101)}
    found = spread(sizes, dict.fromkeys("abcd", 1e9))
    totals = [sum(sizes[key] for key in keys) for keys in found.values()]
    assert sum(totals) == 5050 and max(totals) - min(totals) < 50
