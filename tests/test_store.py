"""A worker's results."""

from __future__ import annotations

from distributed.store import Store


def test_values_and_their_weight() -> None:
    store = Store()
    store.put("x", 1, 10)
    store.put("y", 2, 5)
    store.put("x", 3, 7)
    assert (store.values, store.total_bytes) == ({"x": 3, "y": 2}, 12)
    store.delete("x")
    store.delete("x")
    assert (store.values, store.total_bytes) == ({"y": 2}, 5)
