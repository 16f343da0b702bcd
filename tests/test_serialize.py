"""Objects to frames and back."""

from __future__ import annotations

import threading
import time
from collections import namedtuple
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distributed.errors import SerializationError
from distributed.serialize import OUT_OF_BAND_BYTES, dumps, nbytes, pickle_bytes
from distributed.unpickling import unpickle, unpickle_frames

VALUES = st.recursive(
    st.none() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_values_come_back_as_they_were(value: Any) -> None:
    assert unpickle_frames(dumps(value)) == value
    assert unpickle(pickle_bytes(value)) == value


def test_large_arrays_are_not_copied() -> None:
    array = np.arange(OUT_OF_BAND_BYTES)
    frames = dumps([array, array[:10]])
    assert len(frames) == 2
    assert len(frames[0]) < 1000
    assert np.shares_memory(np.frombuffer(frames[1], dtype=array.dtype), array)
    restored, small = unpickle_frames([frames[0], bytearray(frames[1])])
    assert restored.flags.writeable
    assert (restored == array).all()
    assert (small == array[:10]).all()


def test_arrays_that_are_not_contiguous_travel_too() -> None:
    array = np.arange(OUT_OF_BAND_BYTES).reshape(64, -1).T[::2]
    assert (unpickle_frames(dumps(array)) == array).all()


def test_an_array_may_be_written_to_if_its_buffer_may() -> None:
    frames = dumps(np.zeros(OUT_OF_BAND_BYTES))
    assert not unpickle_frames([frames[0], bytes(frames[1])]).flags.writeable
    buffer = bytearray(frames[1])
    array = unpickle_frames([frames[0], memoryview(buffer)])
    array[0] = 1
    assert np.frombuffer(buffer)[0] == 1


def test_buffers_of_a_failed_attempt_are_not_sent() -> None:
    """Plain pickle takes the array out before it fails at the lambda."""
    array = np.zeros(OUT_OF_BAND_BYTES)
    frames = dumps([array, lambda: 3])
    assert len(frames) == 2
    restored, func = unpickle_frames(frames)
    assert (restored == array).all()
    assert func() == 3


def test_tables_are_frames_of_their_own() -> None:
    table = pd.DataFrame({"x": np.arange(OUT_OF_BAND_BYTES)})
    frames = dumps(table)
    assert len(frames) > 1
    assert unpickle_frames(frames).equals(table)


def test_what_main_defines_travels_by_value() -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec("class Here:\n    x = 5\ndef f(): return Here.x", names)
    assert unpickle(pickle_bytes(names["f"]))() == 5
    assert unpickle_frames(dumps(names["Here"]())).x == 5


def test_functions_without_a_name_travel_by_value() -> None:
    offset = 3
    assert unpickle(pickle_bytes(lambda x: x + offset))(4) == 7


def test_what_cannot_be_pickled_is_named() -> None:
    with pytest.raises(SerializationError, match="a lock cannot be pickled"):
        pickle_bytes(threading.Lock())
    with pytest.raises(SerializationError, match="a dict cannot be pickled"):
        dumps({"x": threading.Lock()})
    with pytest.raises(SerializationError) as raised:
        dumps(threading.Lock())
    assert isinstance(raised.value.__cause__, TypeError)


class Liar:
    def __sizeof__(self) -> int:
        raise RuntimeError("no size")


Pair = namedtuple("Pair", "x y")


def test_sizes() -> None:
    assert nbytes(b"x" * 1000) >= 1000
    assert nbytes(np.zeros(1000)) >= 8000
    assert nbytes([np.zeros(1000)]) >= 8000
    assert nbytes(Pair(1, np.zeros(1000))) >= 8000
    assert nbytes({"x": {"y": np.zeros(1000)}}) >= 8000
    assert nbytes(pd.DataFrame({"x": ["y" * 100] * 100})) >= 1000


def test_a_size_that_cannot_be_told_hides_no_other() -> None:
    assert nbytes(Liar()) > 0
    assert nbytes([Liar(), b"x" * 1000]) >= 1000


@pytest.mark.parametrize("make", [list, tuple, set, dict.fromkeys])
def test_long_containers_are_sampled(make: Any) -> None:
    value = make(range(1_000_000))
    found = nbytes(value)
    assert 30_000_000 < found < 200_000_000


def test_sizes_of_nested_containers_are_estimated_well() -> None:
    exact = 100 * 100 * 10 * 800
    found = nbytes([[[np.zeros(100) for _ in range(10)] for _ in range(100)] for _ in range(100)])
    assert exact / 3 < found < exact * 3


def test_sizes_of_tangled_containers_take_no_time() -> None:
    shared: list[Any] = []
    for _ in range(100):
        shared = [shared, shared]
    loop: list[Any] = []
    loop += [loop, loop]
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    wide = [[[[0] * 20] * 20] * 20] * 20
    start = time.process_time()
    assert all(nbytes(value) > 0 for value in (shared, loop, deep, wide))
    assert time.process_time() - start < 1
    # Else the interpreter frees it recursively.
    while deep:
        deep = deep.pop()
