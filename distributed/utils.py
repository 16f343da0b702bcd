"""Small helpers that programs import from here: dask-ml, for one."""

from __future__ import annotations

import functools
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from distributed.transport import Address, reachable_host

logger = logging.getLogger("distributed.utils")


def get_ip(host: str = "8.8.8.8", port: int = 80) -> str:
    """The address of the interface of this machine that leads to `host`. Nothing is sent.

    >>> get_ip("127.0.0.1")
    '127.0.0.1'
    """
    return reachable_host("0.0.0.0", Address(socket.gethostbyname(host), port))


def log_errors(function: Callable[..., Any] | None = None) -> Any:
    """Log what is raised, and raise it: a decorator, or in a `with`.

    >>> @log_errors
    ... def halve(x):
    ...     return x / 2
    >>> halve(4)
    2.0
    """
    if function is None:
        return _logging()
    name = getattr(function, "__name__", repr(function))

    @functools.wraps(function)
    def logged(*args: Any, **kwargs: Any) -> Any:
        with _logging(f" in {name}"):
            return function(*args, **kwargs)

    return logged


@contextmanager
def _logging(where: str = "") -> Iterator[None]:
    try:
        yield
    except Exception:
        logger.exception("an exception%s", where)
        raise
