"""The examples with dask give right answers. (The first example has tests of its own: test_wordcount.)"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(name: str, *arguments: str) -> str:
    example = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name), "--workers", "2", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert example.returncode == 0, example.stderr
    assert "workers: 2, threads: 2" in example.stdout
    return example.stdout


def test_arrays() -> None:
    printed = run("arrays.py", "--images", "100", "--rows", "20000")
    assert "The noise of a pixel is 2.0" in printed
    # The three stars are found where they are, give or take a pixel, the brightest first.
    places = re.findall(r"row +(\d+), column +(\d+)", printed)
    found = [(int(row), int(column)) for row, column in places]
    for (row, column), star in zip(found, [(40, 60), (128, 200), (230, 31)], strict=True):
        assert abs(row - star[0]) <= 1 and abs(column - star[1]) <= 1, found
    first, last = re.findall(r"(?:is|and) (\d\.\d+)\s?(?:wide)? along its", printed)
    assert 2.9 < float(first) < 3.1
    assert 0.9 < float(last) < 1.1


def test_dataframes() -> None:
    printed = run("dataframes.py", "--days", "2")
    assert f"{2 * 24 * 60 * 60:,} rows of 26 people" in printed
    departments = dict(re.findall(r"^(sun|water|wind) +(\d+)$", printed, re.MULTILINE))
    # A row has one of 26 names: two for sun, one for water, two for wind.
    for name, share in (("sun", 2 / 26), ("water", 1 / 26), ("wind", 2 / 26)):
        assert abs(int(departments[name]) / (2 * 24 * 60 * 60) - share) < 0.005
    assert "2 of them" in printed
