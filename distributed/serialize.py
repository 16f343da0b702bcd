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
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, ClassVar, NamedTuple

import cloudpickle

from distributed.errors import SerializationError
from distributed.file_handles import by_path
from distributed.reducers import reduce, with_slots
from distributed.transport import Frame

# Smaller buffers are copied into the pickle: a frame of its own costs more than the copy.
OUT_OF_BAND_BYTES = 64 << 10

# Nothing is in values of these types but themselves.
_FLAT = frozenset({int, float, complex, bool, str, bytes, bytearray, type(None)})

_dumps = pickle.dumps


class BufferedPickle(NamedTuple):
    """A pickle and the large buffers that it refers to."""

    head: bytes
    buffers: tuple[Frame | pickle.PickleBuffer, ...]


def dumps(value: Any, out_of_band: int = OUT_OF_BAND_BYTES) -> list[Frame]:
    """The frames of an object: a pickle, and buffers of at least so many bytes that it refers to.

    Raises SerializationError that names the type and the cause.

    >>> len(dumps({"a": 1})), len(dumps(pickle.PickleBuffer(bytearray(1 << 20))))
    (1, 2)
    """
    if type(value) in _FLAT:
        return [_dumps(value, 5)]
    return _with_buffers(value, out_of_band, _Pickler)


def _with_buffers(value: Any, out_of_band: int, pickler: type[cloudpickle.Pickler]) -> list[Frame]:
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

    return [_pickle(value, keep, buffers.clear, pickler), *buffers]


def pickle_bytes(value: Any) -> bytes:
    """The object as one bytes object. Raises SerializationError.

    >>> pickle.loads(pickle_bytes([1, 2]))
    [1, 2]
    """
    if type(value) in _FLAT:
        return _dumps(value, 5)
    return _pickle(value, None, _nothing, _Pickler)


def _pickle(
    value: Any,
    keep: Callable[[pickle.PickleBuffer], bool] | None,
    again: Callable[[], object],
    pickler: type[cloudpickle.Pickler],
) -> bytes:
    if type(value).__name__ == "memmap":
        value = by_path(value)
    try:
        head = _dumps(value, 5, buffer_callback=keep)
        if b"__main__" not in head and not (_registered() and _names_registered(head)):
            return head
    except Exception:
        pass  # cloudpickle knows more; if it fails too, its reason is told
    again()
    file = io.BytesIO()
    try:
        pickler(file, 5, buffer_callback=keep).dump(value)
    except Exception as error:
        reason = str(error) if isinstance(error, SerializationError) else repr(error)
        name = type(value).__qualname__
        article = "an" if name[0] in "AEIOUaeiou" else "a"
        raise SerializationError(f"{article} {name} cannot be pickled: {reason}") from error
    return file.getvalue()


_registered = cloudpickle.list_registry_pickle_by_value


def _names_registered(head: bytes) -> bool:
    """Whether the pickle may name something of a module that is registered to travel by value."""
    return any(name.encode() in head for name in _registered())


def _nothing() -> None:
    pass


def pickle_function(func: Callable[..., Any]) -> bytes:
    """As `pickle_bytes`, but code that travels by value keeps the name of its file, so that
    tracebacks show its lines. What is unpickled is a BufferedPickle if there are large buffers in it.

    Not for digests: a notebook's cells have other file names in each session.
    """
    head, *buffers = _with_buffers(func, OUT_OF_BAND_BYTES, _FunctionPickler)
    if not buffers:
        return bytes(head)
    return _dumps(BufferedPickle(bytes(head), tuple(map(pickle.PickleBuffer, buffers))), 5)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Knows more than cloudpickle."""

    def reducer_override(self, value: Any) -> Any:
        reduced = reduce(value)
        if reduced is not NotImplemented:
            return reduced
        reduced = super().reducer_override(value)
        return with_slots(value, reduced) if isinstance(value, type) else reduced


def _reduce_code(code: types.CodeType) -> tuple[Any, ...]:
    make, arguments = cloudpickle.Pickler.dispatch_table[types.CodeType](code)
    return make, tuple(code.co_filename if a == "<dynamic-code>" else a for a in arguments)


class _FunctionPickler(_Pickler):
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
