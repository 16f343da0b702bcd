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

_lock = threading.Lock()
_users = 0
_usual = gc.get_threshold()


class SeldomCollected:
    """A context in which garbage is collected seldom. For all threads: there is one collector."""

    def __enter__(self) -> None:
        global _users, _usual
        with _lock:
            _users += 1
            if _users == 1:
                _usual = gc.get_threshold()
                if _usual[0]:  # otherwise the collector is off
                    gc.set_threshold(max(YOUNG_OBJECTS, _usual[0]), *_usual[1:])

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        global _users
        with _lock:
            _users -= 1
            if not _users:
                gc.set_threshold(*_usual)
