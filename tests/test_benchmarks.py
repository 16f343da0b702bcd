"""The benchmarks run, and what they print can be true."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import floor

ROOT = Path(__file__).parents[1]
NUMBER = r"([\d,.]+)"


def test_the_floor_runs_every_task_of_several_rounds() -> None:
    # More than two batches and not a multiple of one; fewer than there are workers; exactly one.
    sizes = (floor.BATCH * 2 + 7, 1, floor.BATCH)
    with floor.pipeline() as tasks_per_second:
        rates = [tasks_per_second(size) for size in sizes]
    assert len(rates) == 3
    assert all(rate > 0 for rate in rates)


def test_a_floor_round_trip_is_shorter_than_running_a_task() -> None:
    trip = floor.round_trip(200)
    with floor.pipeline() as tasks_per_second:
        task = statistics.median(1 / tasks_per_second(1) for _ in range(200))
    assert 0 < trip < task


def test_the_floor_ends_its_processes_when_its_user_fails() -> None:
    before = set(floor.multiprocessing.active_children())
    with pytest.raises(ZeroDivisionError), floor.pipeline():
        assert len(set(floor.multiprocessing.active_children()) - before) == 3
        raise ZeroDivisionError
    assert set(floor.multiprocessing.active_children()) == before


def test_the_report_has_each_claim_and_its_verdicts_follow_from_its_figures() -> None:
    sizes = ["--tasks", "200", "--rounds", "1", "--memory-tasks", "2000"]
    printed = subprocess.run(
        [sys.executable, "-m", "benchmarks.run", *sizes],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert printed.returncode == 0, printed.stderr
    _head, _names, speed, delay, memory = printed.stdout.splitlines()

    ours, pool, bare, share = numbers(speed, r"tasks/s", rf"{NUMBER} +at least")
    assert min(ours, pool, bare) > 0
    assert share == pytest.approx(ours / bare, abs=0.01)
    assert speed.endswith("met" if ours / bare >= 1 / 3 else "MISSED")

    ours, pool, bare, trips = numbers(delay, "median µs", rf"\(round trip\) +{NUMBER} trips")
    assert min(ours, pool, bare) > 0
    # Both are printed as whole microseconds, the ratio with one decimal.
    assert trips == pytest.approx(ours / bare, rel=0.05, abs=0.05)
    assert delay.endswith(("met", "MISSED"))

    assert memory.startswith("peak memory of the scheduler, 2,000 tasks")
    assert memory.endswith(("met", "MISSED"))


def numbers(row: str, name: str, last: str) -> list[float]:
    """Ours, the pool's and the floor's figure in a row of the table, and their ratio."""
    found = re.search(rf"{name} +{NUMBER} +{NUMBER} +{NUMBER} +{last}", row)
    assert found, row
    return [float(text.replace(",", "")) for text in found.groups()]
