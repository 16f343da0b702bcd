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
) - {itertools.count, itertools.cycle, itertools.repeat}  # endless, so they cannot travel as a list


class Replay:
    """An iterator, and what has come out of it so far: each `iter` begins at the beginning.

    Nothing is read before somebody asks for it. Pickled, it is an iterator over all that it has, which
    fails at its end if this one does: an endless one cannot travel.

    >>> squares = Replay(n * n for n in range(4))
    >>> max(squares), sum(squares)
    (9, 14)
    """

    def __init__(self, source: Iterator[Any]) -> None:
        self._source = source
        self._items: list[Any] = []
        self._failure: bytes | None = None
        self._ended = False
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Any]:
        place = 0
        while place < len(self._items) or self._read(place):
            yield self._items[place]
            place += 1

    def _read(self, place: int) -> bool:
        """Get the item of that place; false if there is none."""
        self._grow(place)
        if place < len(self._items):
            return True
        if self._failure is not None:
            raise load_exception(self._failure)
        return False

    def _grow(self, place: int) -> None:
        if not self._lock.acquire(blocking=False):
            # Whoever reads on may wait for a task, and that for the place of this thread. (Imported here,
            # for what is imported there needs this module.)
            from distributed.futures import leave_slot

            leave_slot()
            self._lock.acquire()
        try:
            if place == len(self._items) and not self._ended:
                self._advance()
        finally:
            self._lock.release()

    def _advance(self) -> None:
        try:
            self._items.append(next(self._source))
        except StopIteration:
            self._ended = True
        except BaseException as error:
            # For all readers: a generator that has failed looks like one that has ended. Not the object
            # itself, to which each that raises it would add its lines.
            self._failure, self._ended = dump_exception(error), True

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        while not self._ended:
            self._grow(len(self._items))
        if self._failure is not None:
            return _failing, (self._items, self._failure)
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
