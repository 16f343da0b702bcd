"""Functions that examples and tests of other projects submit."""

from __future__ import annotations

import random
import time
from typing import Any


def inc(x: Any) -> Any:
    """
    >>> inc(1)
    2
    """
    return x + 1


def dec(x: Any) -> Any:
    """
    >>> dec(1)
    0
    """
    return x - 1


def double(x: Any) -> Any:
    """
    >>> double(2)
    4
    """
    return x * 2


def slowinc(x: Any, delay: float = 0.02) -> Any:
    """`inc`, after `delay` seconds.

    >>> slowinc(1, delay=0)
    2
    """
    time.sleep(delay)
    return x + 1


def slowdec(x: Any, delay: float = 0.02) -> Any:
    """`dec`, after `delay` seconds.

    >>> slowdec(1, delay=0)
    0
    """
    time.sleep(delay)
    return x - 1


def slowadd(x: Any, y: Any, delay: float = 0.02) -> Any:
    """The sum, after `delay` seconds.

    >>> slowadd(1, 2, delay=0)
    3
    """
    time.sleep(delay)
    return x + y


def randominc(x: Any, scale: float = 1.0) -> Any:
    """`inc`, after a random time below `scale` seconds.

    >>> randominc(1, scale=0)
    2
    """
    time.sleep(random.random() * scale)
    return x + 1


def throws(x: Any) -> Any:
    """Raises RuntimeError.

    >>> throws(1)
    Traceback (most recent call last):
      ...
    RuntimeError: hello!
    """
    raise RuntimeError("hello!")
