"""Python's garbage collector, while a lot is made that stays.

It looks at everything that is there whenever that has grown by a quarter. While a large graph is packed, or
a million calls are submitted, that finds nothing and takes a quarter of the time.
"""

from __future__ import annotations

import gc
import threading
from types import TracebackType

# The first generation is looked at when it has grown by so many objects, so that what does become garbage
# meanwhile (exceptions, what pickles objects) does not add up. Of the others hardly ever one is.
YOUNG_OBJECTS = 50_000
# While a graph is read and packed: some for each of its tasks, and a session can stand still for the tenth
# of a second that it takes to look at so many.
GRAPH_OBJECTS = 500_000

_lock = threading.Lock()
_wishes: list[int] = []
_usual = gc.get_threshold()


class SeldomCollected:
    """A context in which garbage is collected seldom, whenever so many objects have been made. For all
    threads, as there is one collector: the largest number counts."""

    def __init__(self, young_objects: int = YOUNG_OBJECTS) -> None:
        self._young_objects = young_objects

    def __enter__(self) -> None:
        global _usual
        with _lock:
            if not _wishes:
                _usual = gc.get_threshold()
            _wishes.append(self._young_objects)
            _heed_wishes()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with _lock:
            _wishes.remove(self._young_objects)
            _heed_wishes()


def _heed_wishes() -> None:
    young, *others = _usual
    if young:  # otherwise the collector is off
        young = max([young, *_wishes])
    gc.set_threshold(young, *others)
