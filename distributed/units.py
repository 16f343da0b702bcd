"""Times and sizes as people write them: numbers, or texts with units."""

from __future__ import annotations

from datetime import timedelta
from math import isnan
from numbers import Real
from typing import Any, TypeAlias

from distributed.durations import parse_seconds

# As `seconds` takes it.
Seconds: TypeAlias = "float | str | timedelta"


def seconds(name: str, given: Any) -> float:
    """A time in seconds, of the argument of that name.

    >>> seconds("timeout", 2), seconds("timeout", "500 ms"), seconds("timeout", "1 minute")
    (2.0, 0.5, 60.0)

    Raises TypeError or ValueError, which name the argument and what it takes.
    """
    if isinstance(given, timedelta):
        return given.total_seconds()
    if isinstance(given, Real) and not isinstance(given, bool):
        if isnan(float(given)):
            raise ValueError(f"{name} is a number of seconds, not {given!r}")
        return float(given)
    if not isinstance(given, str):
        raise TypeError(
            f"{name} is a number of seconds, or a text like '5s' or '1 minute', not {_short(given)}"
        )

    try:
        return parse_seconds(given)
    except ValueError:
        raise ValueError(f"{name} is a time like '5s' or '1 minute', not {_short(given)}") from None


def optional_seconds(name: str, given: Any) -> float | None:
    """As `seconds`; None for None, which means without limit."""
    return None if given is None else seconds(name, given)


def nbytes(name: str, given: Any) -> int:
    """A size in bytes, of the argument of that name.

    >>> nbytes("memory_limit", "4 GiB")
    4294967296

    Raises TypeError or ValueError, which name the argument and what it takes.
    """
    if isinstance(given, bool) or not isinstance(given, (str, Real)):
        raise TypeError(f"{name} is a number of bytes, or a text like '4 GiB', not {_short(given)}")
    from dask.utils import parse_bytes

    try:
        return int(parse_bytes(given))
    except (KeyError, IndexError, ValueError):
        raise ValueError(f"{name} is a size like '4 GiB', not {_short(given)}") from None


def _short(given: Any) -> str:
    return f"{given!r:.100}"
