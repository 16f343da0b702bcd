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
from collections import ChainMap
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import cloudpickle

from distributed.errors import SerializationError
from distributed.transport import Frame

# Smaller buffers are copied into the pickle: a frame of its own costs more than the copy.
OUT_OF_BAND_BYTES = 64 << 10

_dumps = pickle.dumps
unpickle = pickle.loads


def dumps(value: Any) -> list[Frame]:
    """The frames of an object: a pickle, and buffers that it refers to.

    Raises SerializationError that names the type and the cause.

    >>> loads(dumps({"a": 1}))
    {'a': 1}
    """
    buffers: list[memoryview] = []

    def keep(buffer: pickle.PickleBuffer) -> bool:
        """False takes the buffer out of the pickle."""
        try:
            view = buffer.raw()
        except BufferError:
            return True  # not contiguous
        if view.nbytes < OUT_OF_BAND_BYTES:
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
        return cloudpickle.dumps(value, 5, buffer_callback=keep)
    except Exception as error:
        raise SerializationError(
            f"a {type(value).__qualname__} cannot be pickled: {error!r}"
        ) from error


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

_FLAT = frozenset({int, float, complex, bool, str, bytes, bytearray, type(None)})


def nbytes(value: Any) -> int:
    """Roughly how much memory the object takes. Never raises, and never takes long.

    >>> nbytes(b"1234") < 64
    True
    """
    if type(value) in _FLAT:
        return sys.getsizeof(value)
    # Dask knows arrays and tables, and samples long containers; it takes 0.1 s to import.
    from dask.sizeof import sizeof

    try:
        return max(0, int(sizeof(value)))
    except Exception:
        # Whatever a user's __sizeof__ does: the size is an estimate, not worth a failed task.
        return sys.getsizeof(b"")
