"""Logging of our own processes. A session that imports the package sets up its own."""

from __future__ import annotations

import logging
import time
from functools import cache

# What may be logged, from the least important on.
LEVELS = ("debug", "info", "warning", "error", "critical")
FORMAT = "%(asctime)s %(name)s %(levelname)s %(message)s"


def set_up_logging(level: str) -> None:
    """Send what the package logs to standard error, from this level on ('WARNING', 'info', ...)."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(FORMAT))
    logger = logging.getLogger("distributed")
    logger.addHandler(handler)
    logger.setLevel(level.upper())
    logger.propagate = False


@cache
def say_once(text: str) -> None:
    """A warning that is given once in a process."""
    logging.getLogger("distributed").warning(text)


class Seldom:
    """True at most once in so many seconds: for what is worth saying, but not each time.

    >>> may_complain = Seldom(10.0)
    >>> may_complain(), may_complain()
    (True, False)
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = 0.0

    def __call__(self) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True
