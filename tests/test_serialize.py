"""Objects to frames and back."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distributed.errors import SerializationError
from distributed.serialize import OUT_OF_BAND_BYTES, dumps, loads, nbytes, pickle_bytes, unpickle

VALUES = st.recursive(
    st.none() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_values_come_back_as_they_were(value: Any) -> None:
    assert loads(dumps(value)) == value
    assert unpickle(pickle_bytes(value)) == value


def test_large_arrays_are_not_copied() -> None:
    array = np.arange(OUT_OF_BAND_BYTES)
    frames = dumps([array, array[:10]])
    assert len(frames) == 2
    assert len(frames[0]) < 1000
    assert np.shares_memory(np.frombuffer(frames[1], dtype=array.dtype), array)
    restored, small = loads([frames[0], bytearray(frames[1])])
    assert restored.flags.writeable
    assert (restored == array).all()
    assert (small == array[:10]).all()


def test_arrays_that_are_not_contiguous_travel_too() -> None:
    array = np.arange(OUT_OF_BAND_BYTES).reshape(64, -1).T[::2]
    assert (loads(dumps(array)) == array).all()


def test_functions_without_a_name_travel_by_value() -> None:
    offset = 3
    assert unpickle(pickle_bytes(lambda x: x + offset))(4) == 7


def test_what_cannot_be_pickled_is_named() -> None:
    with pytest.raises(SerializationError, match="a lock cannot be pickled"):
        pickle_bytes(threading.Lock())
    with pytest.raises(SerializationError, match="a dict cannot be pickled"):
        dumps({"x": threading.Lock()})


class Liar:
    def __sizeof__(self) -> int:
        raise RuntimeError("no size")


def test_sizes() -> None:
    assert nbytes(b"x" * 1000) >= 1000
    assert nbytes(np.zeros(1000)) >= 8000
    assert nbytes([np.zeros(1000)]) >= 8000
    assert nbytes(Liar()) > 0
    assert nbytes(list(range(1_000_000))) > 1_000_000
