"""Objects to bytes and back.

Pickle protocol 5 does the work. Large buffers (of NumPy arrays, Arrow tables) are frames of their own,
that are neither copied into the pickle nor out of it. What plain pickle cannot do, or would do by
reference to a `__main__` that is another module elsewhere, cloudpickle does.
"""

from __future__ import annotations

import io
import pickle
import sys
import types
from collections import ChainMap, deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, ClassVar

import cloudpickle

from distributed.errors import SerializationError
from distributed.transport import Frame

# Smaller buffers are copied into the pickle: a frame of its own costs more than the copy.
OUT_OF_BAND_BYTES = 64 << 10

# Nothing is in values of these types but themselves.
_FLAT = frozenset({int, float, complex, bool, str, bytes, bytearray, type(None)})

_dumps = pickle.dumps
unpickle = pickle.loads


def dumps(value: Any, out_of_band: int = OUT_OF_BAND_BYTES) -> list[Frame]:
    """The frames of an object: a pickle, and buffers of at least so many bytes that it refers to.

    Raises SerializationError that names the type and the cause.

    >>> loads(dumps({"a": 1}))
    {'a': 1}
    """
    if type(value) in _FLAT:
        return [_dumps(value, 5)]
    buffers: list[memoryview] = []

    def keep(buffer: pickle.PickleBuffer) -> bool:
        """False takes the buffer out of the pickle."""
        try:
            view = buffer.raw()
        except BufferError:
            return True  # not contiguous
        if view.nbytes < out_of_band:
            return True
        buffers.append(view)
        return False

    return [_pickle(value, keep, buffers.clear), *buffers]


def loads(frames: Sequence[Frame]) -> Any:
    """The object. Its large buffers are those of the frames, not copies; whether they may be written
    to depends on those."""
    return pickle.loads(frames[0], buffers=frames[1:])


def pickle_bytes(value: Any) -> bytes:
    """The object as one bytes object. Raises SerializationError.

    >>> unpickle(pickle_bytes([1, 2]))
    [1, 2]
    """
    if type(value) in _FLAT:
        return _dumps(value, 5)
    return _pickle(value, None, _nothing)


def _pickle(
    value: Any, keep: Callable[[pickle.PickleBuffer], bool] | None, again: Callable[[], object]
) -> bytes:
    try:
        head = _dumps(value, 5, buffer_callback=keep)
        if b"__main__" not in head:
            return head
    except Exception:
        pass  # cloudpickle knows more; if it fails too, its reason is told
    again()
    try:
        pickled: bytes = cloudpickle.dumps(value, 5, buffer_callback=keep)
        return pickled
    except Exception as error:
        name = type(value).__qualname__
        article = "an" if name[0] in "AEIOUaeiou" else "a"
        raise SerializationError(f"{article} {name} cannot be pickled: {error!r}") from error


def _nothing() -> None:
    pass


def pickle_function(func: Callable[..., Any]) -> bytes:
    """As `pickle_bytes`, but code that travels by value keeps the name of its file, so that
    tracebacks show its lines.

    Not for digests: a notebook's cells have other file names in each session.
    """
    try:
        head = _dumps(func, 5)
        if b"__main__" not in head:
            return head
    except Exception:
        pass  # see `_pickle`
    file = io.BytesIO()
    try:
        _FunctionPickler(file, 5).dump(func)
    except Exception as error:
        raise SerializationError(f"it cannot be pickled: {error!r}") from error
    return file.getvalue()


def _reduce_code(code: types.CodeType) -> tuple[Any, ...]:
    make, arguments = cloudpickle.Pickler.dispatch_table[types.CodeType](code)
    return make, tuple(code.co_filename if a == "<dynamic-code>" else a for a in arguments)


class _FunctionPickler(cloudpickle.Pickler):  # type: ignore[misc]
    dispatch_table: ClassVar[Any] = ChainMap(
        {types.CodeType: _reduce_code}, cloudpickle.Pickler.dispatch_table
    )


# Sizes -----------------------------------------------------------------------------------------

_CONTAINERS = (list, tuple, dict, set, frozenset)
# Of a longer container this many items stand for all: enough for a mean.
SAMPLE = 20
# Objects looked at in all, in whatever structure: one or two milliseconds' work.
MAX_SAMPLED = 1000


def nbytes(value: Any) -> int:
    """Roughly how much memory the object takes. Never raises, and never takes long.

    >>> nbytes(b"1234") < 64
    True
    """
    if type(value) in _FLAT:
        return sys.getsizeof(value)
    try:
        return _size_of_container(value) if isinstance(value, _CONTAINERS) else _size(value)
    except Exception:
        # A container of a user's class, that cannot be iterated over.
        return sys.getsizeof(None)


def _size(value: Any) -> int:
    if type(value) in _FLAT:
        return sys.getsizeof(value)
    # Dask knows arrays and tables; it takes 0.1 s to import.
    from dask.sizeof import sizeof

    try:
        return max(0, int(sizeof(value)))
    except Exception:
        # Whatever a user's __sizeof__ does: the size is an estimate, not worth a failed task.
        return sys.getsizeof(None)


def _size_of_container(value: Any) -> int:
    """Level by level: what is shared counts once, and neither depth nor a cycle is a danger."""
    total = counted = 0.0
    level = deque([(value, 1.0)])  # how many such objects each one stands for
    seen: set[int] = set()
    for _ in range(MAX_SAMPLED):
        if not level:
            break
        item, weight = level.popleft()
        counted += weight
        if not isinstance(item, _CONTAINERS):
            total += weight * _size(item)
        elif id(item) not in seen:
            seen.add(id(item))
            total += weight * sys.getsizeof(item)
            level.extend(_sample(item, weight))
    # What is left is taken to be like what was seen.
    return int(total + total / counted * sum(weight for _, weight in level))


def _sample(container: Any, weight: float) -> Iterator[tuple[Any, float]]:
    """Some of the items, that stand for all of them."""
    parts = (container, container.values()) if isinstance(container, dict) else (container,)
    for items in parts:
        if isinstance(items, (list, tuple)):
            sample = items[:: 1 + len(items) // SAMPLE]
        else:
            sample = list(islice(items, SAMPLE))
        for item in sample:
            yield item, weight * len(container) / len(sample)
