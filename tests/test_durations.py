"""Times as people write them."""

from __future__ import annotations

import pytest

from distributed.durations import parse_seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("60", 60.0),
        ("1.5", 1.5),
        (".5s", 0.5),
        ("1e3", 1000.0),
        (" 5 s ", 5.0),
        ("5S", 5.0),
        ("10 seconds", 10.0),
        ("500ms", 0.5),
        ("1 minute", 60.0),
        ("5 minutes", 300.0),
        ("5m", 300.0),
        ("3600 s", 3600.0),
        ("1h", 3600.0),
        ("2 hours", 7200.0),
        ("1 day", 86400.0),
        ("1w", 604800.0),
        ("100 us", 1e-4),
        ("10 ns", 1e-8),
        ("inf", float("inf")),
    ],
)
def test_times(text: str, seconds: float) -> None:
    assert parse_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "write seconds"),
        ("soon", "write seconds"),
        ("s", "write seconds"),
        ("nan", "write seconds"),
        ("1:30", "write seconds"),
        ("1h30m", "write seconds"),
        ("5 moons", "'moons' is no unit"),
        ("-1", "negative"),
        ("-5 minutes", "negative"),
        ("-inf", "negative"),
        ("info", "write seconds"),
    ],
)
def test_what_is_not_a_time(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_seconds(text)
