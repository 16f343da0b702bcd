"""Times and sizes as people write them."""

from __future__ import annotations

from datetime import timedelta
from math import inf, nan
from typing import Any

import numpy as np
import pytest

from distributed.units import nbytes, optional_seconds, seconds


@pytest.mark.parametrize(
    ("given", "expected"),
    [(1, 1.0), (0.5, 0.5), ("2", 2.0), ("5s", 5.0), ("1 minute", 60.0), ("3 hours", 10800.0),
     ("250ms", 0.25), (timedelta(minutes=2), 120.0), (np.float32(2), 2.0), (np.int64(3), 3.0),
     (inf, inf), (-1, -1.0)],
)  # fmt: skip
def test_times(given: Any, expected: float) -> None:
    assert seconds("timeout", given) == expected
    assert optional_seconds("timeout", None) is None


@pytest.mark.parametrize("given", ["soon", "5 parsecs", "", nan, True, None, [1], object()])
def test_what_is_no_time_is_refused_by_the_name_of_its_argument(given: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^patience is a "):
        seconds("patience", given)


@pytest.mark.parametrize(
    ("given", "expected"),
    [(1000, 1000), ("1 kB", 1000), ("4 GiB", 4 << 30), ("1.5MB", 1_500_000)],
)
def test_sizes(given: Any, expected: int) -> None:
    assert nbytes("size", given) == expected


@pytest.mark.parametrize("given", ["lots", "4 parsecs", None, True, [1]])
def test_what_is_no_size_is_refused_by_the_name_of_its_argument(given: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^memory_limit is a "):
        nbytes("memory_limit", given)
