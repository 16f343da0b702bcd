"""Times as people write them: seconds, or numbers with a unit."""

from __future__ import annotations

import re

# The spellings that dask knows, plural or not.
_UNITS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "millisecond": 1e-3,
    "microsecond": 1e-6,
    "nanosecond": 1e-9,
    "m": 60.0,
    "min": 60.0,
    "minute": 60.0,
    "h": 3600.0,
    "hr": 3600.0,
    "hour": 3600.0,
    "d": 86400.0,
    "day": 86400.0,
    "w": 604800.0,
    "week": 604800.0,
}
_TIME = re.compile(r"([+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf\b))\s*([a-zµ]*)", re.IGNORECASE)


def parse_seconds(text: str) -> float:
    """The seconds that a text means: a number of seconds, or a number with a unit; 'inf' is for ever.

    Raises ValueError if it is neither, or negative.

    >>> parse_seconds("0.5"), parse_seconds("200 ms"), parse_seconds("1 hour"), parse_seconds("5m")
    (0.5, 0.2, 3600.0, 300.0)
    """
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a time: write seconds, '5s', '10 minutes' or '1h'")
    number, unit = float(match[1]), match[2].lower()
    factor = _UNITS.get(unit or "s") or _UNITS.get(unit.removesuffix("s"))
    if factor is None:
        raise ValueError(f"{text!r} is not a time: {match[2]!r} is no unit; there are s, m, h, d")
    if number < 0:
        raise ValueError(f"a time of {text} is negative")
    return number * factor
