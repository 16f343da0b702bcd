"""The functions that a worker has been sent, ready to be called."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any, BinaryIO

from distributed.function_copies import FunctionCopies
from distributed.function_state import Stateful, attributes_of, is_unchanged
from distributed.serialize import BufferedPickle
from distributed.transport import Frame
from distributed.unpickling import unpickle, unpickle_frames


class LoadedFunctions:
    """`ready` has the functions that all their calls may share, by id. All others are got by `load`."""

    def __init__(self) -> None:
        self.ready: dict[str, Any] = {}
        self._pickles: dict[str, bytes | _MappedPickle] = {}
        # Those of which only attributes of functions and classes could change.
        self._guarded: dict[str, tuple[Any, list[tuple[Any, dict[str, Any]]]]] = {}
        # How to make all others for each call.
        self._makers: dict[str, Callable[[], Any]] = {}

    def learn(self, id: str, blob: bytes) -> None:
        self._pickles[id] = blob

    def unlearn(self, id: str) -> None:
        self._pickles.pop(id, None)
        self._forget(id)

    def load_again(self) -> None:
        """Unpickle all functions afresh when they are called next."""
        for id in tuple(self._pickles):
            self._forget(id)

    def _forget(self, id: str) -> None:
        self.ready.pop(id, None)
        self._guarded.pop(id, None)
        self._makers.pop(id, None)

    def load(self, id: str) -> Any:
        """The function for one call, in which it finds nothing of what other calls have done to it."""
        make = self._makers.get(id)
        if make is not None:
            return make()
        guarded = self._guarded.get(id)
        if guarded is None:
            return self._load_first(id)
        function, attributes = guarded
        if is_unchanged(attributes):
            return function
        # Such as a counter of its calls. It would be changed by each of them.
        self._makers[id] = partial(self._unpickle, id)
        return self._unpickle(id)

    def _load_first(self, id: str) -> Any:
        function = self._unpickle(id)
        attributes = attributes_of(function)
        if attributes is None:
            self._makers[id] = make = self._maker(id, function)
            return make()
        elif attributes:
            self._guarded[id] = function, attributes
        else:
            self.ready[id] = function
        return function

    def _maker(self, id: str, function: Any) -> Callable[[], Any]:
        try:
            return FunctionCopies(function).make
        except (Stateful, RecursionError):
            return partial(self._unpickle, id)

    def _unpickle(self, id: str) -> Any:
        known = self._pickles[id]
        if isinstance(known, bytes):
            function = unpickle(known)
            if type(function) is not BufferedPickle:
                return function
            known = self._pickles[id] = _MappedPickle(function)
        return known.load()


class _MappedPickle:
    """A function with large buffers, such as an array in its closure. For each call these are mapped into
    memory, not copied: what a call writes to is its own, page by page."""

    def __init__(self, pickled: BufferedPickle) -> None:
        self._head = pickled.head
        self._file = _anonymous_file()
        self._places: list[tuple[int, int]] = []  # where each buffer begins, and its length
        place = 0
        for buffer in pickled.buffers:
            size = memoryview(buffer).nbytes
            self._file.seek(place)
            self._file.write(buffer)
            self._places.append((place, size))
            place += -(-size // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
        self._file.flush()

    def __del__(self) -> None:
        self._file.close()

    def load(self) -> Any:
        number = self._file.fileno()
        buffers: list[Frame] = [
            mmap.mmap(number, size, access=mmap.ACCESS_COPY, offset=place)
            for place, size in self._places
        ]
        return unpickle_frames([self._head, *buffers])


def _anonymous_file() -> BinaryIO:
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("function"), "w+b")
    return tempfile.TemporaryFile()  # type: ignore[return-value]
