"""What a thread does for others, who put it into a queue."""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable

# None ends the thread, once all that was put in before has been done.
Errands = queue.SimpleQueue[Callable[[], object] | None]


def run_errands(errands: Errands, logger: logging.Logger, failure: str) -> None:
    """Call what comes. Whatever one raises, SystemExit too, is logged as such a failure; the next is called
    all the same."""
    while True:
        act = errands.get()
        if act is None:
            return
        try:
            act()
        except BaseException:
            logger.exception(failure)
        del act  # it refers to data, which would be kept until the next comes
