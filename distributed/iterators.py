"""Results that can be read only once, such as generators: made so that several tasks can read them."""

from __future__ import annotations

import itertools
import threading
import types
from collections.abc import Iterator
from typing import Any

from distributed.tracebacks import dump_exception, load_exception

# Iterators of Python and its library. Those of a user's class may do more than to be iterated over, and
# pass as they are.
_KINDS = frozenset(
    {
        types.GeneratorType,
        map,
        filter,
        zip,
        enumerate,
        reversed,
        *(type(iter(kind())) for kind in (list, tuple, dict, set, str, bytes)),
        type(iter({}.values())),
        type(iter({}.items())),
        type(iter(range(0))),
        type(reversed([])),
        *(kind for kind in vars(itertools).values() if isinstance(kind, type)),
    }
)


class Replay:
    """An iterator, and what has come out of it so far: each `iter` begins at the beginning.

    Nothing is read before somebody asks for it, so an endless one is no problem. Pickled, it is an
    iterator over all that it has, which fails at its end if this one does.

    >>> squares = Replay(n * n for n in range(4))
    >>> max(squares), sum(squares)
    (9, 14)
    """

    def __init__(self, source: Iterator[Any]) -> None:
        self._source = source
        self._items: list[Any] = []
        self._error: BaseException | None = None
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Any]:
        place = 0
        while place < len(self._items) or self._read(place):
            yield self._items[place]
            place += 1

    def _read(self, place: int) -> bool:
        """Get the item of that place; false if there is none."""
        with self._lock:
            if place < len(self._items):
                return True  # another thread was faster
            if self._error is None:
                try:
                    self._items.append(next(self._source))
                    return True
                except BaseException as error:
                    # For the next reader too: a generator that has failed looks like one that has ended.
                    self._error = error
            if isinstance(self._error, StopIteration):
                return False
            raise self._error

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        try:
            for _ in self:
                pass
        except Exception as error:
            # It is for the task that reads it to fail with this.
            return _failing, (self._items, dump_exception(error))
        return iter, (self._items,)


def _failing(items: list[Any], failure: bytes) -> Iterator[Any]:
    yield from items
    raise load_exception(failure)


def repeatable(value: Any) -> Any:
    """What to keep of a result: a Replay in place of an iterator."""
    return Replay(value) if type(value) in _KINDS else value


def fresh(value: Any) -> Any:
    """What a task gets of it: an iterator of its own."""
    return iter(value) if type(value) is Replay else value
